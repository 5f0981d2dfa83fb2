"""The engine of an SMTP or LMTP server: octets in, legal events out, decisions in, replies out (RFC 5321, RFC 2033).

Driven by servers/doors/listener.py and decided for by servers/smtpin; see protocol/engine.py for the shape. Syntax, sequence, limits
and the unknown are answered here alone. Replies of a pipelined group leave together (RFC 2920). Never decides who may send what.
"""

from __future__ import annotations

from collections.abc import Sequence

from fancymail.protocol.smtp import commands, events, sasl
from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.commands import CHUNKS, COMMANDS, CONNECTED, MAIL, RCPT, READY, Row
from fancymail.protocol.smtp.content import ContentRules, Unacceptable
from fancymail.protocol.smtp.data import ChunkReader, DataReader
from fancymail.protocol.smtp.lines import GO_ON
from fancymail.protocol.smtp.options import Options
from fancymail.protocol.smtp.parameters import Refused
from fancymail.protocol.smtp.reply import Reply
from fancymail.protocol.smtp.security import SecureServer

COMMAND_LIMIT = 512                                  # octets with CR LF, RFC 5321 4.5.3.1.4
EXTENDED_LIMIT = 2048                                # with the parameters of all extensions offered
TINY_CHUNK = 1024                                    # BDAT below this brings no mail worth its command
PEEK = 8192                                          # octets in which recipients to come are looked for
LAST_WORDS = 2.0                                     # seconds to read a reply in, once all is said


