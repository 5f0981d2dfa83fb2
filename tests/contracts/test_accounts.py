"""The contract of storage.ports.accounts, run on every engine."""

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fancymail.mail.scram import ScramKeys
from fancymail.storage.memory.accounts import MemoryAccounts
from fancymail.storage.ports.accounts import Account, Alias, Conflict, Exists, InUse, Missing, StoreFailed
from fancymail.storage.postgres.accounts import PostgresAccounts
from fancymail.storage.sqlite.accounts import SqliteAccounts
from tests.cluster_kit import database


@pytest.fixture(params=["memory", "sqlite", "postgres", "conflicts"])
def store(request, tmp_path):
    if request.param in ("postgres", "conflicts"):
        with database(request.param) as db:
            yield PostgresAccounts(db)
        return
    engine = MemoryAccounts() if request.param == "memory" else SqliteAccounts(tmp_path / "accounts.db")
    yield engine
    engine.close()


@pytest.fixture
def filled(store):
    store.add_domain("example.test")
    store.add_domain("other.test")
    return store


def account(name="alice", domain="example.test", **fields):
    return Account(f"{name}@{domain}", f"{name}@{domain}", domain, name, **fields)


def alias(name="sales", domain="example.test", targets=("alice@example.test",), **fields):
    return Alias(f"{name}@{domain}", f"{name}@{domain}", domain, tuple(targets), name, "*" in name)


def test_domains(store):
    assert store.domains() == [] and not store.has_domain("example.test")
    store.add_domain("example.test")
    store.add_domain("a.test")
    assert store.domains() == ["a.test", "example.test"] and store.has_domain("example.test")
    with pytest.raises(Exists):
        store.add_domain("example.test")
    store.remove_domain("a.test")
    assert store.domains() == ["example.test"]
    with pytest.raises(Missing):
        store.remove_domain("a.test")


def test_a_domain_in_use_stays(filled):
    filled.add_account(account())
    filled.set_alias(alias(domain="other.test"))
    for name in ("example.test", "other.test"):
        with pytest.raises(InUse):
            filled.remove_domain(name)
    filled.remove_account("alice@example.test")
    filled.remove_alias("sales@other.test")
    filled.remove_domain("example.test")
    filled.remove_domain("other.test")
    assert filled.domains() == []


def test_an_account_comes_back_as_it_went_in(filled):
    keys = {"SCRAM-SHA-256": ScramKeys(b"salt", 4096, b"stored", b"server")}
    alice = account(password="$argon2id$x", scram=keys, enabled=False, quota=2**40, created=12.5)
    filled.add_account(alice)
    assert filled.account("alice@example.test") == alice
    assert filled.account("bob@example.test") is None
    assert filled.account("ALICE@example.test") is None
    with pytest.raises(Exists):
        filled.add_account(alice)
    with pytest.raises(Missing):
        filled.add_account(account(domain="nowhere.test"))


def test_a_change_needs_the_current_version(filled):
    filled.add_account(account())
    old = filled.account("alice@example.test")
    new = filled.change_account(replace(old, quota=5))
    assert new.version == old.version + 1 and filled.account(old.key) == new
    with pytest.raises(Conflict):
        filled.change_account(replace(old, quota=6))
    assert filled.account(old.key).quota == 5
    with pytest.raises(Missing):
        filled.change_account(account("bob"))


