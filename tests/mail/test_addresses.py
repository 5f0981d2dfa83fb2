"""Address lists of header fields: elements as they are, never a part of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.addresses import Group, Mailbox, addresses, entries

ONE = [
    ("alice@x.test", "", "alice", "x.test"),
    ("Alice <alice@x.test>", "Alice", "alice", "x.test"),
    ("Alice B. Clark <alice@x.test>", "Alice B. Clark", "alice", "x.test"),
    ('"Alice, B." <alice@x.test>', "Alice, B.", "alice", "x.test"),
    ('"a\\"b\\\\" <a@x.test>', 'a"b\\', "a", "x.test"),
    ("<alice@x.test>", "", "alice", "x.test"),
    ("<alice@x.test", "", "alice", "x.test"),
    ("alice@x.test (Alice)", "Alice", "alice", "x.test"),
    ("alice@x.test (Alice (her) \\) x)", "Alice (her) \\) x", "alice", "x.test"),
    ("(c) alice (c) @ (c) x (c) . test (c)", "c", "alice", "x.test"),
    ("alice . b @ x . test", "", "alice.b", "x.test"),
    ('"q q"@x.test', "", "q q", "x.test"),
    ("<@a.test,@b.test:alice@x.test>", "", "alice", "x.test"),
    ("a@[127.0.0.1]", "", "a", "[127.0.0.1]"),
    ("=?utf-8?q?Doe,_J?= <j@x.test>", "=?utf-8?q?Doe,_J?=", "j", "x.test"),
    ("root", "", "root", ""),
    ("a@b.test <c@d.test>", "a @ b. test", "c", "d.test"),
]

NONE = ["alice@example.org)bob@example.com", "John Doe@x.test", "<a@b.test> <c@d.test>", "<a@b.test> foo", "Foo Bar", "<>", "a@b@c.test",
        "a..b@c.test", "a.@c.test", "a@", "@c.test", "a@[1.2.3.4", "<a b@c.test>", "a@b c.test", "a\\@b.test"]


@pytest.mark.parametrize("value, name, local, domain", ONE)
def test_one_mailbox(value, name, local, domain):
    assert addresses(value) == [Mailbox(name, local, domain)]
    assert addresses(value.encode()) == [Mailbox(name, local, domain)]


@pytest.mark.parametrize("value", NONE)
def test_what_is_no_address_is_not_half_of_one(value):
    found = addresses(value)
    assert found and all(mailbox.address is None for mailbox in found)


def test_lists_and_empty_elements():
    assert [m.local for m in addresses("a@x.test, , b@x.test,, <c@x.test>,\r\n\td@x.test,")] == ["a", "b", "c", "d"]
    assert addresses("") == addresses(" , ,") == addresses("(only a comment)") == []


def test_groups():
    assert list(entries('Team: a@x.test, "C" <c@x.test>;, e@x.test')) == [
        Group("Team", True), Mailbox("", "a", "x.test", "Team"), Mailbox("C", "c", "x.test", "Team"), Group("Team", False),
        Mailbox("", "e", "x.test")]
    assert addresses("undisclosed-recipients:;") == []
    assert list(entries("open: a@x.test")) == [Group("open", True), Mailbox("", "a", "x.test", "open"), Group("open", False)]


def test_display_names_are_decoded_and_addresses_are_not():
    mailbox, = addresses(b"=?utf-8?b?SsO8cmdlbg==?= <=?utf-8?q?a=40evil?=@x.test>")
    assert mailbox.display == "Jürgen"
    assert str(mailbox.address) == "=?utf-8?q?a=40evil?=@x.test"


def test_the_address_is_canonical():
    assert str(addresses("Jürgen <jürgen@BÜCHER.test>")[0].address) == "jürgen@xn--bcher-kva.test"


HOSTILE = ["(", ")", '"\\', "a@b,", "<", ".", "a.", "[", "=?", "g:", "a@", ":", ";", "()", "g:;", "<>", "<@a,", "\\", "=?a?q?", "<a@b>"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_fields_take_linear_work(piece, steps):
    small, large = (steps(addresses, piece * count) for count in (1_000, 4_000))
    assert large <= small * 4.4 + 200
    assert len(addresses(piece * 500_000, limit=100)) <= 100


def test_the_limit_holds():
    assert len(addresses("a@x.test," * 500_000)) == 10_000


@given(st.one_of(st.text(max_size=100), st.text('a@.,;:<>()"\\[] =?', max_size=60), st.binary(max_size=100)))
def test_any_value_gives_mailboxes(value):
    for mailbox in addresses(value):
        assert isinstance(mailbox.display, str)
        assert mailbox.address is None or mailbox.domain
