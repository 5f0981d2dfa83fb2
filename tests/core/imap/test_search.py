"""SEARCH: every key against messages of which the answer is known, and all combinations against a plain telling of what they mean."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancymail.core.imap.answers import esearch, listed, save, window
from fancymail.core.imap.search import relevancy, search, uses_modseq
from fancymail.core.imap.sort import sort
from fancymail.mail.imap import search as k
from fancymail.mail.imap.search import Return
from fancymail.mail.imap.sequence import SAVED, parse_sequence
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN

from .letters import Letters

NOW = 1_500_000_000
DAY = 86_400


def message(sender: str, subject: str, date_: str, body: str, more: str = "") -> bytes:
    return (f"From: {sender}\r\nTo: team@example.test\r\nSubject: {subject}\r\nDate: {date_}\r\n{more}Content-Type: text/plain; charset=utf-8\r\n"
            f"\r\n{body}\r\n").encode()


@pytest.fixture
def letters():
    return five()


def five() -> Letters:
    """Five messages."""
    letters = Letters()
    letters.add(message("Bob <bob@example.org>", "Lunch", "Tue, 1 Jul 2003 00:30:00 +0200", "Meet me\r\nat noon"), SEEN,
                internaldate=NOW - 10 * DAY)
    letters.add(message("Carol <carol@example.net>", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Wed, 2 Jul 2003 12:00:00 +0000", "STRASSE und Café"),
                FLAGGED, ("$Junk",), internaldate=NOW - DAY)
    letters.add(message("bob@example.org", "Re: Lunch", "nonsense", "no"), internaldate=NOW - 60, now=NOW - 50)
    letters.add(message("Dave <dave@example.com>", "x" * 300, "1 Jan 2001 00:00 -0000", "y" * 3000, "X-Thing: Blue  Moon\r\nX-Thing: two\r\n"),
                SEEN | DELETED, internaldate=NOW - 3 * DAY)
    copies = "Cc: bob@example.org\r\nBcc: hidden@example.org\r\n"
    letters.add(message("Eve <eve@example.com>", "Last", "3 Jul 2003 01:00 +0000", "noon again", copies), internaldate=NOW)
    return letters


async def numbers(letters, key, view=None) -> list[int]:
    view = view or await letters.view()
    return [place + 1 for place in await search(view, letters.opened, key, NOW)]


FLAG, TEXT, HEADER = k.Flag, k.Text, k.Header


@pytest.mark.parametrize("key, expected", [
    (k.All(), [1, 2, 3, 4, 5]),
    (FLAG("\\Seen"), [1, 4]), (FLAG("\\Seen", False), [2, 3, 5]), (FLAG("$junk"), [2]), (FLAG("$Other"), []),
    (FLAG("$Other", False), [1, 2, 3, 4, 5]),
    (k.Numbers(parse_sequence(b"2:3,9")), [2, 3]), (k.Numbers(parse_sequence(b"5:*"), True), [5]), (k.Numbers(parse_sequence(b"*")), [5]),
    (k.Numbers(parse_sequence(b"1,3,5")), [1, 3, 5]), (k.Numbers(parse_sequence(b"100:200"), True), []),
    (k.Dated("internal", "on", date(2017, 7, 11)), [4]), (k.Dated("internal", "before", date(2017, 7, 11)), [1]),
    (k.Dated("internal", "since", date(2017, 7, 13)), [2, 3, 5]),
    (k.Dated("sent", "on", date(2003, 7, 1)), [1]), (k.Dated("sent", "before", date(2003, 7, 1)), [4]),
    (k.Dated("sent", "since", date(2003, 7, 3)), [3, 5]),
    (k.Dated("saved", "on", date(2017, 7, 14)), [1, 2, 3, 4, 5]), (k.Dated("saved", "before", date(2017, 7, 14)), []),
    (k.Within("older", DAY), [1, 2, 4]), (k.Within("younger", DAY), [2, 3, 5]), (k.Within("younger", 60), [3, 5]),
    (k.Size("larger", 1000), [4]), (k.Size("smaller", 1000), [1, 2, 3, 5]),
    (TEXT("from", "BOB@"), [1, 3]), (TEXT("to", "team"), [1, 2, 3, 4, 5]), (TEXT("cc", "bob"), [5]), (TEXT("bcc", "hidden"), [5]),
    (TEXT("cc", ""), [1, 2, 3, 4, 5]),
    (TEXT("subject", "grüsse"), [2]), (TEXT("subject", "GRÜSSE"), [2]), (TEXT("subject", "lunch"), [1, 3]),
    (TEXT("body", "me at noon"), [1]), (TEXT("body", "straße"), [2]), (TEXT("body", "CAFÉ"), [2]), (TEXT("body", "lunch"), []),
    (TEXT("text", "lunch"), [1, 3]), (TEXT("text", "noon"), [1, 5]), (TEXT("body", ""), [1, 2, 3, 4, 5]),
    (HEADER("subject", "lunch"), [1, 3]), (HEADER("x-thing", ""), [4]), (HEADER("x-thing", "blue moon"), [4]), (HEADER("x-thing", "two"), [4]),
    (HEADER("x-thing", "team"), []), (HEADER("cc", ""), [5]), (HEADER("content-type", "plain; char"), [1, 2, 3, 4, 5]), (HEADER("thing", ""), []),
    (k.And((FLAG("\\Seen", False), TEXT("from", "bob"), TEXT("text", "lunch"))), [3]),
    (k.Or(TEXT("body", "noon"), FLAG("\\Flagged")), [1, 2, 5]), (k.Or(FLAG("\\Flagged"), TEXT("from", "eve")), [2, 5]),
    (k.Not(TEXT("text", "noon")), [2, 3, 4]), (k.Not(k.And((FLAG("\\Seen"), k.Size("larger", 1000)))), [1, 2, 3, 5]),
    (k.Fuzzy(TEXT("body", "noon me")), [1]), (k.Fuzzy(TEXT("from", "org bob")), [1, 3]), (TEXT("body", "noon me"), []),
    (k.SaveDateSupported(), [1, 2, 3, 4, 5]), (k.Recent(), []), (k.Recent(False), [1, 2, 3, 4, 5]),
    (k.ObjectId("email", "nothing"), []), (k.Modseq(1), [1, 2, 3, 4, 5]), (k.Modseq(10**9), []),
], ids=repr)
async def test_keys(letters, key, expected):
    assert await numbers(letters, key) == expected


@pytest.mark.parametrize("key, expected", [
    (TEXT("text", "inline-7"), [1]), (TEXT("body", "inline-7"), []), (HEADER("content-id", "inline-7"), []), (HEADER("content-id", ""), []),
    (TEXT("text", "relay.example"), [1]), (TEXT("body", "relay.example"), []), (HEADER("received", "relay.example"), []),
    (TEXT("text", "text/html; charset=utf-8 x-part: 7"), []), (HEADER("content-type", "mixed"), [1])], ids=repr)
async def test_fields_of_parts(key, expected):
    """RFC 9051 6.4.4: TEXT looks into MIME header fields, too; BODY and HEADER do not."""
    letters = Letters(b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-ID: <inline-7@x.test>\r\n"
                      b"Content-Type: text/html; charset=utf-8\r\nX-Part: 7\r\n\r\n<p>hello</p>\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
                      b"Received: from relay.example by us\r\nSubject: inner\r\n\r\nhi\r\n--b--\r\n")
    assert await numbers(letters, key) == expected


async def test_object_ids_and_modseqs(letters):
    (_, email, thread), *_ = await letters.opened.columns(("emailid", "threadid"), [(2, 2)])
    assert await numbers(letters, k.ObjectId("email", email)) == [2] and await numbers(letters, k.ObjectId("thread", thread)) == [2]
    before = (await letters.view()).image.modseq
    letters.account.set_flags("INBOX", [(3, 4)], FLAGGED, 0)
    assert await numbers(letters, k.Modseq(before + 1)) == [3, 4]


async def test_recent_and_saved(letters):
    view = await letters.view()
    view.image.claimed(4, 6)
    view.meet(1, 5)
    assert await numbers(letters, k.Recent(), view) == [4, 5]
    assert await numbers(letters, k.And((k.Recent(), FLAG("\\Seen", False))), view) == [5]
    view.saved = [(2, 3)]
    assert await numbers(letters, k.And((k.Numbers(SAVED), FLAG("\\Flagged"))), view) == [2]


async def test_expunged_messages_match_as_long_as_they_are_shown(letters):
    view = await letters.view()
    letters.account.expunge("INBOX", [(1, 1)], NOW)
    view.image.apply(await letters.opened.changes(view.image.modseq, view.image.mailbox.uidnext))
    view.flush(False)
    assert await numbers(letters, FLAG("\\Seen"), view) == [1, 4]
    assert await numbers(letters, TEXT("from", "bob"), view) == [1, 3]
    assert await numbers(letters, TEXT("text", "noon"), view) in ([1, 5], [5])


class Counted(list):
    """Flags that know how often somebody looked."""

    looks = 0

    def __getitem__(self, place):
        self.looks += 1
        return super().__getitem__(place)


@pytest.mark.parametrize("key", [
    k.And((FLAG("\\Seen", False), k.Numbers(parse_sequence(b"2:3"), True))),
    k.And((FLAG("\\Seen", False), k.Or(k.All(), FLAG("\\Seen")), k.Numbers(parse_sequence(b"2,3")))),
    k.Numbers(parse_sequence(b"2,3")),
])
async def test_what_the_numbers_leave_out_is_not_looked_at(letters, key):
    view = await letters.view()
    view.image.flags = Counted(view.image.flags)
    assert await numbers(letters, key, view) == [2, 3]
    assert view.image.flags.looks <= 2


LEAVES = st.sampled_from([
    (k.All(), {0, 1, 2, 3, 4}), (FLAG("\\Seen"), {0, 3}), (FLAG("$Junk"), {1}), (k.Size("larger", 1000), {3}), (TEXT("from", "bob"), {0, 2}),
    (TEXT("body", "noon"), {0, 4}), (TEXT("text", "lunch"), {0, 2}), (HEADER("x-thing", "two"), {3}), (k.Modseq(10**9), set()),
    (k.Within("older", DAY), {0, 1, 3}), (k.Numbers(parse_sequence(b"2:4")), {1, 2, 3})])
TREES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.tuples(inner, inner).map(lambda pair: (k.Or(pair[0][0], pair[1][0]), pair[0][1] | pair[1][1])),
    inner.map(lambda each: (k.Not(each[0]), {0, 1, 2, 3, 4} - each[1])),
    inner.map(lambda each: (k.Fuzzy(each[0]), each[1])),
    st.lists(inner, min_size=2, max_size=4).map(
        lambda many: (k.And(tuple(each[0] for each in many)), set.intersection(*[each[1] for each in many])))),
    max_leaves=12)

_SHARED: list[Letters] = []


@settings(max_examples=120, deadline=None)
@given(TREES)
def test_any_tree_means_what_it_says(tree):
    if not _SHARED:
        _SHARED.append(five())
    key, expected = tree
    found = asyncio.run(numbers(_SHARED[0], key))
    assert found == [place + 1 for place in sorted(expected)]


async def test_turns_are_taken(letters):
    turns = []

    async def turn():
        turns.append(1)
    await search(await letters.view(), letters.opened, k.And((TEXT("from", "b"), TEXT("body", "n"))), NOW, turn)
    assert len(turns) == 2


async def test_answers(letters):
    view = await letters.view()
    assert listed(view, b"SEARCH", [1, 4], False) == b"* SEARCH 2 5\r\n" and listed(view, b"SORT", [], True) == b"* SORT\r\n"
    assert listed(view, b"SEARCH", [1, 2], True, True) == b"* SEARCH 2 3 (MODSEQ %d)\r\n" % view.image.modseqs[2]

    def answer(places, *options, partial=None, uid=False, modseq=False):
        return esearch(view, places, Return(frozenset(options), partial), b"a1", uid, modseq)

    assert answer([0, 1, 2, 4], "ALL") == b'* ESEARCH (TAG "a1") ALL 1:3,5\r\n'
    assert answer([0, 1, 4], "MIN", "MAX", "COUNT", uid=True) == b'* ESEARCH (TAG "a1") UID MIN 1 MAX 5 COUNT 3\r\n'
    assert answer([], "MIN", "MAX", "ALL", "COUNT") == b'* ESEARCH (TAG "a1") COUNT 0\r\n' and answer([], "ALL") == b'* ESEARCH (TAG "a1")\r\n'
    assert answer([3], "SAVE") == b"" and answer([3], "SAVE", "COUNT") == b'* ESEARCH (TAG "a1") COUNT 1\r\n'
    assert answer([4, 0, 1, 3], "ALL") == b'* ESEARCH (TAG "a1") ALL 5,1:2,4\r\n'          # the order of a SORT
    assert answer([0, 1, 4], partial=(2, 9)) == b'* ESEARCH (TAG "a1") PARTIAL (2:9 2,5)\r\n'
    assert answer([0, 1, 4], partial=(-1, -2)) == b'* ESEARCH (TAG "a1") PARTIAL (-1:-2 2,5)\r\n'
    assert answer([0], partial=(5, 9)) == b'* ESEARCH (TAG "a1") PARTIAL (5:9 NIL)\r\n'
    modseqs = view.image.modseqs
    assert answer([0, 2], "MIN", modseq=True) == b'* ESEARCH (TAG "a1") MIN 1 MODSEQ %d\r\n' % modseqs[0]
    assert answer([0, 2], "MIN", "COUNT", modseq=True) == b'* ESEARCH (TAG "a1") MIN 1 COUNT 2 MODSEQ %d\r\n' % modseqs[2]


async def test_save_keeps_what_was_asked_for(letters):
    view = await letters.view()

    def saved(*options, partial=None):
        save(view, [0, 1, 2, 4], Return(frozenset(options), partial))
        return view.saved

    assert saved("SAVE") == [(1, 3), (5, 5)] == saved("SAVE", "COUNT", "MIN")
    assert saved("SAVE", "MIN") == [(1, 1)] and saved("SAVE", "MIN", "MAX") == [(1, 1), (5, 5)]
    assert saved("SAVE", partial=(2, 3)) == [(2, 3)] and saved("SAVE", "MAX", partial=(1, 1)) == [(1, 1), (5, 5)]
    save(view, [], Return(frozenset(("SAVE", "MIN"))))
    assert view.saved == []


def test_windows():
    assert window((1, 3), 10) == (0, 3) and window((3, 1), 10) == (0, 3) and window((9, 20), 10) == (8, 10)
    assert window((-1, -3), 10) == (7, 10) and window((-3, -20), 10) == (0, 8) and window((11, 20), 10) == (10, 10)


def test_uses_modseq():
    assert uses_modseq(k.Or(k.All(), k.Not(k.And((k.All(), k.Modseq(3)))))) and not uses_modseq(k.Fuzzy(k.All()))


async def test_relevancy(letters):
    view = await letters.view()
    key = k.And((k.Fuzzy(TEXT("text", "lunch re")), k.Not(FLAG("\\Flagged"))))
    places = await search(view, letters.opened, key, NOW)
    assert [place + 1 for place in places] == [3]
    key = k.Fuzzy(TEXT("text", "noon"))
    places = await search(view, letters.opened, key, NOW)
    assert await relevancy(view, letters.opened, key, places, NOW) == [75, 75]
    key = k.Or(k.Fuzzy(TEXT("text", "at noon")), k.Fuzzy(HEADER("subject", "re: lunch")))
    places = await search(view, letters.opened, key, NOW)
    assert places == [0, 2, 4] and await relevancy(view, letters.opened, key, places, NOW) == [75, 100, 50]
    assert (esearch(view, places, Return(frozenset(("ALL", "RELEVANCY"))), b"a1", False, scores=[75, 100, 50])
            == b'* ESEARCH (TAG "a1") ALL 1,3,5 RELEVANCY (75 100 50)\r\n')
    assert await sort(view, letters.opened, (k.Criterion("RELEVANCY"),), places, scores=[75, 100, 50]) == [2, 0, 4]
