"""URLs of CATENATE: the forms of RFC 5092 that name a message, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.imap.fetch import Section
from fancymail.protocol.imap.commands import MessageUrl
from fancymail.protocol.imap.options import Options
from fancymail.protocol.imap.urls import ALL_THAT_FOLLOWS, read_url

WHOLE = Section(b"BODY[]", peek=True)


@pytest.mark.parametrize("url, expected", [
    ("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
     MessageUrl("Drafts", 20, 385759045, Section(b"BODY[HEADER]", what="HEADER", peek=True))),
    ("/inbox/;uid=7", MessageUrl("INBOX", 7, 0, WHOLE)),
    ("Sent%20Mail/;UID=7", MessageUrl("Sent Mail", 7, 0, WHOLE)),
    ("/a/b/Entw%C3%BCrfe/;UID=7/;SECTION=1.2.MIME", MessageUrl("a/b/Entw\u00fcrfe", 7, 0, Section(b"BODY[1.2.MIME]", (1, 2), "MIME", peek=True))),
    (";UID=20/;section=1.2", MessageUrl("", 20, 0, Section(b"BODY[1.2]", (1, 2), peek=True))),
    ("/;UID=20", MessageUrl("", 20, 0, WHOLE)),
    ("/x/;UID=1/;PARTIAL=5", MessageUrl("x", 1, 0, Section(b"BODY[]<5>", peek=True, partial=(5, ALL_THAT_FOLLOWS)))),
    ("/x/;UID=1/;SECTION=TEXT/;PARTIAL=0.1024", MessageUrl("x", 1, 0, Section(b"BODY[TEXT]<0>", what="TEXT", peek=True, partial=(0, 1024)))),
    ("/x/;UID=1/;SECTION=HEADER.FIELDS%20(From%20To)", MessageUrl("x", 1, 0, Section(
        b"BODY[HEADER.FIELDS (From To)]", what="HEADER.FIELDS", fields=(b"from", b"to"), peek=True))),
    ("imap://alice@mail.example.test/x;UIDVALIDITY=3/;UID=1", MessageUrl("x", 1, 3, WHOLE, "alice", "mail.example.test")),
    ("imap://alice%40example.test;AUTH=*@h/x/;UID=1", MessageUrl("x", 1, 0, WHOLE, "alice@example.test", "h")),
])
def test_a_message(url, expected):
    assert read_url(url, Options()) == expected


@pytest.mark.parametrize("url", [
    "", "/", "/x", "/x/", "/x/;UID=", "/x/;UID=0", "/x/;UID=4294967296", "/x/;UID=1:2", "/x/;UID=*", "http://h/x/;UID=1", "imap://h/;UID=1",
    "imap://h", "/x/;UID=1/;SECTION=0", "/x/;UID=1/;SECTION=1]BODY[2", "/x/;UID=1/;SECTION=NONSENSE", "/x/;UID=1/;PARTIAL=a",
    "/x/;UID=1;URLAUTH=anonymous",
    "/%ff/;UID=1", "/a%00b/;UID=1", "/a%2a/;UID=1", "/../x/;UID=1", "//x/;UID=1", "/x;UIDVALIDITY=0/;UID=1", "/x/;UID=1/;SECTION=%0d%0a"])
def test_no_message(url):
    with pytest.raises(ValueError):
        read_url(url, Options())


@given(st.lists(st.sampled_from(["/", ";", "UID=", "1", "x", "%20", "%", "SECTION=", "PARTIAL=", ".", "imap://",
                                 "@", "HEADER", "]", "[", "<", "(", " "]),
                max_size=14).map("".join))
def test_any_text(url):
    try:
        assert isinstance(read_url(url, Options()).section, Section)
    except ValueError:
        pass