class SmtpServer(SecureServer):
    """One session. `greet` opens it. An event that decides is answered by exactly one of reply, reply_each, accept,
    challenge and authenticated."""

    def __init__(self, options: Options, tls=None) -> None:
        super().__init__(options, tls)
        self.state = CONNECTED
        self.extended = False                        # the hello was EHLO or LHLO
        self.recipients = 0                          # accepted in this transaction
        self.smtputf8 = False
        self._messages = self._refused_recipients = 0
        self._read = self._read_command
        self._reader: DataReader | ChunkReader | None = None
        self._complete = False                       # the reader has come to an end
        self._chunk = (0, False)                     # the BDAT that waits for a decision

    # The driver's side

    def greet(self) -> None:
        """Begin: say the banner, at once or after the silence that is asked of the client (RFC 5321 3.1)."""
        if self.options.deadlines.greeting and self.tls is None:
            self._read = self._read_early
            self.arm(self.options.deadlines.greeting)
        else:
            self._say_banner()

    def expire(self) -> None:
        """A phase took too long."""
        if self._read == self._read_early:
            self._read = self._read_command
            self._say_banner()
        elif not self.closing:
            if self._read != self._read_rest:
                self._send(r.CONTENT_TIMED_OUT if self._read == self._read_content else r.TIMED_OUT)
            self.closing = True

    def tls_started(self, info) -> None:
        """RFC 3207 4.2: whatever was said in plain text is forgotten."""
        super().tls_started(info)
        self.state = CONNECTED
        self._reset()
        self.arm(self.options.deadlines.hello)

    # The daemon's side: decisions

    def reply_each(self, replies: Sequence[Reply]) -> None:
        """Answer DataEnd in LMTP: one reply for each accepted recipient, in their order (RFC 2033 4.2)."""
        self.busy = False
        self._end_content(replies)

    def upcoming_recipients(self) -> list[str]:
        """The recipients of pipelined RCPTs that were not read yet: what a daemon may ask about ahead. No promise is in it."""
        return commands.peek_recipients(bytes(self.inbox.octets[self.inbox.start:self.inbox.start + PEEK]), self.smtputf8)

    # Reading

    def _read_early(self):
        return self._end(r.EARLY_TALKER) if len(self.inbox) else None

    def _read_command(self):
        inbox = self.inbox
        if inbox.start == len(inbox.octets):
            return None
        first = inbox.octets[inbox.start]
        if first == 0x16 and self.state == CONNECTED:
            return self._hang_up()                   # a TLS client on a plain port
        line = self._read_line(sasl.LINE_LIMIT if first in b"Aa" else EXTENDED_LIMIT)
        if line is None:
            return None
        if self.state != CONNECTED:                  # before, the deadline is one for all that comes ahead of hello
            self.arm(self.options.deadlines.command)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return self._error(r.NOT_UTF8)
        verb, _, argument = text.partition(" ")
        row = COMMANDS.get(verb) or COMMANDS.get(verb.upper())
        if row is None:
            return self._unknown(verb.upper())
        if not text.isprintable() and text.isascii():
            return self._error(r.NOT_PRINTABLE)
        if len(line) > COMMAND_LIMIT - 2 and not row.long:
            return self._error(r.TOO_LONG)
        try:
            return self._obey(verb.upper(), row, argument.rstrip(" "))
        except Refused as refusal:
            return self._error(refusal.reply)

    def _obey(self, verb: str, row: Row, argument: str):
        """Hold a command against its row of the table, then carry it out."""
        options = self.options
        if options.mode not in row.modes:
            return self._error(r.NOT_IN_LMTP if options.mode == "lmtp" else r.LMTP_ONLY)
        if row.last and options.sync and len(self.inbox) and not self.account:
            return self._end(r.INJECTED if verb == "STARTTLS" else r.UNSYNCHRONISED)
        if options.tls_required and self.tls is None and not row.plain:
            return self._error(r.TLS_FIRST)
        if not row.states & self.state:
            return self._error(self._out_of_place(verb, row))
        if row.idle and self._is_junk():
            return None
        return getattr(self, row.act)(verb, argument)

    def _out_of_place(self, verb: str, row: Row) -> Reply:
        if self.state == CONNECTED:
            return r.HELLO_FIRST
        if self.state == CHUNKS:
            return r.IN_CHUNKS
        if row.states == READY:                      # hello was said, so a transaction is open
            return r.IN_TRANSACTION
        if verb == "DATA" and self.state == MAIL and self._refused_recipients:
            return r.NO_RECIPIENTS                   # RFC 5321 3.3
        return r.MAIL_FIRST if self.state == READY else row.elsewhere

    def _read_content(self):
        """Hand out what the reader made of the content so far, then its end."""
        reader = self._reader
        event = reader.rules.next_event()
        if event is not None:
            return event
        if not self._complete:
            try:
                self._complete = reader.read(self.inbox)
            except Unacceptable as refusal:
                return self._refuse_content(refusal)
            event = reader.rules.next_event()
            if event is not None:
                return event
        return self._content_read() if self._complete else None

    def _read_rest(self):
        """After a refusal that ends the session: hear the client out, so that it can read our reply; obey nothing.

        To close while octets are still coming would reset the connection and take the reply with it.
        """
        if not self._complete and self._reader.read(self.inbox):
            self._complete = True
            self.arm(LAST_WORDS)
        if self._complete:
            self.inbox.clear()
        return None

    # Commands: each takes (verb, argument) and returns an event, GO_ON, or None at the end of the session

    def hello(self, verb: str, argument: str):
        event = commands.parse_hello(verb, argument)
        self._reset()
        return self._decide(event, self._enter if verb != "HELO" else self._enter_plainly)

    def _enter(self, reply: Reply) -> None:
        self.state, self.extended = READY, True
        self.arm(self.options.deadlines.command)
        self._send(self.options.extended_hello(self.tls is not None, self._binding, bool(self.account)))

    def _enter_plainly(self, reply: Reply) -> None:
        self.state, self.extended = READY, False
        self.arm(self.options.deadlines.command)
        self._send(Reply(250, "", self.options.host))

    def mail(self, verb: str, argument: str):
        options = self.options
        if options.auth_required and not self.account:
            return self._error(r.TLS_FIRST if self.tls is None and options.tls and not options.auth_in_plain else r.AUTH_FIRST)
        event = commands.parse_mail(argument, options.content.octets)
        if options.messages and self._messages >= options.messages:
            return self._end(r.TOO_MANY_MESSAGES)
        self.smtputf8 = event.smtputf8
        return self._decide(event, self._begin)

    def _begin(self, reply: Reply) -> None:
        self.state = MAIL
        self._messages += 1
        self._send(reply)

    def rcpt(self, verb: str, argument: str):
        if self.options.recipients and self.recipients >= self.options.recipients:
            return self._answer(r.TOO_MANY_RECIPIENTS)
        try:
            return self._decide(commands.parse_rcpt(argument, self.smtputf8), self._add_recipient, self._refuse_recipient)
        except Refused:
            self._refused_recipients += 1
            raise

    def _add_recipient(self, reply: Reply) -> None:
        self.state = RCPT
        self.recipients += 1
        self._send(reply)

    def _refuse_recipient(self, reply: Reply) -> None:
        self._refused_recipients += 1
        self._refuse(reply)

    def data(self, verb: str, argument: str):
        if argument:
            raise Refused(Reply(501, "5.5.4", "DATA takes no argument"))
        return self._decide(events.DataStart(), self._open_data)

    def _open_data(self, reply: Reply) -> None:
        self._open_content(DataReader(ContentRules(self.options.content)))
        self._send(r.START_CONTENT)

    def bdat(self, verb: str, argument: str):
        """RFC 3030 2: the octets follow at once, so they are read even when the command is refused."""
        try:
            octets, last = commands.parse_chunk(argument)
        except Refused as refusal:
            return self._end(refusal.reply)          # what follows cannot be told from commands
        if self.options.content.octets and octets > self.options.content.octets:
            return self._end(r.TOO_BIG)
        if octets < TINY_CHUNK and not last and self._is_junk():
            return None
        if self.state == RCPT:
            self._chunk = (octets, last)
            return self._decide(events.DataStart(), self._open_chunks, self._refuse_chunks)
        if self.state == CHUNKS:
            self._next_chunk(octets, last)
        else:
            self._drop_chunk(octets, last, self._out_of_place("DATA", COMMANDS["DATA"]))
        return GO_ON

    def _open_chunks(self, reply: Reply) -> None:
        self._open_content(ChunkReader(ContentRules(self.options.content)))
        self._next_chunk(*self._chunk)

    def _next_chunk(self, octets: int, last: bool) -> None:
        self.state = CHUNKS
        self._complete = False
        self._reader.begin(octets, last)
        self._read = self._read_content
        self.arm(self.options.deadlines.content)

    def _refuse_chunks(self, reply: Reply) -> None:
        self._drop_chunk(*self._chunk, reply)

    def _drop_chunk(self, octets: int, last: bool, reply: Reply) -> None:
        """Read a chunk that was refused, then say so."""
        reader = ChunkReader(ContentRules(self.options.content))
        reader.failed = reply
        reader.begin(octets, last)
        self._open_content(reader)

    def rset(self, verb: str, argument: str):
        if argument:
            raise Refused(Reply(501, "5.5.4", "RSET takes no argument"))
        self._reset()
        if self.state != CONNECTED:
            self.state = READY
        self._send(r.OK)
        return events.Rset()

    def noop(self, verb: str, argument: str):
        return self._answer(r.OK)

    def help(self, verb: str, argument: str):
        return self._answer(Reply(214, "2.0.0", *commands.HELP_LINES))

    def vrfy(self, verb: str, argument: str):
        if not argument:
            raise Refused(Reply(501, "5.5.4", "Syntax: VRFY address"))
        return self._answer(r.CANNOT_VERIFY)

    def expn(self, verb: str, argument: str):
        return self._error(r.NO_EXPN)

    def quit(self, verb: str, argument: str):
        if argument:
            raise Refused(Reply(501, "5.5.4", "QUIT takes no argument"))
        self._send(Reply(221, "2.0.0", f"{self.options.host} closing connection"))
        self.closing = True
        return events.Quit()

    # Content

    def _open_content(self, reader: DataReader | ChunkReader) -> None:
        self._reader = reader
        self._complete = False
        self._read = self._read_content
        self.arm(self.options.deadlines.content)

    def _content_read(self):
        """DATA or a chunk is read to its end."""
        reader = self._reader
        if reader.failed is not None:
            self._end_content([reader.failed])
            return GO_ON
        if isinstance(reader, ChunkReader) and not reader.last:
            self._read = self._read_command
            self._send(Reply(250, "2.0.0", "Chunk received"))
            self.arm(self.options.deadlines.command)
            return GO_ON
        self.arm(None)                               # now it is our turn to be quick
        self.busy = True
        self._after = self._otherwise = self._answer_content
        return events.DataEnd(reader.rules.octets, reader.rules.eight_bit)

    def _answer_content(self, reply: Reply) -> None:
        self._end_content([reply])

    def _refuse_content(self, refusal: Unacceptable):
        """The daemon forgets the message now; the client is told at its end, or at once when there is no telling the end."""
        reply = refusal.reply
        self._reader.rules.discard()
        if refusal.fatal and isinstance(self._reader, DataReader):
            for _ in range(self._replies_due):
                self._send(reply)
            self._read = self._read_rest
            self.arm(self.options.deadlines.linger)
        return events.DataFail(reply.code, reply.status, reply.text)

    def _end_content(self, replies: Sequence[Reply]) -> None:
        """One answer stands for all when there is but one."""
        due = self._replies_due
        if len(replies) != due:
            replies = [replies[0]] * due
        for reply in replies:
            self.out.append(reply.octets)
        accepted = any(reply.code < 400 for reply in replies)
        dropped = self.state == CONNECTED
        self._reset()
        if not dropped:
            self.state = READY
        self._read = self._read_command
        self.arm(self.options.deadlines.command)
        if accepted:
            self._junk = 0
        else:
            self._count_error(replies[0])

    @property
    def _replies_due(self) -> int:
        """LMTP answers once for each recipient (RFC 2033 4.2), but a chunk that has others behind it only once (4.3)."""
        if self.options.mode != "lmtp" or isinstance(self._reader, ChunkReader) and not self._reader.last:
            return 1
        return self.recipients or 1

    # Answering

    def _unknown(self, verb: str):
        if verb in commands.STRANGERS or verb.startswith("SSH-"):
            return self._hang_up()
        return self._error(r.UNKNOWN)

    def _say_banner(self) -> None:
        self._send(self.options.greeting())
        self.arm(self.options.deadlines.hello)

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321 4.1.1.5)."""
        self.recipients = self._refused_recipients = 0
        self.smtputf8 = False
        self._reader = None
        self._complete = False
