"""Modified UTF-7: one spelling of each name, and no other is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail import utf7

# RFC 3501 5.1.3, and names from Dovecot's and Cyrus' own tests.
PAIRS = [("~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"), ("Entw\u00fcrfe", b"Entw&APw-rfe"), ("&", b"&-"),
         ("a&b&&c", b"a&-b&-&-c"), ("\U0001f600", b"&2D3eAA-"), ("", b""), ("plain/Name", b"plain/Name"), ("&\u00fc&", b"&-&APw-&-")]


@pytest.mark.parametrize("name, spelled", PAIRS, ids=[spelled.decode() for _, spelled in PAIRS])
def test_pairs(name, spelled):
    assert utf7.encode(name) == spelled
    assert utf7.decode(spelled) == name


@pytest.mark.parametrize("wrong", [
    b"&", b"&APw", b"a&", b"&AAA-", b"&AGE-", b"&ACY-", b"&2AA-", b"&3AA-", b"&Jjo!", b"&U,BTFw-&ZeVnLIqe-", b"&APx-", b"&AP-", b"&A-", b"&APw=-",
    b"&AP/-", b"\xc3\xbc", b"\xff", b"a\x00", b"a\r\n", b"&AAo-", b"\x7f"])
def test_other_spellings_are_refused(wrong):
    with pytest.raises(ValueError):
        utf7.decode(wrong)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_every_name_comes_back(name):
    spelled = utf7.encode(name)
    assert spelled.isascii() and spelled.decode().isprintable()
    assert utf7.decode(spelled) == name


@given(st.binary(max_size=40))
def test_any_octets_are_a_name_or_none(octets):
    try:
        name = utf7.decode(octets)
    except ValueError:
        return
    assert utf7.encode(name) == octets


@given(st.text("ABCDwxyz0189+,&-a ", max_size=20))
def test_near_misses(text):
    try:
        name = utf7.decode(text.encode())
    except ValueError:
        return
    assert utf7.encode(name) == text.encode()


def test_a_lone_surrogate_has_no_spelling():
    with pytest.raises(ValueError):
        utf7.encode("\ud800")
