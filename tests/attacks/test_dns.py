"""Attacks by DNS, MX and routing: forged and malformed answers, hosts that are ourselves or private, floods of records, rebinding."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import struct
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from fancymail.core.mx import Identity, NoRoute
from fancymail.core.routing import Route
from fancymail.servers.smtpout.dnswire import DnsError
from fancymail.servers.smtpout.nexthop import NextHops, owned, read_hosts
from fancymail.servers.smtpout.resolver import Limits, Resolver
from tests.attacks.canary import listening, sing
from tests.servers.smtpout.fakedns import FakeDns

BAD = "203.0.113.66"
CANARY = {("canary.test", "MX"): ["10 mx.canary.test."], ("mx.canary.test", "A"): ["8.8.8.8"], ("mx.canary.test", "AAAA"): ["2a00::8"]}
US = Identity(frozenset({"us.test"}), frozenset({25, 587, 20025}), lambda address: owned(address) or address == "8.8.4.4")


@asynccontextmanager
async def world(zone: dict | None = None, script=None, identity: Identity = US, **limits):
    """A name server with a zone or a script, hops that ask it, and a canary at the end."""
    server = FakeDns({**CANARY, **(zone or {})})
    if script:
        server.script = lambda query, data: (
            [server.reply(query).to_wire()] if "canary" in str(query.question[0].name).lower() else script(server, query, data))
    async with server:
        bounds = Limits(**{"deadline": 3.0, "timeout": 0.15, "rounds": 2, **limits})
        hops = NextHops(Resolver([server.address], bounds, random.Random(3)), identity)
        hops.server = server
        yield hops
        hops.resolver.limits = Limits()         # who is honest is answered at once, but not within 0.15 s on any machine
        await sing("resolver", _honest(hops))
        hops.resolver.close()


async def _honest(hops: NextHops) -> None:
    """A name that is in order is found, and nobody waits any more."""
    assert {target.address for target in await hops.find(route("canary.test"))} == {"8.8.8.8", "2a00::8"}
    assert not hops.resolver.running


def route(domain: str, port: int = 25, **facts) -> Route:
    return Route(domain, facts.pop("host", ""), port, "may")


async def refused(hops: NextHops, domain: str = "x.test", **facts) -> str:
    with pytest.raises(NoRoute) as caught:
        await hops.find(route(domain, **facts))
    return f"{caught.value.state} {caught.value.status}"


# forged answers

def forge(query: dns.message.Message, name: str = "x.test.", address: str = BAD) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
    return response


def wrong_id(query, data):
    response = forge(query)
    response.id ^= 0x1
    return response.to_wire()


def wrong_case(query, data):
    wire = forge(query).to_wire()
    return wire[:12] + data[12:19].swapcase() + wire[19:]


def wrong_name(query, data):
    other = dns.message.make_query("y.test", "A")
    other.id = query.id
    return forge(other).to_wire()


def wrong_kind(query, data):
    other = dns.message.make_query(query.question[0].name, "AAAA")
    other.id = query.id
    return forge(other).to_wire()


def wrong_class(query, data):
    wire = bytearray(forge(query).to_wire())
    end = 12 + len(query.question[0].name.to_wire())
    wire[end + 2:end + 4] = b"\0\3"
    return bytes(wire)


def not_a_reply(query, data):
    wire = bytearray(forge(query).to_wire())
    wire[2] &= 0x7F
    return bytes(wire)


def other_opcode(query, data):
    wire = bytearray(forge(query).to_wire())
    wire[2] |= 0x28
    return bytes(wire)


def two_questions(query, data):
    wire = bytearray(forge(query).to_wire())
    wire[5] = 2
    return bytes(wire)


def no_question(query, data):
    wire = bytearray(forge(query).to_wire())
    wire[5] = 0
    return bytes(wire)


def half_a_header(query, data):
    return data[:7]


FORGERIES = [wrong_id, wrong_case, wrong_name, wrong_kind, wrong_class, not_a_reply, other_opcode, two_questions, no_question,
             half_a_header]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
async def test_a_forged_answer_before_the_true_one_is_ignored(forgery) -> None:
    def script(server, query, data):
        return [forgery(query, data), forge(query, address="9.9.9.9").to_wire()]

    async with world(script=script) as hops:
        assert (await hops.resolver.lookup("x.test", "A")).records == ("9.9.9.9",) and hops.resolver.counters["strays"] == 1


async def test_an_answer_from_another_port_is_not_even_heard() -> None:
    outsider = FakeDns()
    async with outsider:
        def script(server, query, data):
            for port in server.ports:
                outsider.datagram.sendto(forge(query).to_wire(), ("127.0.0.1", port))
            return [forge(query, address="9.9.9.9").to_wire()]

        async with world(script=script) as hops:
            assert (await hops.resolver.lookup("x.test", "A")).records == ("9.9.9.9",) and hops.resolver.counters["strays"] == 0


async def test_records_that_nobody_asked_for_are_not_taken() -> None:
    def script(server, query, data):
        response = forge(query, "victim.test.")
        response.answer.append(dns.rrset.from_text("x.test.", 60, "IN", "MX", "5 evil.test."))
        response.additional.append(dns.rrset.from_text("mx.canary.test.", 60, "IN", "A", BAD))
        response.authority.append(dns.rrset.from_text("test.", 60, "IN", "NS", "ns.evil."))
        response.answer.append(dns.rrset.from_text("x.test.", 60, "IN", "A", "9.9.9.9"))
        return [response.to_wire()]

    async with world(script=script) as hops:
        assert (await hops.resolver.lookup("x.test", "A")).records == ("9.9.9.9",)
        assert list(hops.resolver.cache) == [("x.test", "A")]


async def test_another_class_is_not_taken() -> None:
    def script(server, query, data):
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("x.test.", 60, "CH", "A", "ns.evil. 1"))
        return [response.to_wire()]

    async with world(script=script) as hops:
        answer = await hops.resolver.lookup("x.test", "A")
        assert answer.records == ()


# malformed answers

def reply_head(data: bytes, counts: tuple[int, int, int] = (1, 0, 0)) -> bytes:
    """Our own question, answered, without the records."""
    section = data[12:data.index(b"\0", 12) + 5]
    return data[:2] + b"\x81\x80" + struct.pack("!4H", 1, *counts) + section


def record(rdata: bytes, kind: int = 1, name: bytes = b"\xc0\x0c", length: int | None = None) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 60, len(rdata) if length is None else length) + rdata


MALFORMED = {
    "a pointer to itself": lambda data: reply_head(data) + (len(reply_head(data)) | 0xC000).to_bytes(2, "big") + bytes(10),
    "pointers in a ring": lambda data: reply_head(data) + record(
        b"", name=struct.pack("!HH", 0xC000 + len(reply_head(data)) + 2, 0xC000 + len(reply_head(data)))),
    "a pointer beyond the end": lambda data: reply_head(data) + record(b"\1\2\3\4", name=b"\xff\xff"),
    "cut off in the middle": lambda data: reply_head(data) + record(b"\1\2\3\4")[:-2],
    "a length that lies": lambda data: reply_head(data) + record(b"\1\2\3\4", length=60000),
    "an address of three octets": lambda data: reply_head(data) + record(b"\1\2\3"),
    "an address of five octets": lambda data: reply_head(data) + record(b"\1\2\3\4\5"),
    "more records than there are": lambda data: reply_head(data, (65535, 65535, 65535)) + record(b"\1\2\3\4"),
    "a label of another kind": lambda data: reply_head(data) + record(b"\1\2\3\4", name=b"\x80abc\0"),
    "a name of a thousand octets": lambda data: reply_head(data) + record(b"\1\2\3\4", name=(b"\x3f" + b"a" * 63) * 16 + b"\0"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_answer_is_a_temporary_error(case: str) -> None:
    def script(server, query, data):
        return [MALFORMED[case](data)]

    async with world(script=script) as hops:
        hops.server.stream = False
        with pytest.raises(DnsError):
            await hops.resolver.lookup("x.test", "A")


async def test_64_kib_of_text_and_500_strings() -> None:
    zone = {("x.test", "TXT"): ['"' + '" "'.join("x" * 120 for _ in range(500)) + '"']}

    def script(server, query, data):
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return [response.to_wire()]

    async with world(zone, script) as hops:
        answer = await hops.resolver.lookup("x.test", "TXT")
        assert answer.records == (b"x" * 60000,)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=120), max_size=4), st.tuples(*[st.integers(0, 3)] * 3))
async def test_random_octets_behind_our_question(rest: list[bytes], counts: tuple[int, int, int]) -> None:
    def script(server, query, data):
        return [reply_head(data, counts) + piece for piece in rest] or [b"\0"]

    async with world(script=script, deadline=0.5) as hops:
        hops.server.stream = False
        try:
            assert all(map(ipaddress.IPv4Address, (await hops.resolver.lookup("x.test", "A")).records))
        except DnsError:
            pass
        assert not hops.resolver.running


# hosts that must not be reached

PRIVATE = ["127.0.0.1", "0.0.0.0", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.1.1", "::1", "::", "fc00::1", "fe80::1",
           "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::1"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_mx_that_leads_inside(address: str) -> None:
    kind = "AAAA" if ":" in address else "A"
    async with world({("x.test", "MX"): ["10 mx.x.test."], ("mx.x.test", kind): [address], ("y.test", kind): [address]}) as hops:
        assert await refused(hops) in ("failed 5.4.4", "failed 5.4.6")
        assert await refused(hops, "y.test") in ("failed 5.4.4", "failed 5.4.6")     # and without MX


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PRIVATE), st.ip_addresses(network="127.0.0.0/8").map(str), st.ip_addresses(network="10.0.0.0/8").map(str),
                          st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.text(max_size=12)), max_size=8), st.integers(1, 65535))
@example(["2002:100::", "2002:a00:1::"], 25)
async def test_no_hostile_answer_leads_inside(addresses: list[str], port: int) -> None:
    hops = NextHops(None, US, entropy=random.Random(1))
    try:
        targets = hops._checked(route("x.test", port), [("mx.x.test", addresses)], False)
    except NoRoute as reason:
        assert reason.state == "failed"
        targets = []
    for target in targets:
        parsed = ipaddress.ip_address(target.address)
        if parsed.version == 6:         # versions of Python are not of one mind about 6to4: what counts is where it leads
            parsed = parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else parsed)
        assert parsed.is_global and not parsed.is_loopback and not parsed.is_private and not (target.address == "8.8.4.4" and port in US.ports)
    async with listening("hops"):
        assert [target.address for target in hops._checked(route("canary.test"), [("mx.canary.test", ["8.8.8.8"])], False)] == ["8.8.8.8"]


@pytest.mark.parametrize("zone", [
    {("x.test", "MX"): ["10 us.test."]},
    {("x.test", "MX"): ["10 US.test."], ("us.test", "A"): ["8.8.8.8"]},
    {("x.test", "MX"): ["10 us.test.", "20 other.test."], ("other.test", "A"): ["8.8.8.8"]},
    {("x.test", "MX"): ["10 alias.test."], ("alias.test", "A"): ["8.8.4.4"]},
    {("x.test", "MX"): ["10 alias.test.", "10 b.test."], ("alias.test", "CNAME"): ["z.test."], ("z.test", "A"): ["8.8.4.4"],
     ("b.test", "A"): ["8.8.8.8"]},
    {("x.test", "A"): ["8.8.4.4"]}], ids=str)
async def test_mx_that_leads_back_to_us(zone: dict) -> None:
    async with world(zone) as hops:
        assert await refused(hops) == "failed 5.4.6"


async def test_hosts_better_than_us_are_asked_all_the_same() -> None:
    zone = {("x.test", "MX"): ["5 a.test.", "10 us.test.", "20 c.test."], ("a.test", "A"): ["8.8.8.8"], ("c.test", "A"): ["9.9.9.9"]}
    async with world(zone) as hops:
        assert [target.address for target in await hops.find(route("x.test"))] == ["8.8.8.8"]


async def test_our_own_ports_even_where_private_networks_are_allowed() -> None:
    open_minded = Identity(frozenset({"us.test"}), frozenset({20025}), owned, private=True)
    async with world({("x.test", "A"): ["127.0.0.1"]}, identity=open_minded) as hops:
        assert await refused(hops, port=20025) == "failed 5.4.6"
        assert [target.address for target in await hops.find(route("x.test", 2525))] == ["127.0.0.1"]
    closed = NextHops(None, US)
    assert closed.identity.objection("127.0.0.1", 20025)[0] == "5.4.6"


async def test_a_named_host_that_is_ourselves_defers_until_the_settings_are_put_right() -> None:
    async with world() as hops:
        assert await refused(hops, host="127.0.0.1") == "deferred 4.3.5"
        assert await refused(hops, host="nowhere.test") == "deferred 4.3.5"


@pytest.mark.parametrize("literal", ["[127.0.0.1]", "[8.8.8.8]", "[IPv6:::1]"])
async def test_address_literals(literal: str) -> None:
    async with world() as hops:
        assert await refused(hops, literal) == "failed 5.1.2"
        hops.literals = True
        if literal == "[8.8.8.8]":
            assert [target.address for target in await hops.find(route(literal))] == ["8.8.8.8"]
        else:
            assert (await refused(hops, literal)).startswith("failed 5.4")


# what DNS says of the domain

@pytest.mark.parametrize("zone, said", [
    ({}, "failed 5.1.2"),
    ({("x.test", "TXT"): ['"only text"']}, "failed 5.4.4"),
    ({("x.test", "MX"): ["0 ."]}, "failed 5.1.10"),
    ({("x.test", "MX"): ["10 gone.test."]}, "failed 5.4.4"),
    ({("x.test", "MX"): "SERVFAIL"}, "deferred 4.4.3"),
    ({("x.test", "MX"): ["10 mx.test."], ("mx.test", "A"): "SERVFAIL", ("mx.test", "AAAA"): "SERVFAIL"}, "deferred 4.4.3"),
    ({("x.test", "MX"): ["10 mx.test."], ("mx.test", "A"): ["10.0.0.1"], ("mx.test", "AAAA"): "SERVFAIL"}, "deferred 4.4.3"),
    ({("x.test", "MX"): ["10 1.2.3.4."]}, "failed 5.4.4"),
    ({("x.test", "MX"): [r"10 a\032b.test."]}, "failed 5.4.4"),
    ({("x.test", "CNAME"): ["x.test."]}, "deferred 4.4.3")], ids=str)
async def test_what_is_final_and_what_is_not(zone: dict, said: str) -> None:
    async with world(zone) as hops:
        assert await refused(hops) == said


async def test_silence_and_cut_answers_defer() -> None:
    for script in (lambda server, query, data: [], lambda server, query, data: [data[:2] + b"\x83\x80" + data[4:]]):
        async with world(script=script, deadline=0.5) as hops:
            hops.server.stream = False
            assert await refused(hops) == "deferred 4.4.3"


async def test_null_mx_among_others_is_ignored() -> None:
    async with world({("x.test", "MX"): ["0 .", "10 mx.canary.test."]}) as hops:
        assert len(await hops.find(route("x.test"))) == 2


async def test_a_thousand_mx_with_a_hundred_addresses_each() -> None:
    records = [f"{number} m{number}.x.test." for number in range(1000)]
    zone = {("x.test", "MX"): records}
    zone |= {(f"m{number}.x.test", "A"): [f"8.8.{number % 250}.{last}" for last in range(1, 101)] for number in range(1000)}

    def script(server, query, data):
        wire = server.reply(query).to_wire(max_size=65535)
        return [wire if len(wire) < 1232 else data[:2] + b"\x83\x80" + data[4:]]

    async with world(zone, script) as hops:
        assert len(await hops.find(route("x.test"))) == 10
        assert len(hops.server.asked) < 100


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """DNS rebinding: the second answer is private, and nobody looks at it."""
    flip = iter(["8.8.8.8"] + [BAD] * 50)

    def script(server, query, data):
        if server.asked[-1][1] != "A":
            return [dns.message.make_response(query).to_wire()]
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 0, "IN", "A", next(flip)))
        return [response.to_wire()]

    async with world(script=script) as hops:
        targets = await hops.find(route("x.test"))
        assert [target.address for target in targets] == ["8.8.8.8"]       # an address, not a name, goes to the socket
        assert hops.server.asked.count(("x.test", "A")) == 1


async def test_a_dead_resolver_does_not_pile_anything_up() -> None:
    async with world(script=lambda server, query, data: [], deadline=0.4, running=50) as hops:
        hops.server.stream = False
        found = await asyncio.gather(*(hops.find(route(f"d{number}.test")) for number in range(500)), return_exceptions=True)
        assert all(isinstance(each, NoRoute) and each.state == "deferred" for each in found)
        assert not hops.resolver.running and len(hops.resolver.servers[0].sockets) <= 8


@pytest.mark.still
def test_owned() -> None:
    assert owned("127.0.0.1") and owned("127.8.8.8") and owned("::1") and owned("0.0.0.0") and owned("::ffff:127.0.0.1")
    assert not owned("8.8.8.8") and not owned("rubbish") and not owned("")


@pytest.mark.still
def test_hosts_file() -> None:
    text = "127.0.0.1 localhost me # c\n::1 localhost\n10.0.0.5\tRelay.lan relay\nrubbish x\n\n"
    assert read_hosts(text) == {"localhost": ("127.0.0.1", "::1"), "me": ("127.0.0.1",), "relay.lan": ("10.0.0.5",), "relay": ("10.0.0.5",)}
    assert read_hosts("")["localhost"] == ("127.0.0.1", "::1")
