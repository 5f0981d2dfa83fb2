"""fm-smtpout with a real queue and a real auth, a name server of ours, hosts of ours, and aiosmtpd."""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fancymail.base.settings.load import parse_settings
from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.asking.notices import Notices
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.smtpout import SmtpOutServer
from fancymail.storage.ports.queue import IndexFailed, State
from fancymail.storage.slots import read_slot, write_slot
from tests.servers.smtpout.fakedns import FakeDns
from tests.servers.smtpout.fakemx import CLOSE, EXTENSIONS, HANG, FakeMx
from tests.servers_kit import operator, running

CONTENT = b"Received: from client by us.test with id x;\r\n\tSat, 1 Jan 2026 00:00:00 +0000\r\nSubject: hi\r\nMessage-ID: <m@s.test>\r\n\r\n.dot\r\n"


class House:
    """Queue, auth and smtpout in one state folder, and the world outside."""

    def __init__(self, state: Path, zone: dict, port: int, queue: dict | None = None, **options) -> None:
        self.state, self.dns, self.queue_options = state, FakeDns(zone), queue or {}
        self.options = {"private-networks": True, "port": port, "command-timeout": 3.0, "connect-timeout": 2.0, "final-timeout": 3.0}
        self.options |= {name.replace("_", "-"): value for name, value in options.items()}
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> House:
        await self.stack.__aenter__()
        await self.stack.enter_async_context(self.dns)
        self.options["nameservers"] = ["127.0.0.1:%d" % self.dns.port]
        self.tables = {"smtpout": self.options, "server": {"hostname": "us.test"}, "ipc": {"poll-interval": 0.2},
                       "auth": {"argon2-memory": 8, "argon2-passes": 1}, "queue": self.queue_options}
        self.queue_daemon = await self.stack.enter_async_context(running(QueueServer, self.state, self.tables))
        await self.stack.enter_async_context(running(AuthServer, self.state, self.tables))
        self.queue, auth = (self.stack.enter_context(operator(self.state, name)) for name in ("queue", "auth"))
        await auth.call("domain-add", "example.test")
        await auth.call("account-add", "alice@example.test")
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stack.__aexit__(*exc)

    async def start(self) -> SmtpOutServer:
        self.daemon = await self.stack.enter_async_context(running(SmtpOutServer, self.state, self.tables))
        return self.daemon

    async def push(self, *recipients: str | Recipient, sender: str = "alice@example.test", content: bytes = CONTENT, queue: str = "outgoing",
                   **facts) -> str:
        """Queue a message; returns its path."""
        path = (await self.queue.call("slot", queue))[0].decode()
        people = [each if isinstance(each, Recipient) else Recipient(each) for each in recipients]
        write_slot(path, Envelope(Path(path).name, sender, people, **facts), content)
        await self.queue.call("push", queue, path)
        return path

    async def show(self, path: str, queue: str = "outgoing") -> dict | None:
        try:
            return json.loads((await self.queue.call("show", queue, path))[0])
        except IpcError:
            return None

    async def until(self, true) -> None:
        """Wait until an (async) condition holds."""
        async with asyncio.timeout(10):
            while not await true():
                await asyncio.sleep(0.01)

    async def settled(self, path: str) -> None:
        async def gone() -> bool:
            return await self.show(path) is None and path not in self.daemon.active
        await self.until(gone)

    async def deferred(self, path: str) -> dict:
        async def waits() -> bool:
            return (await self.show(path))["state"] == "deferred" and path not in self.daemon.active
        await self.until(waits)
        return await self.show(path)

    async def notice(self, queue: str = "incoming") -> tuple[Envelope, bytes]:
        """Take the next message out of a queue: its envelope and content."""
        words: list[bytes] = []

        async def there() -> bool:
            words[:] = await self.queue.call("take", queue, 1)
            return bool(words)
        await self.until(there)
        with read_slot(words[0].decode()) as slot:
            found = slot.envelope, slot.read()
        await self.queue.call("done", queue, words[0])
        return found

    async def nothing_in(self, queue: str = "incoming") -> bool:
        return await self.queue.call("take", queue, 1) == []


