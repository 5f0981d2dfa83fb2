"""FETCH: every item, every section, against messages whose octets are known."""

from __future__ import annotations

import base64
import re

import pytest

from fancymail.core.imap.fetch import changed_since, fetch, partial
from fancymail.core.imap.precompute import precompute
from fancymail.mail import mime
from fancymail.mail.imap import fetch as f
from fancymail.mail.imap.fetch import Binary, Section
from fancymail.mail.imap.sequence import EVERY, parse_sequence
from fancymail.mail.mailbox import FLAGGED, SEEN
from fancymail.storage.ports.mailboxes import Keep

from .letters import Letters
from .test_precompute import MESSAGE

PREFIX = b"Return-Path: <bob@example.org>\r\n"
PLAIN = b"Subject: plain\r\nX-Odd%s: 1\r\n\r\nHello\r\n"


async def answer(letters, *items, sequence=EVERY, uid=False, view=None):
    view = view or await letters.view()
    return await fetch(view, letters.opened, tuple(items), view.resolve(sequence, uid)).whole()


async def pieces_of(answers) -> list[bytes]:
    pieces = []
    while answers.more:
        pieces.append(await answers.next())
    return pieces


async def value(letters, item) -> bytes:
    """What stands behind the label of one item of the one message."""
    text = await answer(letters, item)
    label = item if isinstance(item, str) else item.label.decode()
    assert text.startswith(b"* 1 FETCH (%b " % label.encode()) and text.endswith(b")\r\n"), text
    return text[len(b"* 1 FETCH (%b " % label.encode()):-3]


def section(label: bytes, *part: int, what: str = f.WHOLE, fields=(), partial=None) -> Section:
    return Section(label, part, what, fields, True, partial)


def literal(octets: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(octets), octets)


async def test_what_stands_in_the_arrays():
    letters = Letters(PLAIN, PLAIN)
    letters.add(PLAIN, SEEN | FLAGGED, ("$Junk",))
    view = await letters.view()
    assert (await answer(letters, f.FLAGS, view=view)
            == b"* 1 FETCH (FLAGS ())\r\n* 2 FETCH (FLAGS ())\r\n* 3 FETCH (FLAGS (\\Seen \\Flagged $Junk))\r\n")
    view.image.claimed(3, 4)
    view.meet(1, 3)
    assert (await answer(letters, f.UID, f.FLAGS, f.MODSEQ, view=view, sequence=parse_sequence(b"3"), uid=True)
            == b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen \\Flagged $Junk) MODSEQ (%d))\r\n" % view.image.modseqs[2])


async def test_what_stands_in_columns():
    letters = Letters(MESSAGE, prefix=PREFIX, internaldate=837_596_665)
    assert await value(letters, f.INTERNALDATE) == b'"17-Jul-1996 09:44:25 +0000"'
    assert await value(letters, f.SIZE) == b"%d" % len(PREFIX + MESSAGE)
    assert await value(letters, f.SAVEDATE) == b'"14-Jul-2017 02:40:00 +0000"'
    assert await value(letters, f.PREVIEW) == literal("Café is open.".encode())
    assert re.fullmatch(rb"\([A-Za-z0-9_-]+\)", await value(letters, f.EMAILID))
    assert re.fullmatch(rb"\([A-Za-z0-9_-]+\)", await value(letters, f.THREADID))
    text = await answer(letters, f.UID, f.ENVELOPE, f.BODYSTRUCTURE, f.BODY, f.PREVIEW_LAZY, f.FLAGS)
    derived = precompute(PREFIX, MESSAGE, 837_596_665)
    assert text == (b"* 1 FETCH (UID 1 ENVELOPE %b BODYSTRUCTURE %b BODY %b PREVIEW %b FLAGS ())\r\n"
                    % (derived.envelope, derived.bodystructure, derived.body, literal(derived.preview.encode())))


