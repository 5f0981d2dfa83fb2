"""How many failed logins an account and an address may have before they must wait, and for how long.

Asked by servers/auth/logins.py around every check. Waits double with every failure over the budget and are forgotten with time. The
owner is never locked out by somebody else's guesses: a network from which an account has logged in before keeps its own count for
it, and so do loopback and the trusted networks, all together and with more patience: a front that was taken over may name them for
anybody. Names that don't exist are counted as names that do. Knows no clock (`now` comes in, monotonic seconds) and keeps everything in
memory, bounded; `kept` and `restore` are for who writes it down, so that a restart forgives nobody. What users typed is written as a digest.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

MOST = 100_000              # entries of each kind; the one that was used least recently goes first
DAY = 86400.0
KNOWN = 14 * DAY            # seconds for which a network is one that an account logs in from
SAME_PASSWORDS = 8          # wrong passwords remembered per entry: a device that repeats an old one is counted once

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class _Entry:
    failures: int = 0
    last: float = 0.0
    until: float = 0.0
    checking: int = 0
    passwords: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ban:
    """Somebody who has to wait: `kind` is account, address, or trusted (an account, from a trusted network); `seconds` how long from now."""

    kind: str
    name: str
    failures: int
    seconds: float


class Kept(NamedTuple):
    """A count to be written down, or a network that an account has logged in from (kind network). Seconds are ago, and from now."""

    kind: str
    name: str
    failures: int
    ago: float
    left: float


def network_of(address: str) -> Network | None:
    """Return what one attacker owns at least: the IPv4 address, the /64 of an IPv6 address; None for anything else.

    IPv6 addresses that carry an IPv4 one count as that one; a zone is left out.
    """
    parsed = _parsed(address)
    return None if parsed is None else ipaddress.ip_network((parsed, 32 if parsed.version == 4 else 64), strict=False)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if parsed.version == 6 else parsed


def is_loopback(address: str) -> bool:
    """Whether an address is this host's own."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


