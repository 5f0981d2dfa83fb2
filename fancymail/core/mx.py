"""MX: from records and addresses to the hosts that may be asked, in order (RFC 5321 5.1, RFC 7505).

Asked by servers/smtpout/nexthop.py, which does the lookups; chance comes in as `shuffle`. What must never be reached is decided here:
ourselves, and networks that nobody on the Internet can mean. The addresses that come out are the addresses to connect to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

HOST_LIMIT = 10                      # MX hosts that are looked at, however many there are
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NoRoute(Exception):
    """There is no way for this mail now ("deferred") or ever ("failed"); `status` is RFC 3463's."""

    def __init__(self, state: str, status: str, text: str) -> None:
        super().__init__(text)
        self.state, self.status, self.text = state, status, text


@dataclass(frozen=True, slots=True, order=True)
class Host:
    """A host of a destination. Lower preferences are asked first."""

    preference: int
    name: str


@dataclass(frozen=True, slots=True)
class Target:
    """One address that may be connected to."""

    host: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and where we must not knock. `owned` tells whether an address is one of this machine."""

    names: frozenset[str]
    ports: frozenset[int]
    owned: Callable[[str], bool]
    private: bool = False            # private and reserved addresses may be reached

    def objection(self, address: str, port: int, explicit: bool = False) -> tuple[str, str]:
        """Why an address must not be connected to, as (status, reason); ("", "") when it may."""
        if port in self.ports and self.owned(address):
            return "5.4.6", "that is this server itself"
        if not (self.private or explicit) and not public(address):
            return "5.4.4", "a private or reserved address"
        return "", ""


def hosts(domain: str, records: Iterable[tuple[int, str]], shuffle: Callable[[list], None]) -> list[Host]:
    """Order the MX records of a domain; without any the domain itself is the host (RFC 5321 5.1). Raises NoRoute for a null MX."""
    found = {(preference, name) for preference, name in records}
    if not found:
        return [Host(0, domain)]
    named = [Host(preference, name) for preference, name in found if name]      # a null MX beside others means nothing
    if not named:                                                               # RFC 7505 3
        raise NoRoute("failed", "5.1.10", f"{domain} accepts no mail (null MX)")
    named.sort()
    shuffle(named)                   # RFC 5321 5.1: equal preferences are spread by chance; the sort below is stable
    named.sort(key=lambda host: host.preference)
    return named[:HOST_LIMIT]


def behind_us(found: Sequence[Host], ours: Callable[[Host], bool]) -> list[Host]:
    """Leave only hosts that are better than ourselves (RFC 5321 5.1): everything else would come back. NoRoute when none is."""
    own = min((host.preference for host in found if ours(host)), default=None)
    left = [host for host in found if own is None or host.preference < own]
    if not left:
        raise NoRoute("failed", "5.4.6", "the mail would come back: this server is the best MX of a domain that is not its own")
    return left


def interleave(addresses: Collection[str], families: str, shuffle: Callable[[list], None]) -> list[str]:
    """Spread the addresses of one host by chance, IPv6 and IPv4 in turn, so that one dead family does not use up all tries."""
    six = [address for address in addresses if ":" in address and families != "ipv4"]
    four = [address for address in addresses if ":" not in address and families != "ipv6"]
    shuffle(six)
    shuffle(four)
    mixed = []
    while six or four:
        mixed += [family.pop() for family in (six, four) if family]
    return mixed


def public(address: str) -> bool:
    """Whether an address can belong to a server on the Internet. One that carries another inside is judged by that as well."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (inner := _embedded(parsed)) is not None:
        return public(str(inner))
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in a mapped, 6to4, Teredo, NAT64 or IPv4-compatible one."""
    if address in _NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