async def test_sections_of_the_whole_message():
    letters = Letters(MESSAGE, prefix=PREFIX)
    whole = PREFIX + MESSAGE
    header = whole[:whole.index(b"\r\n\r\n") + 4]
    assert await value(letters, section(b"BODY[]")) == literal(whole)
    assert await value(letters, Section(b"RFC822")) == literal(whole)
    assert await value(letters, section(b"BODY[HEADER]", what=f.HEADER)) == literal(header)
    assert await value(letters, section(b"BODY[TEXT]", what=f.TEXT)) == literal(whole[len(header):])
    assert await value(letters, section(b"BODY[]<5>", partial=(5, 10))) == literal(whole[5:15])
    assert await value(letters, section(b"BODY[]<0>", partial=(0, 10**9))) == literal(whole)
    assert await value(letters, section(b"BODY[]<99999>", partial=(99_999, 10))) == b"{0}\r\n"
    assert await value(letters, section(b"BODY[HEADER]<3>", what=f.HEADER, partial=(3, 4))) == literal(header[3:7])
    assert await value(letters, section(b"BODY[TEXT]<2>", what=f.TEXT, partial=(2, 4))) == literal(whole[len(header) + 2:len(header) + 6])


async def test_sections_of_parts():
    letters = Letters(MESSAGE, prefix=PREFIX)
    assert await value(letters, section(b"BODY[1]", 1)) == literal(b"> what you said\r\nCaf=C3=A9 is\r\nopen.")
    assert (await value(letters, section(b"BODY[1.MIME]", 1, what=f.MIME))
            == literal(b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"))
    assert await value(letters, section(b"BODY[2.HEADER]", 2, what=f.HEADER)) == literal(b"From: inner@example.org\r\nSubject: Inside\r\n\r\n")
    assert await value(letters, section(b"BODY[2.TEXT]", 2, what=f.TEXT)) == literal(b"Inner text.")
    assert await value(letters, section(b"BODY[2.1]", 2, 1)) == literal(b"Inner text.")
    assert (await value(letters, section(b"BODY[2.HEADER.FIELDS (SUBJECT)]", 2, what=f.HEADER_FIELDS, fields=(b"subject",)))
            == literal(b"Subject: Inside\r\n\r\n"))
    for nothing in (section(b"BODY[9]", 9), section(b"BODY[1.TEXT]", 1, what=f.TEXT), section(b"BODY[1.1]", 1, 1)):
        assert await value(letters, nothing) == b"NIL"


async def test_header_fields_from_the_column_and_from_the_content_are_the_same():
    letters = Letters(MESSAGE, prefix=PREFIX)
    listed = section(b"BODY[HEADER.FIELDS (REFERENCES SUBJECT)]", what=f.HEADER_FIELDS, fields=(b"references", b"subject"))
    expected = (b"Subject: Re: [list] =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here\r\nReferences: <a@example.org>\r\n <b@example.org>\r\n\r\n")
    assert await value(letters, listed) == literal(expected)
    odd = section(b"BODY[HEADER.FIELDS (REFERENCES SUBJECT X-Y)]", what=f.HEADER_FIELDS, fields=(b"references", b"subject", b"x-y"))
    assert await value(letters, odd) == literal(expected)
    others = section(b"BODY[HEADER.FIELDS.NOT (REFERENCES)]", what=f.HEADER_FIELDS_NOT, fields=(b"references",))
    header = (PREFIX + MESSAGE)[:(PREFIX + MESSAGE).index(b"\r\n\r\n") + 4]
    assert await value(letters, others) == literal(header.replace(b"References: <a@example.org>\r\n <b@example.org>\r\n", b""))
    cut = section(b"BODY[HEADER.FIELDS (SUBJECT)]<4>", what=f.HEADER_FIELDS, fields=(b"subject",), partial=(4, 3))
    assert await value(letters, cut) == literal(b"ect")


async def test_header_fields_of_a_header_too_long_to_be_kept_twice():
    long = b"To: " + b"a@example.test, " * 2_000 + b"b@example.test\r\nSubject: here\r\n\r\n"
    letters = Letters(PLAIN, long, PLAIN)
    listed = section(b"BODY[HEADER.FIELDS (SUBJECT)]", what=f.HEADER_FIELDS, fields=(b"subject",))
    plain = literal(b"Subject: plain\r\n\r\n")
    assert (await answer(letters, f.UID, listed)
            == b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] %b)\r\n* 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] %b)\r\n"
               b"* 3 FETCH (UID 3 BODY[HEADER.FIELDS (SUBJECT)] %b)\r\n" % (plain, literal(b"Subject: here\r\n\r\n"), plain))


