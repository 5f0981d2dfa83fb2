"""Where mail for an address goes: accounts, aliases, tags, wildcards, catch-all, and the postmaster that every domain has.

Asked by servers/auth/daemon.py for every recipient. An alias is followed breadth first to its accounts and remote addresses; a circle,
too deep a chain or too wide a list never hangs and never loses the rest. Reads only; who may change what is in core/accounts.py.

Order for one address: the alias of that name, the account, the same two without the tag, the wildcard with the longest text, the
catch-all, and for postmaster (RFC 5321 4.5.1) and abuse (RFC 2142) who was named for them, else the first account.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from fancymail.mail.address import Address, AddressError, detail, parse_mailbox
from fancymail.storage.ports.accounts import Account, AccountStore, Alias

ALWAYS = ("postmaster", "abuse")        # RFC 5321 4.5.1, RFC 2142 section 2 and 4


class AccountError(Exception):
    """The answer is no: an RFC 3463 status and a text for people."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(slots=True)
class Resolution:
    """Where mail goes: account addresses here, addresses elsewhere, each once; and what went wrong beside them."""

    local: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)
    problems: list[AccountError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """One address on the way, and the keys of the aliases that led to it."""

    address: Address
    path: tuple[str, ...] = ()
    depth: int = 0


class Resolver:
    """Follows aliases over an AccountStore. `postmaster`: where mail for a postmaster goes that nobody has named, "" for the
    first account; `separator`: what begins a tag, "" for no tags; `depth`, `width`: the longest chain and the longest list."""

    def __init__(self, store: AccountStore, default_domain: str, *, postmaster: str = "", separator: str = "+", depth: int = 10,
                 width: int = 1000) -> None:
        self._store, self._default, self._separator, self._depth, self._width = store, default_domain, separator, depth, width
        self._postmaster = parse_mailbox(postmaster) if postmaster else None

    def resolve(self, address: Address) -> Resolution:
        """Return where mail for an address of ours goes; raises AccountError when it goes nowhere, 5.1.2 when it isn't ours."""
        if not self._store.has_domain(address.domain):
            raise AccountError("5.1.2", "not a domain of ours")
        try:
            return self._follow(address)
        except AccountError:
            if self.without_tag(address).local_key not in ALWAYS:
                raise
            return Resolution([self._reader(address.domain).address])       # whatever its alias has come to

    def without_tag(self, address: Address) -> Address:
        """Return an address without its tag."""
        return Address(detail(address.local, self._separator)[0], address.domain)

    def _follow(self, start: Address) -> Resolution:
        found, done, waiting = Resolution(), set(), deque([_Step(start)])
        local, remote = {}, {}
        while waiting:
            step = waiting.popleft()
            try:
                if not self._store.has_domain(step.address.domain):
                    remote[str(step.address)] = None
                else:
                    self._one(step, waiting, done, local)
            except AccountError as error:
                found.problems.append(error)
            if len(local) + len(remote) + len(waiting) > self._width:
                raise AccountError("5.2.4", f"this address stands for more than {self._width} others")
        if not (local or remote):
            raise found.problems[0] if found.problems else AccountError("5.4.6", "this alias leads to itself")
        found.local, found.remote = list(local), list(remote)
        return found

    def _one(self, step: _Step, waiting: deque[_Step], done: set[str], local: dict[str, None]) -> None:
        """Take one step: note an account, or queue the targets of an alias."""
        names = tuple(dict.fromkeys((step.address.key, self.without_tag(step.address).key)))
        if any(name in step.path for name in names):
            # A circle. Whoever has a mailbox in it gets the mail: "alice" may be an alias for alice and somebody else.
            for account in filter(None, map(self._store.account, names)):
                local[_mailbox(account)] = None
            return
        if names[0] in done:
            return
        done.add(names[0])
        path = (*step.path, *names)
        for name in names:
            if alias := self._store.alias(name):
                return self._expand(alias, "", step, path, waiting)
            if account := self._store.account(name):
                local[_mailbox(account)] = None
                return
        self._by_rule(step, path, waiting, local)

    def _by_rule(self, step: _Step, path: tuple[str, ...], waiting: deque[_Step], local: dict[str, None]) -> None:
        """Find the wildcard, the postmaster or the catch-all for an address that nobody has by name."""
        catch_all = None
        for alias in sorted(self._store.wildcards(step.address.domain), key=lambda wildcard: -len(wildcard.key)):
            before, after = alias.key.rpartition("@")[0].split("*")
            if not before and not after:
                catch_all = alias
            elif (captured := _captured(step.address.local_key, before, after)) is not None:
                return self._expand(alias, captured, step, path, waiting)
        if catch_all is not None:
            return self._expand(catch_all, step.address.local_key, step, path, waiting)
        if self.without_tag(step.address).local_key not in ALWAYS:
            raise AccountError("5.1.1", "no such user")
        named = self._named_postmaster(step.address.domain, path)
        if named is not None:
            waiting.append(_Step(named, path, step.depth + 1))
        else:
            local[self._reader(step.address.domain).address] = None

    def _expand(self, alias: Alias, captured: str, step: _Step, path: tuple[str, ...], waiting: deque[_Step]) -> None:
        if step.depth >= self._depth:
            raise AccountError("5.4.6", f"a chain of more than {self._depth} aliases")
        for text in alias.targets:
            try:
                target = parse_mailbox(text)
            except AddressError as error:
                raise AccountError("5.1.3", f"an alias leads to something that is no address: {error.reason}") from None
            if alias.wildcard and "*" in target.local:      # put in behind the parser: what was captured can't become a domain
                target = Address(target.local.replace("*", captured), target.domain)
            waiting.append(_Step(target, path, step.depth + 1))

    def _named_postmaster(self, domain: str, path: tuple[str, ...]) -> Address | None:
        """Return who was named to read what every domain must accept, if that isn't where we come from."""
        shared = Address("postmaster", self._default)
        for address in filter(None, (self._postmaster, shared)):
            known = address is not shared or self._store.account(address.key) or self._store.alias(address.key)
            if known and address.key not in path:
                return address
        return None

    def _reader(self, domain: str) -> Account:
        """Return the account that reads a domain's mail for want of a named one; raises AccountError 4.3.5 if there is none."""
        account = self._store.oldest(domain) or self._store.oldest()
        if account is None:
            raise AccountError("4.3.5", "there is no account yet that could read this")
        return account


def _mailbox(account: Account) -> str:
    if not account.enabled:
        raise AccountError("5.2.1", "this mailbox is disabled")
    return account.address


def _captured(local: str, before: str, after: str) -> str | None:
    """Return what the `*` between `before` and `after` stands for in a local part, None if it doesn't match."""
    if len(local) >= len(before) + len(after) and local.startswith(before) and local.endswith(after):
        return local[len(before):len(local) - len(after)]
    return None
