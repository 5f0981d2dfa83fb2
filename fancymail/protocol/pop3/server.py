"""The server's side of POP3 (RFC 1939, 2449, 2595, 3206, 5034, 6856): lines in, events out, decisions in, replies out.

Driven by servers/doors/connection.py for servers/pop3, and by the talks in tests/talks/pop3. The table below has every command, the
states that allow it and its arguments. The engine answers all that needs no decision, the listings of a maildrop among them; its
session hears of logins, of messages to be sent, and of the deletions at QUIT. It knows no account, no file and no clock.
"""

from __future__ import annotations

import re

from fancymail.protocol.engine import Engine
from fancymail.protocol.pop3.content import Stuffing
from fancymail.protocol.pop3.events import Event, Login, Maildrop, Options, Retrieve, SaslCancelled, SaslStep, Update
from fancymail.protocol.sasl import MAX_RESPONSE, offered

LINE = 255                      # RFC 2449 4: octets of a command with its CRLF
ABUSE = 1024 * 1024             # octets without an end of line that end the session
TOO_LONG = b"too long"          # stands for a line that was thrown away; compared by identity
AUTHORIZATION, TRANSACTION = "AUTHORIZATION", "TRANSACTION"

# Command -> (method, the states that allow it, least and most arguments).
COMMANDS = {
    b"CAPA": ("_capa", (AUTHORIZATION, TRANSACTION), 0, 0),
    b"USER": ("_user", (AUTHORIZATION,), 1, None),
    b"PASS": ("_pass", (AUTHORIZATION,), 1, None),
    b"AUTH": ("_auth", (AUTHORIZATION,), 0, 2),
    b"STLS": ("_stls", (AUTHORIZATION,), 0, 0),
    b"UTF8": ("_utf8", (AUTHORIZATION,), 0, 0),
    b"LANG": ("_lang", (AUTHORIZATION, TRANSACTION), 0, 1),
    b"STAT": ("_stat", (TRANSACTION,), 0, 0),
    b"LIST": ("_list", (TRANSACTION,), 0, 1),
    b"UIDL": ("_uidl", (TRANSACTION,), 0, 1),
    b"RETR": ("_retr", (TRANSACTION,), 1, 1),
    b"TOP": ("_top", (TRANSACTION,), 2, 2),
    b"DELE": ("_dele", (TRANSACTION,), 1, 1),
    b"RSET": ("_rset", (TRANSACTION,), 0, 0),
    b"NOOP": ("_noop", (TRANSACTION,), 0, 0),
    b"QUIT": ("_quit", (AUTHORIZATION, TRANSACTION), 0, 0),
}
_NUMBER = re.compile(rb"[0-9]{1,9}")
_FOREIGN = re.compile(rb"(?:GET|HEAD|POST|PUT|OPTIONS|CONNECT|DELETE|PATCH|PRI|EHLO|HELO|SSH-\S*)(?: |$)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Pop3Server(Engine):
    """One session. `tls`: the connection is encrypted from its beginning; `binding`: it has channel-binding data."""

    def __init__(self, options: Options, tls: bool = False, binding: bool = False) -> None:
        super().__init__()
        self.options, self.tls, self.binding = options, tls, binding
        self.maildrop: Maildrop | None = None
        self.utf8 = False                           # RFC 6856: the client takes UTF-8 in headers
        self._username: str | None = None
        self._mechanism: str | None = None          # of the exchange that is under way
        self._stuffing: Stuffing | None = None
        self._failures = self._errors = 0
        self._overlong = 0                          # octets of the current line that were thrown away
        self._leaving = False
        self._say(b"+OK " + options.banner.encode())
        self.arm(options.login_timeout)

    # -- reading -----------------------------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """Answer commands until one needs a decision."""
        while not (self.busy or self.closing or self.want_tls):
            if self._leaving:
                return self.leave()
            line = self._line()
            if line is None:
                return None
            event = self._interpret(line)
            if self.maildrop is not None:
                self.arm(self.options.idle)         # before the login, time counts from the connection on
            if event is not None:
                self.busy = not isinstance(event, SaslCancelled)
                return event
        return None

    def _interpret(self, line: bytes) -> Event | None:
        if line is TOO_LONG:
            self._complain(b"line too long")
            mechanism, self._mechanism = self._mechanism, None
            return SaslCancelled(mechanism) if mechanism else None
        return self._response(line) if self._mechanism else self._command(line)

    def _line(self) -> bytes | None:
        """Take one line from the inbox, without its end. A line that is too long is thrown away as it comes."""
        most = MAX_RESPONSE + 2 if self._mechanism or self.inbox[:4].upper() == b"AUTH" else LINE
        end = self.inbox.find(b"\n")
        if end < 0:
            self._wait_for_end(most)
            return None
        line = bytes(self.inbox[:end])
        del self.inbox[:end + 1]
        if end >= most or self._overlong:
            self._overlong = 0
            return TOO_LONG
        return line[:-1] if line[-1:] == b"\r" else line

    def _wait_for_end(self, most: int) -> None:
        if self.maildrop is None and self.inbox[:1] == b"\x16":
            self._end(b"-ERR this port begins in plain text")       # a TLS ClientHello: no end of line will come
        elif len(self.inbox) > most or self._overlong:
            self._overlong += len(self.inbox)
            self.inbox.clear()
            if self._overlong > ABUSE:
                self._end(b"-ERR line too long")

    def _command(self, line: bytes) -> Event | None:
        keyword, space, rest = line.partition(b" ")
        command = COMMANDS.get(keyword.upper())
        if command is None:
            return self._unknown(line)
        method, states, least, most = command
        if (AUTHORIZATION if self.maildrop is None else TRANSACTION) not in states:
            return self._complain(b"not in this state")
        if most is None:
            arguments = [rest] if rest else []      # RFC 1939 7: a password may contain spaces
        else:
            arguments = rest.split(b" ") if space else []
        if not least <= len(arguments) <= (1 if most is None else most) or not all(arguments):
            return self._complain(b"wrong number of arguments")
        return getattr(self, method)(*arguments)

    def _unknown(self, line: bytes) -> None:
        if self.maildrop is None and (_FOREIGN.match(line) or _CONTROL.search(line)):
            self._end(b"-ERR this is a POP3 server")                # another protocol: whatever follows is no POP3 either
        else:
            self._complain(b"unknown command")

    # -- AUTHORIZATION -----------------------------------------------------------------------------------------------

    def _capa(self) -> None:
        lines = [b"+OK capabilities follow", b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE NEVER",
                 b"LOGIN-DELAY %d" % self.options.login_delay, b"UTF8 USER", b"LANG", b"IMPLEMENTATION FancyMail"]
        if self.maildrop is None:
            if self._password_allowed():
                lines.append(b"USER")
            if mechanisms := self._mechanisms():
                lines.append(b"SASL " + " ".join(mechanisms).encode())
            if self.options.stls and not self.tls:
                lines.append(b"STLS")               # RFC 2595 4: only while it may be said
        self._say(*lines, b".")

    def _password_allowed(self) -> bool:
        return self.tls or self.options.plaintext

    def _mechanisms(self) -> tuple[str, ...]:
        return offered(self.options.mechanisms, self.tls, self.binding, self.options.plaintext)

    def _user(self, name: bytes) -> None:
        if not self._password_allowed():
            return self._complain(b"[AUTH] passwords are taken in TLS only: say STLS first")
        try:
            username = name.decode()                # RFC 6856 2.2: UTF8 USER
        except UnicodeDecodeError:
            return self._complain(b"a user name is UTF-8")
        if not username.isprintable() or len(username) > 320:
            return self._complain(b"this cannot be a user name")
        self._username = username
        self._say(b"+OK the password, please")      # whether there is such a user is nobody's business

    def _pass(self, password: bytes) -> Event | None:
        if self._username is None:
            return self._complain(b"say USER first")
        username, self._username = self._username, None
        return Login(username, password)

    def _auth(self, mechanism: bytes = b"", initial: bytes | None = None) -> Event | None:
        if not mechanism:                           # not in RFC 5034, but asked by clients older than CAPA
            self._say(b"+OK mechanisms follow", *[name.encode() for name in self._mechanisms()], b".")
            return None
        name = mechanism.decode("ascii", "replace").upper()
        if name not in self._mechanisms():
            if name in offered(self.options.mechanisms, True, True):
                return self._complain(b"[AUTH] this mechanism needs TLS: say STLS first")
            return self._complain(b"unknown mechanism")
        self._mechanism = name
        return SaslStep(name, initial)

    def _response(self, line: bytes) -> Event:
        mechanism = self._mechanism
        if line == b"*":                            # RFC 5034 4: the client gives up
            self._mechanism = None
            self._complain(b"cancelled")
            return SaslCancelled(mechanism)
        return SaslStep(mechanism, line)

    def _stls(self) -> None:
        if self.tls:
            return self._complain(b"TLS is here already")
        if not self.options.stls:
            return self._complain(b"there is no TLS here")
        if self.inbox:
            # Whoever sits on the wire can put commands behind STLS; kept, they would count as the client's (CVE-2011-0411).
            return self._end(b"-ERR nothing may follow STLS before TLS does")
        self._say(b"+OK begin TLS")
        self.want_tls = True

    def tls_started(self, info) -> None:
        """The handshake is done: what was said in plain text is forgotten (RFC 2595 4)."""
        super().tls_started(info)
        self.inbox.clear()
        self.tls, self.binding = True, bool(info is not None and info.server_end_point)
        self._username, self.utf8 = None, False

    def _utf8(self) -> None:
        self.utf8 = True
        self._say(b"+OK UTF-8 it is")

    def _lang(self, tag: bytes = b"") -> None:
        if not tag:
            self._say(b"+OK languages follow", b"en English", b".")
        elif tag.lower() in (b"*", b"en", b"i-default"):
            self._say(b"+OK en English")
        else:
            self._complain(b"this language is not spoken here")

    # -- TRANSACTION -------------------------------------------------------------------------------------------------

    def _stat(self) -> None:
        self._good(b"%d %d" % (self.maildrop.count, self.maildrop.octets))

    def _list(self, number: bytes = b"") -> None:
        if not number:
            self._listing(self.maildrop.scan_listing())
        elif found := self._find(number):
            self._good(b"%d %d" % (found[0], found[2]))

    def _uidl(self, number: bytes = b"") -> None:
        if not number:
            self._listing(self.maildrop.unique_listing())
        elif found := self._find(number):
            self._good(b"%d %b" % (found[0], self.maildrop.unique_id(found[1])))

    def _retr(self, number: bytes) -> Event | None:
        found = self._find(number)
        return Retrieve(*found) if found else None

    def _top(self, number: bytes, lines: bytes) -> Event | None:
        if not _NUMBER.fullmatch(lines):
            return self._complain(b"a number of lines, please")
        found = self._find(number)
        return Retrieve(*found, lines=int(lines)) if found else None

    def _dele(self, number: bytes) -> None:
        if found := self._find(number):
            self.maildrop.delete(found[0])
            self._good(b"message %d will be deleted" % found[0])

    def _rset(self) -> None:
        self.maildrop.reset()
        self._good(b"%d messages" % self.maildrop.count)

    def _noop(self) -> None:
        self._say(b"+OK")

    def _quit(self) -> Event | None:
        if self.maildrop is None:
            return self._end(b"+OK bye")
        return Update(self.maildrop.deleted_uids())     # RFC 1939 6: only here the session enters the UPDATE state

    def _find(self, number: bytes) -> tuple[int, int, int] | None:
        """Return (number, uid, octets) of a message, or complain."""
        found = self.maildrop.find(int(number)) if _NUMBER.fullmatch(number) else None
        if found is None:
            return self._complain(b"no such message")
        return int(number), *found

    def _listing(self, lines: bytes) -> None:
        self._errors = 0
        self.out += (b"+OK %d messages (%d octets)\r\n" % (self.maildrop.count, self.maildrop.octets), lines, b".\r\n")

    # -- decisions ---------------------------------------------------------------------------------------------------

    def logged_in(self, maildrop: Maildrop) -> None:
        """The login is right and the maildrop is ours alone."""
        self.busy, self._mechanism, self._username = False, None, None
        self.maildrop = maildrop
        self._errors = 0
        self._say(b"+OK %d messages (%d octets)" % (maildrop.count, maildrop.octets))
        self.arm(self.options.idle)

    def challenge(self, data: bytes) -> None:
        """The mechanism asks on; `data` is base64."""
        self.busy = False
        self._say(b"+ " + data)

    def refused(self, reason: str, code: str = "AUTH", counts: bool = True) -> None:
        """The login failed. `counts`: because of what the client sent, so a few of these end the session."""
        self.busy, self._mechanism = False, None
        self._failures += counts
        text = f"-ERR [{code}] {reason}" if code else f"-ERR {reason}"
        if self._failures >= self.options.login_failures:
            self._end(_line_of(text))
        else:
            self._say(_line_of(text))

    def content(self, data: bytes) -> None:
        """Send a message that is in memory: all of it for RETR, as much of it as there is for TOP."""
        self._errors = 0
        stuffing = Stuffing()
        self.out += (b"+OK %d octets\r\n" % len(data), stuffing(data), stuffing.end())
        self.busy = False

    def begin_content(self, octets: int) -> Stuffing:
        """Say that a message follows, and return what to put each of its chunks through on their way."""
        self._errors = 0
        self._stuffing = Stuffing()
        self._say(b"+OK %d octets" % octets)
        return self._stuffing

    def end_content(self) -> None:
        """The message is sent."""
        self.out.append(self._stuffing.end())
        self._stuffing = None
        self.busy = False

    @property
    def sending(self) -> bool:
        """Whether the client has seen the beginning of a message and not its end."""
        return self._stuffing is not None

    def failed(self, reason: str, code: str = "SYS/TEMP") -> None:
        """A message cannot be sent, or (at QUIT) not all that was marked could be deleted."""
        self.busy = False
        self._say(_line_of(f"-ERR [{code}] {reason}"))

    def updated(self, complete: bool = True) -> None:
        """The UPDATE state is done; the session ends."""
        self.busy = False
        # RFC 1939 6: the server says so when it could not remove what was marked, and closes all the same.
        self._end(b"+OK bye" if complete else b"-ERR [SYS/TEMP] some deleted messages are not removed")

    def expire(self) -> None:
        """Too long a silence: close without the UPDATE state (RFC 1939 3)."""
        self._end(b"-ERR [SYS/TEMP] too long a silence" if self.maildrop is not None else b"-ERR too slow to log in")

    def leave(self) -> None:
        """End the session behind the command that is under way, and delete nothing: the daemon goes away, or the account changed."""
        self._leaving = True
        if not self.busy:
            self._end(b"-ERR [SYS/TEMP] the session ends here, log in again")

    # -- writing -----------------------------------------------------------------------------------------------------

    def _say(self, *lines: bytes) -> None:
        self.out.append(b"\r\n".join(lines) + b"\r\n")

    def _good(self, text: bytes) -> None:
        self._errors = 0
        self.out.append(b"+OK %b\r\n" % text)

    def _complain(self, reason: bytes) -> None:
        """Refuse a command; too many in a row end the session."""
        self._errors += 1
        if self._errors >= self.options.errors:
            self._end(b"-ERR too many errors")
        else:
            self._say(b"-ERR " + reason)

    def _end(self, line: bytes) -> None:
        self._say(line)
        self.inbox.clear()
        self.closing = True


def _line_of(text: str) -> bytes:
    """A reply that came from elsewhere as one line of printable ASCII, within 512 octets (RFC 1939 3)."""
    return "".join([char if " " <= char <= "~" else "?" for char in text])[:500].encode()
