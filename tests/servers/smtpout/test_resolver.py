"""The resolver against a name server of ours: answers, nothing, failure, truncation, caching, retries, forgeries."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings, strategies as st

from fancymail.servers.smtpout.dnswire import RECORDS, Alias, Answer, DnsError, answers, make_question, read_answer, sayable, truncated
from fancymail.servers.smtpout.resolver import Limits, Resolver, SOCKETS, STRAYS, name_servers, read_servers
from tests.servers.smtpout.fakedns import FakeDns

QUICK = Limits(deadline=2.0, timeout=0.1, rounds=2)


def resolver(*servers: FakeDns, limits: Limits = QUICK, **options) -> Resolver:
    return Resolver([server.address for server in servers], limits, random.Random(7), **options)


async def test_records_by_type() -> None:
    zone = {("x.test", "MX"): ["10 b.x.test.", "5 A.x.test."], ("x.test", "A"): ["192.0.2.1"], ("x.test", "AAAA"): ["2001:db8::1"],
            ("x.test", "TXT"): ['"v=spf1" " -all"'], ("null.test", "MX"): ["0 ."]}
    async with FakeDns(zone) as server:
        dns_ = resolver(server)
        assert (await dns_.lookup("X.test.", "MX")).records == ((10, "b.x.test"), (5, "a.x.test"))
        assert (await dns_.lookup("x.test", "A")).records == ("192.0.2.1",)
        assert (await dns_.lookup("x.test", "AAAA")).records == ("2001:db8::1",)
        assert (await dns_.lookup("x.test", "TXT")).records == (b"v=spf1 -all",)
        assert (await dns_.lookup("null.test", "MX")).records == ((0, ""),)
        dns_.close()


async def test_nothing_and_nobody() -> None:
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}) as server:
        dns_ = resolver(server)
        assert await dns_.lookup("x.test", "MX") == Answer((), 300, True)
        assert await dns_.lookup("y.test", "MX") == Answer((), 300, False)
        dns_.close()


@pytest.mark.parametrize("name", ["", ".", "a..b", "-a.test", "a" * 64 + ".test", "a." * 127 + "test", "a b.test", "ü.test", "x\0.test"])
async def test_names_nobody_can_have_are_not_asked(name: str) -> None:
    dns_ = Resolver([("192.0.2.1", 53)])
    assert await dns_.lookup(name, "MX") == Answer(exists=False) and not dns_.counters["asked"]
    assert not sayable(name)


async def test_aliases_are_followed() -> None:
    zone = {("a.test", "CNAME"): ["b.test."], ("b.test", "CNAME"): ["c.test."], ("c.test", "A"): ["192.0.2.3"]}
    async with FakeDns(zone) as server:
        dns_ = resolver(server)
        assert (await dns_.lookup("a.test", "A")).records == ("192.0.2.3",)
        dns_.close()


async def test_aliases_without_end() -> None:
    async with FakeDns({("a.test", "CNAME"): ["b.test."], ("b.test", "CNAME"): ["a.test."]}) as server:
        dns_ = resolver(server)
        with pytest.raises(DnsError):
            await dns_.lookup("a.test", "A")
        assert len(server.asked) < 20
        dns_.close()


async def test_cache_lives_as_long_as_the_answer_and_no_longer_than_the_cap() -> None:
    now = [1000.0]
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}, ttl=2 ** 31 - 1) as server:
        dns_ = resolver(server, clock=lambda: now[0])
        for _ in range(3):
            await dns_.lookup("x.test", "A")
            await dns_.lookup("none.test", "A")
        assert len(server.asked) == 2
        now[0] += 301                  # the SOA said 300
        await dns_.lookup("none.test", "A")
        await dns_.lookup("x.test", "A")
        assert len(server.asked) == 3
        now[0] += QUICK.ttl
        await dns_.lookup("x.test", "A")
        assert len(server.asked) == 4
        dns_.close()


async def test_ttl_zero_is_not_kept() -> None:
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}, ttl=0) as server:
        dns_ = resolver(server)
        await dns_.lookup("x.test", "A")
        await dns_.lookup("x.test", "A")
        assert len(server.asked) == 2 and not dns_.cache
        dns_.close()


async def test_cache_is_bounded() -> None:
    zone = {(f"h{number}.test", "A"): ["192.0.2.1"] for number in range(30)}
    async with FakeDns(zone) as server:
        dns_ = resolver(server, limits=replace(QUICK, entries=10))
        for number in range(30):
            await dns_.lookup(f"h{number}.test", "A")
        assert len(dns_.cache) == 10
        dns_.close()


async def test_the_same_question_is_asked_once_for_all_who_wait() -> None:
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}) as server:
        dns_ = resolver(server)
        found = await asyncio.gather(*(dns_.lookup("x.test", "A") for _ in range(50)))
        assert len(server.asked) == 1 and len(set(found)) == 1 and not dns_.running
        dns_.close()


async def test_one_who_gives_up_does_not_take_it_from_the_others() -> None:
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}) as server:
        dns_ = resolver(server)
        first, second = (asyncio.create_task(dns_.lookup("x.test", "A")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).records
        dns_.close()


async def test_many_questions_use_several_ports_but_not_hundreds() -> None:
    zone = {(f"h{number}.test", "A"): [f"192.0.2.{number}"] for number in range(100)}
    async with FakeDns(zone) as server:
        dns_ = resolver(server, limits=Limits())
        found = await asyncio.gather(*(dns_.lookup(f"h{number}.test", "A") for number in range(100)))
        assert [answer.records[0] for answer in found] == [f"192.0.2.{number}" for number in range(100)]
        assert SOCKETS <= len(server.ports) < 100      # a slow machine asks some of them twice
        dns_.close()


async def test_ports_change_after_a_while() -> None:
    zone = {(f"h{number}.test", "A"): ["192.0.2.1"] for number in range(1500)}
    async with FakeDns(zone) as server:
        dns_ = resolver(server)
        for number in range(1500):
            await dns_.lookup(f"h{number}.test", "A")
        assert len(server.ports) > SOCKETS and sum(not socket.closed for socket in dns_.servers[0].sockets) <= SOCKETS
        dns_.close()


async def test_who_has_asked_one_that_retires_hears_the_answer_and_no_socket_stays() -> None:
    late: list[bytes] = []
    zone = {("x.test", "A"): ["192.0.2.1"], ("y.test", "A"): ["192.0.2.2"]}
    async with FakeDns(zone, script=lambda query, data: late.append(server.reply(query).to_wire()) or []) as server:
        dns_ = resolver(server, limits=replace(QUICK, timeout=5.0))
        asked = asyncio.create_task(dns_.lookup("x.test", "A"))
        while not late:
            await asyncio.sleep(0)
        socket, = dns_.servers[0].sockets
        dns_.retire()
        socket.datagram_received(late.pop(), server.address)
        assert (await asked).records == ("192.0.2.1",) and socket.closed
        server.script = None
        assert (await dns_.lookup("y.test", "A")).records == ("192.0.2.2",)         # somebody on its way to several hosts asks on
        assert all(socket.closed for socket in dns_.servers[0].sockets)


async def test_the_next_server_answers_for_a_dead_one() -> None:
    async with FakeDns(script=lambda query, data: []) as dead, FakeDns({("x.test", "A"): ["192.0.2.1"]}) as alive:
        dns_ = resolver(dead, alive)
        assert (await dns_.lookup("x.test", "A")).records == ("192.0.2.1",)
        assert not (await dns_.lookup("y.test", "A")).exists
        assert len(dead.asked) == 1    # the dead one is asked last from now on
        dns_.close()


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP"])
async def test_a_failure_is_not_an_answer_and_is_remembered_for_seconds_only(rcode: str) -> None:
    now = [0.0]
    async with FakeDns({("x.test", "A"): rcode}) as server:
        dns_ = resolver(server, clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(DnsError, match=rcode):
                await dns_.lookup("x.test", "A")
        assert len(server.asked) == 1
        now[0] += QUICK.failure_ttl + 1
        server.zone["x.test", "A"] = ["192.0.2.1"]
        assert (await dns_.lookup("x.test", "A")).records
        dns_.close()


async def test_no_server_at_all() -> None:
    with pytest.raises(DnsError):
        await Resolver([]).lookup("x.test", "A")


async def test_silence_ends_at_the_deadline() -> None:
    async with FakeDns(script=lambda query, data: []) as server:
        server.stream = False
        dns_ = resolver(server, limits=Limits(deadline=0.3, timeout=0.1, rounds=3))
        started = asyncio.get_running_loop().time()
        with pytest.raises(DnsError):
            await dns_.lookup("x.test", "A")
        assert asyncio.get_running_loop().time() - started < 1.0
        dns_.close()


async def test_lookups_under_way_are_bounded() -> None:
    async with FakeDns(script=lambda query, data: []) as server:
        dns_ = resolver(server, limits=replace(QUICK, running=2))
        tasks = [asyncio.create_task(dns_.lookup(f"h{number}.test", "A")) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(DnsError, match="too many"):
            await dns_.lookup("h9.test", "A")
        dns_.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def cut(query: dns.message.Message, data: bytes) -> list[bytes]:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return [response.to_wire()]


async def test_a_cut_answer_is_fetched_by_tcp() -> None:
    records = [f"{number} mx{number}.a-long-name-for-a-host.x.test." for number in range(60)]
    async with FakeDns({("x.test", "MX"): records}, script=cut) as server:
        dns_ = resolver(server)
        assert len((await dns_.lookup("x.test", "MX")).records) == 60 and server.by_stream == 1
        dns_.close()


async def test_of_thousands_of_records_the_first_are_looked_at() -> None:
    """64 KiB of records from a hostile zone, for each of its names, would take hours and gigabytes."""
    zone = {("x.test", "MX"): [f"{number} a{number}." for number in range(1000)],
            ("y.test", "A"): [f"192.{number >> 8}.2.{number & 255}" for number in range(1000)]}
    async with FakeDns(zone, script=cut) as server:
        dns_ = resolver(server, limits=replace(QUICK, deadline=20.0, timeout=10.0))
        found = (await dns_.lookup("x.test", "MX")).records
        assert len(found) == RECORDS and all(host == f"a{number}" for number, host in found)
        assert len((await dns_.lookup("y.test", "A")).records) == RECORDS and server.by_stream == 2
        dns_.close()


async def test_a_cut_answer_with_tcp_blocked_is_no_answer() -> None:
    async with FakeDns({("x.test", "MX"): ["10 mx.x.test."]}, script=cut) as server:
        server.stream = False
        dns_ = resolver(server)
        with pytest.raises(DnsError):
            await dns_.lookup("x.test", "MX")
        dns_.close()


async def test_an_old_server_without_edns() -> None:
    def script(query, data):
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.FORMERR)
        return [response.to_wire()]

    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}, script=script) as server:
        dns_ = resolver(server)
        assert (await dns_.lookup("x.test", "A")).records == ("192.0.2.1",)
        dns_.close()


async def test_a_server_that_changes_case_is_asked_by_tcp() -> None:
    async with FakeDns({("example.test", "A"): ["192.0.2.1"]}) as server:
        server.script = lambda query, data: [server.reply(query).to_wire()[:12] + data[12:].lower()]
        dns_ = resolver(server)
        assert (await dns_.lookup("example.test", "A")).records == ("192.0.2.1",)
        assert server.by_stream == 1 and dns_.counters["strays"] == 1
        dns_.close()


async def test_guessing_drives_the_question_to_tcp() -> None:
    async with FakeDns({("x.test", "A"): ["192.0.2.1"]}) as server:
        forged = dns.rrset.from_text("x.test.", 60, "IN", "A", "203.0.113.66")

        def script(query, data):
            guesses = []
            for number in range(STRAYS + 5):
                guess = dns.message.make_response(query)
                guess.id = (query.id + 1 + number) % 65536
                guess.answer.append(forged)
                guesses.append(guess.to_wire())
            return guesses

        server.script = script
        dns_ = resolver(server)
        assert (await dns_.lookup("x.test", "A")).records == ("192.0.2.1",)
        assert server.by_stream == 1
        dns_.close()


def test_read_servers() -> None:
    text = "# c\nnameserver 192.0.2.1\nsearch x\nnameserver\n nameserver ::1 \noptions ndots:2\n"
    assert read_servers(text) == [("192.0.2.1", 53), ("::1", 53)]
    assert read_servers("") == [("127.0.0.1", 53)]


def test_name_servers_of_the_settings() -> None:
    assert name_servers(["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:54"]) == [
        ("192.0.2.1", 53), ("192.0.2.1", 5353), ("2001:db8::1", 53), ("2001:db8::1", 53), ("2001:db8::1", 54)]
    assert name_servers([])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2 ** 20))
def test_garbage_behind_our_question_is_an_answer_or_a_dns_error(rest: bytes, noise: int) -> None:
    question = make_question("x.test", "MX", 7, noise)
    wire = question.wire()
    header = (7).to_bytes(2, "big") + (0x8180).to_bytes(2, "big") + b"\0\1" + bytes((0, noise % 5, 0, noise % 3, 0, noise % 2))
    reply = header + wire[12:12 + len(question.section)] + rest
    assert answers(question, reply) and not truncated(reply)
    try:
        assert isinstance(read_answer(question, reply), Answer)
    except (DnsError, Alias):
        pass


@given(st.binary(max_size=60))
def test_random_octets_answer_nothing(data: bytes) -> None:
    assert not answers(make_question("example.test", "MX", 0xABCD, 12345), data)
