"""The verbs of fm-mailbox for IMAP and webmail: every change that people make to their mail, and every reading, for who has no shards at hand.

A half of MailboxServer (daemon.py). What may be done says core/filing.py, reading is done by the same reader that fm-imap uses on its
own machine. servers/asking/store.py and servers/asking/reader.py are the other end of these verbs. One verb is one transaction and one alert.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

import msgspec

from fancymail.core.filing import Letter
from fancymail.core.imap.precompute import precompute
from fancymail.core.mailboxes import uids_of
from fancymail.ipc.message import RAW_CHUNK, IpcError, Reply
from fancymail.ipc.verb import Flag, Json, Parameter, Raw, Text, UserName, Word, verb
from fancymail.mail import uidset
from fancymail.mail.uidset import Ranges
from fancymail.servers.asking.store import FRAME, uid_frames
from fancymail.servers.mailbox.refusals import refusals
from fancymail.storage.blobs import HEAD
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.reader import COLUMNS, CONTENT, PLACES, Content
from fancymail.storage.slots import read_slot

OWNERS = "imap webmaild"
READERS = "pop3 imap webmaild"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.json.Decoder(list).decode


def _uid_set(frame: bytes) -> str:
    if len(frame) > FRAME + 100:
        raise ValueError("a UID set of at most 60000 octets")
    return frame.decode("ascii")


def _box_number(frame: bytes) -> int:
    if not frame.isdigit() or len(frame) > 18:
        raise ValueError("the number of a mailbox")
    return int(frame)


Uids = Annotated[str, Parameter("uids", "a UID set, as 1:4,9; a long one in several parameters", _uid_set)]
BoxNumber = Annotated[int, Parameter("mailbox", "the number of a mailbox, as its readers tell it; 0: the account", _box_number)]


class ChangingVerbs:
    """What changes mail."""

    @verb(callers=OWNERS, remember=True)
    async def flags(self, user: UserName, mailbox: BoxNumber, how: Word, words: Text, unchanged: Text, *uids: Uids) -> list:
        """Add, remove or set flags (words with spaces between) of messages; of those changed after modseq `unchanged` (empty: of all) not.

        Answers modseq ; number of parameters that tell the UIDs changed ; these ; then the UIDs refused.
        """
        if how not in ("add", "remove", "set") or unchanged and not unchanged.isdecimal():
            raise IpcError("5.5.4", "say add, remove or set, then words, then a modseq or nothing")
        since = int(unchanged) if unchanged else None
        account, ranges = await self._account(user), _ranges(uids)
        stored = await self._done(account, lambda: self.filing.flags(account, mailbox, ranges, how, words.split(), since), lambda done: done.changed)
        changed = uid_frames(stored.changed)
        return [stored.modseq, len(changed), *changed, *uid_frames(stored.refused)]

    @verb(callers=OWNERS, remember=True)
    async def copy(self, user: UserName, mailbox: BoxNumber, owner: UserName, name: Text, *uids: Uids) -> list:
        """Copy messages to a mailbox of the same or another account: ok with uidvalidity ; first new UID ; modseq here ; the UIDs copied."""
        return await self._copy(user, mailbox, owner, name, uids, False)

    @verb(callers=OWNERS, remember=True)
    async def move(self, user: UserName, mailbox: BoxNumber, owner: UserName, name: Text, *uids: Uids) -> list:
        """Move messages to a mailbox of the same or another account; answers as copy."""
        return await self._copy(user, mailbox, owner, name, uids, True)

    async def _copy(self, user: str, mailbox: int, owner: str, name: str, uids: Sequence[str], move: bool) -> list:
        account, target, ranges = await self._account(user), await self._known(owner), _ranges(uids)
        copied = await self._done(account, lambda: self.filing.copy(account, mailbox, ranges, target.address, name, target.quota, move),
                                  lambda done: done.source)
        if target.address != account and copied.source:
            self.alert(target.address)
        return [copied.uidvalidity, copied.first, copied.modseq, *uid_frames(copied.source)]

    @verb(callers=OWNERS, remember=True)
    async def expunge_from(self, user: UserName, mailbox: BoxNumber, deleted: Flag, *uids: Uids) -> list:
        """Take messages away, if deleted is 1 only those marked so: ok with modseq ; the UIDs that went."""
        account, ranges = await self._account(user), _ranges(uids)
        modseq, gone = await self._done(account, lambda: self.filing.expunge(account, mailbox, ranges, deleted), lambda done: done[1])
        self.counters["expunged"] += len(gone)
        return [modseq, *uid_frames(uidset.ranges(gone))]

    @verb(callers=OWNERS, remember=True)
    async def append(self, user: UserName, name: Text, letters: Json, replacing: Json, *contents: Raw) -> list:
        """Append messages, all or none: ok with uidvalidity ; first UID ; count.

        letters: a list of {"date": seconds, "flags": [words], "octets": n} for what stands in the parameters `contents`, one behind the other, or
        with "file": a slot file in STATE/mail/incoming, which is taken over. replacing: null, or [owner, mailbox, uid] of a message to take away.
        """
        account = await self._known(user)
        pieces, blobs = _letters(letters, b"".join(contents), self.settings.mailbox.store_limit), []
        if not (replacing is None or isinstance(replacing, list) and [type(item) for item in replacing] == [str, int, int]):
            raise IpcError("5.5.4", "replacing is null or [owner, mailbox, uid]")
        replaced = (await self._account(replacing[0]), *replacing[1:]) if replacing else None
        light = self._light(pieces)
        try:
            with refusals():
                if light:                       # that takes no longer than the way to the thread and back, and nothing of it waits for the disk
                    kept = self._keep_letters(pieces, blobs, derived=self.cluster is not None)
                else:
                    kept = await self.uploads.keep(lambda: self._keep_letters(pieces, blobs))
            added = await self._done(account.address, lambda: self.filing.append(account.address, name, kept, account.quota, replaced))
        finally:
            self.mailboxes.stowage.release(blobs)
            self._unlink(pieces)
        if kept[0].derived is None:
            self.derivation.soon(account.address, name, added.first, kept[0].blob, kept[0].internaldate)
        if replaced and replaced[0] != account.address:
            self.alert(replaced[0])
        self.counters["appended"] += added.count
        return list(added)

    def _light(self, pieces: list[tuple[dict, bytes]]) -> bool:
        """Whether it is one small message, as most that come."""
        return len(pieces) == 1 and "file" not in pieces[0][0] and len(pieces[0][1]) <= self.mailboxes.stowage.small

    def _keep_letters(self, pieces: list[tuple[dict, bytes]], taken: list[Blob], derived: bool = True) -> list[Letter]:
        """Take the contents in, and derive what is derived of them; in the thread, if there is much."""
        letters = []
        for facts, content in pieces:
            if "file" in facts:
                with read_slot(self.incoming / facts["file"]) as slot:
                    blob, _ = self.mailboxes.stowage.take(slot)
                    content = slot.read()
            else:
                blob = self.mailboxes.stowage.keep(content)
            taken.append(blob)
            letters.append(Letter(blob, content[:HEAD], facts["date"], facts["flags"],
                                  precompute(b"", content, facts["date"]) if derived else None))
        return letters

    def _unlink(self, pieces: list[tuple[dict, bytes]]) -> None:
        for facts, _ in pieces:
            if "file" in facts:
                (self.incoming / facts["file"]).unlink(missing_ok=True)

    # -- mailboxes ---------------------------------------------------------------------------------------------------------

    @verb(callers=OWNERS, remember=True)
    async def make(self, user: UserName, name: Text, special_use: Text = "") -> int:
        """Make a mailbox, with those above it, not subscribed to; answers its number."""
        account = await self._account(user)
        return (await self._done(account, lambda: self.filing.create(account, name, special_use))).id

    @verb(callers=OWNERS)
    async def subscribe_name(self, user: UserName, name: Text, subscribed: Flag) -> None:
        """Subscribe to a mailbox name, or no more; there need not be such a mailbox."""
        account = await self._account(user)
        await self._done(account, lambda: self.filing.subscribe(account, name, subscribed))

    @verb(callers=OWNERS, remember=True)
    async def claim(self, user: UserName, mailbox: BoxNumber) -> tuple[int, int]:
        """Give the UIDs first up to, but not with, before that are recent; nobody gets them again."""
        account = await self._account(user)
        return await self._done(account, lambda: self.filing.claim(account, mailbox), lambda done: False)

    @verb(callers=OWNERS)
    async def set_metadata(self, user: UserName, mailbox: BoxNumber, names: Json, *values: Raw) -> None:
        """Set entries of a mailbox: names is a list of [name, octets], octets null to remove it; values hold the octets, one behind the other."""
        account, entries = await self._account(user), _entries(names, b"".join(values))
        await self._done(account, lambda: self.filing.set_metadata(account, mailbox or None, entries))

    @verb(callers=OWNERS)
    async def set_acl(self, user: UserName, mailbox: BoxNumber, identifier: Text, rights: Text) -> None:
        """Give an identifier exactly these rights to a mailbox; an empty parameter takes it from the list."""
        account = await self._account(user)
        await self._done(account, lambda: self.filing.set_acl(account, mailbox, identifier, rights))
        if "@" in identifier:
            self.alert(identifier.removeprefix("-"))

    async def _done(self, account: str, work: Callable[[], Any], changed: Callable[[Any], Any] = lambda done: True) -> Any:
        """Do work with the rest of this turn; tell who watches, if it changed anything."""
        with refusals():
            result = await self.turn.run(work)
        if changed(result):
            self.alert(account)
        return result


class ReadingVerbs:
    """The calls of ports.reader by verb: answers are raw octets of msgpack."""

    @verb(callers=READERS)
    async def read(self, user: UserName, call: Word, *arguments: Raw) -> AsyncIterator[Reply]:
        """Read mailboxes: call is one of mailboxes, mailbox, subscriptions, metadata, acl, shared, load, changes, columns, octets, matching.

        arguments: a JSON list, in as many parameters as it takes, of what storage/ports/reader.py says behind the account, a mailbox number first
        where it is about one. Answers ok with the number of octets, then these by raw operations: msgpack. A mailbox that is gone is error 5.2.0,
        a content that is lost 5.3.0.
        """
        account, ask = await self._account(user), _CALLS.get(call)
        if ask is None:
            raise IpcError("5.5.4", f"there is no {call} to read")
        with refusals():
            try:
                answer = _encode(await ask(self.reader, account, *_decode(b"".join(arguments))))
            except (TypeError, ValueError, msgspec.DecodeError) as error:
                raise IpcError("5.5.4", f"these are no arguments of {call}: {error}") from None
        yield Reply("ok", len(answer))
        for start in range(0, len(answer), RAW_CHUNK):
            yield Reply("raw", answer[start:start + RAW_CHUNK])

    @verb(callers=READERS)
    async def derive(self, user: UserName, mailbox: BoxNumber, *uids: Uids) -> int:
        """Derive of messages now what is to be derived of them (envelope, structure, text) and was not yet; answers of how many."""
        account, ranges = await self._account(user), _ranges(uids)
        with refusals():
            return await self.derivation.derive(account, mailbox, ranges)


async def _load(reader, account: str, mailbox: int) -> tuple:
    box, keywords, *arrays = await reader.open(account, mailbox).load()
    return box, keywords, [part.tobytes() for part in arrays]


async def _columns(reader, account: str, mailbox: int, names: list, uids: list, kept: bool) -> list:
    if not set(names) <= set(COLUMNS):
        raise ValueError("unknown column")
    return await reader.open(account, mailbox).columns(tuple(names), [(int(first), int(last)) for first, last in uids], bool(kept))


async def _octets(reader, account: str, mailbox: int, uid: int, start: int, length: int | None) -> bytes:
    box = reader.open(account, mailbox)
    for kept in (False, True):
        for row in await box.columns(CONTENT, [(int(uid), int(uid))], kept):
            return await box.octets(Content(*row), start, length)
    raise KeyError(uid)


async def _matching(reader, account: str, mailbox: int, words: list, place: str, uids: list) -> list[int]:
    if place not in PLACES or not all(isinstance(word, str) for word in words):
        raise ValueError("no such place")
    return await reader.open(account, mailbox).matching(words, place, [(int(first), int(last)) for first, last in uids])


_CALLS: dict[str, Callable] = {
    "mailboxes": lambda reader, account: reader.mailboxes(account), "mailbox": lambda reader, account, name: reader.mailbox(account, name),
    "subscriptions": lambda reader, account: reader.subscriptions(account), "shared": lambda reader, account: reader.shared(account),
    "metadata": lambda reader, account, mailbox: reader.metadata(account, mailbox),
    "acl": lambda reader, account, mailbox: reader.acl(account, mailbox),
    "load": _load, "columns": _columns, "octets": _octets, "matching": _matching,
    "changes": lambda reader, account, mailbox, modseq, uidnext: reader.open(account, mailbox).changes(modseq, uidnext)}


def _ranges(uids: Sequence[str]) -> Ranges:
    with refusals():
        return uids_of(uids)


def _letters(letters: Any, contents: bytes, limit: int) -> list[tuple[dict, bytes]]:
    """The messages that `append` brings; raises IpcError."""
    try:
        described = [msgspec.convert(letter, _Described) for letter in msgspec.convert(letters, list)]
    except msgspec.ValidationError as error:
        raise IpcError("5.5.4", f"letters: {error}") from None
    found, start = [], 0
    for each in described:
        if each.file is not None and (os.sep in each.file or each.file.startswith(".")):
            raise IpcError("5.5.4", "a file is named without its folder")
        if each.octets > limit:
            raise IpcError("5.3.4", f"a message has at most {limit} octets")
        facts = {"date": each.date, "flags": each.flags, **({} if each.file is None else {"file": each.file})}
        found.append((facts, contents[start:start + each.octets]))
        start += each.octets
    if start != len(contents) or not found:
        raise IpcError("5.5.4", f"{len(contents)} octets came, {start} were announced")
    return found


class _Described(msgspec.Struct):
    date: int
    flags: list[str] = []
    octets: int = 0
    file: str | None = None


def _entries(names: Any, values: bytes) -> dict[str, bytes | None]:
    """The entries that `set-metadata` brings; raises IpcError."""
    try:
        described = msgspec.convert(names, list[tuple[str, int | None]])
    except msgspec.ValidationError as error:
        raise IpcError("5.5.4", f"names: {error}") from None
    entries: dict[str, bytes | None] = {}
    start = 0
    for name, octets in described:
        entries[name] = None if octets is None else values[start:start + octets]
        start += octets or 0
    if start != len(values):
        raise IpcError("5.5.4", f"{len(values)} octets came, {start} were announced")
    return entries
