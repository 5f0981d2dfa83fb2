"""What a client that has enabled neither UTF8=ACCEPT nor IMAP4rev2 is shown of a message whose headers are in UTF-8 (RFC 6855 8, RFC 6858).

Asked by fetch.py and content.py, for that client and that message alone: most headers are in ASCII, and then nothing here is done. All that is shown
of a message is of the same surrogate: its sections, its envelope, its structure. RFC822.SIZE stays that of the message as it is kept, as RFC 6858
3 permits. Nothing is stored, what SEARCH and SORT look at does not change, and a copy is one of the message itself.
"""

from __future__ import annotations

from fancymail.core.imap import parts, structure
from fancymail.core.imap.columns import read_column, read_octets
from fancymail.core.imap.envelope import envelope
from fancymail.mail import mime
from fancymail.mail.downgrade import Downgrade, ascii_header, unreadable
from fancymail.mail.headers import scan_start
from fancymail.storage.ports.reader import BoxReader


def downgrade(table: bytes, start: int, length: int) -> Downgrade:
    """What says in ASCII what is UTF-8 in the headers within a section of a message, as its octets come; `table`: its parts."""
    end = start + length
    return Downgrade([(low - start, high - start) for low, high in parts.headers(table) if start <= low and high <= end])


def plain(octets: bytes, start: int, table: bytes) -> bytes:
    """A section of a message that is in memory, `start` octets behind its beginning."""
    return octets if octets.isascii() else downgrade(table, start, len(octets))(octets)


async def plain_value(box: BoxReader, name: str, uid: int, value: bytes) -> bytes:
    """What stands in a column that is made of headers, of the surrogate."""
    if name == "fields":
        return ascii_header(value)
    try:
        if name == "envelope":
            fields = await read_column(box, "fields", uid)          # an envelope's fields are among them
            return plain_envelope(fields if fields is not None else await read_octets(box, uid, "header_length"))
        whole, short = plain_structure(await read_octets(box, uid), await read_column(box, "parts", uid))
        return whole if name == "bodystructure" else short
    except KeyError:                                # it cannot be read any more
        return unreadable(value)


def plain_envelope(header: bytes) -> bytes:
    """The ENVELOPE of a header, or of its fields that an envelope is made of."""
    text = ascii_header(header)
    return envelope(scan_start(text, 0, len(text)))


def plain_structure(message: bytes, table: bytes) -> tuple[bytes, bytes]:
    """(BODYSTRUCTURE, BODY)."""
    text = plain(message, 0, table)
    return structure.render(text, mime.scan(text))
