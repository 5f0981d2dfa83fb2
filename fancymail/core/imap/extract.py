"""A section of a message as octets, for who puts a new message together out of old ones (CATENATE, RFC 4469).

Asked by servers/imap/catenate.py with a reader of the mailbox. It means by a section what FETCH means, and holds one piece at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fancymail.core.imap import sections
from fancymail.core.imap.content import PIECE
from fancymail.mail.imap.fetch import HEADER_FIELDS_NOT, Section
from fancymail.storage.ports.reader import CONTENT, BoxReader, Content


async def extract(box: BoxReader, uid: int, section: Section) -> AsyncIterator[bytes]:
    """Yield the octets of a section. Raises KeyError where there is no such message, or no such part of it; MailboxGone."""
    rows = await box.columns((*CONTENT, "parts", "header_length"), [(uid, uid)])
    if not rows:
        raise KeyError(uid)
    _, blob, length, prefix, table, header = rows[0]
    content = Content(uid, blob, length, prefix)
    span = sections.locate(section, table, header, len(prefix) + length)
    if span is None:
        raise KeyError(section.part)
    if sections.picks_fields(section):
        pick = sections.picker(section.fields, section.what == HEADER_FIELDS_NOT)
        yield sections.cut_octets(pick(await box.octets(content, *span)), section.partial)
        return
    start, left = sections.cut(span, section.partial)
    while left:
        octets = await box.octets(content, start, min(PIECE, left))
        if not octets:
            raise KeyError(uid)                     # the content ends before its length: what is missing cannot be made up
        start, left = start + len(octets), left - len(octets)
        yield octets
