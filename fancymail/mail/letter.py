"""The words of a delivery status notification: what a person reads when their mail did not arrive.

Called by mail.dsn. Says first what happened and what to do, then what the other host said, in that host's own words. Plain text of at most
76 columns; everything from outside is one printable line. Never promises what the queue does not do.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .dates import format_date
from .envelope import Envelope
from .headers import Headers
from .results import RecipientResult
from .status import safe_text

NAMED = 100                          # recipients that the text for people speaks of one by one

_SUBJECTS = {"failed": "Undelivered", "delayed": "Delayed", "delivered": "Delivered", "relayed": "Passed on", "expanded": "Passed on"}

_OPENINGS = {
    "failed": "Your message could not be delivered to {who}. It was given up; please read below why, and send it again if you can remove "
              "the reason.",
    "delayed": "Your message has not been delivered to {who} yet. This is only a warning: you need not send it again. Delivery is tried "
               "again{until}.",
    "delivered": "Your message was delivered to {who}. You asked to be told.",
    "relayed": "Your message was passed on to {who}. The next mail system does not confirm deliveries, so this is the last that you hear "
               "from us.",
    "expanded": "Your message was passed on to the members behind {who}.",
}

# what an enhanced status code means to a person, by code or by its first two numbers (RFC 3463)
_MEANINGS = {
    "5.1.1": "There is no such address at that domain. Please check its spelling.",
    "5.1.2": "The part of the address behind the @ is not a domain that receives mail. Please check its spelling.",
    "5.1.3": "The address is not a valid one.",
    "5.1.10": "That domain states that it accepts no mail at all.",
    "5.1": "There is something wrong with the address.",
    "5.2.1": "The mailbox is closed.",
    "5.2.2": "The mailbox is full. Please tell its owner another way.",
    "5.2.3": "The message is larger than this mailbox accepts.",
    "5.2": "The mailbox could not take the message.",
    "5.3.4": "The message is larger than the other mail system accepts. Try a smaller one, without attachments.",
    "5.3": "The other mail system could not take the message.",
    "5.4.4": "No mail server could be found for that domain. Please check the part of the address behind the @.",
    "5.4.6": "The message went round in circles between mail systems.",
    "5.4.7": "The other mail system could not be reached, or did not take the message, for as long as we tried.",
    "5.4": "The other mail system could not be reached.",
    "5.6.7": "The address or the message uses characters that the other mail system cannot handle.",
    "5.6": "The other mail system cannot handle the content of the message.",
    "5.7.30": "You asked for encryption all the way, and the next mail system does not offer it.",
    "5.7": "The other mail system refuses the message by its rules.",
    "4.2.2": "The mailbox is full at the moment.",
    "4.2": "The mailbox cannot take the message at the moment.",
    "4.3": "The other mail system cannot take the message at the moment.",
    "4.4": "The other mail system cannot be reached at the moment.",
    "4.7": "The other mail system does not want the message at the moment.",
}


def letter(kind: str, envelope: Envelope, results: Sequence[RecipientResult], original: Headers, host: str, full: bool,
           retry_until: float = 0.0, offset: int = 0) -> str:
    """Return the text of the first part, lines ending in "\\n"."""
    until = f" until {format_date(retry_until, offset)}" if retry_until else ""
    who = "one recipient" if len(results) == 1 else f"{len(results)} recipients"
    pieces = [_wrap(f"This is the mail system at {safe_text(host, 255)}."), _wrap(_OPENINGS[kind].format(who=who, until=until)),
              _about(envelope, original, offset)]
    for result in results[:NAMED]:
        pieces.append(_recipient(envelope, result))
    if len(results) > NAMED:
        pieces.append(_wrap(f"And {len(results) - NAMED} more, who are listed in the second part."))
    pieces.append(_wrap("Your message is attached." if full else "The header of your message is attached."))
    return "\n\n".join(pieces) + "\n"


def subject(kind: str, original: Headers) -> str:
    """The subject of the notification: what happened, and to which message."""
    about = original.text("subject")[:150]
    return f"{_SUBJECTS[kind]}: {about}" if about else f"{_SUBJECTS[kind]} mail"


def meaning(status: str) -> str:
    """What a status code means to a person, "" if there is nothing to say."""
    return _MEANINGS.get(status) or _MEANINGS.get(status[:status.rfind(".")], "")


def _about(envelope: Envelope, original: Headers, offset: int) -> str:
    about = _printable(original.text("subject")[:150])
    lines = [f"    Subject: {about}"] if about else []
    lines.append(f"    Sent:    {format_date(envelope.received, offset)}")
    return "\n".join(lines)


def _recipient(envelope: Envelope, result: RecipientResult) -> str:
    recipient = envelope.recipients[result.recipient]
    lines = [f"<{_printable(recipient.original or recipient.address)[:254]}>"]
    if said := meaning(result.status):
        lines.append(_wrap(said, "    "))
    if result.text:
        speaker = f"The mail system {safe_text(result.remote, 255)} said" if result.remote else "Reason"
        lines.append(_wrap(f"{speaker}: {safe_text(result.text, 1000)}", "    "))
    return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 76, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