def test_of_many_changes_at_once_one_wins(filled):
    filled.add_account(account())
    start, won = filled.account("alice@example.test"), []

    def change(quota):
        try:
            won.append(filled.change_account(replace(start, quota=quota)))
        except Conflict:
            pass
    threads = [threading.Thread(target=change, args=(quota,)) for quota in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and filled.account(start.key) == won[0]


def test_accounts_are_paged_in_order(filled):
    for name in ("carol", "alice", "bob"):
        filled.add_account(account(name))
    filled.add_account(account("alice", "other.test"))
    everyone = [a.key for a in filled.accounts()]
    assert everyone == ["alice@example.test", "alice@other.test", "bob@example.test", "carol@example.test"]
    assert [a.key for a in filled.accounts(after="alice@other.test", count=1)] == ["bob@example.test"]
    assert [a.key for a in filled.accounts("other.test")] == ["alice@other.test"]
    assert [a.key for a in filled.accounts("example.test", after="bob@example.test")] == ["carol@example.test"]


def test_the_oldest_enabled_account(filled):
    assert filled.oldest() is None
    filled.add_account(account("zoe", created=1.0, enabled=False))
    filled.add_account(account("bob", created=3.0))
    filled.add_account(account("alice", created=2.0))
    filled.add_account(account("eve", "other.test", created=1.5))
    assert filled.oldest().key == "eve@other.test"
    assert filled.oldest("example.test").key == "alice@example.test"
    assert filled.oldest("none.test") is None


def test_aliases(filled):
    filled.set_alias(alias())
    filled.set_alias(alias(targets=("bob@example.test", "b\u00f6b@x.test")))
    assert filled.alias("sales@example.test").targets == ("bob@example.test", "b\u00f6b@x.test")
    filled.set_alias(alias("s-*"))
    filled.set_alias(alias("*", "other.test"))
    assert [a.key for a in filled.wildcards("example.test")] == ["s-*@example.test"]
    assert [a.key for a in filled.aliases()] == ["*@other.test", "s-*@example.test", "sales@example.test"]
    assert [a.key for a in filled.aliases("example.test", after="s-*@example.test")] == ["sales@example.test"]
    filled.remove_alias("s-*@example.test")
    assert filled.wildcards("example.test") == [] and filled.alias("s-*@example.test") is None
    with pytest.raises(Missing):
        filled.remove_alias("s-*@example.test")
    with pytest.raises(Missing):
        filled.set_alias(alias(domain="nowhere.test"))


def test_lookalikes_are_accounts_and_aliases_of_the_domain(filled):
    filled.add_account(account("bob"))
    filled.set_alias(alias("bob"))
    filled.set_alias(replace(alias("b\u043eb"), skeleton="bob"))
    filled.add_account(account("bob", "other.test"))
    assert filled.lookalikes("example.test", "bob") == ["bob@example.test", "b\u043eb@example.test"]
    assert filled.lookalikes("example.test", "alice") == []


def test_grants(filled):
    filled.add_account(account())
    filled.grant("alice@example.test", "send", "press@example.test")
    filled.grant("alice@example.test", "send", "press@example.test")
    filled.grant("alice@example.test", "act", "bob@example.test")
    assert filled.grants("alice@example.test") == [("act", "bob@example.test"), ("send", "press@example.test")]
    filled.revoke("alice@example.test", "act", "bob@example.test")
    assert filled.grants("alice@example.test") == [("send", "press@example.test")]
    with pytest.raises(Missing):
        filled.revoke("alice@example.test", "act", "bob@example.test")
    with pytest.raises(Missing):
        filled.grant("bob@example.test", "send", "press@example.test")


def test_grants_go_with_their_account(filled):
    filled.add_account(account())
    filled.add_account(account("bob"))
    filled.grant("alice@example.test", "send", "press@example.test")
    filled.grant("bob@example.test", "act", "alice@example.test")
    filled.grant("bob@example.test", "send", "alice@example.test")
    filled.remove_account("alice@example.test")
    with pytest.raises(Missing):
        filled.remove_account("alice@example.test")
    filled.add_account(account())
    assert filled.grants("alice@example.test") == []
    assert filled.grants("bob@example.test") == [("send", "alice@example.test")]       # nobody acts as another of the same name


def test_changes_tell_who_changed(filled):
    start, nobody = filled.changes(0)
    assert nobody == []
    filled.add_account(account("alice"))
    filled.add_account(account("bob"))
    filled.change_account(filled.account("alice@example.test"))
    quietly, _ = filled.changes(start)
    filled.change_account(filled.account("alice@example.test"), quiet=True)
    assert filled.changes(start) == (quietly, ["alice@example.test", "bob@example.test"])
    filled.remove_account("bob@example.test")
    last, gone = filled.changes(quietly)
    assert gone == ["bob@example.test"] and last > quietly
    assert filled.changes(last) == (last, [])


def test_a_change_is_one_of_those_too_that_may_be_acted_as(filled):
    for name in ("alice", "bob", "carol"):
        filled.add_account(account(name))
    filled.grant("bob@example.test", "act", "alice@example.test")
    filled.grant("bob@example.test", "send", "carol@example.test")
    for end in (lambda: filled.change_account(filled.account("bob@example.test")), lambda: filled.remove_account("bob@example.test")):
        before, _ = filled.changes(0)
        end()
        assert filled.changes(before)[1] == ["bob@example.test", "alice@example.test"]
    filled.grant("carol@example.test", "act", "alice@example.test")
    filled.grant("carol@example.test", "send", "alice@example.test")
    before, _ = filled.changes(0)
    filled.revoke("carol@example.test", "send", "alice@example.test")
    assert filled.changes(before)[1] == []
    filled.revoke("carol@example.test", "act", "alice@example.test")
    assert filled.changes(before)[1] == ["alice@example.test"]


@contextmanager
def forgetful(engine, folder):
    """A store that keeps three changes."""
    if engine == "postgres":
        with database() as db:
            yield PostgresAccounts(db, changes_kept=3)
        return
    store = MemoryAccounts(changes_kept=3) if engine == "memory" else SqliteAccounts(folder / "accounts.db", changes_kept=3)
    yield store
    store.close()


@pytest.mark.parametrize("engine", ["memory", "sqlite", "postgres"])
def test_changes_that_cannot_be_told(engine, tmp_path):
    with forgetful(engine, tmp_path) as store:
        changes_that_cannot_be_told(store)


def changes_that_cannot_be_told(store):
    store.add_domain("example.test")
    for name in "abcde":
        store.add_account(account(name))
    last, keys = store.changes(2)
    assert keys == ["c@example.test", "d@example.test", "e@example.test"]
    assert store.changes(1) == (last, None)
    assert store.changes(last + 1) == (last, None)


def test_the_secret_stays(store):
    assert len(store.secret()) == 32 and store.secret() == store.secret()


def test_hashes_and_keys_are_in_no_repr():
    keys = {"SCRAM-SHA-1": ScramKeys(b"salt", 4096, b"storedkey", b"serverkey")}
    assert "hash-text" not in repr(account(password="hash-text", scram=keys)) and "storedkey" not in repr(account(scram=keys))


def test_sqlite_keeps_everything_over_a_restart(tmp_path):
    store = SqliteAccounts(tmp_path / "accounts.db")
    store.add_domain("example.test")
    store.add_account(account(password="x"))
    store.set_alias(alias())
    secret, serial = store.secret(), store.changes(0)
    store.close()
    again = SqliteAccounts(tmp_path / "accounts.db")
    assert again.account("alice@example.test").password == "x" and again.alias("sales@example.test").targets
    assert again.secret() == secret and again.changes(0) == serial
    assert (tmp_path / "accounts.db").stat().st_mode & 0o777 == 0o600
    again.close()


def test_a_full_disk_is_said_and_survived(tmp_path):
    store = SqliteAccounts(tmp_path / "accounts.db")
    store.add_domain("example.test")
    store._writer.pragma("max_page_count", store._writer.pragma("page_count") + 2)
    kept = []
    with pytest.raises(StoreFailed):
        for number in range(1000):
            store.add_account(account(f"user{number:04}"))
            kept.append(f"user{number:04}@example.test")
    assert [known.key for known in store.accounts()] == kept and 0 < len(kept) < 1000
    store._writer.pragma("max_page_count", 10_000)
    store.add_account(account("zoe"))
    assert store.account("zoe@example.test")
    store.close()