async def test_names_of_fields_may_be_anything():
    letters = Letters(PLAIN)
    for label in (b"BODY[HEADER.FIELDS (X-Odd%s)]", b"BODY[HEADER.FIELDS (X-Odd%s SUBJECT)]"):
        fields = (b"x-odd%s",) if b"SUBJECT" not in label else (b"x-odd%s", b"subject")
        assert b"X-Odd%s: 1\r\n\r\n" in await value(letters, section(label, what=f.HEADER_FIELDS, fields=fields))
    assert await value(letters, section(b"BODY[HEADER.FIELDS (.*)]", what=f.HEADER_FIELDS, fields=(b".*",))) == literal(b"\r\n")


async def test_binary_decodes():
    letters = Letters(MESSAGE)
    assert await value(letters, Binary(b"BINARY[1]", (1,), True)) == literal("> what you said\r\nCafé is\r\nopen.".encode())
    assert await value(letters, Binary(b"BINARY[1]<2>", (1,), True, (2, 4))) == literal(b"what")
    assert await value(letters, Binary(b"BINARY[3]", (3,), True)) == b"~{3}\r\n\0\0\0"
    assert await value(letters, Binary(b"BINARY.SIZE[3]", (3,), True, size=True)) == b"3"
    assert await value(letters, Binary(b"BINARY[7]", (7,), True)) == b"NIL"
    assert await value(letters, Binary(b"BINARY[]", (), True)) == literal(MESSAGE)


async def test_binary_of_an_unknown_encoding():
    letters = Letters(b"Content-Transfer-Encoding: uuencode\r\n\r\nbegin")
    answers = fetch(await letters.view(), letters.opened, (Binary(b"BINARY[1]", (1,), True),), [(0, 1)])
    assert await answers.whole() == b"* 1 FETCH (BINARY[1] NIL)\r\n" and answers.unknown_encoding
    assert await value(letters, section(b"BODY[1]", 1)) == literal(b"begin")


async def test_long_contents_come_in_pieces():
    body = bytes(range(1, 256)) * 12_000
    letters = Letters(b"Subject: long\r\n\r\n" + body)
    view = await letters.view()
    pieces = await pieces_of(fetch(view, letters.opened, (section(b"BODY[TEXT]", what=f.TEXT),), [(0, 1)]))
    assert b"".join(pieces) == b"* 1 FETCH (BODY[TEXT] %b)\r\n" % literal(body)
    assert max(map(len, pieces)) < 140_000


async def test_long_binary_comes_in_pieces_and_knows_its_length():
    decoded = bytes(1000) + b"x" * 2_000_000
    letters = Letters(b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(decoded).replace(b"\n", b"\r\n"))
    assert await value(letters, Binary(b"BINARY[1]", (1,), True)) == b"~" + literal(decoded)
    assert await value(letters, Binary(b"BINARY[1]<990>", (1,), True, (990, 1_500_000))) == b"~" + literal(decoded[990:1_500_990])
    assert await value(letters, Binary(b"BINARY.SIZE[1]", (1,), True, size=True)) == b"2001000"


async def test_nul_does_not_stand_in_a_literal():
    letters = Letters(b"Subject: nul\r\n\r\na\0b")
    assert await value(letters, section(b"BODY[TEXT]", what=f.TEXT)) == literal(b"a\x80b")


async def test_expunged_messages_can_be_read_as_long_as_they_are_shown():
    letters = Letters(MESSAGE, PLAIN, PLAIN)
    view = await letters.view()
    letters.account.expunge("INBOX", [(1, 2)], 1_500_000_001)
    changes = await letters.opened.changes(view.image.modseq, view.image.mailbox.uidnext)
    assert view.image.apply(changes)
    view.flush(False)
    text = await answer(letters, f.UID, section(b"BODY[TEXT]", what=f.TEXT), view=view)
    assert text.count(b"FETCH (UID") == 3 and b"Hello" in text
    text = await answer(letters, f.UID, f.SIZE, view=view)
    assert text == (b"* 1 FETCH (UID 1 RFC822.SIZE %d)\r\n* 2 FETCH (UID 2 RFC822.SIZE %d)\r\n* 3 FETCH (UID 3 RFC822.SIZE %d)\r\n"
                    % (len(MESSAGE), len(PLAIN), len(PLAIN)))


