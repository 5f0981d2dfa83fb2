"""Prepared strings: the examples of RFC 4013 section 3 and what must not slip through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.saslprep import saslprep


@pytest.mark.parametrize("given_text, prepared", [
    ("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"),   # RFC 4013 section 3
    ("a\u00a0b", "a b"), ("", ""), ("p\u00e4ss", "p\u00e4ss"), ("pa\u0308ss", "p\u00e4ss"), ("\U0001f600", "\U0001f600"),
])
def test_prepares(given_text, prepared):
    assert saslprep(given_text) == prepared


@pytest.mark.parametrize("text", [
    "\x07", "a\x00b", "a\x7f", "\u0627\u0031", "\u0627a\u0627", "\ue000", "\ufffd", "\u2028", "\u200e", "a\u202eb"])
def test_refuses(text):
    with pytest.raises(ValueError):
        saslprep(text)


@given(st.text(max_size=40))
def test_is_stable(text):
    try:
        once = saslprep(text)
    except ValueError:
        return
    assert "\0" not in once
    try:
        assert saslprep(once) == once
    except ValueError as error:     # only NFKC of characters newer than the tables could bring that about
        pytest.fail(f"{text!r} prepares to {once!r}, which is refused: {error}")
