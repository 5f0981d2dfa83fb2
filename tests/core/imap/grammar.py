"""A reader of IMAP data for the tests: strict, so that what it reads every client can read (RFC 9051 9)."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'(\()|(\))|( )|"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"|\{([0-9]+)\}\r\n|([^\s(){"\\]+)')


class NotData(AssertionError):
    """This is no IMAP data."""


class Atom(bytes):
    """A word or number, to tell it from a string."""


def read(data: bytes):
    """Read data as lists, strings, atoms and None; spaces only between items (adjacent lists may touch, as in 1*body)."""
    stack: list[list] = [[]]
    position, after = 0, "start"
    while position < len(data):
        match = _TOKEN.match(data, position)
        if match is None:
            raise NotData(data[position:position + 40])
        position = match.end()
        if match[1]:
            if after not in ("start", "open", "space", "close"):
                raise NotData(f"( behind {after}")
            stack.append([])
            after = "open"
        elif match[2]:
            if after in ("open", "space", "start") or len(stack) < 2:
                raise NotData(f") behind {after}")
            done = stack.pop()
            stack[-1].append(done)
            after = "close"
        elif match[3]:
            if after not in ("item", "close"):
                raise NotData(f"space behind {after}")
            after = "space"
        else:
            if after not in ("start", "open", "space"):
                raise NotData(f"item behind {after}")
            after = "item"
            stack[-1].append(_item(match, data, position))
            if match[5] is not None:
                position += int(match[5])
    if len(stack) != 1 or after == "space":
        raise NotData("unbalanced")
    return stack[0]


def _item(match: re.Match[bytes], data: bytes, position: int):
    if match[4] is not None:
        return re.sub(rb'\\(["\\])', rb"\1", match[4])
    if match[5] is not None:
        octets = data[position:position + int(match[5])]
        if len(octets) != int(match[5]) or b"\0" in octets:
            raise NotData("a literal that is cut or holds NUL")
        return octets
    return None if match[6] == b"NIL" else Atom(match[6])


def check_string(value, nil: bool = False) -> None:
    """A string, or NIL where that may be."""
    assert value is None and nil or type(value) is bytes, value


def check_number(value) -> None:
    assert type(value) is Atom and value.isdigit(), value


def check_envelope(envelope) -> None:
    """RFC 9051 9: envelope."""
    assert len(envelope) == 10
    for index in (0, 1, 8, 9):
        check_string(envelope[index], nil=True)
    for addresses in envelope[2:8]:
        assert addresses is None or addresses
        for address in addresses or ():
            assert len(address) == 4
            for part in address:
                check_string(part, nil=True)


def check_params(params) -> None:
    assert params is None or params and len(params) % 2 == 0
    for item in params or ():
        check_string(item)


def check_body(body, extended: bool) -> None:
    """RFC 9051 9: body, with or without extension data."""
    if type(body[0]) is list:
        count = next((index for index, item in enumerate(body) if type(item) is not list), len(body))
        for child in body[:count]:
            check_body(child, extended)
        check_string(body[count])
        rest = body[count + 1:]
        if extended:
            check_params(rest[0])
            rest = rest[1:]
    else:
        check_string(body[0])
        check_string(body[1])
        check_params(body[2])
        check_string(body[3], nil=True)
        check_string(body[4], nil=True)
        check_string(body[5])
        check_number(body[6])
        rest = body[7:]
        if body[0] == b"message" and body[1] == b"rfc822":
            check_envelope(rest[0])
            check_body(rest[1], extended)
            check_number(rest[2])
            rest = rest[3:]
        elif body[0] == b"text":
            check_number(rest[0])
            rest = rest[1:]
        if extended:
            check_string(rest[0], nil=True)
            rest = rest[1:]
    if not extended:
        assert not rest
        return
    disposition, language, location = rest
    if disposition is not None:
        check_string(disposition[0])
        check_params(disposition[1])
    for tag in language if type(language) is list else [language]:
        check_string(tag, nil=True)
    check_string(location, nil=True)
