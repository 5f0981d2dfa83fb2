"""Mailbox names: one spelling each, and nothing that could be taken for a path, a pattern or a control."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.relatives import MOST, relatives
from fancymail.mail.mailbox import BadName, normal_name, parent


@pytest.mark.parametrize("name, normal", [
    ("inbox", "INBOX"), ("InBox/a", "INBOX/a"), ("a/inbox", "a/inbox"), ("Cafe\u0301", "Caf\u00e9"), ("a b", "a b"), ("日本", "日本"), ("...", "...")])
def test_one_spelling(name, normal):
    assert normal_name(name) == normal


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a//b", ".", "a/../b", "a\0", "a\r\nb", "\x7f", "\x85", "\u2028", "\ud800", "%", "a*",
                                  "a" * 1001])
def test_no_name(name):
    with pytest.raises(BadName):
        normal_name(name)


def test_parent():
    assert [parent(name) for name in ("a/b/c", "a/b", "a")] == ["a/b", "a", ""]


@given(st.text(max_size=60))
def test_a_normal_name_stays_as_it_is(name):
    try:
        normal = normal_name(name)
    except BadName:
        return
    assert normal_name(normal) == normal
    normal.encode()


@given(st.binary(max_size=300) | st.lists(st.sampled_from([
    b"Message-ID:", b"References: ", b"in-reply-to:", b"<a@b>", b"<", b">", b"\r\n", b"\n", b" ", b"\t", b"\r\n\r\n", b"\0"]),
    max_size=40).map(b"".join))
def test_any_header_gives_few_relatives(head):
    found = relatives(head)
    assert len(found) == len(set(found)) <= MOST + 1
    assert all(-2**63 <= number < 2**63 for number in found)
