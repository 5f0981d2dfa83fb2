"""Fields that we write: folded, encoded, one at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.address import Address, parse_mailbox
from fancymail.mail.addresses import addresses
from fancymail.mail.fields import address_field, field, text_field
from fancymail.mail.headers import HeaderError, scan


def test_short_fields_stay_whole():
    assert field("To", "<a@x.test>") == b"To: <a@x.test>\r\n"
    assert text_field("Subject", "hello  world") == b"Subject: hello  world\r\n"
    assert text_field("Subject", "") == b"Subject:\r\n"


def test_long_fields_are_folded_at_spaces():
    octets = field("X-Long", " ".join(["word" * 3] * 30))
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))
    assert scan(octets).first("x-long") == b" ".join([b"word" * 3] * 30)


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\x00b"])
def test_injection_is_refused(value):
    for write in (field, text_field):
        with pytest.raises(HeaderError):
            write("X", value)
    with pytest.raises(HeaderError):
        address_field("To", [(value, Address("a", "x.test"))])


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\n", "ä", "x" * 100])
def test_names_are_checked(name):
    with pytest.raises(HeaderError):
        field(name, "x")


def test_what_cannot_be_folded_is_refused_or_encoded():
    with pytest.raises(HeaderError):
        field("X", "x" * 2_000)
    octets = text_field("X", "x" * 2_000)
    assert max(map(len, octets.split(b"\r\n"))) <= 78 and scan(octets).text("x") == "x" * 2_000


def test_utf8_only_where_it_is_agreed():
    with pytest.raises(HeaderError) as caught:
        field("To", "<ü@x.test>")
    assert caught.value.status == "5.6.7"
    assert field("To", "<ü@x.test>", smtputf8=True) == "To: <ü@x.test>\r\n".encode()
    with pytest.raises(HeaderError):
        text_field("X", "\ud800")


def test_address_fields_are_read_back():
    pairs = [("Alice B.", parse_mailbox("alice@x.test")), ("Jürgen, der Große", parse_mailbox('"a b"@x.test')), ("", parse_mailbox("c@x.test"))]
    octets = address_field("To", pairs * 10)
    found = addresses(scan(octets).first("to"))
    assert [(mailbox.display, mailbox.address) for mailbox in found] == pairs * 10
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=300))
def test_a_text_field_is_one_field_and_read_back(value):
    octets = text_field("Subject", value)
    assert len(scan(octets)) == 1 and octets.isascii() and octets.endswith(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert scan(octets).text("subject") == value.strip(" ")