def zone(*domains: str) -> dict:
    return {(domain, "MX"): [f"10 mx.{domain}."] for domain in domains} | {(f"mx.{domain}", "A"): ["127.0.0.1"] for domain in domains}


async def test_a_message_goes_out_and_leaves_the_queue(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        path = await house.push("bob@x.test")
        await house.settled(path)
        taken, = mx.messages
        assert taken.content == CONTENT and taken.recipients == ["RCPT TO:<bob@x.test>"] and taken.mail.startswith("MAIL FROM:<alice@example.test>")
        assert house.daemon.counters["recipients_delivered"] == 1
        house.daemon.log.flush()
        line = next(line for line in (tmp_path / "log" / "fancymail.log").read_text().splitlines() if "smtpout info delivered" in line)
        assert f"id={Path(path).name}" in line and "remote=mx.x.test" in line and "status=2.6.0" in line and "seconds=" in line


async def test_what_waited_while_the_daemon_was_away_is_taken_at_its_start(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        paths = [await house.push(f"r{number}@x.test") for number in range(150)]
        await house.start()
        for path in paths:
            await house.settled(path)
        assert len(mx.messages) == 150 and mx.connections <= 20


async def test_recipients_of_several_domains(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test", "y.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("1@x.test", "2@y.test", "3@x.test"))
        assert sorted(len(message.recipients) for message in mx.messages) == [1, 2]


async def test_each_recipient_is_settled_by_itself(tmp_path) -> None:
    async with FakeMx({"RCPT TO:<bad@": "550 5.1.1 no such user", "RCPT TO:<late@": "451 4.7.1 greylisted"}) as mx:
        async with House(tmp_path, zone("x.test"), mx.port) as house:
            await house.start()
            path = await house.push("good@x.test", "bad@x.test", "late@x.test")
            shown = await house.deferred(path)
            results = {result["recipient"]: (result["state"], result["status"], result["remote"]) for result in shown["results"]}
            assert results == {0: ("delivered", "2.6.0", "mx.x.test"), 1: ("failed", "5.1.1", "mx.x.test"), 2: ("deferred", "4.7.1", "mx.x.test")}
            envelope, content = await house.notice()
            assert envelope.sender == "" and [recipient.address for recipient in envelope.recipients] == ["alice@example.test"]
            assert b"Final-Recipient: rfc822; bad@x.test" in content and b"Action: failed" in content and b"good@x.test" not in content
            assert re.match(rb"Received: by us\.test .* id [a-z2-7]{26};", content) and b"Auto-Submitted: auto-replied" in content


async def test_only_what_is_pending_is_tried_again(tmp_path) -> None:
    async with FakeMx({"RCPT TO:<late@": ["451 4.7.1 greylisted"]}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        path = await house.push("good@x.test", "late@x.test")
        await house.deferred(path)
        await house.queue.call("retry", "outgoing", path)
        await house.settled(path)
        assert [message.recipients for message in mx.messages] == [["RCPT TO:<good@x.test>"], ["RCPT TO:<late@x.test>"]]


async def test_deliveries_are_durable_before_the_next_transaction(tmp_path) -> None:      # R9
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port, recipients=1) as house:
        known: list[int] = []
        manager, answer = house.queue_daemon.manager, mx.answer

        def watching(command: str, kindly: str) -> str:
            if command.startswith("MAIL"):
                entry, = manager.each("outgoing", [State.LEASED])
                known.append(len(json.loads(entry.results or "[]")))
            return answer(command, kindly)
        mx.answer = watching
        await house.start()
        await house.settled(await house.push("1@x.test", "2@x.test", "3@x.test"))
        assert known == [0, 1, 2]


@pytest.mark.parametrize("records, status", [
    ({}, "5.1.2"), ({("x.test", "MX"): ["0 ."]}, "5.1.10"), ({("x.test", "MX"): ["10 us.test."]}, "5.4.6"), ({("x.test", "TXT"): ['"x"']}, "5.4.4")])
async def test_what_dns_says_for_good(tmp_path, records: dict, status: str) -> None:
    async with House(tmp_path, records, 1) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test"))
        _, content = await house.notice()
        assert f"Status: {status}".encode() in content


async def test_without_a_network_mail_waits(tmp_path) -> None:
    async with House(tmp_path, {("x.test", "MX"): "SERVFAIL"}, 1) as house:
        await house.start()
        shown = await house.deferred(await house.push("bob@x.test"))
        assert shown["results"][0]["status"] == "4.4.3" and await house.nothing_in()
        assert 200 < shown["due"] - shown["pushed"] < 400


async def test_the_null_sender_is_never_answered(tmp_path) -> None:
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test", sender=""))
        assert await house.nothing_in() and await house.nothing_in("outgoing") and house.daemon.counters["double_bounces"] == 1


async def test_a_sender_of_ours_who_does_not_exist_is_a_double_bounce(tmp_path) -> None:
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test", sender="nobody@example.test"))
        assert await house.nothing_in() and await house.nothing_in("outgoing")


async def test_a_remote_sender_hears_by_the_outgoing_queue(tmp_path) -> None:
    async with FakeMx({"RCPT TO:<bob@": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test", "s.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test", sender="carol@s.test"))
        await mx.wait_for(1)
        assert mx.messages[0].mail.startswith("MAIL FROM:<>") and mx.messages[0].recipients == ["RCPT TO:<carol@s.test>"]
        assert b"Action: failed" in mx.messages[0].content


async def test_a_disk_that_takes_no_notice_puts_the_failure_off(tmp_path, monkeypatch) -> None:
    def refuse(*what) -> None:
        raise OSError(28, "No space left on device")
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        with monkeypatch.context() as patch:
            patch.setattr("fancymail.servers.asking.notices._write_whole", refuse)
            path = await house.push("bob@x.test")
            shown = await house.deferred(path)
        assert shown["pending"] == [0] and "No space left" in shown["reason"]
        await house.queue.call("retry", "outgoing", path)
        await house.settled(path)
        assert b"550 5.1.1" in (await house.notice())[1]


@pytest.mark.parametrize("notify, told", [((), True), (("FAILURE",), True), (("NEVER",), False), (("SUCCESS",), False)])
async def test_notify_is_kept(tmp_path, notify: tuple[str, ...], told: bool) -> None:
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push(Recipient("bob@x.test", notify=notify)))
        assert await house.nothing_in() is not told


async def test_success_is_told_where_the_next_host_will_not(tmp_path) -> None:
    wish = Recipient("bob@x.test", notify=("SUCCESS",), orcpt="rfc822;bob@x.test")
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push(wish, envid="e1"))
        _, content = await house.notice()
        assert b"Action: relayed" in content and b"Original-Envelope-Id: e1" in content and b"Subject: hi" in content
    async with FakeMx(extensions=(*EXTENSIONS, "DSN")) as mx, House(tmp_path / "2", zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push(wish, envid="e1"))
        assert await house.nothing_in() and mx.messages[0].recipients == ["RCPT TO:<bob@x.test> NOTIFY=SUCCESS ORCPT=rfc822;bob@x.test"]


async def test_success_is_told_when_it_cannot_be_told_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fancymail.servers.smtpout.dispatch.TROUBLE", 0.0)
    ways, away = Notices._ways, []

    async def find(self, envelope: Envelope) -> dict[str, list[str]]:
        if len(away) < 3:
            away.append(envelope.id)
            raise IpcError("4.4.1", "auth is away")
        return await ways(self, envelope)
    monkeypatch.setattr(Notices, "_ways", find)
    wishes = [Recipient("bob@x.test", notify=("SUCCESS",)), Recipient("bad@x.test")]
    async with FakeMx({"RCPT TO:<bad@": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        for count, people in ((1, wishes[:1]), (2, wishes)):
            away.clear()
            await house.settled(await house.push(*people))
            said = [(await house.notice())[1] for _ in range(count)]
            assert [b"Action: relayed" in content for content in said] == [True, False][:count] and len(mx.messages) == count
            assert await house.nothing_in()


async def test_the_whole_message_comes_back_on_wish(tmp_path) -> None:
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        for ret, whole in (("FULL", True), ("HDRS", False)):
            await house.settled(await house.push("bob@x.test", ret=ret))
            _, content = await house.notice()
            assert (b".dot\r\n" in content) is whole and b"Subject: hi" in content


async def test_a_delay_is_told_once(tmp_path) -> None:
    async with FakeMx({"RCPT": "451 4.7.1 later"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        clock = house.daemon.dispatch.clock
        house.daemon.dispatch.clock = lambda: clock() + 20000
        path = await house.push("bob@x.test")
        await house.deferred(path)
        _, content = await house.notice()
        assert b"Action: delayed" in content and b"Will-Retry-Until:" in content
        attempts = mx.commands.count("DATA")
        await house.queue.call("retry", "outgoing", path)

        async def again() -> bool:
            return mx.commands.count("DATA") > attempts and (await house.show(path))["state"] == "deferred"
        await house.until(again)
        assert await house.nothing_in()


async def test_what_is_too_old_is_given_up(tmp_path) -> None:
    async with FakeMx({"RCPT": "451 4.7.1 later"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        clock = house.daemon.dispatch.clock
        house.daemon.dispatch.clock = lambda: clock() + 432001
        path = await house.push("bob@x.test")
        for _ in range(4):
            await house.deferred(path)
            await house.queue.call("retry", "outgoing", path)
        await house.settled(path)
        envelope, content = await house.notice()
        while b"Action: delayed" in content:
            envelope, content = await house.notice()
        assert b"Status: 5.4.7" in content and b"given up after 5 days" in content and b"451 4.7.1 later" in content


async def test_loops_end(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test", content=b"Received: x\r\n" * 51 + b"\r\nhi\r\n"))
        _, content = await house.notice()
        assert b"Status: 5.4.6" in content and not mx.messages


async def test_smuggling_does_not_leave(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\r\n.\r\r\n"):
            await house.settled(await house.push("bob@x.test", content=b"Subject: x\r\n\r\nhi" + end + b"MAIL FROM:<evil@x.test>\r\n"))
            _, content = await house.notice()
            assert b"Status: 5.6.0" in content
        assert mx.connections == 0


async def test_changed_content_is_set_aside_and_never_sent(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        path = await house.push("bob@x.test")
        with open(path, "r+b") as file:
            file.seek(64 + 20)
            file.write(b"X")
        await house.start()

        async def aside() -> bool:
            return (await house.show(path))["state"] == "corrupt"
        await house.until(aside)
        assert mx.connections == 0 and house.daemon.counters["rejected"] == 1


async def test_a_bare_slot_has_no_recipient(tmp_path) -> None:
    async with House(tmp_path, {}, 1) as house:
        path = (await house.queue.call("slot", "outgoing"))[0].decode()
        Path(path).write_bytes(b"Subject: x\n\nhi\n")
        await house.queue.call("push", "outgoing", path)
        await house.start()

        async def aside() -> bool:
            return (await house.show(path))["state"] not in ("ready", "leased")
        await house.until(aside)
        assert (await house.show(path))["state"] == "dead" and house.daemon.counters["rejected"] == 1


async def test_8bit_and_utf8_go_where_they_are_taken(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        await house.settled(await house.push("bob@x.test", content="Subject: x\r\n\r\nü\r\n".encode(), body="8BITMIME"))
        await house.settled(await house.push("bøb@x.test", smtputf8=True))
        await house.settled(await house.push("bob@x.test", smtputf8=True, body="8BITMIME"))
        assert ["BODY=8BITMIME" in message.mail for message in mx.messages] == [True, False, False]
        assert ["SMTPUTF8" in message.mail for message in mx.messages] == [False, True, False]
        mx.extensions = ()
        house.daemon.pool.close()
        for content, address, status in (("Subject: x\r\n\r\nü\r\n", "bob@x.test", "5.6.3"), ("Subject: x\r\n\r\n", "bøb@x.test", "5.6.7")):
            await house.settled(await house.push(address, content=content.encode(), smtputf8=not address.isascii()))
            assert f"Status: {status}".encode() in (await house.notice())[1]


async def test_a_smarthost_takes_all_domains_in_one_transaction(tmp_path) -> None:
    async with FakeMx() as mx:
        async with House(tmp_path, {}, 1, transports={"*": {"host": "127.0.0.1", "port": mx.port}}, private_networks=False) as house:
            await house.start()
            await house.settled(await house.push("1@x.test", "2@y.test"))
            assert [len(message.recipients) for message in mx.messages] == [2] and not house.dns.asked


async def test_never_to_our_own_door(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        house.tables["smtpin"] = {"listen-smtp": [f"*:{mx.port}"]}
        await house.start()
        await house.settled(await house.push("bob@x.test"))
        assert b"Status: 5.4.6" in (await house.notice())[1] and mx.connections == 0


async def test_what_was_taken_is_not_sent_again_because_of_the_queues_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fancymail.servers.smtpout.reports.AGAIN", 0.0)
    monkeypatch.setattr("fancymail.servers.smtpout.dispatch.TROUBLE", 0.0)
    async with FakeMx({"RCPT TO:<late@": "451 4.7.1 later"}) as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        index = house.queue_daemon.manager.index
        save, refused = index.save, []

        def refuse_thrice(entries) -> None:
            if len(refused) < 3:
                refused.append(entries)
                raise IndexFailed("index.db: database or disk is full")
            save(entries)
        monkeypatch.setattr(index, "save", refuse_thrice)
        shown = await house.deferred(await house.push("bob@x.test", "late@x.test"))
        assert len(refused) == 3 and shown["attempts"] == 1 and shown["pending"] == [1] and len(mx.messages) == 1


async def test_without_descriptors_mail_waits(tmp_path, monkeypatch) -> None:
    def refuse(*what) -> None:
        raise OSError(24, "Too many open files")
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        house.tables["smtpin"] = {"listen-smtp": [f"*:{mx.port}"]}       # so that it is asked whether an address is ours
        await house.start()
        monkeypatch.setattr("fancymail.servers.smtpout.daemon.owned", refuse)
        shown = await house.deferred(await house.push("bob@x.test"))
        assert shown["deaths"] == 0 and "Too many open files" in shown["reason"]


# the verb

async def test_send(tmp_path) -> None:
    async with FakeMx({"RCPT TO:<bad@": "550 5.1.1 no", "RCPT TO:<late@": "451 4.7.1 later"}) as mx:
        async with House(tmp_path, zone("x.test"), mx.port) as house:
            await house.start()
            path = await house.push("else@x.test", queue="incoming")
            with operator(tmp_path, "smtpout") as door:
                assert await door.call("send", "alice@example.test", "bob@x.test", path) == [b"250 2.6.0 taken"]
                assert await door.call("send", "", "bob@x.test", path) == [b"250 2.6.0 taken"]
                for to, status in (("bad@x.test", "5.1.1"), ("late@x.test", "4.7.1"), ("nobody", "5.1.3"), ("b@nowhere.test", "5.1.2")):
                    with pytest.raises(IpcError) as caught:
                        await door.call("send", "alice@example.test", to, path)
                    assert caught.value.status == status
            assert len(mx.messages) == 2 and await house.show(path, "incoming")


async def test_send_a_bare_slot_mends_its_line_ends(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        path = (await house.queue.call("slot", "incoming"))[0].decode()
        Path(path).write_bytes(b"Subject: x\n\n.\nhi\r\nho\n")
        await house.queue.call("push", "incoming", path)
        with operator(tmp_path, "smtpout") as door:
            await door.call("send", "alice@example.test", "bob@x.test", path)
        assert mx.messages[0].content == b"Subject: x\r\n\r\n.\r\nhi\r\nho\r\n"


async def test_send_takes_slots_and_nothing_else(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        await house.start()
        secret = tmp_path / "accounts.db"
        link = tmp_path / "queues" / "incoming" / ("a" * 26)
        os.symlink(secret, link)
        with operator(tmp_path, "smtpout") as door:
            for path in (str(secret), f"{tmp_path}/queues/incoming/../../accounts.db", "/etc/passwd", str(link), f"{tmp_path}/queues/index.db",
                         f"{tmp_path}/queues/../queues/incoming/{'b' * 26}", "b" * 26, str(tmp_path / "queues" / "incoming" / ("b" * 26))):
                with pytest.raises(IpcError) as caught:
                    await door.call("send", "alice@example.test", "bob@x.test", path)
                assert caught.value.status == "5.5.4"
        assert mx.connections == 0


# life

async def test_a_stop_gives_back_what_is_under_way(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fancymail.servers.smtpout.daemon.FINISH", 0.1)
    async with FakeMx({"MAIL": HANG}) as mx, House(tmp_path, zone("x.test"), mx.port, command_timeout=300.0) as house:
        async with running(SmtpOutServer, tmp_path, house.tables) as daemon:
            path = await house.push("bob@x.test")

            async def under_way() -> bool:
                return any(command.startswith("MAIL") for command in mx.commands)
            await house.until(under_way)
            assert len(daemon.active) == 1
        shown = await house.show(path)
        assert shown["state"] in ("ready", "deferred") and shown["deaths"] == 0


async def test_long_attempts_keep_their_lease(tmp_path) -> None:
    queues = {"queues": {"outgoing": {"lease": 1.0}, "incoming": {}}}
    async with FakeMx({"CONTENT": [HANG]}) as mx, House(tmp_path, zone("x.test"), mx.port, queue=queues, final_timeout=2.5) as house:
        await house.start()
        shown = await house.deferred(await house.push("bob@x.test"))
        assert shown["attempts"] == 1 and shown["deaths"] == 0 and house.queue_daemon.counters["leases_expired"] == 0


async def test_settings_are_taken_over_without_a_restart(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), 1) as house:
        daemon = await house.start()
        house.tables["smtpout"]["port"] = mx.port
        settings = parse_settings(house.tables, "test")
        daemon.reloaded(settings)
        daemon.settings = settings
        await house.settled(await house.push("bob@x.test"))
        assert len(mx.messages) == 1


async def test_new_settings_take_nothing_from_those_who_ask_the_dns(tmp_path) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port) as house:
        house.dns.script = lambda query, data: []
        daemon = await house.start()
        path = await house.push("bob@x.test")

        async def asked() -> bool:
            return bool(house.dns.asked)
        await house.until(asked)
        daemon.reloaded(daemon.settings)
        house.dns.script = None             # the next try of the same question is answered
        await house.settled(path)
        assert len(mx.messages) == 1


async def test_a_hundred_hostile_hosts_and_a_good_one(tmp_path) -> None:
    bad = [FakeMx(greeting=greeting) for greeting in ("421 no", CLOSE, "SSH-2.0", "554 no", "220-x\r\n" * 300)]
    async with AsyncExitStack() as stack:
        for mx in bad:
            await stack.enter_async_context(mx)
        good = await stack.enter_async_context(FakeMx())
        transports = {f"bad{number}.test": {"host": "127.0.0.1", "port": mx.port} for number, mx in enumerate(bad)}
        house = await stack.enter_async_context(House(tmp_path, zone("x.test"), good.port, transports=transports))
        await house.start()
        paths = [await house.push(f"r@bad{number % 5}.test") for number in range(100)]
        await house.settled(await house.push("bob@x.test"))
        for path in paths:
            await house.deferred(path)
        assert not house.daemon.counters["failures"] and len(good.messages) == 1


async def test_to_aiosmtpd(tmp_path) -> None:
    from aiosmtpd.smtp import SMTP
    received: list[tuple[str, list[str], bytes]] = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            received.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
            return "250 2.0.0 thanks"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="aio.test", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    try:
        async with House(tmp_path, zone("x.test"), server.sockets[0].getsockname()[1]) as house:
            await house.start()
            for number in range(3):
                await house.settled(await house.push(f"b{number}@x.test", "c@x.test"))
            await house.settled(await house.push("bøb@x.test", smtputf8=True, content="Subject: ü\r\n\r\n.\r\n".encode()))
        assert [(mail_from, len(rcpt_tos)) for mail_from, rcpt_tos, _ in received] == [("alice@example.test", 2)] * 3 + [("alice@example.test", 1)]
        assert received[0][2] == CONTENT and received[3][2] == "Subject: ü\r\n\r\n.\r\n".encode() and received[3][1] == ["bøb@x.test"]
    finally:
        server.close()
