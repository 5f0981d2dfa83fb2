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
def test_loopback_and_trusted_networks_have_a_large_budget_of_their_own(budget, address):
    fail(budget, 99, address=address)
    assert budget.trusts(address) and budget.wait(ALICE, address, 0.0) == 0.0 and budget.bans(0.0) == []
    fail(budget, 50)
    assert budget.wait(ALICE, address, 0.0) == 0.0 and budget.wait(ALICE, HOME, 0.0) > 0.0
    for number in range(50):
        fail(budget, 50, f"user{number}", address)
    assert budget.wait("bob@example.test", address, 0.0) == 0.0         # whatever else it tries


def test_who_names_trusted_networks_for_everybody_gains_little(budget):
    """A front that was taken over may name any address as its client's: one budget for all that never wait otherwise, and nobody else pays."""
    for number in range(100):
        budget.failed(ALICE, ("127.0.0.1", f"127.1.2.{number}", "::1", f"10.1.0.{number}", "fd00::7")[number % 5], b"%d" % number, 0.0)
    assert budget.wait(ALICE, "127.77.0.1", 0.0) == budget.wait(ALICE, "fd00::8", 0.0) == 10.0
    assert budget.wait("bob@example.test", "127.0.0.1", 0.0) == budget.wait(ALICE, HOME, 0.0) == 0.0
    assert [(ban.kind, ban.name) for ban in budget.bans(0.0)] == [("trusted", ALICE)] and budget.unban(ALICE) and not budget.bans(0.0)


def again(budget, now, **options):
    """The budget of a process that came after: all that was written down, its own clock."""
    after = Budget(per_account=3, per_address=6, first=10.0, longest=100.0, memory=1000.0, **options)
    after.restore(budget, now)
    return after


def written(budget, *failed, now=0.0):
    return [row for account, address in failed for row in budget.kept(account, address, now)]


def test_what_was_counted_is_counted_by_the_next_process(budget):
    fail(budget, 6)
    fail(budget, 6, "nobody@example.test", "2001:db8::1")
    rows = written(budget, (ALICE, ATTACKER), ("nobody@example.test", "2001:db8::1"), now=5.0)
    after = again(rows, 7000.0)
    assert after.wait(ALICE, HOME, 7000.0) == after.wait("nobody@example.test", HOME, 7000.0) == 75.0
    assert after.wait("bob@example.test", ATTACKER, 7000.0) == 5.0 and after.wait("bob@example.test", HOME, 7000.0) == 0.0
    after.failed(ALICE, HOME, b"new", 7080.0)
    assert after.wait(ALICE, HOME, 7080.0) == 100.0                      # it goes on from there
    assert again(rows, 7000.0).wait(ALICE, HOME, 9000.0) == 0.0          # and is forgotten with time


def test_what_users_typed_is_not_written_down():
    ours, theirs = (Budget(secret=secret) for secret in (b"ours", b"theirs"))
    for budget in (ours, theirs):
        budget.failed("my password", HOME, b"", 0.0)
    assert {row.kind for row in ours.kept("my password", HOME, 0.0)} == {"account", "address"}
    assert "password" not in str(ours.kept("my password", HOME, 0.0))
    assert ours.kept("my password", HOME, 0.0)[0].name != theirs.kept("my password", HOME, 0.0)[0].name


def test_the_owners_network_is_known_to_the_next_process(budget):
    first = budget.succeeded(ALICE, HOME, 0.0)
    assert first and budget.succeeded(ALICE, HOME, 80_000.0) is None and budget.succeeded(ALICE, HOME, 170_000.0)
    assert budget.succeeded(ALICE, "127.0.0.1", 0.0) is None
    fail(budget, 6, now=0.0)
    after = again([first, *written(budget, (ALICE, ATTACKER))], 0.0)
    assert after.wait(ALICE, HOME, 0.0) == 0.0 and after.wait(ALICE, "203.0.113.9", 0.0) > 0.0


def test_a_clock_that_jumped_makes_nobody_wait_longer_than_the_longest_wait(budget):
    fail(budget, 6)
    rows = [row._replace(ago=-9e9, left=9e9) for row in written(budget, (ALICE, ATTACKER))]
    assert again(rows, 0.0).wait(ALICE, ATTACKER, 0.0) == 100.0


def test_unban_reaches_what_was_counted_before(budget):
    fail(budget, 6)
    rows = written(budget, (ALICE, ATTACKER))
    after = again(rows, 0.0)
    assert set(after.unban(ALICE)) == {row[:2] for row in rows if row.kind == "account"} and after.wait(ALICE, HOME, 0.0) == 0.0
    assert set(again(rows, 0.0).unban("*")) == {row[:2] for row in rows}


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
    assert len(budget.unban(ATTACKER)) == 1 and [ban.name for ban in budget.bans(0.0)] == [ALICE]
    assert len(budget.unban(ALICE)) == 1 and budget.bans(0.0) == [] and not budget.unban(ALICE)
    budget.succeeded(ALICE, HOME, 0.0)
    fail(budget, 6, address=HOME)
    assert len(budget.unban(ALICE)) == len(budget.unban("198.51.100.7/32")) == 1
    fail(budget, 6)
    assert len(budget.unban("*")) == 2 and budget.bans(0.0) == []


def test_memory_is_bounded():
    budget = Budget(per_account=1, per_address=1, most=100)
    for number in range(1000):
        budget.failed(f"user{number}", f"10.0.{number % 256}.{number // 256}", b"x", float(number))
        budget.succeeded(f"user{number}", f"10.0.{number % 256}.{number // 256}", float(number))
    assert len(budget._entries) <= 100 and len(budget._known) <= 100
    assert budget.wait("user999", "", 999.0) > 0.0
