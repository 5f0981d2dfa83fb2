"""The rules of domains, accounts, aliases and grants."""

import pytest

from fancymail.core.accounts import Directory
from fancymail.core.aliases import AccountError
from fancymail.core.passwords import Credentials
from fancymail.storage.memory.accounts import MemoryAccounts


@pytest.fixture
def store():
    return MemoryAccounts()


@pytest.fixture
def directory(store):
    directory = Directory(store, lambda: 1000.0, default_domain="Example.TEST", width=5)
    directory.add_domain("example.test")
    directory.add_domain("Other.Test.")
    directory.add_account("alice", Credentials("hash", {}), quota=7)
    directory.add_account("bob@other.test")
    return directory


def status(call, *args):
    with pytest.raises(AccountError) as error:
        call(*args)
    return error.value.status


def test_a_bare_name_means_the_default_domain(directory):
    assert directory.find("alice").address == "alice@example.test"
    assert directory.find("ALICE@EXAMPLE.test").address == "alice@example.test"
    assert directory.find("bob") is None and directory.find("bob@other.test").domain == "other.test"


@pytest.mark.parametrize("user", ["", "@", "../../etc/passwd", "alice\0", "alice@", "alice @example.test", "x" * 300, "alice+tag", "\ud800"])
def test_who_cannot_log_in(directory, user):
    assert directory.find(user) is None
    assert status(directory.require, user) == "5.1.1"
    assert len(directory.key(user)) <= 320


def test_without_a_default_domain_a_bare_name_is_nobody(store):
    directory = Directory(store, lambda: 0.0)
    directory.add_domain("example.test")
    assert directory.find("alice") is None and status(directory.add_account, "alice") == "5.1.3"


def test_domains(directory, store):
    assert store.domains() == ["example.test", "other.test"]
    assert status(directory.add_domain, "EXAMPLE.test") == "5.5.1"
    assert status(directory.add_domain, "not a domain") == "5.1.3"
    assert status(directory.remove_domain, "example.test") == "5.5.1"
    assert status(directory.remove_domain, "nowhere.test") == "5.1.2"
    directory.remove_account("bob@other.test")
    assert directory.remove_domain("OTHER.test") == "other.test"


def test_accounts(directory):
    alice = directory.require("alice")
    assert (alice.password, alice.quota, alice.created, alice.skeleton) == ("hash", 7, 1000.0, "alice")
    assert status(directory.add_account, "Alice") == "5.5.1"
    assert status(directory.add_account, "x@nowhere.test") == "5.1.2"
    assert status(directory.add_account, "../x") == "5.1.3" and status(directory.add_account, "a+b") == "5.1.3"
    assert directory.change("alice", enabled=False, quota=9).enabled is False
    assert directory.require("alice").quota == 9 and directory.require("alice").password == "hash"
    assert status(directory.change, "nobody") == "5.1.1"
    directory.remove_account("alice")
    assert status(directory.remove_account, "alice") == "5.1.1"


def test_a_name_that_looks_like_another_is_refused(directory):
    assert status(directory.add_account, "\u0430l\u0456ce") == "5.1.3"                     # mixed scripts
    directory.add_account("ace")
    assert status(directory.add_account, "\u0430\u0441\u0435") == "5.1.3"                 # all Cyrillic, drawn as "ace"
    assert status(directory.set_alias, "\u0430\u0441\u0435", ("alice",)) == "5.1.3"
    directory.add_account("\u0430\u0441\u0435@other.test")                                 # nobody to be taken for there
    assert status(directory.add_account, "ace@other.test") == "5.1.3"
    directory.add_account("user1")
    directory.add_account("userl")


def test_an_upgrade_never_undoes_a_change(directory):
    seen = directory.require("alice")
    assert directory.upgrade(seen, Credentials("better", {})).password == "better"
    seen = directory.require("alice")
    directory.change("alice", password="new", scram={})
    assert directory.upgrade(seen, Credentials("of the old password", {})) is None
    assert directory.require("alice").password == "new"
    directory.remove_account("alice")
    assert directory.upgrade(seen, Credentials("x", {})) is None


def test_a_change_goes_on_top_of_a_faster_one(directory, store, monkeypatch):
    real, raced = store.change_account, []

    def change(account, quiet=False):
        if not raced:
            raced.append(real(store.account(account.key)))
        return real(account, quiet)
    monkeypatch.setattr(store, "change_account", change)
    assert directory.change("alice", quota=3).quota == 3


