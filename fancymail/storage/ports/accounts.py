"""What the store of domains, accounts and aliases keeps, and what core may ask of it.

Asked by core/accounts.py and core/aliases.py; kept by storage/memory/accounts.py and storage/sqlite/accounts.py, which pass one
suite (tests/contracts/test_accounts.py). Keys are `mail.address.Address.key`; the store never parses an address, knows no
password and makes no decision. Every method may be called from any thread and may raise StoreFailed; when a changing method
returns, the change is durable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from fancymail.mail.scram import ScramKeys

CHANGES_KEPT = 10_000


class Exists(Exception):
    """There is one of that name already."""


class Missing(LookupError):
    """There is none of that name."""


class InUse(Exception):
    """It can't go while something else stands on it."""


class StoreFailed(Exception):
    """The disk refuses; nothing was changed."""


class Conflict(Exception):
    """Somebody else has changed it since it was read; read again."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in and has a mailbox."""

    key: str                                    # what it is found by
    address: str                                # how it is shown: "local@domain"
    domain: str
    skeleton: str = ""                          # core.names.skeleton of the local part: what it looks like
    password: str = field(default="", repr=False)       # crypt hash; "": nobody can log in
    scram: dict[str, ScramKeys] = field(default_factory=dict, repr=False)     # by mechanism
    version: int = 1                            # goes up with every change
    enabled: bool = True
    quota: int = 0                              # octets; 0: no limit
    created: float = 0.0                        # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for other addresses. `wildcard`: the local part of `key` contains `*`."""

    key: str
    address: str
    domain: str
    targets: tuple[str, ...]
    skeleton: str = ""
    wildcard: bool = False


class AccountStore(Protocol):
    """Domains own accounts and aliases; everything is found by key in time that doesn't grow with their number."""

    def secret(self) -> bytes:
        """Return 32 random octets that were made once and never change."""

    def domains(self) -> list[str]:
        """Return all domains, sorted."""

    def has_domain(self, name: str) -> bool:
        """Whether a domain is ours."""

    def add_domain(self, name: str) -> None:
        """Keep a domain. Raises Exists."""

    def remove_domain(self, name: str) -> None:
        """Forget a domain. Raises Missing, and InUse while it has accounts or aliases."""

    def account(self, key: str) -> Account | None:
        """Find an account."""

    def accounts(self, domain: str = "", after: str = "", count: int = 1000) -> list[Account]:
        """Return accounts in order of their keys, of one domain or of all, those behind `after`."""

    def oldest(self, domain: str = "") -> Account | None:
        """Return the enabled account that was created first, in one domain or in all."""

    def add_account(self, account: Account) -> None:
        """Keep a new account. Raises Exists, and Missing when there is no such domain."""

    def change_account(self, account: Account, quiet: bool = False) -> Account:
        """Replace an account of the same key and version; return it with its new version. Raises Missing, Conflict.

        `quiet`: leave it out of `changes`, because nobody else needs to know.
        """

    def remove_account(self, key: str) -> None:
        """Forget an account, what was granted to it, and who may act as it. Raises Missing."""

    def alias(self, key: str) -> Alias | None:
        """Find an alias by its exact key; a wildcard by its pattern."""

    def aliases(self, domain: str = "", after: str = "", count: int = 1000) -> list[Alias]:
        """Return aliases in order of their keys, of one domain or of all, those behind `after`."""

    def wildcards(self, domain: str) -> list[Alias]:
        """Return the wildcard aliases of a domain."""

    def set_alias(self, alias: Alias) -> None:
        """Keep an alias, in place of one of the same key. Raises Missing when there is no such domain."""

    def remove_alias(self, key: str) -> None:
        """Forget an alias. Raises Missing."""

    def lookalikes(self, domain: str, skeleton: str) -> list[str]:
        """Return the keys of accounts and aliases of a domain that have this skeleton."""

    def grant(self, account: str, right: str, address: str) -> None:
        """Grant an account a right over an address key. Raises Missing when there is no such account."""

    def revoke(self, account: str, right: str, address: str) -> None:
        """Take a right back. Raises Missing."""

    def grants(self, account: str) -> list[tuple[str, str]]:
        """Return the (right, address key) pairs of an account, sorted."""

    def changes(self, since: int) -> tuple[int, list[str] | None]:
        """Return the serial of the last change, and the keys of the accounts changed or removed after `since` (each once).

        With an account come those that it had the right to act as, and with that right, taken back, the one that it was over: whoever
        logged in so is in a session of theirs. None instead of keys: too long ago to tell. CHANGES_KEPT changes are remembered.
        """

    def close(self) -> None:
        """Let go of files."""
