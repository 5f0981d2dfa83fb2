"""LIST and LSUB: the examples of the RFCs, and patterns against a plain telling of what they mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.imap.listing import Listed, listing, lsub, matcher

BOXES = {"INBOX": "", "Drafts": "\\Drafts", "Sent": "\\Sent", "a": "", "a/b": "", "a/b/c": "", "x/y": "", "INBOX/kid": ""}


def names(*patterns: str, reference: str = "", subscribed=(), **options) -> list[str]:
    return [listed.name for listed in listing(BOXES, subscribed, reference, patterns, **options)]


def test_wildcards():
    assert names("*") == ["INBOX", "INBOX/kid", "Drafts", "Sent", "a", "a/b", "a/b/c", "x", "x/y"]
    assert names("%") == ["INBOX", "Drafts", "Sent", "a", "x"]
    assert names("a/%") == ["a/b"] and names("%/%") == ["INBOX/kid", "a/b", "x/y"] and names("a*c") == ["a/b/c"]
    assert names("%", reference="a/") == ["a/b"] and names("a", reference="x/") == [] and names("*y", reference="x") == ["x/y"]
    assert names("a", "Sent", extended=True) == ["Sent", "a"] and names("nothing") == []


def test_inbox_has_no_case():
    assert names("inbox") == ["INBOX"] and names("InBox/%") == ["INBOX/kid"] and names("iN*") == ["INBOX", "INBOX/kid"]
    assert names("INBOX/KID") == [] and names("SENT") == []


def test_attributes():
    found = {listed.name: listed for listed in listing(BOXES, {"a"}, "", ["*"])}
    assert found["a"] == Listed("a", ("\\HasChildren",)) and found["a/b/c"] == Listed("a/b/c", ("\\HasNoChildren",))
    assert found["Sent"].attributes == ("\\HasNoChildren", "\\Sent")
    assert found["x"] == Listed("x", ("\\Noselect", "\\HasChildren"), (), False)
    assert listing(BOXES, {"a"}, "", ["a"], returns={"SUBSCRIBED"}, extended=True) == [Listed("a", ("\\HasChildren", "\\Subscribed"))]
    assert listing(BOXES, (), "", ["x"], extended=True) == [Listed("x", ("\\NonExistent", "\\HasChildren"), (), False)]


def test_the_delimiter_is_asked_for_with_an_empty_pattern():
    assert listing(BOXES, (), "a", [""]) == [Listed("", ("\\Noselect",), (), False)]
    assert listing(BOXES, (), "", [""], extended=True) == []
    assert lsub(BOXES, (), "", "") == [Listed("", ("\\Noselect",), (), False)]


def test_selection_of_subscribed_ones():
    subscribed = {"a/b", "gone/away", "INBOX"}
    found = listing(BOXES, subscribed, "", ["*"], selection={"SUBSCRIBED"}, extended=True)
    assert found == [Listed("INBOX", ("\\HasChildren", "\\Subscribed")), Listed("a/b", ("\\HasChildren", "\\Subscribed")),
                     Listed("gone/away", ("\\NonExistent", "\\HasNoChildren", "\\Subscribed"), (), False)]


def test_recursive_match():
    """RFC 5258 5, example 8 and 9: a parent is shown for what is below it."""
    found = listing(BOXES, {"a/b/c"}, "", ["%"], selection={"SUBSCRIBED", "RECURSIVEMATCH"}, extended=True)
    assert found == [Listed("a", ("\\HasChildren",), ("SUBSCRIBED",))]
    found = listing(BOXES, {"a/b/c", "a", "q/r"}, "", ["%"], selection={"SUBSCRIBED", "RECURSIVEMATCH"}, extended=True)
    assert found == [Listed("a", ("\\HasChildren", "\\Subscribed"), ("SUBSCRIBED",)),
                     Listed("q", ("\\NonExistent", "\\HasNoChildren"), ("SUBSCRIBED",), False)]


def test_selection_of_special_uses():
    assert names("*", selection={"SPECIAL-USE"}, extended=True) == ["Drafts", "Sent"]
    assert names("*", selection={"SPECIAL-USE", "SUBSCRIBED"}, subscribed={"Sent", "a"}, extended=True) == ["Sent"]


def test_lsub():
    subscribed = {"a/b", "Sent", "gone/away"}
    assert [listed.name for listed in lsub(BOXES, subscribed, "", "*")] == ["Sent", "a/b", "gone/away"]
    assert lsub(BOXES, subscribed, "", "%") == [Listed("Sent", ("\\HasNoChildren", "\\Sent")),
                                                Listed("a", ("\\Noselect", "\\HasChildren"), (), False),
                                                Listed("gone", ("\\Noselect", "\\HasChildren"), (), False)]
    assert lsub(BOXES, {"INBOX"}, "", "inbox") == [Listed("INBOX", ("\\HasChildren",))]        # Evolution needs INBOX


NAMES = st.text("ab/I", min_size=1, max_size=8)
PATTERNS = st.text("ab/*%", max_size=8)


@given(PATTERNS, NAMES)
def test_patterns_mean_what_the_expression_means(pattern, name):
    expression = re.sub(r"\\?[*%]", lambda wild: ".*" if "*" in wild[0] else "[^/]*", re.escape(pattern))
    assert matcher(pattern)(name) == bool(re.fullmatch(expression, name))


@pytest.mark.parametrize("pattern", ["*a" * 400 + "b", "%a*" * 300 + "b", "*" * 1000 + "b", "*%" * 500 + "b"])
def test_many_wildcards_cost_no_more_than_one(pattern):
    matches = matcher(pattern)
    assert not matches("a" * 1000) and matches("a" * 999 + "b") == (pattern.count("a") <= 999)


def test_ten_thousand_mailboxes():
    boxes = {f"folder{number}/sub{number % 7}": "" for number in range(10_000)}
    assert len(listing(boxes, (), "", ["*"])) == 20_000 and len(listing(boxes, (), "", ["%"])) == 10_000
