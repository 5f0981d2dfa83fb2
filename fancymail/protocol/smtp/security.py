"""What STARTTLS and AUTH do to a session (RFC 3207, RFC 4954): the commands, the exchange, and what is forgotten.

Stands between lines.py and server.py. Ferries SASL messages; never knows what they mean, nor keeps what they said.
"""

from __future__ import annotations

from fancymail.protocol.smtp import commands, events, sasl
from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.lines import GO_ON, LineServer
from fancymail.protocol.smtp.options import Options
from fancymail.protocol.smtp.parameters import Refused
from fancymail.protocol.smtp.reply import Reply


class SecureServer(LineServer):
    """`account` is who authenticated, "" for nobody."""

    def __init__(self, options: Options, tls=None) -> None:
        super().__init__(options, tls)
        self.account = ""
        self._exchange: sasl.Exchange | None = None
        self._failed_logins = 0

    def _read_command(self):
        """What is read when no exchange is under way."""
        raise NotImplementedError

    def tls_started(self, info) -> None:
        """RFC 3207 4.2: who was authenticated, and what was sent in plain text, is forgotten."""
        super().tls_started(info)
        self.tls = info
        self.account = ""
        self.inbox.clear()

    # The daemon's side

    def challenge(self, data: bytes) -> None:
        """Answer AuthStart or AuthStep: the exchange goes on."""
        self.busy = False
        self.out.append(sasl.challenge(data))
        self.arm(self.options.deadlines.auth)

    def authenticated(self, account: str, data: bytes = b"") -> None:
        """Answer AuthStart or AuthStep: the client is `account`; `data` is the server's own proof, if the mechanism has one."""
        self.account = account
        if data:                                     # 235 carries no data: the client confirms it with an empty answer
            self._exchange.confirming = True
            self.challenge(data)
        else:
            self.busy = False
            self._end_auth()

    # Commands

    def starttls(self, verb: str, argument: str):
        if argument:
            raise Refused(Reply(501, "5.5.4", "STARTTLS takes no argument"))         # RFC 3207 4
        if self.tls is not None:
            return self._error(r.TLS_ALREADY)
        if self.account:
            return self._error(r.TLS_AFTER_AUTH)
        if not self.options.tls:
            return self._error(r.NO_TLS)
        return self._decide(events.StartTls(), self._begin_tls)

    def _begin_tls(self, reply: Reply) -> None:
        if len(self.inbox):                          # came while we decided (RFC 3207 6, CVE-2011-0411)
            self._end(r.INJECTED)
        else:
            self._send(r.READY_FOR_TLS)
            self.want_tls = True

    def auth(self, verb: str, argument: str):
        options = self.options
        if self.account:
            return self._error(r.AUTH_ALREADY)       # RFC 4954 4
        if not options.mechanisms:
            return self._error(r.NO_AUTH)
        offered = options.offered_mechanisms(self.tls is not None, self._binding)
        if not offered:
            return self._error(r.TLS_BEFORE_AUTH)
        mechanism, initial = commands.parse_auth(argument)
        if mechanism not in offered:
            return self._error(r.NO_MECHANISM)
        self._exchange = sasl.Exchange(mechanism)
        self._otherwise = self._refuse_login
        try:
            event = self._exchange.begin(initial)
        except Refused as refusal:
            self._refuse_login(refusal.reply)
            return GO_ON
        self._read = self._read_response
        return self._go_on_with(event)

    def _read_response(self):
        """A line within AUTH: a response in base64, or `*`."""
        line = self._read_line(sasl.LINE_LIMIT)
        if line is None:
            return None
        if line == b"*":
            self._otherwise(r.AUTH_CANCELLED)
            return events.AuthCancel()
        try:
            if self._exchange.confirming:
                if line:
                    raise Refused(r.AUTH_BASE64)
                self._end_auth()
                return GO_ON
            return self._go_on_with(self._exchange.answer(line.decode("ascii", "replace")))
        except Refused as refusal:
            self._otherwise(refusal.reply)
            return events.AuthCancel()

    def _go_on_with(self, event):
        """Let the daemon decide about a SASL message, or send the prompt that comes before it."""
        if event is not None:
            self.busy = True
            return event
        self.out.append(self._exchange.to_send)
        self.arm(self.options.deadlines.auth)
        return GO_ON

    def _end_auth(self) -> None:
        self._exchange = None
        self._read = self._read_command
        self._junk = 0
        self._send(r.AUTHENTICATED)
        self.arm(self.options.deadlines.command)

    def _refuse_login(self, reply: Reply) -> None:
        self._exchange = None
        self.account = ""
        self._read = self._read_command
        if reply.code >= 500:
            self._failed_logins += 1
        self._refuse(reply)
        self.arm(self.options.deadlines.command)
        if self._failed_logins >= self.options.logins > 0 and not self.closing:
            self._end(r.TOO_MANY_LOGINS)

    @property
    def _binding(self) -> bool:
        return bool(getattr(self.tls, "server_end_point", b""))
