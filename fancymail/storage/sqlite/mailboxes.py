"""Mailbox state in SQLite: the accounts divided over shard files, each written by this process alone (ports.mailboxes.MailboxStore).

Opened by fm-mailbox. WAL and synchronous FULL: when a transaction ends, it is on the disk. Many messages in one transaction cost one fsync.
Messages' octets are not here but in storage/blobs.py; rows name them and alone decide which of them live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from fancymail.mail.derived import Derived
from fancymail.storage.ports.mailboxes import Keep, Mailbox, Underived, effective_rights
from fancymail.storage.sqlite import contents, derived
from fancymail.storage.sqlite.account import CHANGES_KEPT, SqliteAccount
from fancymail.storage.sqlite.annotations import LACKING, MAILBOX, UNDERIVED
from fancymail.storage.sqlite.database import open_database
from fancymail.storage.sqlite.mailboxes_schema import STEPS
from fancymail.storage.sqlite.shard import ReadShard, Shard, shard_of

SLICE = 1000                    # rows of one kind that one purge lets go: it runs between deliveries
UNUSED = """NOT EXISTS (SELECT 1 FROM entry WHERE entry.mid = msg.mid) AND NOT EXISTS (SELECT 1 FROM tomb WHERE tomb.mid = msg.mid)"""


class SqliteMailboxes:
    """All accounts, in `directory`/shard-N.db."""

    def __init__(self, directory: Path | str, shards: int = 1, cache: int = 16 << 20, changes: int = CHANGES_KEPT,
                 synchronous: str = "FULL", copied: bool = False) -> None:
        """copied: whether somebody calls `copy_back` and `restart_log` of crowded shards."""
        directory = Path(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.shards = []
        for number in range(shards):
            path = directory / f"shard-{number}.db"
            connection = open_database(path, STEPS, cache=cache // shards, synchronous=synchronous)
            copier = open_database(path, STEPS, cache=1 << 20) if copied else None          # synchronous FULL; works in another thread
            self.shards.append(Shard(connection, path, number, shards, copier))
        self.changes = changes

    def account(self, name: str) -> SqliteAccount:
        """The mailboxes of an account."""
        return SqliteAccount(self.shards[shard_of(name, len(self.shards))], name, self.changes)

    def accounts(self) -> list[str]:
        """Those that have mailboxes."""
        sql = "SELECT name FROM account WHERE EXISTS (SELECT 1 FROM mailbox WHERE mailbox.account = account.id)"
        return sorted(name for shard in self.shards for (name,) in shard.execute(sql))

    def transaction(self) -> AbstractContextManager:
        """Over all accounts. A crash between the commits of two shards splits it: whatever spans accounts must bear repetition."""
        return self.shards[0] if len(self.shards) == 1 else self._together()

    @contextmanager
    def _together(self) -> Iterator[None]:
        with ExitStack() as stack:
            for shard in self.shards:
                stack.enter_context(shard)
            yield

    def shared(self, account: str) -> list[tuple[str, Mailbox, str]]:
        """What others gave an account rights to."""
        return sorted((row for shard in self.shards for row in shared(shard, account)), key=lambda row: (row[0], row[1].name))

    def ungrant(self, identifier: str) -> None:
        """Take somebody from all access lists."""
        for shard in self.shards:
            with shard:
                shard.execute("DELETE FROM acl WHERE identifier IN (?, ?)", (identifier, f"-{identifier}"))

    def underived(self, version: int, after: tuple[int, int], limit: int) -> tuple[list[Underived], tuple[int, int] | None]:
        """Of the next messages those of which nothing of this version was derived."""
        for shard in self.shards[after[0]:]:
            first = after[1] if shard.number == after[0] else 0
            (last,) = shard.one("SELECT max(mid) FROM (SELECT mid FROM msg WHERE mid > ? ORDER BY mid LIMIT ?)", (first, limit))
            if last is not None:
                rows = shard.execute(f"SELECT {UNDERIVED} WHERE mid > ? AND mid <= ? AND {LACKING} ORDER BY mid", (first, last, version))
                return [Underived((shard.number, mid), *row) for mid, *row in rows], (shard.number, last)
        return [], None

    def derive(self, rows: Sequence[tuple[Underived, Derived]]) -> None:
        """Keep what was derived of messages. A number may be that of another message by now: its content tells."""
        for message, value in rows:
            shard, mid = self.shards[message.place[0]], message.place[1]
            with shard:
                if shard.one("SELECT 1 FROM msg WHERE mid = ? AND blob = ? AND prefix = ?", (mid, message.blob, message.prefix)):
                    derived.keep(shard, [(mid, value)])

    def purge(self, now: int, keep: Keep) -> list[bytes]:
        """Let go of what is older than `keep` says; see the port."""
        due: list[bytes] = []
        for shard in self.shards:
            with shard:
                tombs = _delete(shard, "tomb", "mailbox, uid", "expunged", now - keep.expunged, "mid")
                drop_unused(shard, now, [mid for (mid,) in tombs])
                _delete(shard, "removed", "mailbox", "at", now - keep.expunged, "at")
                _delete(shard, "delivered", "received, queue_id, recipient", "at", now - keep.delivered, "at")
                due += [blob for (blob,) in _delete(shard, "garbage", "blob", "since", now - keep.blobs + 1, "blob")]
        stay = self.referenced(due) | self._garbage(due)
        return [blob for blob in dict.fromkeys(due) if blob not in stay]

    def overdue(self, now: int, keep: Keep) -> bool:
        """Whether anything is older than `keep` says."""
        ages = (("tomb", "expunged", keep.expunged), ("removed", "at", keep.expunged), ("delivered", "at", keep.delivered),
                ("garbage", "since", keep.blobs - 1))
        return any(shard.one(f"SELECT 1 FROM {table} WHERE {column} < ? LIMIT 1", (now - age,)) for shard in self.shards
                   for table, column, age in ages)

    def referenced(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Those that some message names."""
        return {blob for blob in blobs for shard in self.shards if shard.one("SELECT 1 FROM msg WHERE blob = ? AND content IS NULL", (blob,))}

    def _garbage(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Those that another shard let go of later: it will say when their time has come."""
        return {blob for blob in blobs for shard in self.shards if shard.one("SELECT 1 FROM garbage WHERE blob = ?", (blob,))}

    def crowded(self) -> list[Shard]:
        """The shards whose logs are worth to be copied back."""
        return [shard for shard in self.shards if shard.crowded()]

    def close(self) -> None:
        """Let go of the files."""
        for shard in self.shards:
            shard.close()


def shared(shard: Shard | ReadShard, account: str) -> list[tuple[str, Mailbox, str]]:
    """What the access lists of a shard give an account: RFC 4314 2: what "anyone" has and what it has itself, less what is denied to it."""
    granted: dict[int, dict[str, str]] = {}
    names = (account, f"-{account}", "anyone", "-anyone")
    for mailbox, identifier, rights in shard.execute("SELECT mailbox, identifier, rights FROM acl WHERE identifier IN (?, ?, ?, ?)", names):
        granted.setdefault(mailbox, {})[identifier] = rights
    found = []
    for mailbox, rights in granted.items():
        row = shard.one(f"SELECT account.name, {MAILBOX} FROM mailbox JOIN account ON account.id = mailbox.account WHERE mailbox.id = ?", (mailbox,))
        effective = effective_rights(rights, account)
        if effective and row and row[0] != account:
            found.append((row[0], Mailbox._make(row[1:]), effective))
    return found


def drop_unused(shard: Shard, now: int, mids: Iterable[int]) -> None:
    """Delete those messages that are in no mailbox and no tomb any more, with small contents; their blobs may be garbage from now on."""
    for mid in mids:
        for blob, content in shard.execute(f"DELETE FROM msg WHERE mid = ? AND {UNUSED} RETURNING blob, content", (mid,)).fetchall():
            derived.forget(shard, mid)
            if content is None:
                shard.execute("INSERT INTO garbage VALUES (?, ?) ON CONFLICT DO UPDATE SET since = excluded.since", (blob, now))
            else:
                contents.drop(shard, [content])


def _delete(shard: Shard, table: str, key: str, column: str, before: int, returning: str) -> list[tuple]:
    """Delete the oldest rows, a slice of them at most."""
    return shard.execute(f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT {SLICE}) "
                         f"RETURNING {returning}", (before,)).fetchall()
