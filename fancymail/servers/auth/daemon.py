"""fm-auth: the only daemon that knows accounts and the only one that ever sees a password hash; no verb returns one.

Answers whether a user exists, whether a password is right, where mail for an address goes and whose an address is; everything that
changes accounts, domains or aliases is the operator's. Thin: names are core/accounts.py, hashes core/passwords.py, patience
core/budget.py, one login logins.py, SASL exchanges.py. Look-ups are answered in the same turn of the loop; hashing
runs in the pool, changes in one keeper thread, so that neither holds up anybody else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fancymail.base.settings import Paths
from fancymail.core.accounts import Directory
from fancymail.core.aliases import AccountError
from fancymail.core.budget import KNOWN, Budget, Kept
from fancymail.core.passwords import Credentials, PasswordRefused, Passwords
from fancymail.core.tokens import Issuer, Tokens, keys_of
from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.verb import Address, Caller, Count, Flag, Octets, Raw, Text, UserName, Word, verb
from fancymail.mail.scram import HASHES
from fancymail.servers.auth.exchanges import Client, Exchanges
from fancymail.servers.auth.logins import Busy, Logins, Pool, Refused
from fancymail.servers.containment import lending
from fancymail.servers.containment.reach import Reach, database
from fancymail.servers.running.allocator import give_back_from
from fancymail.servers.running.daemon import Daemon
from fancymail.storage.ports.accounts import Account, StoreFailed
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.database import DatabaseError, sync_directory
from fancymail.storage.sqlite.failures import SqliteFailures

FRONTS = "smtpin pop3 imap gateway webmaild web"        # the daemons to which users log in
HASHING = 1 << 20       # octets from which on a block is a hash's (argon2id takes megabytes), which nobody should keep between two logins
MOST_UPGRADES = 100     # better hashes that wait to be kept; the next login tries again
PAGE = 1000


class refusals:
    """`with refusals():` turns what the rules refuse into the error of a verb."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, AccountError):
            raise IpcError(error.status, error.text) from None
        if isinstance(error, PasswordRefused):
            raise IpcError("5.5.4", str(error)) from None
        if isinstance(error, StoreFailed):
            raise IpcError("4.3.0", f"the accounts' disk refuses: {error}") from error


