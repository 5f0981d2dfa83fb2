"""Who has a mailbox here, as fm-auth says it: asked once, believed for a while, and remembered when fm-auth does not answer.

Used by fm-mailbox for every delivery and every request. Knows nothing of mail; a word that fm-auth gave about an account is never made up,
and `accounts` alerts make it ask anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from fancymail.ipc.message import IpcError

MOST = 50_000               # accounts remembered


class Account(NamedTuple):
    """An account: its full address as fm-auth spells it, and its quota in octets (0: none)."""

    address: str
    quota: int


class Recipients:
    """A cache over the verb `quota` of fm-auth. ask(daemon, verb, ...) is Daemon.ask; clock gives monotonic seconds."""

    def __init__(self, ask: Callable[..., Awaitable], trust: float, clock: Callable[[], float]) -> None:
        self.ask, self.trust, self.clock = ask, trust, clock
        self._known: OrderedDict[str, tuple[Account, float]] = OrderedDict()

    def doubt(self) -> None:
        """Believe nothing any more without asking; called when accounts changed."""
        self._known = OrderedDict((user, (account, 0.0)) for user, (account, _) in self._known.items())

    async def find(self, user: str) -> Account:
        """The account of a user name or address; raises IpcError (5.1.1: there is none; 4.x: nobody can tell)."""
        known = self._known.get(user)
        if known and known[1] > self.clock():
            return known[0]
        try:
            address, quota = await self.ask("auth", "quota", user)
        except IpcError as error:
            if known and error.temporary:
                return known[0]         # it was so a while ago, and mail must not wait for a restart of fm-auth
            self._known.pop(user, None)
            raise
        account = Account(address.decode(), int(quota))
        self._known[user] = account, self.clock() + self.trust
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return account

    async def find_all(self, users: Iterable[str]) -> dict[str, Account | IpcError]:
        """Each user's account, or why there is none."""
        now, found, unknown = self.clock(), {}, []
        for user in dict.fromkeys(users):
            known = self._known.get(user)
            if known and known[1] > now:
                found[user] = known[0]
            else:
                unknown.append(user)
        if unknown:
            answers = await asyncio.gather(*map(self.find, unknown), return_exceptions=True)
            for user, answer in zip(unknown, answers):
                if isinstance(answer, BaseException) and not isinstance(answer, IpcError):
                    raise answer
                found[user] = answer
        return found
