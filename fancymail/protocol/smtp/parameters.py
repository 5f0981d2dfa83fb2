"""Parameters of MAIL and RCPT: each keyword with its syntax and the answer to its misuse.

Called by commands.py. Keywords of extensions that are not offered are refused with 555 (RFC 5321 4.1.1.11), doubled ones and
unreadable values with 501. REQUIRETLS (RFC 8689) is not offered: saying it gets 555 like any other unknown keyword, so that a
message that must not travel in plain text is never taken.
"""

from __future__ import annotations

import re

from fancymail.protocol.smtp.reply import TOO_BIG, Reply

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_NUMBER = re.compile(r"[0-9]{1,20}")                                     # RFC 1870 4
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")                    # RFC 3461 4
_HEX = re.compile(r"\+([0-9A-F]{2})")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
ENVID_LIMIT = 100                                                        # RFC 3461 4.4
ORCPT_LIMIT = 500                                                        # RFC 3461 4.2
NOTIFY_WORDS = frozenset(("SUCCESS", "FAILURE", "DELAY"))


class Refused(Exception):
    """The command is not accepted; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def split_parameters(text: str) -> dict[str, str | None]:
    """Return {KEYWORD: value or None}; raise Refused when a keyword is malformed or doubled."""
    found: dict[str, str | None] = {}
    for word in text.split():
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        if not _KEYWORD.fullmatch(keyword) or (equals and not value):
            raise Refused(Reply(501, "5.5.4", "Parameters are KEYWORD or KEYWORD=value"))
        if keyword in found:
            raise Refused(Reply(501, "5.5.4", f"{keyword} is given twice"))
        found[keyword] = value if equals else None
    return found


def decode_xtext(value: str) -> str:
    """Decode xtext into printable ASCII; raise ValueError for anything else."""
    if not _XTEXT.fullmatch(value):
        raise ValueError("not xtext")
    text = _HEX.sub(lambda match: chr(int(match[1], 16)), value)
    if not (text.isascii() and text.isprintable()):
        raise ValueError("xtext of control characters")
    return text


def mail_parameters(text: str, size_limit: int) -> dict:
    """Return the keyword arguments of events.Mail that the parameters of MAIL give."""
    values: dict = {}
    for keyword, value in split_parameters(text).items():
        reader = _MAIL.get(keyword)
        if reader is None:
            raise Refused(Reply(555, "5.5.4", f"{keyword} is not supported"))
        reader(values, value)
    if size_limit and values.get("size", 0) > size_limit:                # RFC 1870 6.1
        raise Refused(TOO_BIG)
    return values


def rcpt_parameters(text: str, smtputf8: bool) -> dict:
    """Return the keyword arguments of events.Rcpt that the parameters of RCPT give."""
    values: dict = {}
    for keyword, value in split_parameters(text).items():
        if keyword == "NOTIFY":
            values["notify"] = _notify(value)
        elif keyword == "ORCPT":
            values["orcpt"] = _orcpt(value, smtputf8)
        else:
            raise Refused(Reply(555, "5.5.4", f"{keyword} is not supported"))
    return values


def _size(values: dict, value: str | None) -> None:
    if value is None or not _NUMBER.fullmatch(value):
        raise Refused(Reply(501, "5.5.4", "SIZE is a number of octets"))
    values["size"] = int(value)


def _body(values: dict, value: str | None) -> None:
    body = (value or "").upper()
    if body not in ("7BIT", "8BITMIME"):                                 # BINARYMIME is not offered (RFC 3030 3)
        raise Refused(Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME"))
    values["body"] = body


def _smtputf8(values: dict, value: str | None) -> None:
    if value is not None:                                                # RFC 6531 3.4
        raise Refused(Reply(501, "5.5.4", "SMTPUTF8 takes no value"))
    values["smtputf8"] = True


def _ret(values: dict, value: str | None) -> None:
    ret = (value or "").upper()
    if ret not in ("FULL", "HDRS"):                                      # RFC 3461 4.3
        raise Refused(Reply(501, "5.5.4", "RET is FULL or HDRS"))
    values["ret"] = ret


def _envid(values: dict, value: str | None) -> None:
    try:
        envid = decode_xtext(value or "")
    except ValueError:
        envid = ""
    if not envid or len(value or "") > ENVID_LIMIT:
        raise Refused(Reply(501, "5.5.4", "ENVID is up to 100 characters of xtext"))
    values["envid"] = envid


def _auth(values: dict, value: str | None) -> None:
    """RFC 4954 5: read, and not trusted: who submitted the message is known from this session alone."""
    try:
        if not decode_xtext(value or ""):
            raise ValueError("empty")
    except ValueError:
        raise Refused(Reply(501, "5.5.4", "AUTH is an address in xtext, or <>")) from None


def _notify(value: str | None) -> tuple[str, ...]:
    words = tuple((value or "").upper().split(","))
    if words == ("NEVER",) or (NOTIFY_WORDS.issuperset(words) and len(set(words)) == len(words)):
        return words
    raise Refused(Reply(501, "5.5.4", "NOTIFY is NEVER, or any of SUCCESS, FAILURE, DELAY"))     # RFC 3461 4.1


def _orcpt(value: str | None, smtputf8: bool) -> str:
    kind, semicolon, address = (value or "").partition(";")
    try:
        if not (semicolon and address and _ADDRESS_TYPE.fullmatch(kind)) or len(value or "") > ORCPT_LIMIT:
            raise ValueError("no address type")
        if smtputf8 and kind.lower() == "utf-8" and not address.isascii():                        # RFC 6533 3
            return f"{kind};{address}"
        return f"{kind};{decode_xtext(address)}"
    except ValueError:
        raise Refused(Reply(501, "5.5.4", "ORCPT is an address type, a semicolon and xtext")) from None


_MAIL = {"SIZE": _size, "BODY": _body, "SMTPUTF8": _smtputf8, "RET": _ret, "ENVID": _envid, "AUTH": _auth}
