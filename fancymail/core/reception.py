"""What smtpin decides about mail that comes in: who may relay, and who may send as whom.

Called by servers/smtpin with facts: what auth said about an address, who the session is. A recipient that isn't ours is
accepted by `judge_unresolved` or not at all: here can be read that this is no open relay. Pure; asks nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple


class Refusal(NamedTuple):
    """A reply that refuses: SMTP code, RFC 3463 status, text for the client."""

    code: int
    status: str
    text: str


class Route(NamedTuple):
    """Where mail for a recipient goes: `kind` is "local" or "remote"."""

    kind: str
    address: str


TEMPORARY = Refusal(451, "4.3.0", "Temporary failure, try again later")
DISK_FULL = Refusal(452, "4.3.1", "Not enough room for mail now, try again later")                 # RFC 5321 4.2.3
NO_SUCH_USER = Refusal(550, "5.1.1", "No such user here")
MAILBOX_FULL = Refusal(552, "5.2.2", "The mailbox is full")                                       # RFC 5321 4.2.3
NO_RELAY = Refusal(550, "5.7.1", "Relaying denied")
NOT_LOCAL = Refusal(550, "5.7.1", "Only local recipients are taken here")
NOT_YOUR_SENDER = Refusal(553, "5.7.1", "That sender address is not yours")
NULL_SENDER = Refusal(550, "5.7.1", "The null sender is not for submission")
NOT_YOUR_FROM = Refusal(550, "5.7.1", "The From address is not yours")


class Client(NamedTuple):
    """Who speaks: the port's mode (transfer, submission, lmtp), the account that logged in, whether its network may relay."""

    mode: str
    account: str = ""
    trusted: bool = False

    @property
    def may_relay(self) -> bool:
        """LMTP never relays; elsewhere a login does, or an address in the operator's own list. Names and senders never count."""
        return self.mode != "lmtp" and (bool(self.account) or self.trusted)


def read_routes(words: Iterable[bytes]) -> list[Route]:
    """Read auth's answer to `resolve`. A remote route in it is an alias of ours: whoever may write to us may use it."""
    routes = []
    for word in words:
        kind, colon, where = word.decode().partition(":")
        if colon and kind in ("local", "remote") and where:
            routes.append(Route(kind, where))
    return routes


def judge_unresolved(client: Client, address: str, status: str, text: str) -> Refusal | list[Route]:
    """Decide about a recipient that auth didn't resolve; `status` and `text` are its answer's."""
    if status == "5.1.2":                            # not a domain of ours
        if client.may_relay:
            return [Route("remote", address)]
        return NOT_LOCAL if client.mode == "lmtp" else NO_RELAY
    if status == "5.1.1":
        return NO_SUCH_USER
    if status.startswith("5."):
        return Refusal(550, status, text)
    return TEMPORARY._replace(status="4.4.3", text="The recipient cannot be verified now, try again later")


def judge_room(routes: list[Route], full: Collection[str]) -> Refusal | list[Route]:
    """Refuse a recipient whose mailbox is full; an address of many is taken as long as one of them has room."""
    if full and all(route.kind == "local" and route.address in full for route in routes):
        return MAILBOX_FULL
    return routes


def judge_null_sender(client: Client, allowed: bool) -> Refusal | None:
    """RFC 6409 6.1: who submits has a name. Receipts (RFC 8098 3) may have none where the settings say so."""
    return NULL_SENDER if client.account and not allowed else None


def judge_ownership(status: str, refusal: Refusal) -> Refusal:
    """Turn an error of auth's `may-send` into a reply."""
    return refusal if status.startswith("5.") else TEMPORARY
