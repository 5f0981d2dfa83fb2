"""From a route to addresses: the lookups behind core/mx.py.

    targets = await hops.find(route)         # in the order in which they are to be tried; NoRoute when there are none

Called by servers/smtpout/destination.py. Nothing is connected here; what is returned was checked, and is what will be connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fancymail.core.mx import Host, Identity, NoRoute, Target, behind_us, hosts, interleave
from fancymail.core.routing import Route
from fancymail.mail import domain as domains

from .dnswire import DnsError
from .resolver import Resolver


class NextHops:
    """Finds the targets of routes. `known`: names that are not asked for by DNS (/etc/hosts), used for named hosts only."""

    def __init__(self, resolver: Resolver, identity: Identity, families: str = "both", limit: int = 10, literals: bool = False,
                 known: Mapping[str, tuple[str, ...]] | None = None, entropy: random.Random | None = None) -> None:
        self.resolver, self.identity = resolver, identity
        self.families, self.limit, self.literals = families, limit, literals
        self.known = known or {}
        self.shuffle = (entropy or random.SystemRandom()).shuffle

    async def find(self, route: Route) -> list[Target]:
        """The addresses to try, at most `limit`. Raises NoRoute."""
        if route.host:
            return await self._named(route)
        kind = domains.kind(route.domain)
        if kind in ("ipv4", "ipv6"):
            return self._literal(route)
        return await self._by_mx(route)

    async def _by_mx(self, route: Route) -> list[Target]:
        try:
            answer = await self.resolver.lookup(route.domain, "MX")
        except DnsError as error:
            raise NoRoute("deferred", "4.4.3", f"MX of {route.domain}: {error}") from None
        if not answer.exists:
            raise NoRoute("failed", "5.1.2", f"the domain {route.domain} does not exist")
        found = hosts(route.domain, answer.records, self.shuffle)
        lookups = await asyncio.gather(*(self._addresses(host.name) for host in found))
        addresses = {host: addresses for host, (addresses, _) in zip(found, lookups)}
        uncertain = any(trouble for _, trouble in lookups)
        found = behind_us(found, lambda host: self._is_us(host, addresses[host], route.port))
        return self._checked(route, [(host.name, addresses[host]) for host in found], uncertain)

    def _is_us(self, host: Host, addresses: list[str], port: int) -> bool:
        return host.name in self.identity.names or any(self.identity.objection(address, port)[0] == "5.4.6" for address in addresses)

    async def _named(self, route: Route) -> list[Target]:
        if _is_address(route.host):
            return self._checked(route, [(route.host, [route.host.strip("[]")])], False)
        if route.host in self.known:
            return self._checked(route, [(route.host, list(self.known[route.host]))], False)
        addresses, trouble = await self._addresses(route.host)
        if not addresses:              # the operator's own word: a mistake there must not bounce mail
            raise NoRoute("deferred", "4.3.5", f"the host {route.host} of a transport has no address{': ' + trouble if trouble else ''}")
        return self._checked(route, [(route.host, addresses)], bool(trouble))

    def _literal(self, route: Route) -> list[Target]:
        if not self.literals:
            raise NoRoute("failed", "5.1.2", "mail to address literals is not sent from here")
        return self._checked(route, [(route.domain, [route.domain.strip("[]").removeprefix("IPv6:")])], False)

    async def _addresses(self, name: str) -> tuple[list[str], str]:
        """The addresses of a host in the order to try them, and what went wrong on the way ("" when they are all)."""
        kinds = {"ipv4": ("A",), "ipv6": ("AAAA",)}.get(self.families, ("AAAA", "A"))
        answers = await asyncio.gather(*(self.resolver.lookup(name, kind) for kind in kinds), return_exceptions=True)
        addresses, trouble = [], ""
        for answer in answers:
            if isinstance(answer, DnsError):
                trouble = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                addresses += answer.records
        return interleave(addresses, self.families, self.shuffle), trouble

    def _checked(self, route: Route, found: list[tuple[str, list[str]]], uncertain: bool) -> list[Target]:
        """Leave out what must not be reached; say why when nothing is left."""
        targets, objections = [], []
        for name, addresses in found:
            for address in addresses:
                status, reason = self.identity.objection(address, route.port, route.explicit)
                if status:
                    objections.append((status, f"{name} ({address}): {reason}"))
                else:
                    targets.append(Target(name, address, route.port))
        if targets:
            return targets[:self.limit]
        if uncertain:
            raise NoRoute("deferred", "4.4.3", f"the hosts of {route} cannot be looked up now")
        if objections:
            state = "deferred" if route.explicit else "failed"
            status, text = min(objections)
            raise NoRoute(state, "4.3.5" if route.explicit else status, text)
        raise NoRoute("failed", "5.4.4", f"no host of {route} has an address")


@lru_cache(1024)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def owned(address: str) -> bool:
    """Whether an address is one of this machine: the kernel would send to it from itself. Nothing is sent."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_loopback or parsed.is_unspecified:
        return True
    with socket.socket(socket.AF_INET6 if parsed.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(parsed), 25))
            return ipaddress.ip_address(probe.getsockname()[0]) == parsed
        except OSError:
            return False


def read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Read a hosts(5) file: name -> addresses. `localhost` is always there (RFC 6761 6.3)."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if names and _is_address(address):
            for name in names:
                found.setdefault(name.lower(), []).append(address)
    found.setdefault("localhost", ["127.0.0.1", "::1"])
    return {name: tuple(addresses) for name, addresses in found.items()}


def known_hosts() -> dict[str, tuple[str, ...]]:
    """The names of /etc/hosts, for hosts that an operator named."""
    try:
        return read_hosts(Path("/etc/hosts").read_text(errors="replace"))
    except OSError:
        return read_hosts("")
