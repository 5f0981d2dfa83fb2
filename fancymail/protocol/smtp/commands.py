"""The commands of SMTP and LMTP as one table: who may say what in which state, and what it means.

Used by server.py alone. A row gives the modes that know the command, the states that allow it, the reply elsewhere, whether it
must be the last of a pipelined group, and the name of the engine's method that carries it out. Syntax is read here.
"""

from __future__ import annotations

import re
from enum import IntFlag
from functools import lru_cache
from typing import NamedTuple

from fancymail.mail.address import AddressError, parse_forward_path, parse_reverse_path
from fancymail.protocol.smtp import events
from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.parameters import Refused, mail_parameters, rcpt_parameters
from fancymail.protocol.smtp.reply import Reply


class State(IntFlag):
    """Where a session stands between two commands."""

    CONNECTED = 1        # nobody said hello
    READY = 2            # hello was said, no transaction
    MAIL = 4             # a sender was accepted
    RCPT = 8             # and at least one recipient
    CHUNKS = 16          # and at least one BDAT


# Members become plain numbers here: IntFlag's own `&` would cost more than the rest of a command.
CONNECTED, READY, MAIL, RCPT, CHUNKS = (int(state) for state in State)
ANY = CONNECTED | READY | MAIL | RCPT | CHUNKS
SMTP = frozenset(("transfer", "submission"))
LMTP = frozenset(("lmtp",))
EVERY = SMTP | LMTP


class Row(NamedTuple):
    """One command."""

    act: str                             # the engine's method
    states: int = ANY
    elsewhere: Reply = r.OK              # the answer in other states
    modes: frozenset[str] = EVERY
    last: bool = False                   # RFC 2920 3.1: nothing may be sent behind it before its reply
    long: bool = False                   # extensions lengthen its line beyond 512 octets (RFC 5321 4.1.2)
    idle: bool = False                   # carries no mail: too many of them end the session
    plain: bool = False                  # allowed where TLS is required and not there yet (RFC 3207 4)


COMMANDS: dict[str, Row] = {
    "EHLO": Row("hello", modes=SMTP, last=True, idle=True, plain=True),
    "HELO": Row("hello", modes=SMTP, last=True, idle=True, plain=True),
    "LHLO": Row("hello", modes=LMTP, last=True, idle=True, plain=True),                  # RFC 2033 4.1
    "MAIL": Row("mail", READY, r.HELLO_FIRST, long=True),
    "RCPT": Row("rcpt", MAIL | RCPT, r.MAIL_FIRST, long=True),
    "DATA": Row("data", RCPT, r.RCPT_FIRST, last=True),
    "BDAT": Row("bdat", plain=True),                                   # every state: its octets must be read even when it is refused
    "RSET": Row("rset", idle=True),
    "NOOP": Row("noop", idle=True, plain=True),
    "HELP": Row("help", idle=True),
    "VRFY": Row("vrfy", READY | MAIL | RCPT, r.HELLO_FIRST, idle=True),
    "EXPN": Row("expn", idle=True),
    "STARTTLS": Row("starttls", READY, r.HELLO_FIRST, last=True, plain=True),
    "AUTH": Row("auth", READY, r.HELLO_FIRST, long=True),
    "QUIT": Row("quit", plain=True),
}

HELP_LINES = ("Commands: EHLO HELO LHLO MAIL RCPT DATA BDAT RSET", "NOOP HELP VRFY STARTTLS AUTH QUIT", "See RFC 5321")
# A browser that was lured here speaks first and lets its page choose the rest: hang up before anything is taken for a command.
STRANGERS = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "CONNECT", "PATCH", "TRACE", "PRI", "SSH-2.0-"))

_PATH = re.compile(r' ?(<(?:"(?:[^"\\]|\\.)*+"|[^"<>])*+>)(?: +(.*))?')
_RCPT_LINE = re.compile(rb"RCPT TO: ?(<[^<>\r\n]*+>)[^\r\n]*+\r\n", re.IGNORECASE)
_HELLO = re.compile(r"[!-~]{1,255}")
_CHUNK = re.compile(r"([0-9]{1,20})( +LAST)?", re.IGNORECASE)
_AUTH = re.compile(r"([A-Za-z0-9_-]{1,20})(?: ([^ ]+))?")


def parse_hello(verb: str, argument: str) -> events.Hello:
    """RFC 5321 4.1.1.1: one word. What it claims is noted and grants nothing."""
    if not _HELLO.fullmatch(argument):
        raise Refused(Reply(501, "5.5.4", f"Syntax: {verb} your.host.name"))
    return events.Hello(argument, verb)


def parse_mail(argument: str, size_limit: int) -> events.Mail:
    """RFC 5321 4.1.1.2."""
    path, parameters = _split_path(argument, "FROM:", "MAIL FROM:<address>")
    values = mail_parameters(parameters, size_limit) if parameters else {}
    return events.Mail(_sender(path, values.get("smtputf8", False)), **values)


def parse_rcpt(argument: str, smtputf8: bool) -> events.Rcpt:
    """RFC 5321 4.1.1.3."""
    path, parameters = _split_path(argument, "TO:", "RCPT TO:<address>")
    address = _recipient(path, smtputf8)
    return events.Rcpt(address, **rcpt_parameters(parameters, smtputf8)) if parameters else events.Rcpt(address)


def peek_recipients(octets: bytes, smtputf8: bool) -> list[str]:
    """Return the addresses of the RCPT commands that follow each other at the beginning of `octets`, as far as they are good."""
    found, position = [], 0
    while (match := _RCPT_LINE.match(octets, position)) is not None:
        position = match.end()
        try:
            found.append(_recipient(match[1].decode(), smtputf8))
        except (Refused, UnicodeDecodeError):
            pass
    return found


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Return (octets, last) of BDAT's argument (RFC 3030 2)."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise Refused(Reply(501, "5.5.4", "Syntax: BDAT octets [LAST]"))
    return int(match[1]), match[2] is not None


def parse_auth(argument: str) -> tuple[str, str | None]:
    """Return (MECHANISM, initial response or None) of AUTH's argument (RFC 4954 4)."""
    match = _AUTH.fullmatch(argument)
    if match is None:
        raise Refused(Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]"))
    return match[1].upper(), match[2]


def _split_path(argument: str, keyword: str, syntax: str) -> tuple[str, str]:
    """Return (<path>, parameters). A space behind the colon is forgiven: too many clients that mean well send it."""
    length = len(keyword)
    match = _PATH.fullmatch(argument, length) if argument[:length].upper() == keyword else None
    if match is None:
        raise Refused(Reply(501, "5.5.4", f"Syntax: {syntax}"))
    return match[1], match[2] or ""


# Senders and recipients repeat within a session and between them; an address is a value, so its parsing may be remembered.
@lru_cache(maxsize=4096)
def _sender(path: str, smtputf8: bool) -> str:
    try:
        return str(parse_reverse_path(path, smtputf8))
    except AddressError as error:
        raise Refused(_bad_address(error, "5.1.7")) from None


@lru_cache(maxsize=4096)
def _recipient(path: str, smtputf8: bool) -> str:
    try:
        return str(parse_forward_path(path, smtputf8))
    except AddressError as error:
        raise Refused(_bad_address(error, "5.1.3")) from None


def _bad_address(error: AddressError, status: str) -> Reply:
    """RFC 5321 4.2.3: 553, mailbox name not allowed."""
    return Reply(553, status if error.status in ("5.1.3", "5.1.7") else error.status, error.reason[0].upper() + error.reason[1:])