async def test_messages_that_are_kept_no_longer_are_left_out_and_counted():
    letters = Letters(PLAIN, PLAIN, PLAIN)
    view = await letters.view()
    letters.account.expunge("INBOX", [(2, 2)], 1_500_000_001)
    letters.store.purge(1_600_000_000, Keep())
    answers = fetch(view, letters.opened, (f.UID, f.SIZE), [(0, 3)])
    text = await answers.whole()
    assert re.findall(rb"\* ([0-9]+) FETCH \(UID ([0-9]+)", text) == [(b"1", b"1"), (b"3", b"3")] and answers.missing == 1


class Lossy:
    """A reader whose contents are lost, at once or behind the first piece."""

    def __init__(self, box, good: int) -> None:
        self.box, self.good = box, good

    async def columns(self, *args, **named):
        return await self.box.columns(*args, **named)

    async def octets(self, content, start=0, length=None):
        if self.good <= 0:
            raise KeyError(content.blob)
        self.good -= 1
        return await self.box.octets(content, start, length)


@pytest.mark.parametrize("good", [0, 1, 2])
async def test_a_lost_content_never_breaks_the_protocol(good):
    body = b"x" * 200_000
    letters = Letters(b"Subject: s\r\n\r\n" + body)
    view = await letters.view()
    items = (f.UID, section(b"BODY[TEXT]", what=f.TEXT), f.FLAGS)
    answers = fetch(view, Lossy(letters.opened, good), items, [(0, 1)])
    text = await answers.whole()
    if good == 0:
        assert text == b"* 1 FETCH (UID 1 BODY[TEXT] NIL FLAGS ())\r\n"
    else:
        assert text == b"* 1 FETCH (UID 1 BODY[TEXT] {200000}\r\n%b FLAGS ())\r\n" % (b"x" * 65_536 * good).ljust(200_000)
    assert answers.missing == 1


async def test_uidonly_names_messages_by_uid():
    letters = Letters(PLAIN, PLAIN)
    view = await letters.view()
    view.uidonly = True
    assert await answer(letters, f.UID, f.FLAGS, view=view, sequence=parse_sequence(b"2"), uid=True) == b"* 2 UIDFETCH (FLAGS ())\r\n"


async def test_many_messages_come_in_chunks_in_their_order():
    letters = Letters(*[PLAIN] * 2_300)
    view = await letters.view()
    pieces = await pieces_of(fetch(view, letters.opened, (f.UID, f.SIZE), [(0, 5), (7, 2_300)]))
    numbers = [int(number) for number in re.findall(rb"\* ([0-9]+) FETCH", b"".join(pieces))]
    assert numbers == [*range(1, 6), *range(8, 2_301)] and len(pieces) > 2


async def test_every_section_of_the_samples_is_what_the_scanner_finds(samples):
    for name, data in samples:
        letters = Letters(data)
        for part in mime.scan(data):
            if part.path and len(part.path) < 4:
                label = b"BODY[%b]" % b".".join(b"%d" % number for number in part.path)
                found = mime.scan(data).find(part.path)
                expected = literal(data[found.body:found.end].replace(b"\0", b"\x80"))
                assert await value(letters, section(label, *part.path)) == expected, name


async def test_changed_since_and_partial_choose_messages():
    letters = Letters(PLAIN, PLAIN, PLAIN)
    before = (await letters.view()).image.modseq
    letters.account.set_flags("INBOX", [(2, 2)], SEEN, 0)
    view = await letters.view()
    assert changed_since(view, [(0, 3)], before) == [(1, 2)] and changed_since(view, [(0, 1)], before) == []
    spans = [(0, 3), (5, 6), (10, 20)]
    assert partial(spans, 1, 2) == [(0, 2)] and partial(spans, 3, 6) == [(2, 3), (5, 6), (10, 12)] and partial(spans, 4, 4) == [(5, 6)]
    assert partial(spans, -1, -2) == [(18, 20)] and partial(spans, -14, -20) == [(0, 1)] and partial(spans, 15, 20) == [] == partial([], 1, 9)
    assert partial(spans, -15, -20) == []
