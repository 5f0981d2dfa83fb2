"""Who may log in, and the rules by which domains, accounts, aliases and grants come, change and go.

Used by servers/auth/daemon.py alone. Finds users (a bare name means the default domain), validates what is to be kept, says whose address
is whose. Changing methods wait for the disk, so they belong into the daemon's keeper thread. Never sees a password or hashes one:
credentials come ready from core/passwords.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fancymail.core.aliases import AccountError, Resolution, Resolver
from fancymail.core.names import NameRefused, new_domain, new_name, new_pattern, parse, skeleton
from fancymail.core.passwords import Credentials
from fancymail.mail.address import Address, AddressError, parse_mailbox
from fancymail.mail.domain import DomainError, parse_domain
from fancymail.storage.ports.accounts import Account, AccountStore, Alias, Conflict, Exists, InUse, Missing

RIGHTS = ("send", "act")        # send mail as an address; log in with one's own password as another account (SASL authzid)


class Directory:
    """All decisions about names over one AccountStore. `clock` gives seconds since the epoch."""

    def __init__(self, store: AccountStore, clock: Callable[[], float], *, default_domain: str = "", postmaster: str = "",
                 separator: str = "+", depth: int = 10, width: int = 1000) -> None:
        self._store, self._clock, self._separator, self._width = store, clock, separator, width
        self.default_domain = parse_domain(default_domain) if default_domain else ""
        self._resolver = Resolver(store, self.default_domain, postmaster=postmaster, separator=separator, depth=depth, width=width)

    # -- finding -----------------------------------------------------------------------------------------------------------

    def address(self, user: str) -> Address:
        """Read a user name or address; a bare name means the default domain. Raises AccountError 5.1.3."""
        if "@" not in user:
            user = f"{user}@{self.default_domain}"
        try:
            return parse_mailbox(user)
        except AddressError as error:
            raise AccountError("5.1.3", error.reason) from None

    def key(self, user: str) -> str:
        """Return what failed logins of a user are counted by: the account's key, or the text as it came when it is no address."""
        try:
            return self.address(user).key
        except AccountError:
            return user[:320]

    def find(self, user: str) -> Account | None:
        """Find who can log in under a name: exactly, without tags or aliases."""
        return self._store.account(self.key(user))

    def require(self, user: str) -> Account:
        """Find an account; raises AccountError 5.1.1."""
        account = self.find(user)
        if account is None:
            raise AccountError("5.1.1", "no such user")
        return account

    def resolve(self, user: str) -> Resolution:
        """Return where mail for an address goes; raises AccountError."""
        return self._resolver.resolve(self.address(user))

    def may_send(self, account: Account, text: str) -> bool:
        """Whether an account may use a reverse-path: its own with any tag, one that leads to it, one that was granted, the null."""
        if not text:
            return True                     # RFC 6409 section 6.1 leaves it to us; receipts and DSNs of clients are sent so
        try:
            address = parse_mailbox(text)
        except AddressError:
            return False
        names = (address.key, self._resolver.without_tag(address).key)
        if account.key in names or self._granted(account, "send", (*names, f"*@{address.domain}")):
            return True
        if any(self._store.account(name) for name in names):
            return False                    # somebody else's, even if their mail is forwarded to this account
        try:
            return account.address in self._resolver.resolve(address).local
        except AccountError:
            return False

    def may_act(self, account: Account, user: str) -> Account | None:
        """Return the account that `account` acts as when it logs in for `user`: itself, or one that was granted; else None."""
        if not user:
            return account
        other = self.find(user)
        if other is None or not other.enabled:
            return None
        return other if other.key == account.key or self._granted(account, "act", (other.key,)) else None

    def _granted(self, account: Account, right: str, keys: tuple[str, ...]) -> bool:
        return any(kind == right and key in keys for kind, key in self._store.grants(account.key))

    # -- domains -----------------------------------------------------------------------------------------------------------

    def add_domain(self, text: str) -> str:
        """Make a domain ours; return its canonical name."""
        name = _named(new_domain, text)
        try:
            self._store.add_domain(name)
        except Exists:
            raise AccountError("5.5.1", f"{name} already exists") from None
        return name

    def remove_domain(self, text: str) -> str:
        """Give a domain up; it must be empty."""
        name = self._domain(text)
        try:
            self._store.remove_domain(name)
        except InUse:
            raise AccountError("5.5.1", f"{name} still has accounts or aliases") from None
        return name

    def _domain(self, text: str) -> str:
        try:
            name = parse_domain(text)
        except DomainError as error:
            raise AccountError("5.1.3", str(error)) from None
        if not self._store.has_domain(name):
            raise AccountError("5.1.2", f"{name} is not a domain of ours")
        return name

    # -- accounts ----------------------------------------------------------------------------------------------------------

    def check_new_account(self, text: str) -> Address:
        """Return the address of an account that could be made; raises AccountError naming what is in the way."""
        address = self._new(self._full(text))
        if self._store.account(address.key):
            raise AccountError("5.5.1", f"{address} already exists")
        return address

    def add_account(self, text: str, credentials: Credentials | None = None, quota: int = 0) -> Account:
        """Make an account, without credentials one that nobody can log in to."""
        address = self.check_new_account(text)
        password, scram = (credentials.password, credentials.scram) if credentials else ("", {})
        account = Account(address.key, address.key, address.domain, skeleton(address.local), password, scram,
                          quota=quota, created=self._clock())
        try:
            self._store.add_account(account)
        except Exists:
            raise AccountError("5.5.1", f"{address} already exists") from None
        return account

    def change(self, user: str, **fields) -> Account:
        """Change fields of an account: password and scram together, enabled, quota. Returns it as it is now."""
        while True:
            account = self.require(user)
            try:
                return self._store.change_account(replace(account, **fields))
            except Conflict:
                continue                    # somebody was faster: their change stays, ours goes on top
            except Missing:
                raise AccountError("5.1.1", "no such user") from None

    def upgrade(self, account: Account, credentials: Credentials) -> Account | None:
        """Keep better credentials of the same password, unless the account was changed meanwhile (then None)."""
        try:
            return self._store.change_account(replace(account, password=credentials.password, scram=credentials.scram), quiet=True)
        except (Conflict, Missing):
            return None

    def remove_account(self, user: str) -> Account:
        """Remove an account; its mail is the mailbox's affair."""
        account = self.require(user)
        try:
            self._store.remove_account(account.key)
        except Missing:
            raise AccountError("5.1.1", "no such user") from None
        return account

    def _full(self, text: str) -> str:
        return text if "@" in text else f"{text}@{self.default_domain}"

    def _new(self, text: str) -> Address:
        """Return the address of a new name; refuses foreign domains and names that look like one of another spelling."""
        address = _named(lambda name: new_name(name, self._separator), text)
        self._domain(address.domain)
        for key in self._store.lookalikes(address.domain, skeleton(address.local)):
            # Plain ASCII names are told apart by whoever types them; those of other scripts are not.
            if key != address.key and not (key.isascii() and address.local.isascii()):
                raise AccountError("5.1.3", f"{address} looks like {key}")
        return address

    # -- aliases and grants ------------------------------------------------------------------------------------------------

    def set_alias(self, text: str, targets: tuple[str, ...]) -> Alias:
        """Keep an alias in place of what it was; `*` in its local part makes it a wildcard, `@domain` is the catch-all."""
        wildcard = "*" in text or text.startswith("@")
        address = _named(new_pattern, self._full(text)) if wildcard else self._new_alias(self._full(text))
        self._domain(address.domain)
        known = tuple(dict.fromkeys(self._target(target, wildcard) for target in targets))
        if not known:
            raise AccountError("5.5.4", "an alias needs a target")
        if len(known) > self._width:
            raise AccountError("5.2.4", f"an alias has at most {self._width} targets")
        if known == (str(address),) and not self._store.account(address.key):
            raise AccountError("5.4.6", "an alias cannot stand for itself alone")
        alias = Alias(address.key, address.key, address.domain, known, skeleton(address.local), wildcard)
        self._store.set_alias(alias)
        return alias

    def _new_alias(self, text: str) -> Address:
        """Return the address of a new exact alias; it may have a tag, to send that one elsewhere."""
        address = _named(parse, text)
        plain = self._resolver.without_tag(address)
        name = self._new(str(plain))
        if plain == address:
            return name
        _named(lambda tag: new_name(tag, ""), f"{address.local[len(plain.local) + 1:]}@{address.domain}")
        return address

    def _target(self, text: str, wildcard: bool) -> str:
        address = _named(parse, self._full(text))
        if address.kind != "domain":
            raise AccountError("5.1.3", f"{text}: an alias leads to a domain, not to an IP address")
        if "*" in address.local and not wildcard:
            raise AccountError("5.1.3", f"{text}: only a wildcard may use * in a target")
        return str(address)

    def remove_alias(self, text: str) -> Alias:
        """Remove an alias."""
        address = _named(parse, f"*{text}" if text.startswith("@") else self._full(text))
        alias = self._store.alias(address.key)
        try:
            self._store.remove_alias(address.key)
        except Missing:
            raise AccountError("5.1.1", f"{address} is no alias") from None
        return alias

    def grant(self, user: str, right: str, text: str) -> tuple[Account, str]:
        """Let an account send as an address (`*@domain`: as all of a domain), or act as another account."""
        account, key = self.require(user), self._granted_key(right, text)
        self._store.grant(account.key, right, key)
        return account, key

    def revoke(self, user: str, right: str, text: str) -> tuple[Account, str]:
        """Take a right back."""
        account, key = self.require(user), self._granted_key(right, text)
        try:
            self._store.revoke(account.key, right, key)
        except Missing:
            raise AccountError("5.5.1", f"{account.address} has no such right") from None
        return account, key

    def _granted_key(self, right: str, text: str) -> str:
        if right not in RIGHTS:
            raise AccountError("5.5.4", f"a right is {' or '.join(RIGHTS)}")
        return self.require(text).key if right == "act" else _named(parse, self._full(text)).key

    def describe(self, user: str) -> dict:
        """Return what people may know of an account; never a hash."""
        account = self.require(user)
        return {"address": account.address, "enabled": account.enabled, "quota": account.quota, "created": account.created,
                "version": account.version, "scram": sorted(account.scram), "grants": self._store.grants(account.key)}


def _named(make: Callable, text: str):
    try:
        return make(text)
    except NameRefused as error:
        raise AccountError("5.1.3", f"{text[:100]!r}: {error}") from None
