"""Decides about the events of one SMTP or LMTP connection.

Made by daemon.py for every connection; the engine (protocol/smtp/server.py) shows only legal events. What is known is answered
within the same turn of the loop; only a question to auth or queue makes the client wait. When in doubt the answer is "try
later": auth or queue being away never makes a yes, nor a lasting no.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable

from fancymail.core import heading, reception
from fancymail.core.reception import Client, Refusal, Route
from fancymail.ipc.message import IpcError
from fancymail.mail import trace
from fancymail.mail.dates import format_date
from fancymail.mail.envelope import Envelope
from fancymail.protocol.smtp import events
from fancymail.protocol.smtp.commands import CONNECTED, READY
from fancymail.protocol.smtp.options import Options
from fancymail.protocol.smtp.reply import RECIPIENT_OK, SENDER_OK, Reply
from fancymail.protocol.smtp.server import SmtpServer
from fancymail.servers.doors.connection import Connection, Later, Session
from fancymail.servers.smtpin.outbox import Finished
from fancymail.servers.smtpin.transaction import Transaction, refusal_of

AUTH_PATIENCE = 20.0                 # seconds; hashing has its own queue
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down, come back soon")                              # RFC 5321 3.8
NO_TLS_NOW = Reply(454, "4.7.0", "TLS is not available now")                                      # RFC 3207 4
AUTH_AWAY = Reply(454, "4.7.0", "Logins are not possible now, try again later")                   # RFC 4954 6
BAD_LOGIN = Reply(535, "5.7.8", "Authentication failed")
_AUTH_REPLIES = {"5.5.2": (501, "The response cannot be read"), "5.5.4": (504, "That mechanism is not offered"),
                 "5.7.11": (538, "Encryption is required for authentication")}


class SmtpSession(Session):
    """One connection. `server` is the daemon: directory, pools, outbox, log, counters."""

    def __init__(self, server, connection: Connection, options: Options) -> None:
        self.server = server
        self.connection = connection
        self.options = options
        self.engine = SmtpServer(options, tls=connection.tls)
        self.account = ""
        self.helo = ""
        self.transaction: Transaction | None = None
        self.trusted = options.mode == "transfer" and server.may_relay(connection.peer)
        self.draining = False
        self._sasl = ("", "")                        # session word and mechanism of the exchange under way
        self.engine.greet()

    def handle(self, event) -> Awaitable | Later | None:
        """Decide about one event."""
        return _HANDLERS[type(event)](self, event)

    def closed(self) -> None:
        """The client is gone; a message it didn't finish is nobody's."""
        self._forget()
        if self._sasl[0]:
            self._cancel_login()

    def drain(self) -> None:
        """The daemon goes away: end between two messages."""
        self.draining = True
        if not self.engine.busy and self.engine.state in (CONNECTED, READY):
            self.engine.close_with(SHUTTING_DOWN)

    # Hello, TLS, the end

    def _hello(self, event: events.Hello) -> None:
        self._forget()
        self.helo = event.name
        self.engine.accept()

    def _start_tls(self, event: events.StartTls) -> None:
        if self.server.certificates is None:
            self.engine.reply(NO_TLS_NOW)
            return
        self._forget()
        self.helo = self.account = ""                # RFC 3207 4.2
        self.engine.accept()

    def _over(self, event) -> None:
        """RSET or QUIT."""
        self._forget()

    def _forget(self) -> None:
        if self.transaction is not None:
            self.transaction.abort()
            self.transaction = None

    # AUTH

    def _auth_start(self, event: events.AuthStart) -> Awaitable:
        self._sasl = (secrets.token_hex(16), event.mechanism)
        return self._step(event.response)

    def _auth_step(self, event: events.AuthStep) -> Awaitable:
        return self._step(event.response)

    def _auth_cancel(self, event: events.AuthCancel) -> None:
        self.account = ""
        if self._sasl[0]:
            self._cancel_login()

    async def _step(self, response: bytes) -> None:
        """Ferry one SASL message to auth and its answer back."""
        tls = self.connection.tls
        encoded = b64encode(response) or b"="
        try:
            words = await self.server.ask("auth", "sasl", *self._sasl, encoded, self.connection.peer, tls is not None,
                                          tls.server_end_point if tls else b"", timeout=AUTH_PATIENCE)
            challenged = words[0] == b"challenge"
            account = "" if challenged else words[0].decode()
            data = b64decode(words[1]) if len(words) > 1 else b""
            if not (challenged or account):
                raise ValueError("neither a challenge nor an account")
        except IpcError as error:
            self._login_failed(error)
        except (IndexError, ValueError) as error:
            self.server.log.error("auth answered nonsense", error=error)
            self._login_failed(IpcError("4.3.0", "nonsense"))
        else:
            if challenged:
                self.engine.challenge(data)
            else:
                self._logged_in(account, data)

    def _logged_in(self, account: str, data: bytes) -> None:
        self.account = account
        self.server.counters["logins"] += 1
        self.server.log.info("login", account=account, client=self.connection.peer, mechanism=self._sasl[1], tls=self._tls())
        self._sasl = ("", "")
        self.engine.authenticated(account, data)

    def _login_failed(self, error: IpcError) -> None:
        mechanism, self._sasl = self._sasl[1], ("", "")
        self.server.counters["logins_failed"] += 1
        self.server.log.info("login refused", client=self.connection.peer, mechanism=mechanism, status=error.status, reason=error.text)
        if error.temporary:
            reply = AUTH_AWAY
        elif error.status in _AUTH_REPLIES:
            code, text = _AUTH_REPLIES[error.status]
            reply = Reply(code, error.status, text)
        else:
            reply = BAD_LOGIN
        self.engine.reply(reply)

    def _cancel_login(self) -> None:
        words, self._sasl = self._sasl, ("", "")
        try:
            self.server.ask("auth", "sasl", *words, b"*", self.connection.peer, self.connection.tls is not None, b"",
                            timeout=AUTH_PATIENCE).add_done_callback(lambda done: done.cancelled() or done.exception())
        except IpcError:
            pass                                     # auth forgets it by itself after a while

    # MAIL

    def _mail(self, event: events.Mail) -> Awaitable | None:
        self._forget()
        self.transaction = Transaction(event)
        if self.server.full:
            self._refuse("sender", reception.DISK_FULL)
        elif not self.account:
            self.engine.reply(SENDER_OK)
        elif not event.address:
            refusal = reception.judge_null_sender(self._client, self.server.settings.smtpin.null_sender)
            self._refuse("sender", refusal) if refusal else self.engine.reply(SENDER_OK)
        else:
            answer = self.server.directory.may_send(self.account, event.address)
            if isinstance(answer, asyncio.Future):
                return self._later(answer, self._sender_known)
            self._sender_known(answer)
        return None

    def _sender_known(self, answer: list[bytes] | IpcError) -> None:
        if isinstance(answer, IpcError):
            self._refuse("sender", reception.judge_ownership(answer.status, reception.NOT_YOUR_SENDER))
        else:
            self.engine.reply(SENDER_OK)

    # RCPT

    def _rcpt(self, event: events.Rcpt) -> Awaitable | None:
        address = self._full(event.address)
        answer = self.server.directory.resolve(address)
        if isinstance(answer, asyncio.Future):
            for other in self.engine.upcoming_recipients():      # one round trip for a whole group of them
                self.server.directory.resolve(self._full(other))
            return self._later(answer, self._recipient_known, event, address)
        self._recipient_known(answer, event, address)
        return None

    def _full(self, address: str) -> str:
        """RFC 5321 4.1.1.3: Postmaster without a domain is ours."""
        return address if "@" in address else f"{address}@{self.server.settings.server.default_domain}"

    def _recipient_known(self, answer: list[bytes] | IpcError, event: events.Rcpt, address: str) -> None:
        if isinstance(answer, IpcError):
            verdict = reception.judge_unresolved(self._client, address, answer.status, answer.text)
        else:
            routes = reception.read_routes(answer)
            verdict = reception.judge_room(routes, self.server.full_accounts) if routes else reception.TEMPORARY
        if isinstance(verdict, Refusal):
            self._refuse("recipient", verdict, to=event.address)
        else:
            self._take_recipient(event, address, verdict)

    def _take_recipient(self, event: events.Rcpt, address: str, routes: list[Route]) -> None:
        if self.transaction is None:                 # the connection closed while auth was asked
            return
        self.transaction.add(event, address, routes)
        self.engine.reply(RECIPIENT_OK)

    # Content

    def _data_start(self, event: events.DataStart) -> Awaitable | None:
        pools = [self.server.pools[queue] for queue in self.transaction.queues]
        taken = [pool.take() for pool in pools]
        if any(isinstance(one, asyncio.Future) for one in taken):
            return self._await_slots(pools, taken)
        self.transaction.begin(pools, taken)
        self.engine.accept()
        return None

    async def _await_slots(self, pools: list, taken: list) -> None:
        results = await asyncio.gather(*[_value(one) for one in taken], return_exceptions=True)
        errors = [error for error in results if isinstance(error, BaseException)]
        if self.transaction is None or errors:       # the client has gone, or must come again
            for pool, path in zip(pools, results):
                if isinstance(path, str):
                    pool.give_back(path)
        if self.transaction is None:
            return
        if errors:
            self._refuse("content", refusal_of(errors[0]), reason=str(errors[0]))
        else:
            self.transaction.begin(pools, results)
            self.engine.accept()

    def _header(self, event: events.Header) -> Awaitable | None:
        if not self.account:
            settings = self.server.settings
            self._begin_content(heading.transfer_heading(event.block, settings.server.hostname, settings.smtpin.hops))
            return None
        senders = heading.header_senders(event.block)
        if isinstance(senders, Refusal):
            self._begin_content(senders)
            return None
        return self._check_senders(senders, event.block)

    async def _check_senders(self, senders: list[str], block: bytes) -> None:
        """RFC 6409 6.1: every address in From belongs to the account."""
        for sender in senders:
            answer = self.server.directory.may_send(self.account, sender)
            if isinstance(answer, asyncio.Future):
                answer = await answer
            if isinstance(answer, IpcError):
                self._begin_content(reception.judge_ownership(answer.status, reception.NOT_YOUR_FROM))
                return
        self._begin_content(self._complete(block))

    def _complete(self, block: bytes) -> bytes | Refusal:
        server, mail = self.server.settings, self.transaction.mail if self.transaction else events.Mail("")
        own = heading.Submission(f"<{secrets.token_hex(16)}@{server.server.hostname}>", format_date(time.time()), mail.address,
                                 mail.smtputf8)
        return heading.submission_heading(block, server.server.hostname, server.smtpin.hops, own)

    def _begin_content(self, block: bytes | Refusal) -> None:
        transaction = self.transaction
        if transaction is None or transaction.refusal is not None:
            return
        if isinstance(block, Refusal):
            transaction.refuse(block)
        elif transaction.loops(block):
            transaction.refuse(heading.ROUND)
        else:
            self._write(self._received() + block)

    def _received(self) -> bytes:
        transaction = self.transaction
        only = transaction.accepted[0] if len(transaction.accepted) == 1 else ""
        return trace.received_field(self.helo, self.connection.peer, self.server.settings.server.hostname, self._protocol(),
                                    self._tls(), transaction.id, only, time.time())

    def _content(self, event: events.Content) -> None:
        self._write(event.data)

    def _write(self, data: bytes) -> None:
        self._spoilt(self.transaction.write(data))

    def _spoilt(self, error: Exception | None) -> None:
        if error is not None:
            self.server.log.error("slot not written", error=error, client=self.connection.peer)

    def _data_fail(self, event: events.DataFail) -> None:
        self._log_refused("content", Refusal(event.code, event.status, event.text))
        self._forget()

    # The end of a message

    def _data_end(self, event: events.DataEnd) -> Later | None:
        transaction, finished = self.transaction, None
        if transaction.refusal is None:
            envelope = self._envelope(event)
            finished = transaction.finish(envelope)
        if transaction.refusal is not None:
            self._spoilt(finished)
            self._refuse("content", transaction.refusal)
            self.transaction = None
            self._end_if_draining()
            return None
        later, waiting, failed = Later(), len(finished), []

        def settle(error: IpcError | None) -> None:
            nonlocal waiting
            waiting -= 1
            if error is not None:
                failed.append(error)
            if not waiting:
                self._stored(transaction, envelope, failed)
                later.come()

        self.transaction = None                      # from here on it is nobody's to take back
        for queue, path, told in finished:
            self.server.outbox.add(Finished(queue, path, told, settle))
        return later

    def _envelope(self, event: events.DataEnd) -> Envelope:
        transaction, mail = self.transaction, self.transaction.mail
        return Envelope(id=transaction.id, sender=mail.address, received=time.time(), account=self.account, client=self.connection.peer,
                        helo=self.helo, protocol=self._protocol(), body="8BITMIME" if event.eight_bit else mail.body,
                        smtputf8=mail.smtputf8, envid=mail.envid, ret=mail.ret)

    def _stored(self, transaction: Transaction, envelope: Envelope, failed: list[IpcError]) -> None:
        """Every slot is on the disk: only now is the message ours, or not."""
        if failed:
            self._refuse("content", refusal_of(failed[0]), id=envelope.id, reason=str(failed[0]))
            return
        self.server.counters["accepted"] += 1
        self.server.counters["octets"] += transaction.octets
        self.server.log.info("accepted", id=envelope.id, sender=envelope.sender or "<>", to=",".join(transaction.accepted), size=transaction.octets,
                             protocol=envelope.protocol, **self._who())
        self.engine.reply(Reply(250, "2.0.0", f"queued as {envelope.id}"))
        self._end_if_draining()

    def _end_if_draining(self) -> None:
        if self.draining:
            self.engine.close_with(SHUTTING_DOWN)

    # Small things

    @property
    def _client(self) -> Client:
        return Client(self.options.mode, self.account, self.trusted)

    async def _later(self, answer: asyncio.Future, decide, *facts) -> None:
        decide(await answer, *facts)

    def _refuse(self, what: str, refusal: Refusal, **facts) -> None:
        self._log_refused(what, refusal, **facts)
        self.engine.reply(Reply(*refusal))
        if what == "sender":
            self.transaction = None

    def _log_refused(self, what: str, refusal: Refusal, **facts) -> None:
        self.server.counters["refused" if refusal.code >= 500 else "deferred"] += 1
        sender = self.transaction.mail.address or "<>" if self.transaction else "-"
        if self.transaction is not None and self.transaction.writers:
            facts["id"] = self.transaction.id
        self.server.log.info(f"{what} refused", code=refusal.code, status=refusal.status, text=refusal.text, sender=sender, **facts,
                             **self._who())

    def _who(self) -> dict[str, str]:
        """What the log says of the client."""
        facts = {"client": self.connection.peer or "local", "helo": self.helo}
        if self.connection.tls is not None:
            facts["tls"] = self._tls()
        if self.account:
            facts["account"] = self.account
        return facts

    def _tls(self) -> str:
        tls = self.connection.tls
        return f"{tls.version} {tls.cipher}" if tls else ""

    def _protocol(self) -> str:
        return trace.transmission_type(self.options.mode == "lmtp", self.engine.extended, self.connection.tls is not None,
                                       bool(self.account), self.transaction is not None and self.transaction.mail.smtputf8)


async def _value(one: str | asyncio.Future) -> str:
    return await one if isinstance(one, asyncio.Future) else one


_HANDLERS = {
    events.Hello: SmtpSession._hello, events.Mail: SmtpSession._mail, events.Rcpt: SmtpSession._rcpt,
    events.DataStart: SmtpSession._data_start, events.Header: SmtpSession._header, events.Content: SmtpSession._content,
    events.DataEnd: SmtpSession._data_end, events.DataFail: SmtpSession._data_fail, events.AuthStart: SmtpSession._auth_start,
    events.AuthStep: SmtpSession._auth_step, events.AuthCancel: SmtpSession._auth_cancel, events.StartTls: SmtpSession._start_tls,
    events.Rset: SmtpSession._over, events.Quit: SmtpSession._over,
}
