"""Content-Type, Content-Disposition and their parameters (RFC 2045 5.1, RFC 2183, RFC 2231).

Called by mail.mime for every part. Values are latin-1 text of the octets until somebody asks for them decoded. Never takes more than
LIMIT parameters, and never more than LIMIT sections of one: a gap in the numbering ends the value.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .charset import clean, decode, guess, known
from .words import decode_words

LIMIT = 100

Parameters = tuple[tuple[str, str], ...]      # (name in lower case, value) as they stand in the field

_TYPE = re.compile(r"\s*+([!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++)\s*+/\s*+([!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++)(?=[;(\s]|\Z)")
_TOKEN = re.compile(r"\s*+([!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++)")
_PARAMETER = re.compile(r'''[\s;]*+(?: ([^\s=;"]++) \s*+ = \s*+ (?: "((?:[^"\\]|\\.)*+)"? | ([^;"]*+) ) [^;]*+ | [^;]++ )?''',
                        re.VERBOSE | re.DOTALL)
_SECTION = re.compile(r"([^*]++)(?:\*([0-9]{1,3}))?(\*)?", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_type(value: bytes | None) -> tuple[str, str, Parameters]:
    """Return (type, subtype, parameters) of a Content-Type, all lower case but the values; ("", "", ()) for none or nonsense."""
    if not value:
        return "", "", ()
    text = value.decode("latin-1")
    match = _TYPE.match(text)
    if match is None:
        return "", "", ()
    return match[1].lower(), match[2].lower(), parse_parameters(_behind(text, match.end(2)))


def parse_token(value: bytes | None) -> tuple[str, Parameters]:
    """Return (token, parameters) of a Content-Disposition or another field of that shape; ("", ()) for nonsense."""
    if not value:
        return "", ()
    text = value.decode("latin-1")
    match = _TOKEN.match(text)
    if match is None:
        return "", ()
    return match[1].lower(), parse_parameters(_behind(text, match.end(1)))


def parse_parameters(text: str) -> Parameters:
    """Return at most LIMIT parameters of "; name=value; ..."; of one name the first counts."""
    if not text:
        return ()
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        if match[1] is None:
            continue
        name = match[1].lower()
        if name not in found:
            found[name] = _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3].strip()
        if len(found) >= LIMIT:
            break
    return tuple(found.items())


def parameter(parameters: Parameters, name: str) -> str:
    """Return the value of a parameter as text: RFC 2231 sections joined and decoded, encoded words too; "" if there is none."""
    plain, sections = None, {}
    for key, value in parameters:
        match = _SECTION.fullmatch(key)
        if match is None or match[1] != name:
            continue
        if match[2] is None and match[3] is None:
            plain = value
        else:
            sections.setdefault(int(match[2] or 0), (value, match[3] is not None))
    if 0 in sections:
        return clean(_join(sections))
    if plain is None:
        return ""
    return decode_words(plain.encode("latin-1", "replace"))


def joined(parameters: Parameters) -> Parameters:
    """Return parameters with long values in one piece: `name`, or `name*` where a section is percent-encoded (RFC 2231 6: so IMAP shows them)."""
    if not any(["*" in name for name, _ in parameters]):
        return parameters
    whole = {name: _in_one(name, sections) for name, sections in _numbered(parameters).items() if 0 in sections}
    result, replaced = {}, {name for name, _, _ in whole.values()}
    for name, value in parameters:
        match = _SECTION.fullmatch(name)
        base, number = (match[1], match[2]) if match else ("", None)
        if base in whole and number is not None and int(number) < whole[base][2]:
            result.setdefault(*whole[base][:2])
        elif name not in replaced:
            result[name] = value
    return tuple(result.items())


def raw_parameter(parameters: Parameters, name: str) -> str:
    """Return the value of a parameter with its octets as latin-1 (a boundary), sections joined but not decoded."""
    values = dict(parameters)
    if name in values:
        return values[name]
    pieces = []
    for index in range(LIMIT):
        piece = values.get(f"{name}*{index}")
        if piece is None:
            break
        pieces.append(piece)
    return "".join(pieces)


def _numbered(parameters: Parameters) -> dict[str, dict[int, tuple[str, bool]]]:
    """Sections by name and number, as (value, whether it is percent-encoded)."""
    found: dict[str, dict[int, tuple[str, bool]]] = {}
    for key, value in parameters:
        match = _SECTION.fullmatch(key)
        if match is not None and match[2] is not None:
            found.setdefault(match[1], {}).setdefault(int(match[2]), (value, match[3] is not None))
    return found


def _in_one(name: str, sections: dict[int, tuple[str, bool]]) -> tuple[str, str, int]:
    """Return (name, value, number of sections) of what stands in sections 0, 1, 2 ... up to the first gap."""
    pieces = []
    for index in range(LIMIT):
        if index not in sections:
            break
        pieces.append(sections[index])
    if not any([extended for _, extended in pieces]):
        return name, "".join([value for value, _ in pieces]), len(pieces)
    value = "".join([value if extended else quote_from_bytes(value.encode("latin-1", "replace"), safe="") for value, extended in pieces])
    return f"{name}*", value if pieces[0][1] else f"''{value}", len(pieces)


def _join(sections: dict[int, tuple[str, bool]]) -> str:
    """RFC 2231 3 and 4: sections 0, 1, 2 ... up to the first gap; charset'language' stands in the first."""
    octets, charset = [], ""
    for index in range(LIMIT):
        if index not in sections:
            break
        value, extended = sections[index]
        if extended and index == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        raw = value.encode("latin-1", "replace")
        octets.append(unquote_to_bytes(raw) if extended else raw)
    data = b"".join(octets)
    return decode(data, charset) if known(charset) else guess(data)


def _behind(text: str, position: int) -> str:
    """What stands behind the first semicolon after `position`."""
    found = text.find(";", position)
    return text[found + 1:] if found >= 0 else ""
