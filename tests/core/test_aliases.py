"""Where mail goes: names, tags, wildcards, circles, caps, and the postmaster whom nobody can take away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.aliases import AccountError, Resolver
from fancymail.mail.address import Address, parse_mailbox
from fancymail.storage.memory.accounts import MemoryAccounts
from fancymail.storage.ports.accounts import Account, Alias

HOME = "example.test"


class World:
    """A store with a few words to fill it."""

    def __init__(self, **options):
        self.store = MemoryAccounts()
        for domain in (HOME, "other.test"):
            self.store.add_domain(domain)
        self.resolver = Resolver(self.store, HOME, **options)

    def account(self, *names, enabled=True, domain=HOME):
        for name in names:
            created = float(len(self.store.accounts()))
            self.store.add_account(Account(f"{name}@{domain}", f"{name}@{domain}", domain, enabled=enabled, created=created))
        return self

    def alias(self, name, *targets, domain=HOME):
        full = tuple(target if "@" in target else f"{target}@{domain}" for target in targets)
        self.store.set_alias(Alias(f"{name}@{domain}", f"{name}@{domain}", domain, full, wildcard="*" in name))
        return self

    def where(self, text):
        found = self.resolver.resolve(parse_mailbox(text if "@" in text else f"{text}@{HOME}"))
        return sorted([*(a.removesuffix(f"@{HOME}") for a in found.local), *(f"remote:{a}" for a in found.remote)])

    def refused(self, text):
        with pytest.raises(AccountError) as error:
            self.where(text)
        return error.value.status


@pytest.fixture
def world():
    return World().account("alice", "bob", "carol")


def test_an_account(world):
    assert world.where("alice") == ["alice"] and world.where("ALICE@example.test") == ["alice"]


def test_nobody_and_nowhere(world):
    assert world.refused("dave") == "5.1.1"
    assert world.refused("alice@elsewhere.test") == "5.1.2"
    assert world.refused("alice@sub.example.test") == "5.1.2"
    assert world.refused("alice@xexample.test") == "5.1.2"


def test_disabled(world):
    world.account("dave", enabled=False)
    assert world.refused("dave") == "5.2.1"


def test_lists_of_local_and_remote_targets(world):
    world.alias("team", "alice", "bob", "x@remote.test", "alice")
    assert world.where("team") == ["alice", "bob", "remote:x@remote.test"]


def test_chains_and_diamonds_give_each_address_once(world):
    world.alias("all", "left", "right").alias("left", "end").alias("right", "end").alias("end", "alice", "z@x.test")
    assert world.where("all") == ["alice", "remote:z@x.test"]


def test_an_alias_goes_before_the_account_and_may_keep_a_copy(world):
    world.alias("alice", "alice", "a@x.test")
    assert world.where("alice") == ["alice", "remote:a@x.test"]
    world.alias("bob", "b@x.test")
    assert world.where("bob") == ["remote:b@x.test"]


def test_a_forward_in_a_diamond_is_not_taken_for_a_circle(world):
    world.alias("bob", "b@x.test").alias("list", "one", "two").alias("one", "bob").alias("two", "bob")
    assert world.where("list") == ["remote:b@x.test"]


@pytest.mark.parametrize("aliases", [{"x": "x"}, {"x": "y", "y": "x"}, {"x": "y", "y": "z", "z": "x"}, {"x": "x+tag"}])
def test_circles_without_a_mailbox_end(world, aliases):
    for name, target in aliases.items():
        world.alias(name, target)
    assert world.refused("x") == "5.4.6"


def test_circles_through_mailboxes_lose_nothing(world):
    world.alias("alice", "bob").alias("bob", "alice")
    assert world.where("alice") == ["alice"] and world.where("bob") == ["bob"]
    world.alias("carol", "carol+x")
    assert world.where("carol") == ["carol"]


def test_depth(world):
    names = [f"a{number}" for number in range(100)]
    for name, following in zip(names, names[1:]):
        world.alias(name, following)
    world.alias("a99", "alice")
    assert world.where("a90") == ["alice"]
    assert world.refused("a0") == "5.4.6"


def test_width():
    world = World(width=50).account("alice")
    world.alias("wide", *(f"u{number}@x.test" for number in range(50)))
    world.alias("wider", *(f"u{number}@x.test" for number in range(51)))
    assert len(world.where("wide")) == 50
    assert world.refused("wider") == "5.2.4"


def test_lists_of_lists_that_multiply_end_quickly():
    world = World().account("alice").alias("l9", "alice")
    for level in range(9):
        world.alias(f"l{level}", *(f"l{level + 1}+{tag}" for tag in range(10)))
    assert world.where("l0") == ["alice"]
    world.alias("x*", *(f"x*{letter}" for letter in "abcdefghij"))
    assert world.refused("x") == "5.2.4"


def test_one_bad_target_does_not_stop_the_others(world):
    world.alias("team", "alice", "gone", "bob")
    found = world.resolver.resolve(parse_mailbox("team@example.test"))
    assert found.local == ["alice@example.test", "bob@example.test"]
    assert [problem.status for problem in found.problems] == ["5.1.1"]
    world.alias("none", "gone", "gone2")
    assert world.refused("none") == "5.1.1"


def test_tags(world):
    assert world.where("alice+news") == ["alice"] and world.where("alice+") == ["alice"] and world.where("alice+a+b") == ["alice"]
    world.alias("bob+special", "carol")
    assert world.where("bob+special") == ["carol"] and world.where("bob+other") == ["bob"]
    world.alias("team", "alice")
    assert world.where("team+x") == ["alice"]
    assert world.refused("+alice") == "5.1.1" and world.refused("dave+alice") == "5.1.1"


def test_without_tags():
    world = World(separator="").account("alice")
    assert world.refused("alice+news") == "5.1.1"


def test_wildcards(world):
    world.alias("sales-*", "alice").alias("sales-eu-*", "bob").alias("*-bot", "carol")
    assert world.where("sales-x") == ["alice"] and world.where("sales-eu-x") == ["bob"] and world.where("x-bot") == ["carol"]
    assert world.where("sales-") == ["alice"] and world.refused("sales") == "5.1.1"
    assert world.where("SALES-X") == ["alice"]


def test_a_name_goes_before_a_wildcard_and_a_wildcard_before_the_catch_all(world):
    world.alias("*", "alice").alias("b*", "carol")
    assert world.where("bob") == ["bob"] and world.where("bert") == ["carol"] and world.where("whoever") == ["alice"]
    assert world.where("bob+tag") == ["bob"]


def test_a_wildcard_can_carry_what_it_stands_for(world):
    world.alias("*", "*@example.test", domain="other.test").alias("old-*", "*@x.test")
    assert world.where("alice@other.test") == ["alice"] and world.refused("dave@other.test") == "5.1.1"
    assert world.where("old-joe") == ["remote:joe@x.test"]


def test_what_a_wildcard_carries_never_becomes_a_domain(world):
    world.alias("*", "*@x.test")
    found = world.resolver.resolve(Address("v@evil.test", HOME))
    assert found.remote == ['"v@evil.test"@x.test']


def test_relay_forms_are_only_local_names(world):
    for text in ("v%x.test", '"v@x.test"', "x.test!v", '"v%x.test"'):
        assert world.refused(f"{text}@example.test") == "5.1.1"


def test_postmaster_and_abuse_are_always_deliverable(world):
    for domain in (HOME, "other.test"):
        for name in ("postmaster", "abuse", "POSTMASTER", "Abuse"):
            assert world.where(f"{name}@{domain}") == ["alice"]
    world.account("postmaster")
    assert world.where("postmaster@other.test") == ["postmaster"] and world.where("abuse") == ["postmaster"]


def test_the_postmaster_who_was_named():
    world = World(postmaster="ops@x.test").account("alice")
    assert world.where("abuse@other.test") == ["remote:ops@x.test"]
    world.account("postmaster")
    assert world.where("postmaster") == ["postmaster"]


def test_a_domains_own_account_reads_first():
    world = World().account("alice").account("zoe", domain="other.test")
    assert world.where("postmaster@other.test") == ["zoe@other.test"]


@pytest.mark.parametrize("target", ["postmaster", "gone", "abuse"])
def test_a_broken_postmaster_alias_is_deliverable_all_the_same(world, target):
    world.alias("postmaster", target).alias("abuse", "postmaster")
    assert world.where("postmaster") == ["alice"] and world.where("abuse@other.test") == ["alice"]


def test_a_disabled_postmaster_is_deliverable_all_the_same():
    world = World().account("postmaster", enabled=False).account("alice")
    assert world.where("postmaster") == ["alice"]


def test_the_catch_all_may_read_the_postmasters_mail(world):
    world.alias("*", "carol")
    assert world.where("postmaster") == ["carol"]


def test_with_nobody_there_mail_waits():
    assert World().refused("postmaster") == "4.3.5"


names = st.sampled_from(["a", "b", "c", "d", "alice", "a+t", "*", "x*", "postmaster"])
targets = st.lists(st.sampled_from(["a", "b", "c", "d", "alice", "bob", "r@x.test", "a+t", "*@other.test", "postmaster"]), max_size=4)


@given(st.lists(st.tuples(names, targets, st.sampled_from([HOME, "other.test"])), max_size=12), names)
def test_any_web_of_aliases_ends(aliases, start):
    world = World(depth=6, width=40).account("alice", "bob")
    for name, to, domain in aliases:
        world.alias(name, *to, domain=domain)
    try:
        found = world.resolver.resolve(parse_mailbox(f"{start.replace('*', 'w')}@{HOME}"))
    except AccountError as error:
        assert start != "postmaster" and error.status in ("5.1.1", "5.4.6", "5.2.4")
        return
    assert found.local or found.remote
    assert len(set(found.local)) == len(found.local) and len(found.local) + len(found.remote) <= 41
