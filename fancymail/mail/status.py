"""Reply codes of SMTP and enhanced status codes (RFC 5321 4.2, RFC 3463, RFC 5248), with the words that go with them.

Used by every daemon: a Status is what an error is in this house. `status("5.1.1")` finds one, the constants name those that
we say ourselves, `safe_text` makes any text fit to stand in a reply line, a log line or a DSN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TEXT_LIMIT = 480                     # octets: a reply line is 512 with code, status and CRLF (RFC 5321 4.5.3.1.5)


@dataclass(frozen=True, slots=True)
class Status:
    """An enhanced status code, the basic reply code that goes with it and its default text."""

    code: str                        # "5.1.1"
    reply: int                       # 550
    text: str

    @property
    def kind(self) -> str:
        """"success", "transient" or "persistent"."""
        return kind(self.code)

    def __str__(self) -> str:
        return f"{self.reply} {self.code} {self.text}"


_TABLE: dict[str, Status] = {}


def _say(code: str, reply: int, text: str) -> Status:
    return _TABLE.setdefault(code, Status(code, reply, text))


OK = _say("2.0.0", 250, "ok")
SENDER_OK = _say("2.1.0", 250, "sender ok")
RECIPIENT_OK = _say("2.1.5", 250, "recipient ok")
TAKEN = _say("2.6.0", 250, "message accepted")
AUTHENTICATED = _say("2.7.0", 235, "authentication succeeded")

OTHER_TRANSIENT = _say("4.0.0", 450, "temporary failure")
MAILBOX_BUSY = _say("4.2.0", 450, "mailbox temporarily unavailable")
MAILBOX_FULL_YET = _say("4.2.2", 452, "mailbox full")
SYSTEM_TROUBLE = _say("4.3.0", 451, "temporary local problem")
SYSTEM_FULL = _say("4.3.1", 452, "not enough space, try later")
SYSTEM_DOWN = _say("4.3.2", 421, "service not available, try later")
MISCONFIGURED_YET = _say("4.3.5", 451, "server configuration problem, try later")
NO_ANSWER = _say("4.4.1", 451, "no answer from host")
BAD_CONNECTION = _say("4.4.2", 421, "connection timed out or broken")
DIRECTORY_DOWN = _say("4.4.3", 451, "name server or directory failure, try later")
CONGESTED = _say("4.4.5", 451, "system congested, try later")
EXPIRED_YET = _say("4.4.7", 451, "delivery time exceeded")
TOO_MANY_RECIPIENTS = _say("4.5.3", 452, "too many recipients")
TOO_MANY_ERRORS = _say("4.7.0", 421, "too many errors, try later")
POLICY_YET = _say("4.7.1", 451, "not now by policy, try later")

OTHER = _say("5.0.0", 554, "failed")
NO_SUCH_USER = _say("5.1.1", 550, "no such user")
NO_SUCH_DOMAIN = _say("5.1.2", 550, "no such domain")
BAD_ADDRESS = _say("5.1.3", 501, "bad address")
AMBIGUOUS = _say("5.1.4", 553, "ambiguous address")
MOVED = _say("5.1.6", 551, "user has moved")
BAD_SENDER = _say("5.1.7", 501, "bad sender address")
BAD_SENDER_DOMAIN = _say("5.1.8", 550, "the sender's domain does not exist")
NULL_MX = _say("5.1.10", 556, "the recipient's domain accepts no mail")              # RFC 7505
DISABLED = _say("5.2.1", 550, "mailbox disabled")
MAILBOX_FULL = _say("5.2.2", 552, "mailbox full")
MAILBOX_TOO_BIG = _say("5.2.3", 552, "message too big for this mailbox")
SYSTEM_REFUSES = _say("5.3.0", 554, "refused by the mail system")
NOT_ACCEPTING = _say("5.3.2", 554, "system not accepting network messages")
NOT_CAPABLE = _say("5.3.3", 555, "not capable of selected features")
TOO_BIG = _say("5.3.4", 552, "message too big")
MISCONFIGURED = _say("5.3.5", 550, "server configuration problem")
NO_ROUTE = _say("5.4.4", 550, "no route to the recipient's domain")
LOOP = _say("5.4.6", 554, "mail loop detected")
EXPIRED = _say("5.4.7", 554, "delivery time expired")
PROTOCOL = _say("5.5.0", 554, "protocol error")
BAD_SEQUENCE = _say("5.5.1", 503, "bad sequence of commands")
SYNTAX = _say("5.5.2", 500, "syntax error")
TOO_MANY_RECIPIENTS_EVER = _say("5.5.3", 550, "too many recipients")
BAD_ARGUMENT = _say("5.5.4", 501, "invalid argument")
LINE_TOO_LONG = _say("5.5.6", 500, "line too long")
BAD_CONTENT = _say("5.6.0", 554, "content error")
MEDIA_NOT_SUPPORTED = _say("5.6.1", 554, "content not supported")
NO_CONVERSION = _say("5.6.3", 554, "conversion needed but not supported")
UTF8_NEEDED = _say("5.6.7", 553, "the address needs SMTPUTF8, which the host does not support")  # RFC 6531
SECURITY = _say("5.7.0", 554, "refused for security reasons")
REFUSED = _say("5.7.1", 550, "not permitted")
CRYPTO_NEEDED = _say("5.7.4", 504, "mechanism not supported")
AUTH_FAILED = _say("5.7.8", 535, "authentication failed")                              # RFC 4954
AUTH_TOO_WEAK = _say("5.7.9", 534, "a stronger mechanism is needed")
ENCRYPT_FIRST = _say("5.7.10", 538, "encryption needed first")
TLS_REQUIRED = _say("5.7.30", 550, "REQUIRETLS cannot be met by the next host")        # RFC 8689

# basic codes by class and subject, for enhanced codes outside the table (RFC 3463 3)
_BY_SUBJECT = {"4.1": 450, "4.2": 450, "4.3": 451, "4.4": 451, "4.5": 451, "4.6": 451, "4.7": 451,
               "5.1": 550, "5.2": 550, "5.3": 550, "5.4": 554, "5.5": 501, "5.6": 554, "5.7": 550}
_BY_CLASS = {"2": (250, "ok"), "4": (451, "temporary failure"), "5": (554, "failed")}
_BY_REPLY = {421: "4.3.2", 450: "4.2.0", 451: "4.3.0", 452: "4.3.1", 454: "4.7.0", 500: "5.5.2", 501: "5.5.4", 502: "5.5.1",
             503: "5.5.1", 504: "5.5.4", 530: "5.7.0", 534: "5.7.9", 535: "5.7.8", 550: "5.0.0", 551: "5.1.6",
             552: "5.2.2", 553: "5.1.3", 554: "5.0.0", 555: "5.5.4", 556: "5.1.10"}

_CODE = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_FOUND = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]+|$)", re.ASCII)
_UNSAFE = re.compile(r"[^ -~]+")


def valid(code: str) -> bool:
    """Is it a well-formed enhanced status code?"""
    return _CODE.fullmatch(code) is not None


def status(code: str) -> Status:
    """Find the Status of an enhanced code; one that is outside the table gets the words of its class. Raises ValueError."""
    known = _TABLE.get(code)
    if known:
        return known
    if not valid(code):
        raise ValueError(f"not a status code: {safe_text(code, 40)}")
    reply, text = _BY_CLASS[code[0]]
    return Status(code, _BY_SUBJECT.get(code[:code.rindex(".")], reply), text)


def basic(code: str) -> int:
    """The basic reply code that goes with an enhanced status code: "5.1.1" -> 550."""
    return status(code).reply


def kind(code: str | int) -> str:
    """"success", "transient" or "persistent", for an enhanced or a basic code."""
    return {"4": "transient", "5": "persistent"}.get(str(code)[:1], "success")


def of_reply(reply: int, text: str = "") -> str:
    """The enhanced code of a remote reply: the one that its text begins with, if it fits the reply; else a fitting one."""
    match = _FOUND.match(text)
    if match and match[1][0] == str(reply)[:1]:
        return match[1]
    if 200 <= reply < 400:
        return "2.0.0"
    return _BY_REPLY.get(reply, "4.0.0" if 400 <= reply < 500 else "5.0.0")


def safe_text(text: str | bytes, limit: int = TEXT_LIMIT) -> str:
    """Make text fit for one line: printable ASCII, runs of anything else become one "?", white space one space."""
    if isinstance(text, bytes):
        text = text[:limit * 4].decode("utf-8", "replace")
    elif len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return text                  # as nearly all
    text = " ".join(text[:limit * 4].split())
    text = _UNSAFE.sub("?", text)
    return text if len(text) <= limit else text[:limit - 3] + "..."