def test_aliases(directory, store):
    alias = directory.set_alias("Team", ("alice", "bob@other.test", "X@Remote.test", "alice@example.test"))
    assert alias.key == "team@example.test" and alias.targets == ("alice@example.test", "bob@other.test", "X@remote.test")
    assert directory.resolve("team").remote == ["X@remote.test"]
    assert directory.set_alias("@other.test", ("alice",)).key == "*@other.test"
    assert directory.set_alias("old-*", ("*@x.test",)).wildcard
    assert directory.set_alias("alice+lists", ("bob@other.test",)).key == "alice+lists@example.test"
    assert directory.set_alias("alice", ("alice", "a@x.test")).targets == ("alice@example.test", "a@x.test")
    for name in ("Team", "@other.test", "old-*", "alice+lists@example.test"):
        directory.remove_alias(name)
    assert [left.key for left in store.aliases()] == ["alice@example.test"]
    assert status(directory.remove_alias, "team") == "5.1.1"


@pytest.mark.parametrize("name, targets, expected", [
    ("team", (), "5.5.4"), ("team", ("team",), "5.4.6"), ("team", ("|sh",), None), ("team", ("/file x",), "5.1.3"), ("team", ("",), "5.1.3"),
    ("team", tuple(f"u{n}" for n in range(6)), "5.2.4"), ("team@nowhere.test", ("alice",), "5.1.2"), ("a/b", ("alice",), "5.1.3"),
    ("team", ("*@x.test",), "5.1.3"), ("a**", ("alice",), "5.1.3"), ("team", ("x@[127.0.0.1]",), "5.1.3"), ("team", ("x@127.0.0.1",), "5.1.3"),
    ("alice+a/b", ("bob@other.test",), "5.1.3"), ("@nowhere.test", ("alice",), "5.1.2"), ("team", ("a\nb",), "5.1.3"),
])
def test_aliases_that_are_refused(directory, name, targets, expected):
    if expected is None:        # nothing is ever run: "|sh" is a local part like any other, and nobody has it
        directory.set_alias(name, targets)
        assert status(directory.resolve, name) == "5.1.1"
    else:
        assert status(directory.set_alias, name, targets) == expected


def test_who_may_send_as_whom(directory):
    alice, bob = directory.require("alice"), directory.require("bob@other.test")
    directory.set_alias("info", ("alice", "bob@other.test"))
    directory.set_alias("bob@other.test", ("bob@other.test", "alice@example.test"))
    directory.set_alias("press", ("x@remote.test",))
    directory.set_alias("*@other.test", ("bob@other.test",))
    for sender in ("", "alice@example.test", "ALICE@example.test", "alice+x@example.test", "info@example.test", "info+x@example.test"):
        assert directory.may_send(alice, sender), sender
    for sender in ("bob@other.test", "bob+x@other.test", "press@example.test", "nobody@example.test", "alice@x.test", "alice",
                   "alice@example.test@x.test", "<alice@example.test>", "postmaster", "@", "alice@example.test\r\n", '"alice@example.test"@x.test'):
        assert not directory.may_send(alice, sender), sender
    assert directory.may_send(bob, "any@other.test") and directory.may_send(bob, "info@example.test")


def test_grants(directory):
    alice = directory.require("alice")
    directory.grant("alice", "send", "press@remote.test")
    directory.grant("alice", "send", "*@other.test")
    assert directory.may_send(alice, "press@remote.test") and directory.may_send(alice, "bob@other.test")
    assert directory.may_act(alice, "bob@other.test") is None
    directory.grant("alice", "act", "bob@other.test")
    assert directory.may_act(alice, "BOB@other.test").address == "bob@other.test"
    assert directory.may_act(alice, "").address == directory.may_act(alice, "alice").address == "alice@example.test"
    assert directory.may_act(alice, "nobody") is None and directory.may_act(alice, "\0") is None
    directory.change("bob@other.test", enabled=False)
    assert directory.may_act(alice, "bob@other.test") is None
    directory.revoke("alice", "send", "*@other.test")
    assert not directory.may_send(alice, "bob@other.test")
    assert status(directory.revoke, "alice", "send", "*@other.test") == "5.5.1"
    assert status(directory.grant, "alice", "own", "bob@other.test") == "5.5.4"
    assert status(directory.grant, "nobody", "send", "bob@other.test") == "5.1.1"
    assert status(directory.grant, "alice", "act", "nobody") == "5.1.1"


def test_what_is_told_of_an_account_has_no_hash(directory):
    told = directory.describe("alice")
    assert told["address"] == "alice@example.test" and told["quota"] == 7 and told["enabled"] is True
    assert "hash" not in repr(told)
