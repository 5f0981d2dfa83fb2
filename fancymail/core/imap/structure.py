"""BODYSTRUCTURE and BODY as they stand in a FETCH answer (RFC 9051 7.5.2), from the tree that mail.mime finds.

Called by precompute. Parts come in the order of their headers, so going backwards has every child ready before its parent: no recursion. What the
grammar cannot say is said so that strict clients still can read it: an empty multipart shows one empty text, a message that is not opened an
empty envelope. The envelopes of enclosed messages share one budget of addresses.
"""

from __future__ import annotations

from fancymail.core.imap.envelope import MOST_ADDRESSES, envelope
from fancymail.mail.headers import scan_start
from fancymail.mail.imap.strings import nstring, string
from fancymail.mail.parameters import Parameters, joined
from fancymail.mail.part import Part, Structure

BUDGET = 5_000                      # addresses in all envelopes of enclosed messages

_NOTHING = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'
_NO_ENVELOPE = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


def render(data: bytes, structure: Structure) -> tuple[bytes, bytes]:
    """Return (BODYSTRUCTURE, BODY)."""
    parts = structure.parts
    if len(parts) == 1 and parts[0].type not in ("multipart", "message"):
        fields, extension = _leaf(parts[0]), _leaf_extension(parts[0])
        return fields + extension, fields + b")"
    envelopes = _Envelopes(data)
    whole: list[bytes] = [b""] * len(parts)
    short: list[bytes] = [b""] * len(parts)
    for part in reversed(parts):
        place = part.index
        if part.type == "multipart":
            subtype = string(part.subtype.encode("latin-1"))
            whole[place] = b"(%b %b%b" % (b"".join([whole[child] for child in part.children]) or _NOTHING + b" NIL NIL NIL NIL)", subtype,
                                          _multipart_extension(part))
            short[place] = b"(%b %b)" % (b"".join([short[child] for child in part.children]) or _NOTHING + b")", subtype)
        elif part.type == "message" and part.subtype in ("rfc822", "global"):
            child = part.children[0] if part.children else -1
            head = envelopes.of(parts[child]) if part.children else _NO_ENVELOPE
            # RFC 9051 has "global" here too, but readers of RFC 3501 fail at an envelope they don't expect: so it is "rfc822" for all.
            start = _basic(part, b'"message" "rfc822"', part.params)
            inner = (whole[child], short[child]) if part.children else (_NOTHING + b" NIL NIL NIL NIL)", _NOTHING + b")")
            whole[place] = b"%b %b %b %d%b" % (start, head, inner[0], part.lines, _leaf_extension(part))
            short[place] = b"%b %b %b %d)" % (start, head, inner[1], part.lines)
        else:
            fields = _leaf(part)
            whole[place], short[place] = fields + _leaf_extension(part), fields + b")"
        for child in part.children:
            whole[child] = short[child] = b""
    return whole[0], short[0]


class _Envelopes:
    """Envelopes of enclosed messages, as long as the budget lasts."""

    def __init__(self, data: bytes) -> None:
        self.data, self.left = data, BUDGET

    def of(self, part: Part) -> bytes:
        """The ENVELOPE of the message that begins with this part."""
        headers = scan_start(self.data, part.start, part.header_end)
        text = envelope(headers, max(0, min(MOST_ADDRESSES, self.left // 6)))
        self.left -= text.count(b"(")
        return text


def _basic(part: Part, type_: bytes, params: Parameters) -> bytes:
    """body-fields behind the type: parameters, id, description, encoding, octets; still open."""
    encoding = part.encoding.encode("latin-1") or b"7bit"
    return b"(%b %b %b %b %b %d" % (type_, parameters(params), nstring(part.id or None), nstring(part.description or None),
                                    string(encoding), part.end - part.body)


def _leaf(part: Part) -> bytes:
    """A part without parts, still open."""
    type_ = b"%b %b" % (string(part.type.encode("latin-1")), string(part.subtype.encode("latin-1")))
    if part.type != "text":
        return _basic(part, type_, part.params)
    # RFC 2045 5.2: a text that names no charset is US-ASCII; clients are told, as other servers do.
    params = part.params if any([name.startswith("charset") for name, _ in part.params]) else (*part.params, ("charset", "us-ascii"))
    return b"%b %d" % (_basic(part, type_, params), part.lines)


def _leaf_extension(part: Part) -> bytes:
    return b" %b%b" % (nstring(part.md5 or None), _multipart_tail(part))


def _multipart_extension(part: Part) -> bytes:
    return b" %b%b" % (parameters(part.params), _multipart_tail(part))


def _multipart_tail(part: Part) -> bytes:
    """Disposition, language, location, and the end."""
    if not (part.disposition or part.language or part.location):
        return b" NIL NIL NIL)"
    disposition = b"NIL"
    if part.disposition:
        disposition = b"(%b %b)" % (string(part.disposition.encode("latin-1")), parameters(part.disposition_params))
    return b" %b %b %b)" % (disposition, _languages(part.language), nstring(part.location or None))


def _languages(value: bytes) -> bytes:
    """Content-Language (RFC 3282): one is a string, more are a list."""
    tags = [tag.strip() for tag in value.split(b",", 100) if tag.strip()]
    if len(tags) > 1:
        return b"(%b)" % b" ".join([string(tag) for tag in tags])
    return string(tags[0]) if tags else b"NIL"


def parameters(params: Parameters) -> bytes:
    """Parameters of a type or disposition as they stand, but long ones in one piece (RFC 2231 6); NIL for none."""
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name.encode("latin-1", "replace")), string(value.encode("latin-1", "replace")))
                                for name, value in joined(params)])
