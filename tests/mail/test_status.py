"""Status codes and safe text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail import status
from fancymail.mail.status import Status, basic, kind, of_reply, safe_text, valid


@pytest.mark.parametrize("code, reply, class_", [
    ("2.0.0", 250, "success"), ("2.1.5", 250, "success"), ("4.3.1", 452, "transient"), ("4.4.1", 451, "transient"),
    ("5.1.1", 550, "persistent"), ("5.7.8", 535, "persistent"), ("5.5.1", 503, "persistent"), ("5.1.99", 550, "persistent"),
    ("4.7.23", 451, "transient"), ("5.9.9", 554, "persistent"),
])
def test_basic_and_kind(code, reply, class_):
    assert basic(code) == reply
    assert kind(code) == class_ == kind(reply) == status.status(code).kind


def test_every_constant_is_well_formed_and_found():
    constants = [value for value in vars(status).values() if isinstance(value, Status)]
    assert len(constants) > 50
    for value in constants:
        assert valid(value.code) and value.code[0] == str(value.reply)[0]
        assert status.status(value.code) is value
        assert safe_text(value.text) == value.text and value.text


@pytest.mark.parametrize("code", ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1.1000", "5.1.1\n", "٥.1.1", "5.a.1"])
def test_what_is_no_code(code):
    assert not valid(code)
    with pytest.raises(ValueError):
        status.status(code)


@pytest.mark.parametrize("reply, text, code", [
    (550, "5.1.1 no such user", "5.1.1"), (550, "4.1.1 liar", "5.0.0"), (450, "greylisted", "4.2.0"), (250, "ok", "2.0.0"),
    (250, "2.6.0 taken", "2.6.0"), (552, "too much", "5.2.2"), (599, "?", "5.0.0"), (499, "?", "4.0.0"), (550, "5.1.1", "5.1.1"),
    (354, "go on", "2.0.0"), (550, "5.1.1.2 x", "5.0.0"), (556, "null MX", "5.1.10"),
])
def test_of_reply(reply, text, code):
    assert of_reply(reply, text) == code


@pytest.mark.parametrize("text, safe", [
    ("plain", "plain"), ("a\r\n250 ok", "a 250 ok"), ("a\x00b", "a?b"), (b"caf\xc3\xa9", "caf?"), ("\x1b[31mred", "?[31mred"),
    ("a\u202eb", "a?b"), ("", ""), ("  a \t b ", "a b"),
])
def test_safe_text(text, safe):
    assert safe_text(text) == safe


def test_safe_text_is_cut():
    assert safe_text("x" * 10_000) == "x" * 477 + "..."
    assert len(safe_text(b"x" * 10_000_000, 20)) == 20


@given(st.one_of(st.text(), st.binary()), st.integers(3, 200))
def test_safe_text_is_always_one_printable_line(text, limit):
    safe = safe_text(text, limit)
    assert len(safe) <= limit and safe.isascii() and (not safe or safe.isprintable())


@given(text=st.text(st.characters(max_codepoint=127), max_size=60), limit=st.integers(5, 70))
def test_safe_text_of_text_and_of_its_octets_are_the_same(text, limit):
    assert safe_text(text, limit) == safe_text(text.encode(), limit)
