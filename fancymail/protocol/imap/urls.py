"""IMAP URLs as CATENATE uses them: a message of this server, or a part of one (RFC 5092, RFC 4469 3).

Used by appending.py. Reads `/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.2/;partial=0.1024`, the same with `imap://user@host` before it,
and `;UID=20` for the selected mailbox. It looks nothing up; a URL of another kind raises ValueError.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fancymail.mail.imap.fetch import Section
from fancymail.mail.mailbox import normal_name

from .commands import MessageUrl
from .cursor import LARGEST_32, BadSyntax, Cursor
from .fetch import read_items
from .options import Options

_SERVER = re.compile(r"imap://(?:(?P<user>[^@/;]*)(?:;auth=[^@/]*)?@)?(?P<host>[^/@]*)(?=/)", re.IGNORECASE)
_REST = re.compile(r"(?:/?(?P<mailbox>[^;]+?)(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?/|/)?;UID=(?P<uid>[1-9][0-9]{0,9})"
                   r"(?:/?;SECTION=(?P<section>[^;]+?))?(?:/?;PARTIAL=(?P<first>[0-9]{1,19})(?:\.(?P<octets>[1-9][0-9]{0,18}))?)?", re.IGNORECASE)
ALL_THAT_FOLLOWS = 2**63 - 1


def read_url(url: str, options: Options) -> MessageUrl:
    """Return what a URL names; raises ValueError."""
    server = _SERVER.match(url)
    rest = _REST.fullmatch(url, server.end() if server else 0)
    if rest is None:
        raise ValueError("not the URL of a message")
    mailbox = normal_name(_decoded(rest["mailbox"])) if rest["mailbox"] else ""
    uid, validity = int(rest["uid"]), int(rest["validity"] or 0)
    if max(uid, validity) > LARGEST_32:
        raise ValueError("a UID is at most 4294967295")
    if server and not mailbox:
        raise ValueError("not the URL of a message")
    return MessageUrl(mailbox, uid, validity, _section(rest, options), _decoded(server["user"] or "") if server else "",
                      _decoded(server["host"]) if server else "")


def _decoded(text: str) -> str:
    """RFC 5092 11: percent-encoded UTF-8, whatever names are spelled in elsewhere."""
    return unquote_to_bytes(text).decode()


def _section(rest: re.Match[str], options: Options) -> Section:
    """The section in the words of FETCH, so that it means the same."""
    spec = b"BODY.PEEK[%b]" % unquote_to_bytes(rest["section"] or "")
    if rest["first"] is not None:
        spec += f"<{rest['first']}.{rest['octets'] or ALL_THAT_FOLLOWS}>".encode()
    cursor = Cursor(spec, [], options)
    try:
        items = read_items(cursor)
        cursor.end()
    except BadSyntax as error:
        raise ValueError(error.text) from None
    if len(items) != 1 or not isinstance(items[0], Section):
        raise ValueError("not a section")
    return items[0]
