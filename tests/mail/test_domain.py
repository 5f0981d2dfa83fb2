"""Domains: IDNA 2008 as the RFCs have it, address literals, one canonical text (RFC 5890-5893, RFC 5321 4.1.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.domain import DomainError, check_u_label, kind, parse_domain, parse_literal, unicode_domain

GOOD = [
    ("Example.TEST", "example.test"), ("a-b.c--d.test", "a-b.c--d.test"), ("xn--bcher-kva.test", "xn--bcher-kva.test"),
    ("bücher.test", "xn--bcher-kva.test"), ("BÜCHER.test", "xn--bcher-kva.test"), ("bu\u0308cher.test", "xn--bcher-kva.test"),
    ("straße.test", "xn--strae-oqa.test"), ("παράδειγμα.test", "xn--hxajbheg2az3al.test"), ("испытание.test", "xn--80akhbyknj4f.test"),
    ("例え.test", "xn--r8jz45g.test"), ("실례.test", "xn--9n2bp8q.test"), ("مثال.test", "xn--mgbh0fb.test"), ("דוגמה.test", "xn--6dbbec0c.test"),
    ("उदाहरण.test", "xn--p1b6ci4b4b3a.test"), ("ශ්\u200dරී.test", "xn--10cl1a0b660p.test"), ("l·l.test", "xn--ll-0ea.test"),
    ("[127.0.0.1]", "[127.0.0.1]"), ("[IPv6:2001:DB8::0:1]", "[IPv6:2001:db8::1]"),
    ("1.2.3.4.test", "1.2.3.4.test"), ("a1.b2", "a1.b2"), ("localhost", "localhost"), ("3com.test", "3com.test"),
]

BAD = ["", ".", "a.", ".a", "a..b", "-a.test", "a-.test", "a_b.test", "a b.test", "a\x00.test", "a" * 64 + ".test", "ab." * 90 + "test",
       "1.2.3.4", "1", "0x1f", "a.0x1f", "ａ.test", "ℌ.test", "½.test", "☃.test", "\u00ad.test", "a\u200bb.test", "a\u200cb.test", "·l.test",
       "l·.test", "a\u30fb.test", "\u0375a.test", "a\u05f3.test", "\u0660\u06f0.test",
       "\u0301a.test", "אa.test", "aא.test", "א1\u0661.test", "-ü.test", "ü-.test", "äb--c.test", "\u212a.test", "ü\u212a.test",
       "\u0130.test", "\u3002", "a\u3002test", "ü" * 64 + ".test", "\u0640a.test", "\u1100.test", "\ud800.test"]


@pytest.mark.parametrize("text, domain", GOOD)
def test_good_domains(text, domain):
    assert parse_domain(text) == domain
    assert parse_domain(domain) == domain
    assert parse_domain(unicode_domain(domain)) == domain


@pytest.mark.parametrize("text", BAD)
def test_bad_domains(text):
    with pytest.raises(DomainError) as caught:
        parse_domain(text)
    assert str(caught.value).isascii()


def test_the_middle_dot_of_katakana_needs_japanese_letters():
    check_u_label("テ・ス")
    with pytest.raises(DomainError):
        check_u_label("ab・c")


@pytest.mark.parametrize("a_label", ["xn--a", "xn--", "xn--bcher-KVA-", "xn--zzzzzzzzzzzz", "xn--a-ecp", "xn--abc-", "xn--ls8h"])
def test_false_a_labels_stay_as_they_are(a_label):
    text = f"{a_label.lower()}.test"
    try:
        assert unicode_domain(parse_domain(text)) == text
    except DomainError:
        assert a_label.endswith("-")


def test_kinds():
    assert [kind(text) for text in ("a.test", "[127.0.0.1]", "[IPv6:::1]", "")] == ["domain", "ipv4", "ipv6", ""]


@pytest.mark.parametrize("text", ["[]", "[", "[127.0.0.1", "[::1]", "[IPv6:127.0.0.1]", "[127.0.0.256]", "[IPv6:::1%lo]", "[1.2.3]",
                                  "[x:y]", "[٣.1.1.1]"])
def test_bad_literals(text):
    with pytest.raises(DomainError):
        parse_literal(text)


def test_mapped_addresses_keep_their_kind():
    assert kind(parse_literal("[IPv6:::ffff:127.0.0.1]")) == "ipv6"


@given(st.one_of(st.text(max_size=40), st.text("aü-.1אُ\u200d·x", max_size=20)))
def test_any_text_is_a_domain_or_a_domain_error(text):
    try:
        domain = parse_domain(text)
    except DomainError as error:
        assert str(error).isascii()
    else:
        assert parse_domain(domain) == domain and domain.isascii() and domain.isprintable()
        if not domain.startswith("["):
            assert domain == domain.lower() and parse_domain(unicode_domain(domain)) == domain
