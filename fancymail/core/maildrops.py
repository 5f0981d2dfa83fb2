"""Who has a maildrop for itself: the exclusive access that POP3 asks for (RFC 1939 3), as leases that end by themselves.

Kept by fm-mailbox, in memory: after its restart the sessions simply renew. The clock is a parameter. It never stops a delivery.
"""

from __future__ import annotations


class InUse(Exception):
    """Somebody else has the maildrop."""


class Maildrops:
    """Leases of maildrops, by account."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, float]] = {}

    def lock(self, account: str, holder: str, seconds: float, now: float) -> None:
        """Take a maildrop, or hold it longer; raises InUse while another holder's lease lasts."""
        current = self._held.get(account)
        if current and current[0] != holder and current[1] > now:
            raise InUse(account)
        self._held[account] = holder, now + seconds

    def unlock(self, account: str, holder: str) -> None:
        """Give a maildrop back; nothing happens when it is not this holder's."""
        if self._held.get(account, ("",))[0] == holder:
            del self._held[account]

    def sweep(self, now: float) -> int:
        """Forget the leases that ended; returns how many go on."""
        self._held = {account: lease for account, lease in self._held.items() if lease[1] > now}
        return len(self._held)
