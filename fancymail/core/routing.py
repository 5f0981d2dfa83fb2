"""Routing: which way the mail of a domain goes, and which recipients of a message travel together.

    routes = Routes(settings.smtpout)
    for route, recipients in routes.group(envelope.recipients, pending).items(): ...

Asked by servers/smtpout/daemon.py. It knows the settings and the domains, nothing of DNS, hosts or connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from fancymail.base.secret import Secret
from fancymail.base.settings.smtpout import SmtpOut, Transport
from fancymail.mail import domain as domains
from fancymail.mail.address import AddressError, parse_mailbox
from fancymail.mail.envelope import Recipient

KNOWN = 4096                         # addresses whose way is remembered


@dataclass(frozen=True, slots=True)
class Route:
    """A way: by MX of `domain` when `host` is empty, else to that host. Equal routes share transactions and connections."""

    domain: str
    host: str
    port: int
    tls: str                         # may require verify implicit never
    user: str = ""
    password: Secret = field(default=Secret(), compare=False)
    auth_in_clear: bool = False

    @property
    def explicit(self) -> bool:
        """The operator named the host: he may name a private one."""
        return bool(self.host)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host else self.domain

    def verified(self) -> Route:
        """The same way, but only to a host that proves its name (RFC 8689 4.2.1)."""
        return self if self.tls in ("verify", "implicit") else replace(self, tls="verify")


class Routes:
    """All ways, as the settings have them."""

    def __init__(self, settings: SmtpOut) -> None:
        self.settings = settings
        self._known: dict[str, Route | None] = {}        # by address: the settings never change under us

    def find(self, domain: str) -> Route:
        """The way for a canonical domain: its own entry, those of the domains above as `.domain`, `*`, else MX."""
        found = next((self.settings.transports[name] for name in _names(domain) if name in self.settings.transports), None)
        if found is None:
            return Route(domain, "", self.settings.port, self.settings.tls)
        return self._through(found, domain)

    def group(self, recipients: Sequence[Recipient], pending: Iterable[int]) -> dict[Route | None, list[int]]:
        """Sort the pending recipients by their way; None has those whose address cannot be read any more."""
        groups: dict[Route | None, list[int]] = {}
        for index in pending:
            groups.setdefault(self._way(recipients[index].address), []).append(index)
        return groups

    def _way(self, address: str) -> Route | None:
        if address not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            try:
                self._known[address] = self.find(parse_mailbox(address).domain)
            except AddressError:
                self._known[address] = None
        return self._known[address]

    @staticmethod
    def _through(transport: Transport, domain: str) -> Route:
        return Route(domain="" if transport.host else domain, host=transport.host.lower(), port=transport.port, tls=transport.tls,
                     user=transport.user, password=transport.password, auth_in_clear=transport.auth_in_clear)


def _names(domain: str) -> Iterable[str]:
    """The keys under which a way may stand, the closest first. An address literal has only `*`."""
    if domains.kind(domain) == "domain":
        yield domain
        rest = domain
        while rest:
            yield "." + rest
            rest = rest.partition(".")[2]
    yield "*"
