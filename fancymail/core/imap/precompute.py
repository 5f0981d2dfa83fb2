"""All that is computed once of a message, at its delivery: what FETCH answers, what SORT compares, what SEARCH looks into.

Handed to storage, which calls it inside the delivery and when it rebuilds; the same octets always give the same. One scan of the structure,
one of the header; everything is bounded and nothing recurses, whoever wrote the message. Never raises for content, never keeps a reference to it.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from hashlib import blake2b

from fancymail.core.imap import html, parts, structure
from fancymail.core.imap.envelope import envelope, usual_addresses
from fancymail.core.imap.folding import fold, fold_field
from fancymail.mail import mime
from fancymail.mail.addresses import Group, Mailbox, entries
from fancymail.mail.dates import parse_date
from fancymail.mail.derived import Derived
from fancymail.mail.headers import Headers, scan_start
from fancymail.mail.part import Part, Structure
from fancymail.mail.thread import base_subject
from fancymail.mail.words import decode_words

PREVIEW = 200                       # characters (RFC 8970 3.1)
SHOWN = 16_384                      # octets of a text that a preview is taken from
TEXT = 1_048_576                    # characters of searchable text
HEADER_TEXT = 65_536                # characters of searchable header
FIELDS = 16_384                     # octets of the fields that listings ask for
SHORT = 200                         # octets of a list of addresses that is remembered
MOST_IDS = 100                      # ancestors of a message: the root and the nearest
DAY = 86_400

# What mail programs ask for when they list a mailbox (Thunderbird, Apple Mail, mutt, K-9, Roundcube, Outlook); all else is read from the message.
LISTED = frozenset(name.encode() for name in """bcc cc content-class content-description content-disposition content-language
    content-transfer-encoding content-type date delivered-to disposition-notification-to followup-to from importance in-reply-to lines list-help
    list-id list-post list-subscribe list-unsubscribe list-unsubscribe-post message-id mime-version newsgroups organization precedence priority
    references reply-to return-receipt-to return-path sender subject thread-index thread-topic to user-agent x-label x-mailer x-mozilla-status
    x-mozilla-status2 x-original-to x-priority x-spam-flag x-spam-status x-uniform-type-identifier x-universally-unique-identifier""".split())

_SEARCHED = {name.encode(): f"{name}_text" for name in ("from", "to", "cc", "bcc", "subject")}
_ZONE = re.compile(rb"[ :0-9]([+-])([0-9]{2}):?([0-9]{2})(?![0-9:])")
_ID = re.compile(rb"<([^<>]{1,998}+)>")
_FOLDING = re.compile(rb"[ \t\r\n]+")
_QUOTED = re.compile(r"^[ \t]*>.*$", re.MULTILINE)


def precompute(prefix: bytes, content: bytes, internaldate: int) -> Derived:
    """Compute what is derived from the message prefix + content. `internaldate` stands in for a Date that is none."""
    data = prefix + content if prefix else content
    tree = mime.scan(data)
    root = tree.root
    headers = tree.headers
    whole, short = structure.render(data, tree)
    sent, day = _sent(headers, internaldate)
    base = base_subject(headers.text("subject"))
    header_text, texts = _header_texts(headers)
    if len(tree.parts) > 1:
        header_text += _inner_fields(data, tree, HEADER_TEXT - len(header_text))
    from_key, display_from = _sort_keys(headers.first("from"))
    to_key, display_to = _sort_keys(headers.first("to"))
    cc_key, _ = _sort_keys(headers.first("cc"))
    first = tree.first_text()
    shown = _words(first, data, SHOWN) if first is not None else ""
    return Derived(
        header_length=root.body, envelope=envelope(headers), bodystructure=whole, body=short, parts=parts.pack(tree),
        fields=_listed(headers), preview=_preview(shown), sent=sent, date_only=day,
        subject_key=fold(base.base), reply=int(base.reply), from_key=from_key, to_key=to_key, cc_key=cc_key,
        display_from=display_from, display_to=display_to, **texts,
        references=_references(headers), header_text=header_text, text=_text(data, tree, first, shown))


def _sent(headers: Headers, internaldate: int) -> tuple[int, int]:
    """The time that Date names, and its day in the sender's own zone (RFC 9051 6.4.4: SENTON disregards time and zone)."""
    value = headers.first("date")
    seconds = parse_date(value) if value else None
    if seconds is None:
        return internaldate, internaldate // DAY        # RFC 5256 2.2
    zone = _ZONE.search(value, 0, 128)
    offset = (int(zone[2]) * 60 + int(zone[3])) * (-60 if zone[1] == b"-" else 60) if zone else 0
    return int(seconds), (int(seconds) + offset) // DAY


def _sort_keys(value: bytes | None) -> tuple[str, str]:
    """RFC 5256 3: the mailbox of the first address; RFC 5957 3: its display name, the address where it has none."""
    if not value:
        return "", ""
    return _usual_keys(value) if len(value) <= SHORT else _keys(value)


