"""Budgets of failed logins: who waits, who never does, and that nobody can make another wait."""

import pytest

from fancymail.core.budget import Budget, network_of

ALICE, ATTACKER, HOME = "alice@example.test", "192.0.2.66", "198.51.100.7"


@pytest.fixture
def budget():
    return Budget(per_account=3, per_address=6, first=10.0, longest=100.0, memory=1000.0, trusted=("10.1.0.0/16", "fd00::/8"))


def fail(budget, count, account=ALICE, address=ATTACKER, now=0.0):
    for number in range(count):
        budget.failed(account, address, b"%d" % number, now)


@pytest.mark.parametrize("address, network", [
    ("192.0.2.1", "192.0.2.1/32"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64"), ("::ffff:192.0.2.1", "192.0.2.1/32"),
    ("fe80::1%eth0", "fe80::/64"), ("[IPv6:2001:db8::1]", None), ("", "None"), ("unix", "None"), ("192.0.2.1.5", "None")])
def test_networks(address, network):
    assert network is None or str(network_of(address)) == network


def test_nothing_waits_before_the_budget_is_used_up(budget):
    fail(budget, 2)
    assert budget.wait(ALICE, ATTACKER, 0.0) == 0.0 and budget.bans(0.0) == []


def test_waits_double_up_to_the_longest(budget):
    waits = []
    for number in range(8):
        budget.failed(ALICE, "", b"%d" % number, 0.0)
        waits.append(budget.wait(ALICE, "", 0.0))
    assert waits == [0.0, 0.0, 10.0, 20.0, 40.0, 80.0, 100.0, 100.0]
    assert budget.wait(ALICE, "", 60.0) == 40.0 and budget.wait(ALICE, "", 100.0) == 0.0


def test_an_account_waits_wherever_the_guesses_come_from(budget):
    for number in range(3):
        budget.failed(ALICE, f"203.0.113.{number}", b"%d" % number, 0.0)
    assert budget.wait(ALICE, "203.0.113.99", 0.0) == 10.0
    assert budget.wait("bob@example.test", "203.0.113.99", 0.0) == 0.0


def test_an_address_waits_whatever_accounts_it_tries(budget):
    for number in range(6):
        budget.failed(f"user{number}@example.test", ATTACKER, b"same", 0.0)
    assert budget.wait("bob@example.test", ATTACKER, 0.0) == 0.0        # one password, tried everywhere, was counted once per account
    for number in range(6):
        budget.failed(f"user{number}@example.test", ATTACKER, b"%d" % number, 0.0)
    assert budget.wait("bob@example.test", ATTACKER, 0.0) > 0.0


def test_a_64_is_one_address(budget):
    for number in range(6):
        budget.failed(f"user{number}@example.test", f"2001:db8::{number}", b"%d" % number, 0.0)
    assert budget.wait("bob@example.test", "2001:db8::abcd", 0.0) > 0.0
    assert budget.wait("bob@example.test", "2001:db8:0:1::1", 0.0) == 0.0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "fd12::1"])
def test_loopback_and_trusted_networks_never_wait_and_are_never_counted(budget, address):
    fail(budget, 50, address=address)
    assert budget.trusts(address) and budget.wait(ALICE, address, 0.0) == 0.0 and budget.bans(0.0) == []
    fail(budget, 50)
    assert budget.wait(ALICE, address, 0.0) == 0.0 and budget.wait(ALICE, HOME, 0.0) > 0.0


@pytest.mark.parametrize("address", ["10.2.0.1", "128.0.0.1", "::2", "::ffff:128.0.0.1", "localhost", "", "127.0.0.1.evil", "::1.2.3.4"])
def test_what_is_not_trusted(budget, address):
    assert not budget.trusts(address)


def test_guesses_elsewhere_do_not_lock_the_owner_out(budget):
    budget.succeeded(ALICE, HOME, 0.0)
    fail(budget, 6)
    assert budget.wait(ALICE, ATTACKER, 1.0) > 0.0
    assert budget.wait(ALICE, HOME, 1.0) == 0.0
    fail(budget, 3, address=HOME, now=1.0)
    assert budget.wait(ALICE, HOME, 1.0) > 0.0          # but the network has a budget of its own
    assert budget.wait(ALICE, HOME, 15 * 86400.0) == 0.0


def test_an_owned_account_does_not_refill_the_attackers_budget(budget):
    fail(budget, 6)
    budget.succeeded("mallory@example.test", ATTACKER, 0.0)
    assert budget.wait("bob@example.test", ATTACKER, 0.0) > 0.0


def test_the_same_wrong_password_is_counted_once(budget):
    for _ in range(50):
        budget.failed(ALICE, HOME, b"old", 0.0)
    assert budget.wait(ALICE, HOME, 0.0) == 0.0
    for _ in range(3):
        budget.failed(ALICE, HOME, b"", 0.0)            # SCRAM: the password isn't known, so each counts
    assert budget.wait(ALICE, HOME, 0.0) > 0.0


def test_guesses_side_by_side_use_the_budget_too(budget):
    begun = []
    for _ in range(3):
        assert budget.wait(ALICE, ATTACKER, 0.0) == 0.0
        begun.append(budget.begin(ALICE, ATTACKER, 0.0))
    assert budget.wait(ALICE, ATTACKER, 0.0) > 0.0
    assert budget.wait(ALICE, "127.0.0.1", 0.0) == 0.0
    budget.succeeded(ALICE, ATTACKER, 0.0)              # one of them was right: what was begun is still ended under its old name
    for name in begun:
        budget.end(name)
    assert budget.wait(ALICE, "203.0.113.1", 0.0) == budget.wait(ALICE, ATTACKER, 0.0) == 0.0
    assert not any(entry.checking for entry in budget._entries.values())


def test_failures_are_forgotten(budget):
    fail(budget, 2)
    assert budget.wait(ALICE, "", 1001.0) == 0.0
    fail(budget, 2, now=1001.0)
    assert budget.wait(ALICE, "", 1001.0) == 0.0


def test_bans_and_unban(budget):
    fail(budget, 6)
    bans = budget.bans(0.0)
    assert [(ban.kind, ban.name, ban.failures, ban.seconds) for ban in bans] == [
        ("account", ALICE, 6, 80.0), ("address", "192.0.2.66/32", 6, 10.0)]
    assert budget.unban(ATTACKER) == 1 and [ban.name for ban in budget.bans(0.0)] == [ALICE]
    assert budget.unban(ALICE) == 1 and budget.bans(0.0) == [] and budget.unban(ALICE) == 0
    budget.succeeded(ALICE, HOME, 0.0)
    fail(budget, 6, address=HOME)
    assert budget.unban(ALICE) == 1 and budget.unban("198.51.100.7/32") == 1
    fail(budget, 6)
    assert budget.unban("*") == 2 and budget.bans(0.0) == []


def test_memory_is_bounded():
    budget = Budget(per_account=1, per_address=1, most=100)
    for number in range(1000):
        budget.failed(f"user{number}", f"10.0.{number % 256}.{number // 256}", b"x", float(number))
        budget.succeeded(f"user{number}", f"10.0.{number % 256}.{number // 256}", float(number))
    assert len(budget._entries) <= 100 and len(budget._known) <= 100
    assert budget.wait("user999", "", 999.0) > 0.0
