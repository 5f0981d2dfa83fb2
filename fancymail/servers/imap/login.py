"""Who is it? LOGIN and AUTHENTICATE, ferried to fm-auth as they are and answered in RFC 5530's words.

Part of servers/imap/session.py. Holds nothing but the exchange under way; it never sees a hash and logs no password.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from fancymail.ipc.message import IpcError
from fancymail.protocol.imap.commands import Login, SaslCancelled, SaslStep

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

PATIENCE = 30.0                 # seconds for a login: password checks may queue
UNAVAILABLE, FAILED, PRIVACY = b"UNAVAILABLE", b"AUTHENTICATIONFAILED", b"PRIVACYREQUIRED"      # RFC 5530 3


class Entrance:
    """The login of one session."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._exchange = ""             # the word of the SASL exchange under way
        self._proved = ""               # who SCRAM has proved, while the client has not heard our own proof yet

    async def login(self, event: Login) -> None:
        """Check a password."""
        session = self._session
        try:
            words = await session.daemon.ask("auth", "auth", event.user, event.password, session.connection.peer, timeout=PATIENCE)
        except IpcError as error:
            self._refuse(error, "password")
            return
        await session.enter(words[0].decode(), "password")

    async def step(self, event: SaslStep) -> None:
        """Ferry one SASL message, base64 as it is, to auth and its answer back."""
        if self._proved:
            await self._finish(event)
            return
        session, tls = self._session, self._session.connection.tls
        self._exchange = self._exchange or secrets.token_hex(16)
        response = b"" if event.response is None else event.response or b"="
        try:
            words = await session.daemon.ask("auth", "sasl", self._exchange, event.mechanism, response, session.connection.peer,
                                             tls is not None, tls.server_end_point if tls else b"", timeout=PATIENCE)
        except IpcError as error:
            self._exchange = ""
            self._refuse(error, event.mechanism)
            return
        if words[0] == b"challenge":
            session.engine.challenge(words[1] if len(words) > 1 else b"")
            return
        self._exchange = ""
        account, proof = words[0].decode(), words[1] if len(words) > 1 else b""
        if proof:                       # RFC 9051 6.2.2: there is no room for it in OK, so it is one more challenge
            self._proved = account
            session.engine.challenge(proof)
        else:
            await session.enter(account, event.mechanism)

    async def _finish(self, event: SaslStep) -> None:
        account, self._proved = self._proved, ""
        if event.response and event.response != b"=":
            self._session.engine.refused("the last answer of this exchange is empty", FAILED)
        else:
            await self._session.enter(account, event.mechanism)

    def cancelled(self, event: SaslCancelled) -> None:
        """The client gave up."""
        self._proved = ""
        self.forget(event.mechanism)

    def forget(self, mechanism: str = "PLAIN") -> None:
        """Have auth forget an exchange that will not go on."""
        exchange, self._exchange = self._exchange, ""
        if exchange:
            self._session.daemon.tell("auth", "sasl", exchange, mechanism, b"*", self._session.connection.peer)

    def _refuse(self, error: IpcError, how: str) -> None:
        """Say why a login failed: AUTHENTICATIONFAILED only when the credentials are what is wrong."""
        session = self._session
        session.daemon.counters["logins_failed"] += 1
        session.daemon.log.info("login refused", client=session.connection.peer, how=how, status=error.status, reason=error.text)
        if error.temporary:
            session.engine.refused("the login cannot be checked now, try again later", UNAVAILABLE, counts=error.status != "4.4.1")
        elif error.status == "5.7.11":
            session.engine.refused("this login needs TLS", PRIVACY)
        elif error.status.startswith("5.5"):
            session.engine.refused("this login cannot be read", FAILED)
        else:
            session.engine.refused("wrong user name or password", FAILED)
