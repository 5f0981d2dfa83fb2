"""SMTP replies as values: code, enhanced status, text, and the octets they are sent as.

Made by the engine for what it answers alone and by servers/smtpin for its decisions; constants of this page are rendered once.
A reply never carries a control character, a line over 512 octets or anything but ASCII, whatever text it was given.
"""

from __future__ import annotations

LINE_LIMIT = 512                                     # RFC 5321 4.5.3.1.5
_UNSAFE = {code: "?" for code in (*range(32), 127)}


class Reply:
    """One answer: `code` 200-599, `status` an RFC 3463 status or "" (RFC 2034 has none for 3xx), `text` one or more lines."""

    __slots__ = ("code", "status", "text", "octets")

    def __init__(self, code: int, status: str, text: str, *more: str) -> None:
        self.code = code
        self.status = status
        self.text = text
        self.octets = self._render((text, *more)) if more else _line(f"{code} {status} {text}" if status else f"{code} {text}")

    def _render(self, lines: tuple[str, ...]) -> bytes:
        prefix = f"{self.status} " if self.status else ""
        last = len(lines) - 1
        return b"".join(_line(f"{self.code}{' ' if number == last else '-'}{prefix}{line}") for number, line in enumerate(lines))

    @property
    def positive(self) -> bool:
        """Whether the command was done (2xx) or may go on (3xx)."""
        return self.code < 400

    def __repr__(self) -> str:
        return f"Reply({self.code} {self.status} {self.text})"


def _line(text: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        text = text.translate(_UNSAFE)
    return text.encode("ascii", "backslashreplace")[:LINE_LIMIT - 2] + b"\r\n"


OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
START_CONTENT = Reply(354, "", "Send the message, end it with a line of one dot")
CANNOT_VERIFY = Reply(252, "2.0.0", "Cannot tell by VRFY; send the message and see")           # RFC 5321 3.5.3
NO_EXPN = Reply(502, "5.5.1", "Mailing lists are not expanded here")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
NO_TLS = Reply(502, "5.5.1", "TLS is not offered here")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is active already")
TLS_AFTER_AUTH = Reply(503, "5.5.1", "Not after authentication")
TLS_FIRST = Reply(530, "5.7.0", "Say STARTTLS first")                                          # RFC 3207 4
TLS_BEFORE_AUTH = Reply(538, "5.7.11", "Encryption is required for authentication")            # RFC 4954 6
AUTHENTICATED = Reply(235, "2.7.0", "Authentication succeeded")
AUTH_FIRST = Reply(530, "5.7.0", "Authentication is required")
AUTH_ALREADY = Reply(503, "5.5.1", "Authenticated already")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")                               # RFC 4954 4
AUTH_BASE64 = Reply(501, "5.5.2", "That is not base64")                                        # RFC 4954 4
AUTH_TOO_LONG = Reply(500, "5.5.6", "The authentication response is too long")                 # RFC 4954 4
NO_AUTH = Reply(502, "5.5.1", "Authentication is not offered here")
NO_MECHANISM = Reply(504, "5.5.4", "That mechanism is not offered here")
UNKNOWN = Reply(500, "5.5.1", "Command not recognised")
NOT_IN_LMTP = Reply(500, "5.5.1", "This is LMTP: say LHLO")                                    # RFC 2033 4.1
LMTP_ONLY = Reply(500, "5.5.1", "This is not LMTP: say EHLO")
TOO_LONG = Reply(500, "5.5.2", "Line too long")
BARE_NEWLINE = Reply(500, "5.5.2", "Lines end in CR LF")
NOT_PRINTABLE = Reply(500, "5.5.2", "Control characters are not allowed in commands")
NOT_UTF8 = Reply(500, "5.5.2", "The command is not valid UTF-8")
HELLO_FIRST = Reply(503, "5.5.1", "Say hello first")
MAIL_FIRST = Reply(503, "5.5.1", "Say MAIL first")
RCPT_FIRST = Reply(503, "5.5.1", "Say RCPT first")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
IN_TRANSACTION = Reply(503, "5.5.1", "Not during a mail transaction")
IN_CHUNKS = Reply(503, "5.5.1", "A message in chunks is under way: BDAT or RSET")              # RFC 3030 2
UNSYNCHRONISED = Reply(554, "5.5.0", "You speak out of turn: wait for the reply")              # RFC 2920 3.1
EARLY_TALKER = Reply(554, "5.5.0", "You speak before the greeting")                            # RFC 5321 3.1
INJECTED = Reply(503, "5.5.1", "Text behind STARTTLS is refused")                              # RFC 3207 6
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands without mail")
TOO_MANY_LOGINS = Reply(421, "4.7.0", "Too many failed logins")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in this session")                   # RFC 9422 4.1
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")                               # RFC 5321 4.5.3.1.10
TIMED_OUT = Reply(421, "4.4.2", "Timeout")
CONTENT_TIMED_OUT = Reply(421, "4.4.2", "The message took too long to arrive")
TOO_BIG = Reply(552, "5.3.4", "The message is too big")                                        # RFC 1870 6
HEADER_TOO_BIG = Reply(552, "5.3.4", "The header of the message is too big")
TEXT_LINE_TOO_LONG = Reply(554, "5.6.0", "A line of the message is too long")
CONTENT_NEWLINE = Reply(550, "5.6.11", "The message contains a bare CR or LF")                 # RFC 5321 2.3.8
CONTENT_NUL = Reply(550, "5.6.11", "The message contains a NUL octet")
