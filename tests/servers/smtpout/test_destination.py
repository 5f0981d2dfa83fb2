"""Errands to fake hosts: pipelining, TLS policies, several hosts, many recipients, hostile hosts, reuse, windows."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from fancymail.base.settings.load import parse_settings
from fancymail.core.mx import Identity, Target
from fancymail.core.routing import Route, Routes
from fancymail.mail.envelope import Recipient
from fancymail.protocol.smtp.transaction import Transaction
from fancymail.servers.smtpout.destination import Decided, Destinations, Parcel
from fancymail.servers.smtpout.link import LinkFailed
from fancymail.servers.smtpout.nexthop import NextHops
from fancymail.servers.smtpout.pool import Pool
from fancymail.servers.smtpout.resolver import Limits, Resolver
from tests.servers.smtpout.fakedns import FakeDns
from tests.servers.smtpout.fakemx import CLOSE, EXTENSIONS, HANG, FakeMx, certificate

CONTENT = b"Subject: hi\r\n\r\n.dot\r\nbody\r\n"


class NoTlsAfterAll(FakeMx):
    """Offers STARTTLS, says 220, and then does not speak TLS."""

    async def starttls(self, talk) -> None:
        talk.writer.write(b"220 go\r\n")
        await talk.reader.read(100)
        talk.writer.write(b"500 what is this?\r\n")


class FixedHops:
    """Targets without DNS."""

    def __init__(self, *targets: Target) -> None:
        self.targets = list(targets)

    async def find(self, route: Route) -> list[Target]:
        return self.targets


class Sender:
    """Destinations with everything around them, and what they decided."""

    def __init__(self, hops, **options) -> None:
        table = {"connect-timeout": 2.0, "command-timeout": 2.0, "content-timeout": 2.0, "final-timeout": 2.0, "private-networks": True}
        table |= {name.replace("_", "-"): value for name, value in options.items()}
        self.settings = parse_settings({"smtpout": table}, "test").smtpout
        self.pool = Pool(self.settings, "out.test")
        self.notes: list[tuple[str, dict]] = []
        self.destinations = Destinations(self.settings, hops, self.pool, lambda event, **facts: self.notes.append((event, facts)))
        self.steps: list[list[Decided]] = []

    async def send(self, *addresses: str, domain: str = "x.test", content: bytes = CONTENT, **facts) -> dict[str, str]:
        """Send a message; address -> "state status"."""
        recipients = tuple(map(Recipient, addresses or ("b@x.test",)))
        size = facts.pop("size", len(content))
        parcel = Parcel("i" * 26, Transaction("a@s.test", recipients, size, **facts), lambda: iter([content]))
        decided: dict[int, Decided] = {}

        async def settle(results) -> None:
            self.steps.append(list(results))
            for each in results:
                assert each.recipient not in decided, "decided twice"
                decided[each.recipient] = each

        await self.destinations.deliver(Routes(self.settings).find(domain), parcel, range(len(recipients)), settle)
        assert len(decided) == len(recipients), "somebody has no outcome"
        self.decided = decided
        return {recipients[index].address: f"{each.outcome.state} {each.outcome.status}" for index, each in decided.items()}


@asynccontextmanager
async def sending(*hosts: FakeMx, **options):
    sender = Sender(FixedHops(*(Target("mx.test", host.host, host.port) for host in hosts)), **options)
    try:
        yield sender
    finally:
        sender.pool.close()


async def test_one_message() -> None:
    async with FakeMx() as mx, sending(mx) as sender:
        assert await sender.send() == {"b@x.test": "delivered 2.6.0"}
        taken, = mx.messages
        assert taken.content == CONTENT and taken.recipients == ["RCPT TO:<b@x.test>"]
        assert taken.mail == f"MAIL FROM:<a@s.test> SIZE={len(CONTENT)}"
        assert sender.notes[0][0] == "delivered" and sender.notes[0][1]["remote"] == "mx.test"


async def test_each_recipient_has_its_own_outcome() -> None:
    async with FakeMx({"RCPT TO:<bad@": "550 5.1.1 no", "RCPT TO:<late@": "451 4.7.1 later"}) as mx, sending(mx) as sender:
        assert await sender.send("a@x.test", "bad@x.test", "late@x.test") == {
            "a@x.test": "delivered 2.6.0", "bad@x.test": "failed 5.1.1", "late@x.test": "deferred 4.7.1"}


@pytest.mark.parametrize("extensions", [EXTENSIONS, ("PIPELINING",)])
async def test_smtputf8_is_asked_for_by_those_who_need_it_alone(extensions: tuple[str, ...]) -> None:      # RFC 6531 3.2
    async with FakeMx(extensions=extensions) as mx, sending(mx, recipients=2) as sender:
        outcomes = await sender.send("a@x.test", "ü@x.test", "b@x.test", "c@x.test")
        known = "SMTPUTF8" in extensions
        assert outcomes.pop("ü@x.test") == ("delivered 2.6.0" if known else "failed 5.6.7")
        assert set(outcomes.values()) == {"delivered 2.6.0"}
        assert ["SMTPUTF8" in message.mail for message in mx.messages] == [known, False]


async def test_content_by_chunking() -> None:
    async with FakeMx(extensions=(*EXTENSIONS, "CHUNKING")) as mx, sending(mx) as sender:
        await sender.send()
        assert mx.messages[0].content == CONTENT and "DATA" not in mx.commands


async def test_large_content_with_back_pressure() -> None:
    content = b"Subject: x\r\n\r\n" + (b"." + b"x" * 70 + b"\r\n") * 100_000
    for extensions in (EXTENSIONS, (*EXTENSIONS, "CHUNKING")):
        async with FakeMx(extensions=extensions) as mx, sending(mx) as sender:
            parts = [content[start:start + 262144] for start in range(0, len(content), 262144)]
            recipients = (Recipient("b@x.test"),)
            parcel = Parcel("i", Transaction("a@s.test", recipients, len(content)), lambda: iter(parts))
            decided: list = []

            async def settle(results) -> None:
                decided.extend(results)
            await sender.destinations.deliver(Routes(sender.settings).find("x.test"), parcel, [0], settle)
            assert decided[0].outcome.state == "delivered" and mx.messages[0].content == content


async def test_content_that_cannot_be_read_is_never_ended() -> None:
    def broken():
        yield b"Subject: x\r\n\r\nhalf"
        raise OSError("I/O error")

    for extensions in (EXTENSIONS, (*EXTENSIONS, "CHUNKING")):
        async with FakeMx(extensions=extensions) as mx, sending(mx) as sender:
            outcomes = []
            parcel = Parcel("i", Transaction("a@s.test", (Recipient("b@x.test"),), 100), broken)

            async def settle(results) -> None:
                outcomes.extend(results)
            await sender.destinations.deliver(Routes(sender.settings).find("x.test"), parcel, [0], settle)
            assert outcomes[0].outcome.state == "deferred" and not mx.messages


async def test_a_connection_is_used_again() -> None:
    async with FakeMx() as mx, sending(mx) as sender:
        for _ in range(5):
            await sender.send()
        assert mx.connections == 1 and len(mx.messages) == 5 and sender.pool.count() == 1


async def test_a_connection_is_closed_after_so_many_messages() -> None:
    async with FakeMx() as mx, sending(mx, messages_per_connection=2) as sender:
        for _ in range(5):
            await sender.send()
        assert mx.connections == 3 and mx.commands.count("QUIT") == 2


async def test_limits_of_the_host_are_kept() -> None:      # RFC 9422
    async with FakeMx(extensions=(*EXTENSIONS, "LIMITS RCPTMAX=2 MAILMAX=2")) as mx, sending(mx) as sender:
        await sender.send(*(f"r{number}@x.test" for number in range(7)))
        assert [len(message.recipients) for message in mx.messages] == [2, 2, 2, 1]
        assert [message.connection for message in mx.messages] == [1, 1, 2, 2]


async def test_many_recipients_are_split_and_each_part_is_told_before_the_next() -> None:
    async with FakeMx() as mx, sending(mx, recipients=3) as sender:
        await sender.send(*(f"r{number}@x.test" for number in range(8)))
        assert [len(message.recipients) for message in mx.messages] == [3, 3, 2]
        assert [len(step) for step in sender.steps] == [3, 3, 2]


async def test_452_asks_for_another_transaction() -> None:   # RFC 5321 4.5.3.1.10
    mx = FakeMx({"RCPT TO:<r2@": ["452 4.5.3 too many"], "RCPT TO:<r3@": ["452 4.5.3 too many"]})
    async with mx, sending(mx) as sender:
        outcomes = await sender.send(*(f"r{number}@x.test" for number in range(4)))
        assert set(outcomes.values()) == {"delivered 2.6.0"} and [len(message.recipients) for message in mx.messages] == [2, 2]


async def test_452_for_all_is_a_deferral() -> None:
    async with FakeMx({"RCPT": "452 4.5.3 too many"}) as mx, sending(mx) as sender:
        assert await sender.send() == {"b@x.test": "deferred 4.5.3"} and mx.commands.count("DATA") == 1


@pytest.mark.parametrize("bad", [
    dict(greeting="421 4.3.2 busy"), dict(greeting="554 5.7.1 listed"), dict(greeting=CLOSE), dict(greeting="SSH-2.0"),
    dict(greeting="521 no mail here"), dict(replies={"EHLO": "421 no"}), dict(replies={"EHLO": CLOSE}), dict(replies={"MAIL": "421 4.3.2 no"}),
    dict(replies={"MAIL": CLOSE}), dict(replies={"RCPT": CLOSE}), dict(replies={"DATA": "354 " + CLOSE}), dict(replies={"DATA": "250 sure"}),
    dict(replies={"EHLO": "250-mx\r\n" * 500})], ids=str)
async def test_the_next_host_is_asked(bad: dict) -> None:
    async with FakeMx(**bad) as first, FakeMx() as second, sending(first, second) as sender:
        assert await sender.send() == {"b@x.test": "delivered 2.6.0"}
        assert first.connections == 1 and len(second.messages) == 1 and not first.messages


@pytest.mark.parametrize("reply, outcome", [("550 5.7.1 no", "failed 5.7.1"), ("451 4.7.1 later", "deferred 4.7.1")])
async def test_a_word_of_the_host_is_taken(reply: str, outcome: str) -> None:
    for command in ("MAIL", "RCPT", "DATA", "CONTENT"):
        async with FakeMx({command: reply}) as first, FakeMx() as second, sending(first, second) as sender:
            assert await sender.send() == {"b@x.test": outcome} and second.connections == 0


async def test_lost_after_the_content_is_not_sent_again_at_once() -> None:
    async with FakeMx({"CONTENT": CLOSE}) as first, FakeMx() as second, sending(first, second) as sender:
        assert await sender.send() == {"b@x.test": "deferred 4.4.2"} and second.connections == 0


async def test_all_hosts_say_521() -> None:
    async with FakeMx(greeting="521 no mail here") as first, FakeMx(greeting="521 nor here") as second, sending(first, second) as sender:
        assert (await sender.send())["b@x.test"].startswith("failed")


async def test_one_521_and_one_dead_is_a_deferral() -> None:
    async with FakeMx(greeting="521 no mail here") as first, FakeMx(greeting="421 busy") as second, sending(first, second) as sender:
        assert (await sender.send())["b@x.test"].startswith("deferred")
    async with FakeMx(greeting="421 busy") as first, FakeMx(greeting="521 no mail here") as second, sending(first, second) as sender:
        assert (await sender.send())["b@x.test"].startswith("deferred")


@pytest.mark.parametrize("more, status", [("421 4.3.2 closing", "4.3.2"), ("250 and more", "4.5.0")])
async def test_a_session_that_is_over_as_soon_as_it_is_up(more: str, status: str) -> None:
    async with FakeMx({"EHLO": f"250 mx.test\r\n{more}"}) as first, sending(first) as sender:
        assert await sender.send() == {"b@x.test": f"deferred {status}"}
        assert sender.pool.room == sender.settings.connections
    async with FakeMx({"EHLO": f"250 mx.test\r\n{more}"}) as first, FakeMx() as second, sending(first, second) as sender:
        assert await sender.send() == {"b@x.test": "delivered 2.6.0"}


async def test_a_rested_connection_that_died_is_replaced() -> None:
    mx = FakeMx({"MAIL": ["250 ok", CLOSE, "250 ok"]})
    async with mx, sending(mx) as sender:
        for _ in range(2):
            assert await sender.send() == {"b@x.test": "delivered 2.6.0"}
        assert mx.connections == 2 and not sender.pool.dead.reason("127.0.0.1", mx.port, 0)


@pytest.mark.parametrize("where", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"])
async def test_silence_ends_at_a_deadline(where: str) -> None:
    mx = FakeMx(greeting=HANG) if where == "greeting" else FakeMx({where: HANG})
    async with mx, sending(mx, command_timeout=0.2, final_timeout=0.2) as sender:
        assert await sender.send() == {"b@x.test": "deferred 4.4.2"} and not mx.messages


async def test_nobody_listens_and_is_left_alone_then() -> None:
    async with FakeMx() as mx:
        port = mx.port
    sender = Sender(FixedHops(Target("mx.test", "127.0.0.1", port)))
    assert await sender.send() == {"b@x.test": "deferred 4.4.1"}
    assert await sender.send() == {"b@x.test": "deferred 4.4.1"}
    assert sender.decided[0].outcome.text.startswith("not tried again yet: cannot connect to 127.0.0.1")


async def test_starttls_when_offered(tmp_path) -> None:
    context, _ = certificate(tmp_path)
    async with FakeMx(tls=context) as mx, sending(mx) as sender:
        await sender.send()
        assert mx.messages[0].tls and mx.commands[:3] == ["EHLO out.test", "STARTTLS", "EHLO out.test"]
        assert sender.notes[0][1]["tls"].startswith("TLSv1.")


@pytest.mark.parametrize("policy, outcome", [("may", "delivered 2.6.0"), ("require", "deferred 4.7.4"), ("verify", "deferred 4.7.4")])
async def test_a_host_without_tls(policy: str, outcome: str) -> None:
    async with FakeMx() as mx, sending(mx, tls=policy) as sender:
        assert await sender.send() == {"b@x.test": outcome} and ("MAIL" in " ".join(mx.commands)) == (policy == "may")


async def test_a_certificate_that_proves_nothing(tmp_path) -> None:
    context, pem = certificate(tmp_path, "other.test")
    async with FakeMx(tls=context) as mx:
        for policy, authorities, outcome in (("require", "", "delivered 2.6.0"), ("verify", "", "deferred 4.7.5"), ("verify", pem, "deferred 4.7.5")):
            async with sending(mx, tls=policy, tls_authorities=authorities) as sender:
                assert await sender.send() == {"b@x.test": outcome}
    assert len(mx.messages) == 1


async def test_a_certificate_that_proves_the_name(tmp_path) -> None:
    context, pem = certificate(tmp_path)
    async with FakeMx(tls=context) as mx, sending(mx, tls="verify", tls_authorities=pem) as sender:
        assert await sender.send() == {"b@x.test": "delivered 2.6.0"} and mx.messages[0].tls


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "220 go\r\n250 injected", "220 " + CLOSE, "250 ok", "220 go\r\nrubbish\r\n" + HANG])
async def test_starttls_that_fails(reply: str, tmp_path) -> None:
    context, _ = certificate(tmp_path)
    for policy in ("may", "require"):
        async with FakeMx({"STARTTLS": reply}, tls=context) as mx, sending(mx, tls=policy, command_timeout=1.0) as sender:
            outcome = (await sender.send())["b@x.test"]
            if policy == "require":
                assert outcome.startswith("deferred 4.") and not mx.messages and "MAIL" not in " ".join(mx.commands)
            else:
                assert outcome.startswith(("delivered", "deferred 4."))


async def test_a_broken_handshake_in_opportunistic_tls_falls_back_and_is_remembered() -> None:
    async with NoTlsAfterAll(extensions=(*EXTENSIONS, "STARTTLS")) as mx:
        async with sending(mx, idle=0) as sender:
            assert await sender.send() == {"b@x.test": "delivered 2.6.0"} and mx.connections == 2
            assert await sender.send() == {"b@x.test": "delivered 2.6.0"} and mx.connections == 3
        async with sending(mx, tls="require") as sender:
            assert (await sender.send())["b@x.test"] == "deferred 4.7.5"


async def test_requiretls(tmp_path) -> None:
    context, pem = certificate(tmp_path)
    async with FakeMx(tls=context, extensions=(*EXTENSIONS, "REQUIRETLS")) as mx, sending(mx, tls_authorities=pem) as sender:
        assert await sender.send(require_tls=True) == {"b@x.test": "delivered 2.6.0"} and "REQUIRETLS" in mx.messages[0].mail
    async with FakeMx(tls=context) as mx, sending(mx, tls_authorities=pem) as sender:
        assert await sender.send(require_tls=True) == {"b@x.test": "failed 5.7.30"} and not mx.messages
    async with FakeMx() as mx, sending(mx) as sender:
        assert (await sender.send(require_tls=True))["b@x.test"].startswith("deferred 4.7")


async def test_smarthost_with_a_login(tmp_path) -> None:
    context, pem = certificate(tmp_path)
    transport = {"host": "127.0.0.1", "port": 1, "tls": "implicit", "user": "u", "password": "p"}
    async with FakeMx(tls=context, implicit=True, extensions=(*EXTENSIONS, "AUTH PLAIN"), replies={"AUTH": "235 2.7.0 welcome"}) as mx:
        async with sending(mx, tls_authorities=pem, transports={"*": transport}) as sender:
            assert await sender.send() == {"b@x.test": "delivered 2.6.0"} and mx.commands[1] == "AUTH PLAIN AHUAcA=="


async def test_a_password_is_not_shown_in_clear() -> None:
    transport = {"host": "127.0.0.1", "port": 1, "user": "u", "password": "p"}
    async with FakeMx(extensions=(*EXTENSIONS, "AUTH PLAIN")) as mx, sending(mx, transports={"*": transport}) as sender:
        assert await sender.send() == {"b@x.test": "deferred 4.7.11"} and mx.commands == ["EHLO out.test"]


async def test_connections_begin_with_two_and_grow_with_success() -> None:
    async with FakeMx() as mx, sending(mx, connections_per_host=4) as sender:
        outcomes = await asyncio.gather(*(sender.send() for _ in range(40)))
        assert all(outcome == {"b@x.test": "delivered 2.6.0"} for outcome in outcomes)
        assert 2 <= mx.most <= 4 and mx.connections <= 5


async def test_the_window_grows_while_many_wait() -> None:
    async with FakeMx() as mx, sending(mx, connections_per_host=8) as sender:
        await asyncio.gather(*(sender.send() for _ in range(100)))
        assert mx.most == 8


@pytest.mark.parametrize("full", ["421 4.7.0 too many connections from you\r\n", "554 5.7.1 go away\r\n", ""])
@pytest.mark.parametrize("room", [1, 3])
async def test_a_host_that_wants_few_connections_gets_few_and_nothing_is_put_off(room: int, full: str) -> None:
    async with FakeMx(room=room, full=full) as mx, sending(mx) as sender:
        outcomes = await asyncio.gather(*(sender.send() for _ in range(60)))
        assert all(outcome == {"b@x.test": "delivered 2.6.0"} for outcome in outcomes) and len(mx.messages) == 60


async def test_all_connections_together_are_bounded() -> None:
    async with FakeMx() as one, FakeMx() as two, sending(one, connections=2, idle=0) as sender:
        hops = sender.destinations.hops
        both = [[Target("mx.test", mx.host, mx.port)] for mx in (one, two)]

        async def find(route: Route) -> list[Target]:
            return both[route.domain == "y.test"]
        hops.find = find
        await asyncio.gather(*(sender.send(domain=domain) for domain in ("x.test", "y.test") for _ in range(10)))
        assert one.most + two.most <= 4 and len(one.messages) == len(two.messages) == 10 and sender.pool.room == 2


async def test_who_finds_a_host_dead_leaves_the_room_to_the_next() -> None:
    async with FakeMx() as mx, sending(mx, connections=1, waiting_time=30.0) as sender:
        pool, route = sender.pool, Routes(sender.settings).find("x.test")
        good, dead = Target("mx.test", mx.host, mx.port), Target("dead.test", mx.host, 1)
        link = await pool.borrow(good, route)
        waiting = [asyncio.create_task(pool.borrow(target, route)) for target in (dead, good)]
        await asyncio.sleep(0)
        pool.dead.failed(dead.address, dead.port, pool.loop.time(), "no answer")         # somebody else found that out
        pool.give_back(link, True)
        async with asyncio.timeout(5):
            with pytest.raises(LinkFailed):
                await waiting[0]
            pool.give_back(await waiting[1], True)


async def test_a_tarpit_holds_nobody_but_those_at_its_door(monkeypatch) -> None:
    monkeypatch.setattr("fancymail.servers.smtpout.pool.STALL", 0.0)
    async with FakeMx(greeting=HANG) as tarpit, FakeMx() as good:
        sender = Sender(FixedHops(), waiting_per_host=3, waiting_time=0.5, command_timeout=5.0)
        ways = {domain: [Target(domain, "127.0.0.1", port)] for domain, port in (("tar.test", tarpit.port), ("good.test", good.port))}

        async def find(route: Route) -> list[Target]:
            return ways[route.domain]
        sender.destinations.hops.find = find
        stuck = [asyncio.create_task(sender.send(domain="tar.test")) for _ in range(30)]
        outcomes = await asyncio.gather(*(sender.send(domain="good.test") for _ in range(30)))
        assert all(outcome == {"b@x.test": "delivered 2.6.0"} for outcome in outcomes)
        sender.pool.relieve()
        done, waiting = await asyncio.wait(stuck, timeout=0.2)
        assert len(waiting) == 5       # two hold the connections, three may wait; the rest made room at once
        done, waiting = await asyncio.wait(stuck, timeout=1.0)
        assert len(waiting) == 2 == tarpit.connections        # and those three have waited long enough
        assert {tuple(task.result().values()) for task in done} == {("deferred 4.4.5",)}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert sender.pool.room == sender.settings.connections
        sender.pool.close()


async def test_waiting_in_line_ends_when_the_host_turns_out_dead() -> None:
    async with FakeMx(greeting=CLOSE) as mx, sending(mx) as sender:
        outcomes = await asyncio.gather(*(sender.send() for _ in range(20)))
        assert all(next(iter(outcome.values())).startswith("deferred") for outcome in outcomes) and mx.connections <= 2


async def test_messages_a_minute() -> None:
    async with FakeMx() as mx, sending(mx, messages_per_minute=1, waiting_time=0.1) as sender:
        assert await sender.send() == {"b@x.test": "delivered 2.6.0"}
        assert await sender.send() == {"b@x.test": "deferred 4.4.5"} and sender.decided[0].busy
        assert await sender.send(domain="y.test") == {"b@x.test": "delivered 2.6.0"}


async def test_dsn_is_passed_on_or_stays_our_duty() -> None:
    async with FakeMx() as mx, sending(mx) as sender:
        await sender.send()
        assert sender.decided[0].relayed
    async with FakeMx(extensions=(*EXTENSIONS, "DSN")) as mx, sending(mx) as sender:
        await sender.send(ret="HDRS", envid="e+1")
        assert not sender.decided[0].relayed and "RET=HDRS ENVID=e+2B1" in mx.messages[0].mail


async def test_from_dns_to_the_host() -> None:
    async with FakeMx() as mx:
        zone = {("x.test", "MX"): ["5 dead.x.test.", "10 mx.x.test."], ("mx.x.test", "A"): ["127.0.0.1"]}
        async with FakeDns(zone) as server:
            identity = Identity(frozenset({"out.test"}), frozenset({25}), lambda address: True, private=True)
            resolver = Resolver([server.address], Limits(deadline=2, timeout=0.5), random.Random(1))
            sender = Sender(NextHops(resolver, identity), port=mx.port)
            assert await sender.send() == {"b@x.test": "delivered 2.6.0"} and sender.decided[0].remote == "mx.x.test"
            sender.pool.close()
            resolver.close()