def _keys(value: bytes) -> tuple[str, str]:
    if usual := usual_addresses(value, 1):
        name, local, domain = (octets.decode("ascii") for octets in usual[0])
        return fold(local), fold(decode_words(name) if name else f"{local}@{domain}")
    first = next(entries(value, 1), None)
    if isinstance(first, Group):
        return fold(first.name), fold(decode_words(first.name))
    if not isinstance(first, Mailbox):
        return "", ""
    shown = first.display or (f"{first.local}@{first.domain}" if first.domain else first.local)
    return fold(first.local), fold(shown)


_usual_keys = lru_cache(256)(_keys)       # a mailbox hears from few, and much of it says the same To


def _header_texts(headers: Headers) -> tuple[str, dict[str, str]]:
    """All fields as SEARCH looks into them, and those by themselves that have search keys of their own."""
    lines: list[str] = []
    texts = dict.fromkeys(_SEARCHED.values(), "")
    size = 0
    for field in headers:
        name = field.name
        if not name:
            continue
        value = fold_field(headers.value(field))
        size += len(name) + len(value)
        if size > HEADER_TEXT:
            break
        lines.append(f"{name.decode('latin-1')}: {value}\n")
        if name in _SEARCHED:
            key = _SEARCHED[name]
            texts[key] = f"{texts[key]} {value}" if texts[key] else value
    return "".join(lines), texts


def _inner_fields(data: bytes, tree: Structure, room: int) -> str:
    """The fields of parts and of enclosed messages, for SEARCH TEXT (RFC 9051 6.4.4). None begins its line, so SEARCH HEADER finds none of them."""
    lines: list[str] = []
    for part in tree.parts[1:]:
        headers = scan_start(data, part.start, part.header_end, room)
        lines += [f"\t{field.name.decode('latin-1')}: {fold_field(headers.value(field))}\n" for field in headers if field.name]
        room -= part.header_end - part.start
        if room <= 0:
            break
    return "".join(lines)


def _listed(headers: Headers) -> bytes | None:
    """The fields of LISTED as they stand; None when they are too long to keep twice."""
    fields = b"".join([headers.raw(field) for field in headers if field.name in LISTED])
    return fields if len(fields) <= FIELDS else None


def _references(headers: Headers) -> bytes:
    """RFC 5256 3 (REFERENCES step 1): the own id, then References; without it the first id of In-Reply-To."""
    own = _ID.search(headers.first("message-id") or b"")
    found = _ID.findall(headers.first("references") or b"") or _ID.findall(headers.first("in-reply-to") or b"")[:1]
    if len(found) > MOST_IDS:
        found = [found[0], *found[len(found) - MOST_IDS + 1:]]
    hashes = [hash_id(own[1]) if own else 0, *[hash_id(id) for id in found]]
    return struct.pack(f"<{len(hashes)}q", *hashes)


def hash_id(id: bytes) -> int:
    """A message id as a signed 64-bit number, never 0; folding inside it does not count."""
    if b"\n" in id or b" " in id:
        id = _FOLDING.sub(b"", id)
    return int.from_bytes(blake2b(id, digest_size=8).digest(), "little", signed=True) or 1


def _preview(text: str) -> str:
    """The beginning of a text, without what it quotes."""
    if ">" in text:
        text = _QUOTED.sub("", text)
    return _clean(" ".join(text[:8192].split(None, PREVIEW)[:PREVIEW]))[:PREVIEW].rstrip()


def _text(data: bytes, tree: Structure, first: Part | None, shown: str) -> str:
    """What BODY searches: the text parts, the headers of enclosed messages, the names of attachments. `shown` is all of `first` if that is short."""
    pieces: list[str] = []
    left = TEXT
    for part in tree:
        if part.parent >= 0 and tree.parts[part.parent].type == "message":
            pieces += [decode_words(value) for value in _enclosed(data, part)]
        if part is first and part.size <= SHOWN <= left:
            pieces.append(shown)
        elif part.type == "text" or part.type == "message" and not part.children:      # delivery-status and its like are read by people
            pieces.append(_words(part, data, left))
        if part.disposition_params or part.params:
            pieces.append(part.filename)
        left = TEXT - sum(map(len, pieces)) if len(pieces) < 100 else left - len(pieces[-1]) - 1
        if left <= 0:
            break
    return _clean(fold("\n".join(pieces)[:TEXT]))


def _enclosed(data: bytes, part: Part) -> list[bytes]:
    headers = scan_start(data, part.start, part.header_end, 65_536, 100)
    return [value for name in ("from", "to", "cc", "subject") for value in headers.all(name)]


def _words(part: Part, data: bytes, limit: int) -> str:
    text = part.text(data, limit)
    return html.words(text) if part.subtype == "html" else text


def _clean(text: str) -> str:
    """Text without NUL, which neither databases nor literals like."""
    return text.replace("\0", " ") if "\0" in text else text
