"""Mail with headers in UTF-8 for clients that enabled nothing (RFC 6855 8, RFC 6858): all that they are told is of one and the same surrogate.

That surrogate is what `mail.downgrade` makes of the whole message (tests/mail/test_downgrade.py). So a mailbox that holds the message must answer
everything as one that holds the surrogate itself, but RFC822.SIZE.
"""

from __future__ import annotations

import pytest

from fancymail.core.imap.fetch import fetch
from fancymail.core.imap.parts import headers
from fancymail.core.imap.precompute import FIELDS, precompute
from fancymail.mail.downgrade import LARGEST, Downgrade
from fancymail.mail.imap import fetch as f
from fancymail.mail.imap.fetch import Binary, Section

from .letters import Letters

INNER = ("From: \u00fc@x.test\r\nTo: a@\u00e4.test\r\nSubject: inner \u00e4\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
         "--i\r\nContent-Description: \u00e4\r\n\r\nbody \u00e4\r\n--i--\r\n")
OUTER = ("Received: from x by y\r\nFrom: J\u00f6rg <joerg@ex\u00e4mple.test>\r\nSubject: Gr\u00fc\u00dfe\r\nMessage-ID: <\u00e4@x.test>\r\n"
         "X-Odd: \u00e4\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble \u00e4\r\n"
         "--b\r\nContent-Type: text/plain; charset=utf-8; name=\u00e4\r\n\r\ntext \u00e4\r\n{}"
         "--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"r\u00e9sum\u00e9.pdf\"\r\n"
         "Content-Transfer-Encoding: base64\r\n\r\nw6Q=\r\n"
         "--b\r\nContent-Type: message/rfc822\r\nX-\u00e4: \u00e4\r\n\r\n{}\r\n--b--\r\nepilogue \u00e4\r\n")
PARTS = ((), (1,), (2,), (3,), (3, 1), (4,))
NAMES = ((b"from", b"subject", b"message-id"), (b"x-odd", b"received"))


def items() -> list:
    """All that FETCH may ask that is made of headers or of octets, parts of it too."""
    found = [f.ENVELOPE, f.BODY, f.BODYSTRUCTURE, f.PREVIEW]
    for part in PARTS:
        for what in (f.WHOLE, f.HEADER, f.TEXT, *([f.MIME] if part else [])):
            for cut in (None, (0, 30), (7, 1000), (90_000, 50), (10**7, 5)):
                found.append(Section(b"BODY[x]", part, what, (), True, cut))
        for names in NAMES:
            found += [Section(b"BODY[x]", part, what, names, True, cut) for what in (f.HEADER_FIELDS, f.HEADER_FIELDS_NOT) for cut in (None, (3, 9))]
        found += [Binary(b"BINARY[x]", part, True), Binary(b"BINARY[x]", part, True, (2, 40)), Binary(b"BINARY[x]", part, True, size=True)]
    return found


def surrogate(message: bytes) -> bytes:
    return Downgrade(headers(precompute(b"", message, 0).parts))(message)


async def answers(letters: Letters, asked: tuple, utf8: bool = False):
    view = await letters.view()
    view.utf8 = utf8
    found = fetch(view, letters.opened, asked, [(0, view.count)])
    return await found.whole(), found.downgraded


@pytest.fixture(params=["short", "long", "large header"], scope="module")
def message(request) -> bytes:
    filling = {"short": "", "long": "line \u00e4\r\n" * 20_000, "large header": ""}[request.param]
    text = OUTER.format(filling, INNER)
    if request.param == "large header":
        text = "".join([f"Cc: {'x' * 500} <a{number}@\u00e4.test>\r\n" for number in range(200)]) + text
        assert FIELDS < text.index("\r\n\r\n") < LARGEST
    return text.encode()


@pytest.mark.parametrize("item", items(), ids=str)
async def test_all_is_of_one_surrogate(message, item):
    original, plain = Letters(message), Letters(surrogate(message))
    text, downgraded = await answers(original, (f.UID, item))
    assert text == (await answers(plain, (f.UID, item)))[0]
    assert downgraded == {1} or text == (await answers(original, (f.UID, item), True))[0]


async def test_several_items_and_messages_at_once(message):
    fields = Section(b"BODY[HEADER.FIELDS]", (), f.HEADER_FIELDS, NAMES[0], True)
    asked = (f.FLAGS, f.ENVELOPE, Section(b"BODY[]", peek=True), f.BODYSTRUCTURE, fields)
    ascii = b"Subject: x\r\n\r\nbody \xc3\xa4\r\n"
    text, downgraded = await answers(Letters(ascii, message, ascii, message), asked)
    assert text == (await answers(Letters(ascii, surrogate(message), ascii, surrogate(message)), asked))[0]
    assert downgraded == {2, 4}


async def test_the_size_is_that_of_the_message_as_it_is_kept(message):
    assert (await answers(Letters(message), (f.SIZE,)))[0] == b"* 1 FETCH (RFC822.SIZE %d)\r\n" % len(message)


async def test_who_enabled_utf8_is_shown_the_message_itself(message):
    asked = (Section(b"BODY[]", peek=True),)
    assert await answers(Letters(message), asked, True) == (b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\n" % (len(message), message), set())


async def test_no_octet_over_127_goes_out_where_a_message_is_lost():
    """Its columns are there, its content is not: what cannot be written anew any more is question marks."""
    letters = Letters(OUTER.format("", INNER).encode())

    class Lost:
        columns = staticmethod(letters.opened.columns)

        @staticmethod
        async def octets(content, start=0, length=None):
            raise KeyError(content.blob)

    found = fetch(await letters.view(), Lost(), (f.BODYSTRUCTURE,), [(0, 1)])
    text = await found.whole()
    assert text.isascii() and text.count(b"?") > 4 and found.downgraded == {1}
