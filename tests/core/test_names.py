"""Names of accounts, aliases and domains: what is taken, what is refused, what looks like something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.names import NameRefused, new_domain, new_name, new_pattern, skeleton
from fancymail.mail.address import parse_mailbox


@pytest.mark.parametrize("text, key", [
    ("Alice@Example.TEST", "alice@example.test"), ("o'brien@example.test", "o'brien@example.test"), ("a.b-c_d@x.test", "a.b-c_d@x.test"),
    ("j\u00fcrgen@example.test", "j\u00fcrgen@example.test"), ("ju\u0308rgen@example.test", "j\u00fcrgen@example.test"),
    ("\u0438\u0432\u0430\u043d@example.test", "\u0438\u0432\u0430\u043d@example.test"),
    ("\u5c71\u7530\u592a\u90ce@example.test", "\u5c71\u7530\u592a\u90ce@example.test"),
    ("\u3084\u307e\u5c71a@example.test", "\u3084\u307e\u5c71a@example.test"), ("1@example.test", "1@example.test"),
    ("alice@b\u00fccher.test", "alice@xn--bcher-kva.test"),
])
def test_names(text, key):
    assert new_name(text, "+").key == key


@pytest.mark.parametrize("text", [
    "", "alice", "@example.test", "alice@", "alice+tag@example.test", "../../etc/passwd@example.test", "..@example.test", ".@example.test",
    "a/b@example.test", "a\\b@example.test", "a%b@example.test", "a!b@example.test", "|sh@example.test", "*@example.test", "a*@example.test",
    '"a b"@example.test', '""@example.test', "a\0b@example.test", "a\nb@example.test", "-a@example.test", "a.@example.test", "a=b@x.test",
    "alice@[127.0.0.1].x", "alice@127.0.0.1", "a@b@example.test", "a" * 65 + "@example.test", "\uff41dmin@example.test",
    "\u212aelvin@example.test", "\u0430dmin@example.test", "a\u202eb@example.test", "\u200da@example.test", "\U0001f600@example.test",
    "\u03b1\u0431@example.test", "\ue000@example.test", "\ufb01n@example.test", "alice@exa mple.test", "alice@-x.test",
])
def test_names_that_are_refused(text):
    with pytest.raises(NameRefused):
        new_name(text, "+")


def test_without_tags_a_plus_is_still_no_part_of_a_name():
    with pytest.raises(NameRefused):
        new_name("a+b@example.test", "")
    assert new_name("a-b@example.test", "+").local == "a-b"
    with pytest.raises(NameRefused):
        new_name("a-b@example.test", "-")


@pytest.mark.parametrize("text, key", [
    ("@example.test", "*@example.test"), ("*@example.test", "*@example.test"), ("Sales-*@Example.test", "sales-*@example.test"),
    ("*.x@example.test", "*.x@example.test")])
def test_patterns(text, key):
    assert new_pattern(text).key == key


@pytest.mark.parametrize("text", ["**@example.test", "a@example.test", "a*b*@example.test", "*", "/*@example.test", "\u0430*@example.test", "@"])
def test_patterns_that_are_refused(text):
    with pytest.raises(NameRefused):
        new_pattern(text)


@pytest.mark.parametrize("text, name", [("Example.TEST", "example.test"), ("example.test.", "example.test"),
                                        ("b\u00fccher.test", "xn--bcher-kva.test")])
def test_domains(text, name):
    assert new_domain(text) == name


@pytest.mark.parametrize("text", ["", ".", "a b", "[127.0.0.1]", "127.0.0.1", "-a.test", "a..b", "../x", "x" * 300, "a_b.test", "a\0.test"])
def test_domains_that_are_refused(text):
    with pytest.raises(NameRefused):
        new_domain(text)


@pytest.mark.parametrize("one, other", [
    ("\u0430\u0441\u0435", "ace"), ("\u0440\u0430\u0443\u0440\u0430l", "paypal"), ("ad\u0131\u0131", "adii"), ("stra\u00dfe", "strasse"),
    ("\u03bf\u03c1", "op"), ("\uff41\uff42", "ab"), ("\u0406", "i"), ("ALICE", "alice"), ("\u0561", "\u0561")])
def test_skeletons_of_what_looks_alike(one, other):
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("one, other", [("jos\u00e9", "jose"), ("alice", "bob"), ("l1", "ll"), ("\u0438\u0432\u0430\u043d", "ivan")])
def test_skeletons_of_what_does_not(one, other):
    assert skeleton(one) != skeleton(other)


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused(text):
    try:
        address = new_name(text, "+")
    except NameRefused:
        return
    assert parse_mailbox(str(address)) == address and "/" not in address.local and "+" not in address.local


@given(st.text(min_size=1, max_size=10))
def test_any_local_part_is_a_name_or_refused(local):
    try:
        address = new_name(f"{local}@example.test", "+")
    except NameRefused:
        return
    assert new_name(address.key, "+").key == address.key
    assert skeleton(address.local) == skeleton(address.local_key)
