"""Changing mail by the verbs of fm-mailbox: what fm-imap and webmail hold in their hands (servers/mailbox/verbs.py is the other end).

Every call is one command: one transaction there. All raise IpcError. It decides nothing and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fancymail.core.filing import Added, Copied
from fancymail.mail import uidset
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.mailboxes import Stored, Usage

FRAME = 60_000                      # octets of a parameter
PATIENCE = 120.0                    # seconds that a change may take
QUICK = 5.0                         # seconds for what reading does not depend on


class Letter(NamedTuple):
    """One message to append: its octets, or the path of a slot file in STATE/mail/incoming, which is taken over."""

    content: bytes | Path
    internaldate: int
    flags: Sequence[str] = ()


class Account(NamedTuple):
    """What an account holds, and may hold (octets; 0: no limit)."""

    usage: Usage
    quota: int


class MailStore:
    """`ask(daemon, verb, *parameters, timeout=)` is Daemon.ask."""

    def __init__(self, ask: Callable[..., Awaitable[list[bytes]]]) -> None:
        self.ask = ask

    async def flags(self, owner: str, mailbox: int, uids: Ranges, how: str, words: Sequence[str], unchanged_since: int | None = None) -> Stored:
        """Add, remove or set flags; `how` is "add", "remove" or "set"."""
        since = "" if unchanged_since is None else unchanged_since
        modseq, count, *sets = await self._say("flags", owner, mailbox, how, " ".join(words), since, *uid_frames(uids))
        return Stored(int(modseq), read_uids(sets[:int(count)]), read_uids(sets[int(count):]))

    async def copy(self, owner: str, mailbox: int, uids: Ranges, to_owner: str, name: str, move: bool = False) -> Copied:
        """Copy or move messages."""
        verb = "move" if move else "copy"
        uidvalidity, first, modseq, *sets = await self._say(verb, owner, mailbox, to_owner, name, *uid_frames(uids))
        return Copied(int(uidvalidity), read_uids(sets), int(first), int(modseq))

    async def expunge(self, owner: str, mailbox: int, uids: Ranges, deleted: bool = True) -> tuple[int, Ranges]:
        """Take messages away, those marked as deleted or all; the modseq now, and what went."""
        modseq, *sets = await self._say("expunge-from", owner, mailbox, deleted, *uid_frames(uids))
        return int(modseq), read_uids(sets)

    async def append(self, owner: str, name: str, letters: Sequence[Letter], replacing: tuple[str, int, int] | None = None) -> Added:
        """Put messages into a mailbox, all or none; `replacing` (owner, mailbox, UID) takes that one away."""
        described, contents = [], []
        for letter in letters:
            facts = {"date": letter.internaldate, "flags": list(letter.flags)}
            if isinstance(letter.content, Path):
                described.append({**facts, "file": letter.content.name})
            else:
                described.append({**facts, "octets": len(letter.content)})
                contents.append(letter.content)
        answer = await self._say("append", owner, name, described, replacing, *octet_frames(b"".join(contents)))
        return Added(*map(int, answer))

    async def create(self, owner: str, name: str, special_use: str = "") -> int:
        """Make a mailbox; its number."""
        return int((await self._say("make", owner, name, special_use))[0])

    async def rename(self, owner: str, name: str, to: str) -> None:
        """Rename a mailbox with all below it."""
        await self._say("rename", owner, name, to)

    async def remove(self, owner: str, name: str) -> None:
        """Remove a mailbox."""
        await self._say("remove", owner, name)

    async def subscribe(self, owner: str, name: str, on: bool) -> None:
        """Subscribe to a name, or no more."""
        await self._say("subscribe-name", owner, name, on)

    async def claim(self, owner: str, mailbox: int) -> tuple[int, int]:
        """The UIDs (first, before) that are recent for whoever asks."""
        first, before = await self.ask("mailbox", "claim", owner, mailbox, timeout=QUICK)
        return int(first), int(before)

    async def set_metadata(self, owner: str, mailbox: int, entries: Mapping[str, bytes | None]) -> None:
        """Set entries of a mailbox, or (0) of the account; None removes."""
        names = [[name, None if value is None else len(value)] for name, value in entries.items()]
        values = b"".join(value for value in entries.values() if value is not None)
        await self._say("set-metadata", owner, mailbox, names, *octet_frames(values))

    async def set_acl(self, owner: str, mailbox: int, identifier: str, rights: str) -> None:
        """Give exactly these rights."""
        await self._say("set-acl", owner, mailbox, identifier, rights)

    async def usage(self, owner: str) -> Account:
        """What an account holds and may hold."""
        *usage, quota = map(int, await self._say("usage", owner))
        return Account(Usage(*usage), quota)

    async def _say(self, verb: str, *words) -> list[bytes]:
        return await self.ask("mailbox", verb, *words, timeout=PATIENCE)


def uid_frames(uids: Ranges) -> list[str]:
    """A UID set as parameters."""
    step = FRAME // 22              # "4294967295:4294967295,"
    return [uidset.text(uids[start:start + step]) for start in range(0, len(uids), step)]


def octet_frames(octets: bytes) -> list[bytes]:
    """Octets as parameters."""
    return [octets[start:start + FRAME] for start in range(0, len(octets), FRAME)]


def read_uids(frames: Sequence[bytes]) -> Ranges:
    """A UID set from parameters."""
    return uidset.merge(pair for frame in frames for pair in uidset.parse(frame.decode()))