class AuthServer(Daemon):
    """Accounts, aliases and logins."""

    name = "auth"
    stores = True

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """The accounts, the counts of failed logins, the keys of token issuers, and subscribers."""
        return Reach(keeps=(*database(paths.accounts), *database(paths.logins)), answers=True,
                     opens=tuple(paths.state / issuer.keys_file for issuer in settings.auth.oauth.values() if issuer.keys_file))

    def prepare(self) -> None:
        """Make the databases with their logs and indexes, which SQLite would make beside them later."""
        self._open_failures().close()
        if self.cluster is None:
            self._open_store().close()
        for file in (*database(self.paths.logins), *(database(self.paths.accounts) if self.cluster is None else ())):
            file.touch(0o600)
        sync_directory(self.paths.state)        # SQLite would, and is not let into that folder any more

    async def started(self) -> None:
        give_back_from(HASHING)
        self.store = self._open_store()
        self.keeper, self.counter = ThreadPoolExecutor(1, "keeper"), ThreadPoolExecutor(1, "counts")
        self.failures = self._open_failures()
        self.upgrades = 0
        self.pool: Pool | None = None
        self.logins: Logins | None = None
        self._configure(self.settings)
        self._recall_counts()
        self.metrics.gauges["checks"] = lambda: self.pool.pending
        self.metrics.gauges["exchanges"] = lambda: len(self.exchanges)
        self.metrics.gauges["bans"] = lambda: len(self.logins.budget.bans(time.monotonic()))

    def _open_store(self) -> SqliteAccounts:
        try:
            return SqliteAccounts(self.paths.accounts) if self.cluster is None else self.cluster.accounts()
        except DatabaseError as error:
            raise OSError(str(error)) from error

    def _open_failures(self) -> SqliteFailures:
        try:
            return SqliteFailures(self.paths.logins)
        except DatabaseError as error:
            raise OSError(str(error)) from error

    async def stopping(self) -> None:
        self.pool.close()
        for thread in (self.keeper, self.counter):
            thread.shutdown(wait=True)
        self.store.close()
        self.failures.close()

    def reloaded(self, settings) -> None:
        try:
            self._configure(settings)
        except ValueError as error:
            raise IpcError("5.3.5", f"auth: {error}") from None
        self.alert("accounts")

    def _configure(self, settings) -> None:
        """Build everything that depends on settings; raises ValueError and changes nothing when they can't be."""
        options = settings.auth
        directory = Directory(
            self.store, time.time, default_domain=settings.server.default_domain, postmaster=options.postmaster,
            separator=options.tag_separator, depth=options.alias_depth, width=options.alias_width)
        kept = tuple(name for name in HASHES if name in options.mechanisms or f"{name}-PLUS" in options.mechanisms)
        passwords = Passwords(
            self.store.secret(), mechanisms=kept, iterations=options.scram_iterations, memory=options.argon2_memory,
            passes=options.argon2_passes, lanes=options.argon2_lanes, shortest=options.shortest_password)
        budget = Budget(
            per_account=options.failures_per_account, per_address=options.failures_per_address, per_trusted=options.failures_per_trusted,
            first=options.first_wait, longest=options.longest_wait, memory=options.forget_failures, trusted=options.trusted,
            secret=self.store.secret())
        pool = Pool(options.workers, options.waiting)
        logins = Logins(directory, passwords, budget, pool, remember=options.remember, delay=options.failure_delay,
                        upgrade=self._upgrade, keep=self._keep_counts)
        tokens = Tokens([_issuer(issuer, self.paths.state) for issuer in options.oauth.values()])
        exchanges = Exchanges(logins, tokens, mechanisms=options.mechanisms, plaintext=options.plaintext, most=options.exchanges,
                              timeout=options.exchange_timeout, note=self.log.info)
        if self.logins:
            budget.adopt(self.logins.budget)
            exchanges.adopt(self.exchanges)     # the pool of before ends with the last login that began with it
        self.directory, self.passwords, self.pool, self.logins, self.exchanges = directory, passwords, pool, logins, exchanges

    def check_topic(self, topic: str) -> None:
        if topic != "accounts":
            raise IpcError("5.5.4", "auth has one topic: accounts")

    # -- logging in --------------------------------------------------------------------------------------------------------

    @verb(callers="*")
    def verify(self, user: UserName) -> str:
        """Tell whether a user exists, by its full address."""
        with refusals():
            return self.directory.require(user).address

    @verb(callers=FRONTS)
    async def auth(self, user: UserName, password: Raw, address: Text = "", *, caller: Caller) -> str:
        """Check a password; give the address of the client, so that who guesses is slowed down and nobody else."""
        with refusals():
            return await self._counted(self.logins.password(user, password, _origin(address, caller)), _origin(address, caller))

    @verb(callers=FRONTS, remember=True)
    async def sasl(self, session: Word, mechanism: Word, response: Raw, address: Text = "", tls: Flag = False, binding: Raw = b"", *,
                   caller: Caller) -> Reply:
        """Take one step of a SASL exchange, in base64 as on the wire: `challenge: data`, or `ok: account ; final data`.

        The session is a random word of the caller. An empty response is none, `=` an empty one, `*` ends the exchange.
        """
        client = Client(_origin(address, caller), tls, binding)
        key = (caller.role, session)
        with refusals():
            answer = await self._counted(self.exchanges.step(key, mechanism.upper(), response, client), client.address)
        return Reply("challenge", answer) if isinstance(answer, bytes) else Reply("ok", *answer)

    @verb(callers=FRONTS)
    def mechanisms(self, address: Text = "", tls: Flag = False, binding: Flag = False) -> tuple[str, ...]:
        """List the SASL mechanisms that a client may use; binding: whether its connection has tls-server-end-point octets."""
        return self.exchanges.offered(Client(address, tls, b"?" if binding else b""))

    async def _counted(self, login, address: str):
        try:
            answer = await login
        except Refused:
            self.counters["logins_failed"] += 1
            self.log.info("login failed", client=address)
            raise
        except Busy as error:
            self.counters["logins_put_off"] += 1
            self.log.info("login put off", client=address, reason=error.text)
            raise
        self.counters["logins"] += not isinstance(answer, bytes)
        return answer.address if isinstance(answer, Account) else answer

    # -- looking up --------------------------------------------------------------------------------------------------------

    @verb(callers="*")
    def resolve(self, address: Address) -> list[str]:
        """Tell where mail for an address goes: `local:ACCOUNT` and `remote:ADDRESS`, one or many."""
        with refusals():
            found = self.directory.resolve(address)
        for problem in found.problems:
            self.log.warning("alias", address=address, status=problem.status, reason=problem.text)
        return [*(f"local:{account}" for account in found.local), *(f"remote:{target}" for target in found.remote)]

    @verb(callers="*", aliases="domain-list")
    def domains(self, after: Text = "") -> list[str]:
        """List our domains in order, the first 1000 behind `after`."""
        with refusals():
            return [name for name in self.store.domains() if name > after][:PAGE]

    @verb(name="may-send", callers=FRONTS)
    def may_send(self, account: UserName, address: Address) -> None:
        """Tell whether an account may use an address as the sender of its mail."""
        with refusals():
            if not self.directory.may_send(self.directory.require(account), address):
                raise AccountError("5.7.1", "not an address of this account")

    @verb(callers="mailbox")
    def quota(self, user: UserName) -> list[str | int]:
        """Tell an account's full address, and how many octets of mail it may have; 0: any number."""
        with refusals():
            account = self.directory.require(user)
        return [account.address, account.quota]

    @verb(callers="*")
    def changes(self, since: Octets = 0) -> list[str | int]:
        """Give the serial of the last change to accounts, and who was changed or removed after `since`, or may be acted as by one who was;
        `*`: too long ago to tell."""
        with refusals():
            serial, keys = self.store.changes(since)
        return [serial, *(["*"] if keys is None or len(keys) > PAGE else keys)]

    # -- accounts ----------------------------------------------------------------------------------------------------------

    @verb(name="account-add")
    async def account_add(self, address: UserName, password: Raw = b"", quota: Octets = 0) -> str:
        """Make an account; without a password nobody can log in to it. The quota is in octets, 0 for none."""
        return await self._change("account added", lambda: self.directory.add_account(
            address, self.passwords.make(_text(password)) if password else None, quota))

    @verb(name="account-import")
    async def account_import(self, address: UserName, hash: Text, quota: Octets = 0) -> str:
        """Make an account with a password hash of another system: crypt formats, LDAP's and Dovecot's {SCHEME}."""
        return await self._change("account added", lambda: self.directory.add_account(address, self.passwords.bring(hash), quota))

    @verb(name="account-remove")
    async def account_remove(self, user: UserName) -> str:
        """Remove an account. Its mail stays with the mailbox daemon."""
        return await self._change("account removed", lambda: self.directory.remove_account(user))

    @verb(name="account-password")
    async def account_password(self, user: UserName, password: Raw) -> str:
        """Set a password; sessions that were opened with the old one end."""
        return await self._set_password(user, lambda: self.passwords.make(_text(password)))

    @verb(name="account-hash")
    async def account_hash(self, user: UserName, hash: Text) -> str:
        """Set a password by a hash of another system, as in account-import."""
        return await self._set_password(user, lambda: self.passwords.bring(hash))

    async def _set_password(self, user: str, make: Callable[[], Credentials]) -> str:
        def change() -> Account:
            self.directory.require(user)
            made = make()
            return self.directory.change(user, password=made.password, scram=made.scram)
        return await self._change("password set", change)

    @verb(name="account-disable")
    async def account_disable(self, user: UserName) -> str:
        """Let nobody log in to an account, and take no mail for it; nothing is lost."""
        return await self._change("account disabled", lambda: self.directory.change(user, enabled=False))

    @verb(name="account-enable")
    async def account_enable(self, user: UserName) -> str:
        """Undo account-disable."""
        return await self._change("account enabled", lambda: self.directory.change(user, enabled=True))

    @verb(name="account-quota")
    async def account_quota(self, user: UserName, quota: Octets) -> str:
        """Set how many octets of mail an account may have; 0: any number."""
        return await self._change("quota set", lambda: self.directory.change(user, quota=quota))

    @verb(name="account-list")
    async def account_list(self, domain: Text = "", after: Text = "", count: Count = PAGE) -> AsyncIterator[Reply]:
        """List accounts in order, those behind `after`: `account: address ; enabled ; quota` for each, then ok."""
        with refusals():
            found = self.store.accounts(domain.lower(), after, count)
        yield Reply("ok", len(found))
        for account in found:
            yield Reply("account", account.address, account.enabled, account.quota)
        yield Reply("ok")

    @verb(name="account-show")
    def account_show(self, user: UserName) -> dict:
        """Show an account as JSON: what it is and may do, which kind of hash it has, never the hash."""
        with refusals():
            account = self.directory.require(user)
            return {**self.directory.describe(user), "password": self.passwords.scheme(account)}

    # -- domains, aliases, grants ------------------------------------------------------------------------------------------

    @verb(name="domain-add")
    async def domain_add(self, domain: Text) -> str:
        """Make a domain ours: mail for it is taken."""
        return await self._change("domain added", lambda: self.directory.add_domain(domain))

    @verb(name="domain-remove")
    async def domain_remove(self, domain: Text) -> str:
        """Give up a domain that has no accounts and aliases any more."""
        return await self._change("domain removed", lambda: self.directory.remove_domain(domain))

    @verb(name="alias-add")
    async def alias_add(self, address: Text, *targets: UserName) -> str:
        """Make or replace an alias: an address, a pattern with one `*` (which a target may carry), or `@domain` for all the rest."""
        return await self._change("alias set", lambda: self.directory.set_alias(address, targets))

    @verb(name="alias-remove")
    async def alias_remove(self, address: Text) -> str:
        """Remove an alias."""
        return await self._change("alias removed", lambda: self.directory.remove_alias(address))

    @verb(name="alias-list")
    async def alias_list(self, domain: Text = "", after: Text = "", count: Count = PAGE) -> AsyncIterator[Reply]:
        """List aliases in order, those behind `after`: `alias: address ; target...` for each, then ok."""
        with refusals():
            found = self.store.aliases(domain.lower(), after, count)
        yield Reply("ok", len(found))
        for alias in found:
            yield Reply("alias", alias.address, *alias.targets)
        yield Reply("ok")

    @verb
    async def grant(self, user: UserName, right: Word, address: Text) -> str:
        """Let an account `send` as an address or `*@domain`, or `act` as another account when it logs in (SASL authzid)."""
        return await self._change("granted", lambda: self.directory.grant(user, right, address))

    @verb
    async def revoke(self, user: UserName, right: Word, address: Text) -> str:
        """Take a right back."""
        return await self._change("revoked", lambda: self.directory.revoke(user, right, address))

    # -- budgets -----------------------------------------------------------------------------------------------------------

    @verb
    async def bans(self) -> AsyncIterator[Reply]:
        """List who must wait after failed logins: `ban: kind ; name ; failures ; seconds` for each, then ok. A kind is account, address, or trusted.

        Trusted is an account as well: it waits when somebody at loopback or a trusted network tries it. What was counted before a restart
        is listed once somebody tries the account again.
        """
        found = self.logins.budget.bans(time.monotonic())[:PAGE]
        yield Reply("ok", len(found))
        for ban in found:
            yield Reply("ban", ban.kind, ban.name, ban.failures, round(ban.seconds))
        yield Reply("ok")

    @verb
    async def unban(self, name: Text) -> int:
        """Forget the failed logins of an account or an address, `*` for all; tells how many counts were forgotten."""
        names = dict.fromkeys((name, self.directory.key(name)))
        gone = [key for known in names for key in self.logins.budget.unban(known)]
        with refusals():
            await self.loop.run_in_executor(self.counter, self.failures.forget, None if name == "*" else gone)
        self.log.info("unbanned", name=name, forgotten=len(gone))
        return len(gone)

    # -- what was counted of failed logins ---------------------------------------------------------------------------------

    def _recall_counts(self) -> None:
        """Go on with the counts of before a restart."""
        now, memory = time.time(), self.settings.auth.forget_failures
        before = dict.fromkeys(("account", "address", "trusted"), now - memory) | {"network": now - KNOWN}
        try:
            rows = self.failures.rows(before)
        except StoreFailed as error:
            self.log.error("failed logins of before are forgotten", reason=str(error))
            return
        self.logins.budget.restore([Kept(kind, name, count, now - last, until - now) for kind, name, count, last, until in rows], time.monotonic())

    def _keep_counts(self, counts: list[Kept]) -> asyncio.Future:
        """Write counts down beside the loop; they are in memory already."""
        now = time.time()
        return self.loop.run_in_executor(self.counter, self._write_counts, [
            (count.kind, count.name, count.failures, now - count.ago, now + count.left) for count in counts])

    def _write_counts(self, rows: list[tuple]) -> None:
        try:
            self.failures.keep(rows)
        except StoreFailed as error:
            self.log.error("failed logins are counted in memory only", reason=str(error))

    # -- the keeper thread -------------------------------------------------------------------------------------------------

    async def _change(self, event: str, change: Callable) -> str:
        """Make one change in the keeper's thread, tell everybody; return what was changed."""
        with refusals():
            changed = await self.loop.run_in_executor(self.keeper, change)
        self.logins.forget()
        self.alert("accounts")
        name = changed if isinstance(changed, str) else getattr(changed, "address", None) or changed[0].address
        self.log.info(event, name=name)
        return name

    def _upgrade(self, account: Account, credentials: Credentials) -> None:
        """Have better credentials kept, some time soon."""
        if self.upgrades < MOST_UPGRADES:
            self.upgrades += 1
            future = self.loop.run_in_executor(self.keeper, self.directory.upgrade, account, credentials)
            future.add_done_callback(lambda done: self._upgraded(account.address, done))

    def _upgraded(self, address: str, done: asyncio.Future) -> None:
        self.upgrades -= 1
        if done.cancelled():
            return
        if done.exception():
            self.log.exception("hash not renewed", done.exception(), account=address)
        elif done.result():
            self.counters["hashes_renewed"] += 1
            self.log.info("hash renewed", account=address)


def _origin(address: str, caller: Caller) -> str:
    """Return where a login comes from; an operator who names no address sits at this machine."""
    return address or ("127.0.0.1" if caller.role == "operator" else "")


def _issuer(options, state: Path) -> Issuer:
    """Read the keys of an issuer of tokens. Raises ValueError."""
    where = f"the keys of {options.issuer}"
    try:
        text = options.keys or lending.read_file(state / options.keys_file)
        return Issuer(options.issuer, options.audience, keys_of(text), options.claim, options.scope)
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {options.keys_file or 'what the settings hold'} {error}") from None


def _text(password: bytes) -> str:
    try:
        return password.decode()
    except UnicodeDecodeError:
        raise PasswordRefused("a password is UTF-8 text") from None
