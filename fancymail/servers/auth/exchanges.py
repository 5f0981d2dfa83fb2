"""SASL exchanges under way: what fm-auth must remember between two steps of a login, bounded in number and in time.

Owned by daemon.py, asked for every `sasl`. An exchange belongs to the role that began it and to a word that role chose; while
one of its steps is being worked on it is taken out, so that two steps at once cannot share it. Forgotten ones cost nothing: they
are found and dropped in the order in which they began.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fancymail.core.aliases import AccountError
from fancymail.core.budget import is_loopback
from fancymail.core.tokens import TokenRefused, Tokens
from fancymail.protocol import sasl
from fancymail.servers.auth.logins import Busy, Logins, Refused
from fancymail.storage.ports.accounts import Account

SCRAM_DELAY = 0.005         # seconds: the first SCRAM answer comes on a tick, so that finding keys and making them up take the same
MOST_STEPS = 5              # no mechanism here takes more


@dataclass(slots=True)
class Exchange:
    """One login under way."""

    name: str
    mechanism: sasl.Plain | sasl.Login | sasl.Bearer | sasl.Scram
    began: float
    steps: int = 0
    username: str = ""
    version: int = 0            # of the account when its SCRAM keys were looked up
    keyed: bool = False         # these keys were given: what comes next is a proof


@dataclass(frozen=True, slots=True)
class Client:
    """Where a login comes from: its address, whether TLS hides it, and tls-server-end-point octets or b""."""

    address: str
    tls: bool
    binding: bytes


class Exchanges:
    """The table. `mechanisms`: what is taken; `plaintext`: also passwords without TLS; `most`, `timeout`: its bounds;
    `note(event, **facts)` writes a log line; `tokens` decides about OAuth, which is taken only where it has an issuer."""

    def __init__(self, logins: Logins, tokens: Tokens, *, mechanisms: tuple[str, ...], plaintext: bool, most: int, timeout: float,
                 note: Callable[..., None]) -> None:
        self.mechanisms = tuple(name for name in mechanisms if tokens or name not in sasl.OAUTH)
        self.plaintext, self.most, self.timeout, self._tokens = plaintext, most, timeout, tokens
        self._logins, self._note, self._loop = logins, note, asyncio.get_running_loop()
        self._open: OrderedDict[tuple[str, str], Exchange] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def adopt(self, other: Exchanges) -> None:
        """Go on with the exchanges of another table: new settings break off no login."""
        self._open = other._open

    def offered(self, client: Client) -> tuple[str, ...]:
        """Return the mechanisms that a client may use."""
        return sasl.offered(self.mechanisms, client.tls, bool(client.binding), self.plaintext or is_loopback(client.address))

    async def step(self, key: tuple[str, str], name: str, response: bytes, client: Client) -> bytes | tuple[str, bytes]:
        """Take one step: return a challenge, or account and final data; in base64, as on the wire, except the account.

        Raises AccountError: 5.5.2 what can't be read, 5.5.4 no such mechanism, 5.7.11 needs TLS, 4.7.0 later, 5.7.8 wrong.
        """
        began = self._loop.time()
        self._expire(began)
        exchange = self._open.pop(key, None)
        if response == b"*":                            # RFC 4954 section 4
            raise AccountError("5.5.2", "authentication cancelled")
        if exchange is not None and began - exchange.began > self.timeout:
            raise Busy("the exchange took too long")
        first = exchange is None and not response
        exchange = exchange or self._begin(name, client, began)
        try:
            outcome = await self._outcome(exchange, name, None if first else sasl.decode_response(response), client)
        except sasl.SaslError as error:
            if error.syntax:
                raise AccountError("5.5.2", str(error)) from None
            self._note("login refused", reason=str(error), mechanism=name, client=client.address)
            await self._logins.fail(self._logins.directory.key(exchange.username), client.address, b"", began)
        if isinstance(outcome, bytes):
            self._open[key] = exchange
        return outcome

    async def _outcome(self, exchange: Exchange, name: str, data: bytes | None, client: Client) -> bytes | tuple[str, bytes]:
        exchange.steps += 1
        if exchange.name != name or exchange.steps > MOST_STEPS:
            raise sasl.SaslError("another exchange is under way", syntax=True)
        if exchange.keyed:
            self._logins.admit(exchange.username, client.address)       # many exchanges, begun side by side, have one budget all the same
        outcome = exchange.mechanism.step(data)
        if isinstance(outcome, sasl.NeedKeys):
            outcome = await self._scram_keys(exchange, outcome.username, client)
        if isinstance(outcome, sasl.Challenge):
            return b64encode(outcome.data)
        if isinstance(outcome, sasl.CheckPassword):
            account = await self._logins.password(outcome.username, outcome.password, client.address)
            return self._act(account, outcome.authzid, client), b""
        if isinstance(outcome, sasl.CheckToken):
            return self._token(exchange, outcome, client)
        account = self._logins.proved(outcome.username, exchange.version)
        if account is None:
            raise sasl.SaslError("the account changed meanwhile")
        self._logins.succeeded(account, client.address)
        return self._act(account, outcome.authzid, client), b64encode(outcome.data)

    def _token(self, exchange: Exchange, shown: sasl.CheckToken, client: Client) -> bytes | tuple[str, bytes]:
        """Look at an OAuth token. What is wrong with it stands in the log; the client hears that it is, and the exchange goes on to fail."""
        exchange.username = shown.authzid
        self._logins.admit(shown.authzid, client.address)
        try:
            account = self._logins.directory.find(self._tokens.user(shown.token, time.time()))
            if account is None or not account.enabled:
                raise TokenRefused("its user has no account here")
            acting = self._act(account, shown.authzid, client)
        except (TokenRefused, Refused) as error:
            self._note("token refused", reason=str(error), mechanism=exchange.name, client=client.address)
            return b64encode(exchange.mechanism.failed(self._tokens.challenge()).data)
        self._logins.succeeded(account, client.address)
        return acting, b""

    def _begin(self, name: str, client: Client, now: float) -> Exchange:
        if name not in self.mechanisms:
            raise AccountError("5.5.4", "unrecognized authentication type")
        if name in sasl.SECRETS and name not in self.offered(client):         # RFC 4954 section 4
            raise AccountError("5.7.11", "encryption required for this authentication type")
        if len(self._open) >= self.most:
            raise Busy("too many logins at the same time, try again later")
        plus = bool(client.binding) and f"{name}-PLUS" in self.mechanisms
        return Exchange(name, sasl.server(name, secrets.token_urlsafe(18), client.binding, plus), now)

    async def _scram_keys(self, exchange: Exchange, username: str, client: Client) -> sasl.Challenge:
        exchange.username, started = username, self._loop.time()
        keys, exchange.version = self._logins.keys(username, exchange.mechanism.mechanism, client.address)
        exchange.keyed = True
        await self._logins.tick(started, SCRAM_DELAY)
        return exchange.mechanism.keys(keys)

    def _act(self, account: Account, authzid: str, client: Client) -> str:
        """Return the address of the account that a proved account wants to be; raises Refused without the right to."""
        acting = self._logins.directory.may_act(account, authzid)
        if acting is None:
            self._note("login refused", reason="no right to act as another", account=account.address, client=client.address)
            raise Refused
        return acting.address

    def _expire(self, now: float) -> None:
        """Drop what began too long ago. A step puts an exchange to the end, so one may stay for twice the time, but no longer."""
        while self._open:
            key, exchange = next(iter(self._open.items()))
            if now - exchange.began < self.timeout:
                return
            del self._open[key]
