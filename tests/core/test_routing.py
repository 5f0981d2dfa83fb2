"""Routing: the closest entry counts, and recipients of one way travel together."""

from __future__ import annotations

from fancymail.base.settings.load import parse_settings
from fancymail.core.routing import Routes
from fancymail.mail.envelope import Recipient


def routes(**transports) -> Routes:
    return Routes(parse_settings({"smtpout": {"transports": transports, "tls": "require", "port": 2525}}, "test").smtpout)


def test_without_entries_mx_rules() -> None:
    route = routes().find("x.test")
    assert (route.domain, route.host, route.port, route.tls, str(route)) == ("x.test", "", 2525, "require", "x.test")


def test_the_closest_entry_counts() -> None:
    found = routes(**{"*": {"host": "star"}, ".test": {"host": "dot-test"}, ".x.test": {"host": "dot-x"}, "x.test": {"host": "exact"}})
    hosts = {domain: found.find(domain).host for domain in ("x.test", "a.x.test", "a.b.x.test", "y.test", "test", "example", "[192.0.2.1]")}
    assert hosts == {"x.test": "exact", "a.x.test": "dot-x", "a.b.x.test": "dot-x", "y.test": "dot-test", "test": "dot-test",
                     "example": "star", "[192.0.2.1]": "star"}


def test_an_entry_without_host_changes_only_how() -> None:
    route = routes(**{"x.test": {"tls": "verify"}}).find("x.test")
    assert route.domain == "x.test" and not route.explicit and route.tls == "verify" and route.port == 25


def test_domains_behind_one_smarthost_share_a_transaction() -> None:
    found = routes(**{"a.test": {"host": "Relay.test", "port": 587}, "b.test": {"host": "relay.test", "port": 587}})
    recipients = [Recipient(address) for address in ("1@a.test", "2@b.test", "3@c.test", "broken", "5@c.test")]
    groups = found.group(recipients, [0, 1, 2, 3])
    assert {str(route): indexes for route, indexes in groups.items()} == {"relay.test:587": [0, 1], "c.test": [2], "None": [3]}


def test_passwords_stay_out_of_sight() -> None:
    route = routes(**{"*": {"host": "relay.test", "user": "u", "password": "hush"}}).find("x.test")
    assert route.password.reveal() == "hush" and "hush" not in repr(route)


def test_require_tls_asks_for_proof() -> None:
    assert routes().find("x.test").verified().tls == "verify"
    assert routes(**{"*": {"host": "r", "tls": "implicit"}}).find("x.test").verified().tls == "implicit"
