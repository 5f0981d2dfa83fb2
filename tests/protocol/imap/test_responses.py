"""Responses as octets: as the RFCs show them, and safe whatever a name or a keyword is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.protocol.imap import responses as r

EXAMPLES = [
    (r.ok("still here", b"ALERT"), b"* OK [ALERT] still here\r\n"),
    (r.no("disk is 98% full"), b"* NO disk is 98% full\r\n"),
    (r.bye("autologout", b"UNAVAILABLE"), b"* BYE [UNAVAILABLE] autologout\r\n"),
    (r.line(b"a1", b"OK", "line\r\nbreak\u00fc"), b"a1 OK line??break?\r\n"),
    (r.line(b"a1", b"OK", ""), b"a1 OK done\r\n"),
    (r.list_(("\\Noselect",), "~/Mail/foo"), b'* LIST (\\Noselect) "/" ~/Mail/foo\r\n'), (r.list_((), ""), b'* LIST () "/" ""\r\n'),
    (r.list_((), "x", childinfo=["SUBSCRIBED"]), b'* LIST () "/" x ("CHILDINFO" ("SUBSCRIBED"))\r\n'),
    (r.list_((), "new", old_name="old"), b'* LIST () "/" new ("OLDNAME" (old))\r\n'),
    (r.lsub((), "#news.comp"), b'* LSUB () "/" #news.comp\r\n'),
    (r.status("blurdybloop", [("MESSAGES", 231), ("MAILBOXID", "F22"), ("APPENDLIMIT", None)]),
     b"* STATUS blurdybloop (MESSAGES 231 MAILBOXID (F22) APPENDLIMIT NIL)\r\n"),
    (r.namespace([("", "/")], [("Other Users/", "/")]), b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL\r\n'),
    (r.capability(b"IMAP4rev1"), b"* CAPABILITY IMAP4rev1\r\n"), (r.enabled(["CONDSTORE"]), b"* ENABLED CONDSTORE\r\n"),
    (r.enabled([]), b"* ENABLED\r\n"),
    (r.id_({"name": "x", "os": None}), b'* ID ("name" "x" "os" NIL)\r\n'), (r.id_(None), b"* ID NIL\r\n"),
    (r.quota("", [("STORAGE", 10, 512)]), b'* QUOTA "" (STORAGE 10 512)\r\n'), (r.quotaroot("INBOX", ["", "a b"]), b'* QUOTAROOT INBOX "" "a b"\r\n'),
    (r.metadata("", [("/shared/comment", b"a\r\nb"), ("/private/x", None)]),
     b'* METADATA "" (/shared/comment {4}\r\na\r\nb /private/x NIL)\r\n'),
    (r.metadata("INBOX", [("/shared/x", b"a\0b")]), b"* METADATA INBOX (/shared/x ~{3}\r\na\0b)\r\n"),
    (r.metadata_changed("INBOX", ["/shared/comment"]), b"* METADATA INBOX /shared/comment\r\n"),
    (r.acl("INBOX", [("Fred", "rwipslxetad"), ("two words", "")]), b'* ACL INBOX Fred rwipslxetad "two words" ""\r\n'),
    (r.listrights("x", "smith", "la", ["r", "swicdkxte"]), b"* LISTRIGHTS x smith la r swicdkxte\r\n"),
    (r.myrights("INBOX", "rwiptsldaex"), b"* MYRIGHTS INBOX rwiptsldaex\r\n"),
    (r.inprogress(b"A001"), b'* OK [INPROGRESS ("A001" NIL NIL)] still at it\r\n'),
]


@pytest.mark.parametrize("said, expected", EXAMPLES, ids=[expected[:30].decode("ascii", "replace") for _, expected in EXAMPLES])
def test_example(said, expected):
    assert said == expected


@pytest.mark.parametrize("said, expected", [
    (r.appenduid(38505, [(3955, 3955)]), b"APPENDUID 38505 3955"),
    (r.copyuid(38505, [(304, 304), (319, 320)], [(3956, 3958)]), b"COPYUID 38505 304,319:320 3956:3958"),
    (r.modified([(7, 7), (9, 9)]), b"MODIFIED 7,9"), (r.highestmodseq(715194045007), b"HIGHESTMODSEQ 715194045007"),
    (r.messagelimit(1000, 23221), b"MESSAGELIMIT 1000 23221"), (r.messagelimit(1000), b"MESSAGELIMIT 1000"),
    (r.mailboxid("F2212ea87"), b"MAILBOXID (F2212ea87)")])
def test_code(said, expected):
    assert said == expected


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), st.booleans())
def test_no_name_ends_its_line(name, utf8):
    for said in (r.list_((), name, utf8), r.status(name, [("MESSAGES", 1)], utf8), r.myrights(name, "lr", utf8),
                 r.acl("x", [(name, "l")], utf8), r.id_({name: name}), r.metadata("x", [(name, name.encode())])):
        rest, lines = said, 0
        while rest:                                 # as a client reads: a literal is skipped by its length
            line, _, rest = rest.partition(b"\r\n")
            lines += 1
            if line.endswith(b"}"):
                size = line[line.rindex(b"{") + 1:-1]
                if size.isdigit() and b'"' not in line[line.rindex(b"{"):]:
                    rest = rest[int(size):]
        assert said.endswith(b"\r\n") and lines <= said.count(b"{") + 1
