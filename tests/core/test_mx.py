"""MX order, null MX, loops, and addresses that are never connected to."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given, strategies as st

from fancymail.core.mx import HOST_LIMIT, Host, Identity, NoRoute, behind_us, hosts, interleave, public


def still(items: list) -> None:
    """No chance at all."""


def test_order_by_preference() -> None:
    assert [host.name for host in hosts("x.test", [(20, "c"), (5, "a"), (10, "b")], still)] == ["a", "b", "c"]


def test_equal_preferences_are_spread_by_chance_and_only_they() -> None:
    records = [(10, f"h{number}") for number in range(5)] + [(5, "first"), (20, "last")]
    orders = {tuple(host.name for host in hosts("x.test", records, random.Random(seed).shuffle)) for seed in range(50)}
    assert len(orders) > 20 and all(order[0] == "first" and order[-1] == "last" for order in orders)


def test_no_mx_means_the_domain_itself() -> None:
    assert hosts("x.test", [], still) == [Host(0, "x.test")]


def test_null_mx() -> None:
    with pytest.raises(NoRoute) as caught:
        hosts("x.test", [(0, "")], still)
    assert (caught.value.state, caught.value.status) == ("failed", "5.1.10")


def test_null_mx_beside_others_is_ignored() -> None:
    assert hosts("x.test", [(0, ""), (10, "mx")], still) == [Host(10, "mx")]


def test_a_thousand_hosts_are_too_many() -> None:
    assert len(hosts("x.test", [(number, f"h{number}") for number in range(1000)], still)) == HOST_LIMIT


def test_only_hosts_better_than_ourselves() -> None:
    found = [Host(5, "a"), Host(10, "us"), Host(10, "b"), Host(20, "c")]
    assert behind_us(found, lambda host: host.name == "us") == [Host(5, "a")]
    assert behind_us(found, lambda host: False) == found


def test_we_are_the_best_mx_of_a_foreign_domain() -> None:
    with pytest.raises(NoRoute) as caught:
        behind_us([Host(5, "us"), Host(10, "b")], lambda host: host.name == "us")
    assert (caught.value.state, caught.value.status) == ("failed", "5.4.6")


def test_families_take_turns() -> None:
    mixed = interleave(["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"], "both", still)
    assert [":" in address for address in mixed] == [True, False, False, False]
    assert interleave(["192.0.2.1", "2001:db8::1"], "ipv4", still) == ["192.0.2.1"]
    assert interleave(["192.0.2.1", "2001:db8::1"], "ipv6", still) == ["2001:db8::1"]


PRIVATE = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1",
           "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
           "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.1.2.3",
           "2002:7f00:1::", "2002:a00:1::1", "2001:0:0:0:0:0:80ff:fffe", "127.1", "2130706433", "0x7f.1", "", "localhost", "127.0.0.1%lo"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_reserved(address: str) -> None:
    assert not public(address)
    assert Identity(frozenset(), frozenset(), lambda address: False).objection(address, 25)[0] == "5.4.4"


@pytest.mark.parametrize("address", ["8.8.8.8", "193.0.6.139", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(address: str) -> None:
    assert public(address)


@given(st.one_of(st.ip_addresses(network="127.0.0.0/8"), st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fc00::/7"),
                 st.ip_addresses(network="::ffff:192.168.0.0/112"), st.ip_addresses(network="fe80::/10"), st.ip_addresses(network="0.0.0.0/8")))
def test_no_private_network_gets_through(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not public(str(address))


def test_ourselves_even_where_private_networks_are_allowed() -> None:
    us = Identity(frozenset({"us.test"}), frozenset({25, 587}), lambda address: address == "127.0.0.1", private=True)
    assert us.objection("127.0.0.1", 25)[0] == "5.4.6" and us.objection("127.0.0.1", 587)[0] == "5.4.6"
    assert us.objection("127.0.0.1", 2525) == ("", "") and us.objection("127.0.0.2", 25) == ("", "")


def test_a_named_host_may_be_private_but_not_ourselves() -> None:
    us = Identity(frozenset(), frozenset({25}), lambda address: address == "10.0.0.1")
    assert us.objection("10.0.0.2", 25, explicit=True) == ("", "")
    assert us.objection("10.0.0.1", 25, explicit=True)[0] == "5.4.6"
