"""Checking passwords without being flooded, guessed or measured: the gate behind `auth` and `sasl` of fm-auth.

One check is: budget (may they try?), memory (was this right a moment ago?), pool (a few threads, a short queue), budget again,
and a failure is answered only at the next tick of `failure_delay`, so that neither an old hash nor a missing user shows in the
time it takes. Owned by daemon.py; runs on its loop, hashes only in its threads. Never logs what somebody typed.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NoReturn

from fancymail.core.accounts import Directory
from fancymail.core.aliases import AccountError
from fancymail.core.budget import Budget, Kept, network_of
from fancymail.core.passwords import LONGEST, Credentials, Passwords, Verdict
from fancymail.mail.scram import ScramKeys
from fancymail.storage.ports.accounts import Account

REMEMBERED = 10_000         # right passwords in memory, as keyed digests


class Refused(AccountError):
    """A login that failed (5.7.8): the same words whatever the reason."""

    def __init__(self) -> None:
        super().__init__("5.7.8", "authentication credentials invalid")


class Busy(AccountError):
    """A login that was not looked at (4.7.0); it may succeed later."""

    def __init__(self, text: str) -> None:
        super().__init__("4.7.0", text)


class Pool:
    """A few threads for hashing and a queue that refuses. When it gets long, one network may not have all of it."""

    def __init__(self, workers: int, waiting: int) -> None:
        self.workers = workers or os.cpu_count() or 2
        self._threads = ThreadPoolExecutor(self.workers, "hash")
        self._most, self._pending = self.workers + waiting, 0
        self._networks: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """How many checks run or wait."""
        return self._pending

    async def run(self, network: str, work: Callable, *args):
        """Run blocking work in a thread; raises Busy when there is no place in the queue."""
        crowded = self._pending * 2 >= self._most and self._networks[network] * 4 >= self._most
        if self._pending >= self._most or (network and crowded):
            raise Busy("too many logins at the same time, try again later")
        self._pending += 1
        self._networks[network] += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        future.add_done_callback(lambda _: self._done(network))     # when the thread is free again, not when the asker has gone
        return await asyncio.shield(future)

    def _done(self, network: str) -> None:
        self._pending -= 1
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]

    def close(self) -> None:
        """Take nothing more; what waits is finished in its own time."""
        self._threads.shutdown(wait=False)


class Logins:
    """The gate. `upgrade(account, credentials)` is told to keep better credentials, it must not block; `keep(counts)` writes counts of the
    budget down, and a failure is not answered before."""

    def __init__(self, directory: Directory, passwords: Passwords, budget: Budget, pool: Pool, *, remember: float, delay: float,
                 upgrade: Callable[[Account, Credentials], None], keep: Callable[[list[Kept]], Awaitable]) -> None:
        self.directory, self.passwords, self.budget, self.pool = directory, passwords, budget, pool
        self.remember, self.delay, self._upgrade, self._keep_counts = remember, delay, upgrade, keep
        self._loop = asyncio.get_running_loop()
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._checking: dict[bytes, asyncio.Future] = {}

    async def password(self, user: str, password: bytes, address: str) -> Account:
        """Return the account that a user name and password open; raises Refused, or Busy when it was not looked at."""
        started = self._loop.time()
        key, account = self.admit(user, address)
        if len(password) > LONGEST:
            await self.fail(key, address, b"", started)
        digest = self._digest(key, password, account.version if account else 0)
        if account is not None and account.enabled and self._remembered(digest):
            self.succeeded(account, address)
            return account
        verdict = await self._verify(digest, key, account, password, address)
        if verdict.right and (account := self._unchanged(account)):
            self._keep(digest)
            if verdict.upgrade:
                self._upgrade(account, verdict.upgrade)
            self.succeeded(account, address)
            return account
        await self.fail(key, address, digest, started)

    def keys(self, user: str, mechanism: str, address: str) -> tuple[ScramKeys, int]:
        """Return SCRAM keys for a user, real or made up, and the version of the account, 0 for nobody; raises Busy."""
        key, account = self.admit(user, address)
        keys, _ = self.passwords.keys(account, key, mechanism)
        return keys, account.version if account else 0

    def proved(self, user: str, version: int) -> Account | None:
        """Return the account that SCRAM has proved, unless it has changed since its keys were looked up."""
        account = self.directory.find(user)
        return account if account is not None and account.enabled and account.version == version else None

    def succeeded(self, account: Account, address: str) -> None:
        """Remember from where an account logs in."""
        if news := self.budget.succeeded(account.key, address, time.monotonic()):
            self._keep_counts([news])

    async def fail(self, key: str, address: str, digest: bytes, started: float) -> NoReturn:
        """Count a failure, for longer than this process lives, wait for the tick, raise Refused."""
        now = time.monotonic()
        self.budget.failed(key, address, digest, now)
        await self._keep_counts(self.budget.kept(key, address, now))
        await self.tick(started, self.delay)
        raise Refused

    async def tick(self, started: float, delay: float) -> None:
        """Wait until a whole number of `delay` has passed since `started`."""
        if delay > 0:
            elapsed = self._loop.time() - started
            await asyncio.sleep(math.ceil(elapsed / delay) * delay - elapsed)

    def forget(self) -> None:
        """Forget all right passwords: something about the accounts changed."""
        self._right.clear()

    def admit(self, user: str, address: str) -> tuple[str, Account | None]:
        """Return a user's key and account, unless its failures or those of the address make it wait; raises Busy."""
        key = self.directory.key(user)
        wait = self.budget.wait(key, address, time.monotonic())
        if wait > 0:
            raise Busy(f"too many failed logins, try again in {math.ceil(wait)} seconds")
        return key, self.directory.find(user)

    def _digest(self, key: str, password: bytes, version: int) -> bytes:
        """Return what stands for this password of this account, in this process only."""
        return blake2b(b"%d\0%s\0%s" % (version, key.encode("utf-8", "replace"), password), key=self._secret, digest_size=16).digest()

    async def _verify(self, digest: bytes, key: str, account: Account | None, password: bytes, address: str) -> Verdict:
        """Check in the pool; the same password of the same user at the same time is checked once."""
        if (checking := self._checking.get(digest)) is not None:
            return await asyncio.shield(checking)
        counted = self.budget.begin(key, address, time.monotonic())
        network = "" if self.budget.trusts(address) else str(network_of(address) or "")
        work = self._loop.create_task(self.pool.run(network, self.passwords.verify, account, password))
        self._checking[digest] = work
        work.add_done_callback(lambda done: self._checked(done, digest, counted))
        return await asyncio.shield(work)

    def _checked(self, work: asyncio.Task, digest: bytes, counted: tuple[str, str]) -> None:
        work.cancelled() or work.exception()        # whoever asked may have gone
        self._checking.pop(digest, None)
        self.budget.end(counted)

    def _unchanged(self, account: Account) -> Account | None:
        """Return an account as it is now, unless it was disabled, removed or given another password while we were hashing."""
        now = self.directory.find(account.address)
        if now is None or not now.enabled or now.created != account.created:
            return None
        return now if now.version == account.version or now.password == account.password else None

    def _remembered(self, digest: bytes) -> bool:
        until = self._right.get(digest)
        return until is not None and until > self._loop.time()

    def _keep(self, digest: bytes) -> None:
        if self.remember > 0:
            self._right[digest] = self._loop.time() + self.remember
            if len(self._right) > REMEMBERED:
                self._right.popitem(last=False)
