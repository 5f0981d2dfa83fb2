"""Which accounts are full, and who is told that his mailbox soon will be.

A part of fm-mailbox, told of every account whose mail changed (`look`). fm-smtpin asks for those that are full and refuses mail for them in the
session; an alert says when there are others. The warning is one letter, and the next one comes only after there was room again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fancymail.base.log import Log
from fancymail.core.mailboxes import Mailboxes
from fancymail.core.turn import Turn
from fancymail.ipc.message import IpcError
from fancymail.mail.dates import format_date
from fancymail.mail.trace import made_here
from fancymail.servers.mailbox.recipients import Recipients
from fancymail.servers.mailbox.uploads import Uploads
from fancymail.storage.ports.mailboxes import StoreFailed

FULL = "full"                               # the topic
WARNED = "/private/vendor/fancymail/quota-warned"
GATHER = 0.2                                # seconds in which changes of an account are gathered
TROUBLE = 30.0                              # seconds until all are looked at again when the mailboxes could not be read
EASE = 0.05                                 # of the quota that has to be free again below the warning, before there is another

_LETTER = """From: Mail system <postmaster@{domain}>\r
To: <{account}>\r
Subject: Your mailbox is {percent} percent full\r
Date: {date}\r
Message-ID: <quota.{number}.{account}>\r
Auto-Submitted: auto-generated\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
Your mailbox holds {used} of {quota} MiB. When it is full, mail to you\r
is sent back to whoever wrote it.\r
\r
Please delete what you do not need any more, large messages first, and\r
empty the Trash folder.\r
"""


class Quotas:
    """Over the mailboxes; `recipients` knows quotas, `alert` tells who watches, `warn` is a share of the quota (1: nobody is warned)."""

    def __init__(self, mailboxes: Mailboxes, turn: Turn, uploads: Uploads, recipients: Recipients, alert: Callable[[str], None], hostname: str,
                 warn: float, log: Log) -> None:
        self.mailboxes, self.turn, self.uploads, self.recipients, self.alert = mailboxes, turn, uploads, recipients, alert
        self.hostname, self.warn, self.log = hostname, warn, log
        self.full: set[str] = set()
        self._changed: set[str] = set()
        self._more = asyncio.Event()
        self._all = True

    def look(self, account: str) -> None:
        """Something of an account changed."""
        self._changed.add(account)
        self._more.set()

    def look_at_all(self) -> None:
        """Quotas may have changed."""
        self._all = True
        self._more.set()

    async def run(self) -> None:
        """Look at those that changed; at the beginning, at all. Whatever happens, it goes on."""
        while True:
            self._more.clear()
            try:
                await self._look_through()
            except Exception as error:
                self.log.exception("quotas not known", error)
                self._all = True
                await asyncio.sleep(TROUBLE)
                continue
            await asyncio.sleep(GATHER)
            await self._more.wait()

    async def _look_through(self) -> None:
        if self._all:
            self._changed.update(self.mailboxes.store.accounts())
            self._all = False
        accounts, self._changed = self._changed, set()
        for account in sorted(accounts):
            await self._check(account)

    async def _check(self, account: str) -> None:
        try:
            quota = (await self.recipients.find(account)).quota
        except IpcError:                        # nobody can tell now, or the account is no more
            quota = 0
        used = self.mailboxes.store.account(account).usage().octets if quota else 0
        full = bool(quota) and used + min(quota // 20, 65536) > quota       # a message of usual size has no room
        if full != (account in self.full):
            (self.full.add if full else self.full.discard)(account)
            self.log.info("full" if full else "room again", account=account, octets=used, quota=quota)
            self.alert(FULL)
        if quota:
            await self._warn(account, used, quota)

    async def _warn(self, account: str, used: int, quota: int) -> None:
        mine = self.mailboxes.store.account(account)
        warned = WARNED in mine.metadata(None)
        try:
            if used >= self.warn * quota and not warned and self.warn < 1:
                await self.turn.run(lambda: mine.set_metadata(None, {WARNED: b"1"}))
                await self._write(account, used, quota)
            elif warned and used < (self.warn - EASE) * quota:
                await self.turn.run(lambda: mine.set_metadata(None, {WARNED: None}))
        except (StoreFailed, OSError) as error:
            self.log.error("cannot warn", account=account, reason=str(error))

    async def _write(self, account: str, used: int, quota: int) -> None:
        now = int(self.mailboxes.wall())
        content = made_here(self.hostname, f"quota{now}", now) + _LETTER.format(
            domain=account.rpartition("@")[2], account=account, percent=used * 100 // quota, date=format_date(now), number=now,
            used=used >> 20, quota=quota >> 20).encode()
        stowage = self.mailboxes.stowage
        blob = await self.uploads.keep(lambda: stowage.keep(content))       # small as it is, in a cluster it may be an object
        try:
            await self.turn.run(lambda: self.mailboxes.append(account, "", blob, content))
        finally:
            stowage.release([blob])
        self.log.info("warned", account=account, octets=used, quota=quota)
        self.alert(account)
