"""Domains, accounts and aliases in dictionaries: the store for tests and for a whole suite in one process.

Behaves as storage/sqlite/accounts.py does, proved by the same contract suite. Keeps nothing beyond the life of the process.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from fancymail.storage.ports.accounts import CHANGES_KEPT, Account, Alias, Conflict, Exists, InUse, Missing

Record = TypeVar("Record", Account, Alias)


class MemoryAccounts:
    """An AccountStore that forgets."""

    def __init__(self, changes_kept: int = CHANGES_KEPT) -> None:
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)
        self._domains: set[str] = set()
        self._accounts: dict[str, Account] = {}
        self._aliases: dict[str, Alias] = {}
        self._grants: set[tuple[str, str, str]] = set()
        self._serial = 0
        self._changes: deque[tuple[int, str]] = deque(maxlen=changes_kept)

    def secret(self) -> bytes:
        return self._secret

    def domains(self) -> list[str]:
        return sorted(self._domains)

    def has_domain(self, name: str) -> bool:
        return name in self._domains

    def add_domain(self, name: str) -> None:
        with self._lock:
            if name in self._domains:
                raise Exists(name)
            self._domains.add(name)

    def remove_domain(self, name: str) -> None:
        with self._lock:
            if name not in self._domains:
                raise Missing(name)
            if self.accounts(name, count=1) or self.aliases(name, count=1):
                raise InUse(name)
            self._domains.remove(name)

    def account(self, key: str) -> Account | None:
        return self._accounts.get(key)

    def accounts(self, domain: str = "", after: str = "", count: int = 1000) -> list[Account]:
        return _page(self._accounts.values(), domain, after, count)

    def oldest(self, domain: str = "") -> Account | None:
        enabled = [a for a in list(self._accounts.values()) if a.enabled and domain in ("", a.domain)]
        return min(enabled, key=lambda account: (account.created, account.key), default=None)

    def add_account(self, account: Account) -> None:
        with self._lock:
            if account.domain not in self._domains:
                raise Missing(account.domain)
            if account.key in self._accounts:
                raise Exists(account.key)
            self._accounts[account.key] = account
            self._changed(account.key)

    def change_account(self, account: Account, quiet: bool = False) -> Account:
        with self._lock:
            known = self._accounts.get(account.key)
            if known is None:
                raise Missing(account.key)
            if known.version != account.version:
                raise Conflict(account.key)
            changed = self._accounts[account.key] = replace(account, version=account.version + 1)
            if not quiet:
                self._changed(account.key)
            return changed

    def remove_account(self, key: str) -> None:
        with self._lock:
            if self._accounts.pop(key, None) is None:
                raise Missing(key)
            self._changed(key)
            self._grants = {grant for grant in self._grants if grant[0] != key and grant[1:] != ("act", key)}

    def alias(self, key: str) -> Alias | None:
        return self._aliases.get(key)

    def aliases(self, domain: str = "", after: str = "", count: int = 1000) -> list[Alias]:
        return _page(self._aliases.values(), domain, after, count)

    def wildcards(self, domain: str) -> list[Alias]:
        return sorted((a for a in list(self._aliases.values()) if a.wildcard and a.domain == domain), key=lambda a: a.key)

    def set_alias(self, alias: Alias) -> None:
        with self._lock:
            if alias.domain not in self._domains:
                raise Missing(alias.domain)
            self._aliases[alias.key] = alias

    def remove_alias(self, key: str) -> None:
        with self._lock:
            if self._aliases.pop(key, None) is None:
                raise Missing(key)

    def lookalikes(self, domain: str, skeleton: str) -> list[str]:
        records = [*self._accounts.values(), *self._aliases.values()]
        return sorted({r.key for r in records if r.domain == domain and r.skeleton == skeleton})

    def grant(self, account: str, right: str, address: str) -> None:
        with self._lock:
            if account not in self._accounts:
                raise Missing(account)
            self._grants.add((account, right, address))

    def revoke(self, account: str, right: str, address: str) -> None:
        with self._lock:
            if (account, right, address) not in self._grants:
                raise Missing(address)
            self._grants.remove((account, right, address))
            if right == "act":
                self._note(address)

    def grants(self, account: str) -> list[tuple[str, str]]:
        return sorted((right, address) for owner, right, address in list(self._grants) if owner == account)

    def changes(self, since: int) -> tuple[int, list[str] | None]:
        with self._lock:
            oldest = self._serial - len(self._changes)
            if not oldest <= since <= self._serial:
                return self._serial, None
            return self._serial, list(dict.fromkeys(key for serial, key in self._changes if serial > since))

    def close(self) -> None:
        pass

    def _changed(self, key: str) -> None:
        for name in (key, *(address for right, address in self.grants(key) if right == "act")):
            self._note(name)

    def _note(self, key: str) -> None:
        self._serial += 1
        self._changes.append((self._serial, key))


def _page(records: Iterable[Record], domain: str, after: str, count: int) -> list[Record]:
    chosen = (r for r in list(records) if domain in ("", r.domain) and r.key > after)
    return sorted(chosen, key=lambda record: record.key)[:count]
