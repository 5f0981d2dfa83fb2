"""Strings on the wire: what a client reads back is what was written, and nothing can break out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.imap import strings

_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")


def read(wire: bytes) -> bytes | None:
    """What a client understands; fails when anything is left over."""
    if wire == b"NIL":
        return None
    if match := _LITERAL.match(wire):
        assert len(wire) == match.end() + int(match[1])
        return wire[match.end():]
    if match := _QUOTED.fullmatch(wire):
        return re.sub(rb'\\(["\\])', rb"\1", match[1])
    assert re.fullmatch(rb"[^\x00-\x20(){%*\"\\\x7f-\xff]+", wire)
    return wire


@given(st.binary(max_size=60), st.booleans())
def test_what_is_written_is_read(octets, utf8):
    kept = octets.replace(b"\0", b"")
    assert read(strings.string(octets, utf8)) == kept
    assert read(strings.nstring(octets, utf8)) == kept
    assert read(strings.astring(octets, utf8)) == kept
    assert read(strings.literal(octets)) == octets


@pytest.mark.parametrize("octets, wire", [
    (b"", b'""'), (b"abc", b'"abc"'), (b'a"b\\c', b'"a\\"b\\\\c"'), (b"a\r\nb", b"{4}\r\na\r\nb"), (b"\xc3\xbc", b"{2}\r\n\xc3\xbc"),
    (b"a\0b", b"{2}\r\nab"), (b"x" * 1025, b"{1025}\r\n" + b"x" * 1025)])
def test_string(octets, wire):
    assert strings.string(octets) == wire


def test_utf8_is_quoted_for_who_asked_and_only_if_it_is_utf8():
    assert strings.string(b"\xc3\xbc", True) == b'"\xc3\xbc"'
    assert strings.string(b"\xfc", True) == b"{1}\r\n\xfc"


def test_nil():
    assert strings.nstring(None) == b"NIL"
    assert strings.astring(b"nil") == b'"nil"'
    assert strings.astring(b"NILS") == b"NILS"


@pytest.mark.parametrize("name, utf8, wire", [
    ("INBOX", False, b"INBOX"), ("Sent Mail", False, b'"Sent Mail"'), ("a(b", False, b'"a(b"'), ('a"b', False, b'"a\\"b"'), ("&", False, b"&-"),
    ("Entw\u00fcrfe", False, b"Entw&APw-rfe"), ("Entw\u00fcrfe", True, b'"Entw\xc3\xbcrfe"'), ("&", True, b"&")])
def test_mailbox_name(name, utf8, wire):
    assert strings.mailbox_name(name, utf8) == wire
