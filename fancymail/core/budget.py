"""How many failed logins an account and an address may have before they must wait, and for how long.

Asked by servers/logins.py around every check. Waits double with every failure over the budget and are forgotten with time. The
owner is never locked out by somebody else's guesses: a network from which an account has logged in before keeps its own count for
it, and loopback and the trusted networks are never made to wait. Names that don't exist are counted as names that do. Knows no
clock (`now` comes in, monotonic seconds) and keeps everything in memory, bounded: a restart forgives.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

MOST = 100_000              # entries of each kind; the one that was used least recently goes first
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
    """Somebody who has to wait: `kind` is account or address, `seconds` how long from now."""

    kind: str
    name: str
    failures: int
    seconds: float


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
    after the last failure in which it is forgotten; `trusted`: networks that never wait, loopback is always one."""

    def __init__(self, *, per_account: int = 10, per_address: int = 20, first: float = 15.0, longest: float = 3600.0,
                 memory: float = 3600.0, known: float = 14 * 86400.0, trusted: tuple[str, ...] = (), most: int = MOST) -> None:
        self._limits = {"account": per_account, "address": per_address}
        self._first, self._longest, self._memory, self._known_for, self._most = first, longest, memory, known, most
        self._trusted = [ipaddress.ip_network(network, strict=False) for network in ("127.0.0.0/8", "::1", *trusted)]
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def trusts(self, address: str) -> bool:
        """Whether an address never waits."""
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)

    def wait(self, account: str, address: str, now: float) -> float:
        """Return how many seconds a login must wait, 0.0 for not at all."""
        if self.trusts(address):
            return 0.0
        longest = 0.0
        for kind, name in self._names(account, address, now):
            entry = self._entry(kind, name, now)
            if entry is None:
                continue
            longest = max(longest, entry.until - now)
            if entry.checking and entry.failures + entry.checking >= self._limits[kind]:
                longest = max(longest, 1.0)         # guesses side by side would all pass before the first is known to be wrong
        return longest

    def begin(self, account: str, address: str, now: float) -> str:
        """Note that a password is being checked; return what `end` has to be told."""
        name = self._account_name(account, address, now)
        self._touch("account", name).checking += 1
        return name

    def end(self, name: str) -> None:
        """Note that a check is over, however it ended."""
        entry = self._entries.get(("account", name))
        if entry and entry.checking:
            entry.checking -= 1

    def failed(self, account: str, address: str, password: bytes, now: float) -> None:
        """Count a failure. `password`: a keyed digest of what was tried, b"" when it isn't known; the same again isn't counted."""
        if self.trusts(address):
            return
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

    def succeeded(self, account: str, address: str, now: float) -> None:
        """Remember that this network belongs to somebody who knows the password. Forgives nothing: who guesses may own an account."""
        network = network_of(address)
        if network is not None:
            key = (account, str(network))
            self._known[key] = now
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def adopt(self, other: Budget) -> None:
        """Take over what another budget has counted: new settings forgive nobody."""
        self._entries, self._known = other._entries, other._known

    def bans(self, now: float) -> list[Ban]:
        """Return who has to wait, the longest wait first."""
        found = [Ban(kind, name, entry.failures, entry.until - now)
                 for (kind, name), entry in self._entries.items() if entry.until > now]
        return sorted(found, key=lambda ban: (-ban.seconds, ban.name))

    def unban(self, name: str) -> int:
        """Forget the failures of an account (from everywhere) or an address; "*" is all. Returns how many had to wait or were counted."""
        network = network_of(name)
        gone = [key for key in self._entries
                if name == "*" or key[1] in (name, str(network)) or (key[0] == "account" and key[1].startswith(f"{name} from "))]
        for key in gone:
            del self._entries[key]
        return len(gone)

    def _names(self, account: str, address: str, now: float) -> list[tuple[str, str]]:
        names = [("account", self._account_name(account, address, now))]
        network = network_of(address)
        return names if network is None else [*names, ("address", str(network))]

    def _account_name(self, account: str, address: str, now: float) -> str:
        """Return what an account's failures are counted by: apart for a network from which it has logged in before."""
        network = network_of(address)
        since = self._known.get((account, str(network)))
        if since is None or now - since > self._known_for:
            return account
        return f"{account} from {network}"

    def _entry(self, kind: str, name: str, now: float) -> _Entry | None:
        entry = self._entries.get((kind, name))
        if entry and not entry.checking and entry.until <= now and now - entry.last > self._memory:
            del self._entries[kind, name]
            return None
        return entry

    def _touch(self, kind: str, name: str) -> _Entry:
        entry = self._entries.get((kind, name))
        if entry is None:
            entry = self._entries[kind, name] = _Entry()
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)
        self._entries.move_to_end((kind, name))
        return entry