class Budget:
    """Failures of accounts and of networks. `first`, `longest`: seconds of the first and the longest wait; `memory`: seconds
    after the last failure in which it is forgotten; `trusted`: networks that never wait, loopback is always one, and only an account
    waits there, after `per_trusted` failures; `secret`: the key of the digests that names are written down as."""

    def __init__(self, *, per_account: int = 10, per_address: int = 20, per_trusted: int = 100, first: float = 15.0, longest: float = 3600.0,
                 memory: float = 3600.0, known: float = KNOWN, trusted: tuple[str, ...] = (), most: int = MOST, secret: bytes = b"") -> None:
        self._limits = {"account": per_account, "address": per_address, "trusted": per_trusted}
        self._secret = secret
        self._past: dict[tuple[str, str], tuple[Kept, float]] = {}     # (kind, digest) -> what was written down, and when it was read
        self._first, self._longest, self._memory, self._known_for, self._most = first, longest, memory, known, most
        self._trusted = [ipaddress.ip_network(network, strict=False) for network in ("127.0.0.0/8", "::1", *trusted)]
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def trusts(self, address: str) -> bool:
        """Whether an address never waits, whatever accounts it tries."""
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)

    def wait(self, account: str, address: str, now: float) -> float:
        """Return how many seconds a login must wait, 0.0 for not at all."""
        longest = 0.0
        for kind, name in self._names(account, address, now):
            entry = self._entry(kind, name, now)
            if entry is None:
                continue
            longest = max(longest, entry.until - now)
            if entry.checking and entry.failures + entry.checking >= self._limits[kind]:
                longest = max(longest, 1.0)         # guesses side by side would all pass before the first is known to be wrong
        return longest

    def begin(self, account: str, address: str, now: float) -> tuple[str, str]:
        """Note that a password is being checked; return what `end` has to be told."""
        name = self._account_name(account, address, now)
        self._touch(*name).checking += 1
        return name

    def end(self, name: tuple[str, str]) -> None:
        """Note that a check is over, however it ended."""
        entry = self._entries.get(name)
        if entry and entry.checking:
            entry.checking -= 1

    def failed(self, account: str, address: str, password: bytes, now: float) -> None:
        """Count a failure. `password`: a keyed digest of what was tried, b"" when it isn't known; the same again isn't counted."""
        for kind, name in self._names(account, address, now):
            self._entry(kind, name, now)
            entry = self._touch(kind, name)
            entry.last = now
            if password and password in entry.passwords:
                continue
            if password:
                entry.passwords = [*entry.passwords[1 - SAME_PASSWORDS:], password]
            entry.failures += 1
            over = entry.failures - self._limits[kind]
            if over >= 0:
                entry.until = now + min(self._first * 2.0 ** min(over, 40), self._longest)

    def succeeded(self, account: str, address: str, now: float) -> Kept | None:
        """Remember that this network belongs to somebody who knows the password; return it when it is news of the day.

        Forgives nothing: who guesses may own an account.
        """
        network = network_of(address)
        if network is None or self.trusts(address):
            return None
        key = (account, str(network))
        before = self._seen(*key, now)
        self._known[key] = now
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return Kept("network", self._digest("network", " from ".join(key)), 0, 0.0, 0.0) if before is None or now - before > DAY else None

    def adopt(self, other: Budget) -> None:
        """Take over what another budget has counted: new settings forgive nobody."""
        self._entries, self._known, self._past, self._secret = other._entries, other._known, other._past, other._secret

    def kept(self, account: str, address: str, now: float) -> list[Kept]:
        """Return what a failure has changed, to be written down."""
        found = [(kind, name, self._entries.get((kind, name))) for kind, name in self._names(account, address, now)]
        return [Kept(kind, self._digest(kind, name), entry.failures, now - entry.last, entry.until - now) for kind, name, entry in found if entry]

    def restore(self, rows: Iterable[Kept], now: float) -> None:
        """Take what was written down. Accounts are known by their digests only, until somebody tries them."""
        for row in rows:
            if row.kind == "address":
                self._entries[row.kind, row.name] = self._recalled(row, now)
            elif len(self._past) < 2 * self._most:
                self._past[row.kind, row.name] = (row, now)

    def bans(self, now: float) -> list[Ban]:
        """Return who has to wait, the longest wait first."""
        found = [Ban(kind, name, entry.failures, entry.until - now)
                 for (kind, name), entry in self._entries.items() if entry.until > now]
        return sorted(found, key=lambda ban: (-ban.seconds, ban.name))

    def unban(self, name: str) -> list[tuple[str, str]]:
        """Forget the failures of an account (from everywhere) or an address; "*" is all. Returns kind and name of each, as `kept` wrote them."""
        network = network_of(name)
        gone = [key for key in self._entries
                if name == "*" or key[1] in (name, str(network)) or (key[0] == "account" and key[1].startswith(f"{name} from "))]
        for key in gone:
            del self._entries[key]
        here = {(kind, self._digest(kind, name)) for kind in ("account", "trusted")}
        here |= {("account", self._digest("account", f"{name} from {network}")) for account, network in self._known if account == name}
        past = [key for key in self._past if key[0] != "network" and (name == "*" or key in here)]
        for key in past:
            del self._past[key]
        return [(kind, self._digest(kind, name)) for kind, name in gone] + past

    def _names(self, account: str, address: str, now: float) -> list[tuple[str, str]]:
        name, network = self._account_name(account, address, now), network_of(address)
        return [name] if network is None or name[0] == "trusted" else [name, ("address", str(network))]

    def _account_name(self, account: str, address: str, now: float) -> tuple[str, str]:
        """Return what an account's failures are counted by: apart for a network from which it has logged in before, and for those we trust."""
        if self.trusts(address):
            return "trusted", account
        network = str(network_of(address))
        since = self._seen(account, network, now)
        return ("account", account if since is None or now - since > self._known_for else f"{account} from {network}")

    def _seen(self, account: str, network: str, now: float) -> float | None:
        """When an account has last logged in from a network."""
        if (account, network) not in self._known and self._past:
            past = self._past.pop(("network", self._digest("network", f"{account} from {network}")), None)
            if past:
                self._known[account, network] = past[1] - past[0].ago
        return self._known.get((account, network))

    def _entry(self, kind: str, name: str, now: float) -> _Entry | None:
        entry = self._entries.get((kind, name))
        if entry is None and self._past and (past := self._past.pop((kind, self._digest(kind, name)), None)):
            entry = self._entries[kind, name] = self._recalled(*past)
        if entry and not entry.checking and entry.until <= now and now - entry.last > self._memory:
            del self._entries[kind, name]
            return None
        return entry

    def _recalled(self, row: Kept, then: float) -> _Entry:
        """A count of before a restart. No clock that was set wrong meanwhile makes anybody wait for longer than the longest wait."""
        return _Entry(row.failures, then - max(row.ago, 0.0), then + min(row.left, self._longest))

    def _digest(self, kind: str, name: str) -> str:
        """What stands for a name where it is written down: some type their password where the name belongs."""
        return name if kind == "address" else blake2b(name.encode("utf-8", "replace"), key=self._secret, digest_size=16).hexdigest()

    def _touch(self, kind: str, name: str) -> _Entry:
        entry = self._entries.get((kind, name))
        if entry is None:
            entry = self._entries[kind, name] = _Entry()
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)
        self._entries.move_to_end((kind, name))
        return entry
