"""Loops, bounces and notifications, through whole servers: what goes round stops, and nobody hears of it twice.

Two servers of ours, or one of ours and a host that takes mail and gives it back. Every case ends with empty queues.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json

import pytest

from fancymail.mail.envelope import Recipient
from fancymail.mail.trace import marks
from tests.house_kit import House
from tests.servers.smtpout.fakemx import CLOSE, FakeMx

SENDER = "s@s.test"
TEXT = "Subject: hi\r\nMessage-ID: <m@s.test>\r\n\r\nbody"


def report(content: bytes) -> tuple[email.message.EmailMessage, list]:
    """A notification of ours, and the groups of fields of its second part, as the standard library reads them."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    _, status, _ = message.iter_parts()
    return message, status.get_payload()


def failures(content: bytes) -> dict[str, str]:
    """Recipient -> status of a notification of failure."""
    _, (_, *groups) = report(content)
    assert all(group["Action"] == "failed" for group in groups)
    return {group["Final-Recipient"].partition("; ")[2]: group["Status"] for group in groups}


# Loops between servers

async def test_two_servers_that_forward_to_each_other(tmp_path):
    async with FakeMx() as world, House(tmp_path / "us", "us.test") as us, House(tmp_path / "y", "y.test") as other:
        await us.alias("a@us.test", "b@y.test")
        await other.alias("b@y.test", "a@us.test")
        await us.send_to({"y.test": other.port, "s.test": world.port})
        await other.send_to({"us.test": us.port, "s.test": world.port})
        assert (await us.bring(TEXT, SENDER, "A@us.test")).startswith("250 2.0.0")
        await world.wait_for(1)
        await us.quiet()
        await other.quiet()
        notice, = world.messages
        assert notice.mail.startswith("MAIL FROM:<>") and notice.recipients == ["RCPT TO:<s@s.test>"]
        assert failures(notice.content) == {"b@y.test": "5.4.6"}
        assert us.counter("smtpin", "accepted") == other.counter("smtpin", "accepted") == 1       # one round, and not a second
        assert us.counter("smtpin", "refused") == 1 and not us.counter("smtpout", "notices_failed")


async def test_a_host_that_gives_back_what_it_gets(tmp_path):
    async with FakeMx() as world, House(tmp_path, "us.test") as us:
        await us.alias("a@us.test", "b@x.test")
        await us.send_to({"x.test": world.port})
        assert (await us.bring(TEXT, SENDER, "a@us.test")).startswith("250")
        await world.wait_for(1)
        await us.quiet()
        there = world.messages[0].content
        assert there.startswith(b"Delivered-To: a@us.test\r\nReceived: from client.test")
        back = b"Received: from us by x.test\r\n" + there.removesuffix(b"\r\n")
        for written in ("a@us.test", "A@US.test"):
            assert (await us.bring(back, SENDER, written)).startswith("554 5.4.6")
        assert (await us.bring(back, "", "a@us.test")).startswith("554 5.4.6")       # nor as a bounce
        assert not await us.waiting() and len(world.messages) == 1
        assert (await us.bring(TEXT, SENDER, "a@us.test")).startswith("250")         # the canary
        await world.wait_for(2)
        await us.quiet()


async def test_those_who_have_not_had_it_get_it(tmp_path):
    """It comes back for a list of which one member has sent it away before."""
    async with FakeMx() as world, House(tmp_path, "us.test") as us:
        await us.account("bob@us.test")
        await us.alias("a@us.test", "list@x.test")
        await us.alias("c@us.test", "d@x.test")
        await us.send_to({"x.test": world.port, "s.test": world.port})
        returned = "Delivered-To: a@us.test\r\n" + TEXT
        assert (await us.bring(returned, SENDER, "a@us.test", "bob@us.test", "c@us.test")).startswith("250")
        await world.wait_for(2)
        await us.quiet()
        assert len(await us.inbox("bob@us.test")) == 1
        sent = {message.recipients[0]: message.content for message in world.messages}
        assert failures(sent["RCPT TO:<s@s.test>"]) == {"a@us.test": "5.4.6"}
        assert marks(sent["RCPT TO:<d@x.test>"]) == {b"c@us.test", b"a@us.test"} and len(sent) == 2


async def test_a_mailbox_of_ours_ends_every_way(tmp_path):
    """Mail that somebody had in a mailbox here and sends here again, marks and all, is no loop."""
    async with House(tmp_path, "us.test") as us:
        await us.account("bob@us.test")
        await us.alias("sales@us.test", "bob@us.test")
        for recipient in ("bob@us.test", "sales@us.test"):
            assert (await us.bring(f"Delivered-To: bob@us.test\r\nDelivered-To: sales@us.test\r\n{TEXT}", SENDER, recipient)).startswith("250")
        await us.quiet()
        assert len(await us.inbox("bob@us.test")) == 2


async def test_marks_tell_nobody_of_others_and_stand_only_where_an_alias_leads_away(tmp_path):
    async with FakeMx() as world, House(tmp_path, "us.test") as us:
        for name in ("one", "two"):
            await us.alias(f"{name}@us.test", f"{name}@x.test", f"more-{name}@x.test")
        await us.alias("ж@us.test", "three@x.test")
        await us.send_to({"x.test": world.port})
        async with us.talk() as talk:
            talk.send("MAIL FROM:<s@s.test> SMTPUTF8\r\nRCPT TO:<one@us.test>\r\nRCPT TO:<two@us.test>\r\nRCPT TO:<ж@us.test>\r\nDATA\r\n")
            assert [reply[:3] for reply in await talk.replies(5)] == ["250", "250", "250", "250", "354"]
            assert (await talk.say(f"{TEXT}\r\n.")).startswith("250")
        await us.push("outgoing", SENDER, ["plain@x.test"], TEXT.encode() + b"\r\n")
        await world.wait_for(4)
        await us.quiet()
        sent = {message.recipients[0][9:-1]: message for message in world.messages}
        assert {name: marks(message.content) for name, message in sent.items()} == {
            "one@x.test": {b"one@us.test"}, "two@x.test": {b"two@us.test"}, "three@x.test": {b"\\x{436}@us.test"}, "plain@x.test": frozenset()}
        assert len(sent["one@x.test"].recipients) == 2 and world.connections <= 2
        for message in sent.values():      # what MAIL says of the size is exact, mark included
            assert f" SIZE={len(message.content)}" in message.mail and "SMTPUTF8" not in message.mail


@pytest.mark.parametrize("hops, answer", [(30, "250"), (49, "250"), (50, "250"), (51, "554 5.4.6"), (100, "554 5.4.6"), (1000, "552 5.3.4")])
async def test_too_many_hops(tmp_path, hops, answer):
    async with House(tmp_path, "us.test") as us:
        await us.account("bob@us.test")
        content = "".join(f"Received: from h{hop} by h{hop + 1}\r\n" for hop in range(hops)) + TEXT
        assert (await us.bring(content, SENDER, "bob@us.test")).startswith(answer)
        await us.quiet()
        assert len(await us.inbox("bob@us.test")) == (answer == "250") and us.counter("queue", "entered") == (answer == "250")


# Loops of aliases

async def test_circles_of_aliases(tmp_path):
    async with House(tmp_path, "us.test") as us:
        await us.account("bob@us.test")
        for address, *targets in (["a@us.test", "b@us.test"], ["b@us.test", "a@us.test"], ["c@us.test", "d@us.test"],
                                  ["d@us.test", "c@us.test", "bob@us.test", "d@us.test"], ["bob@us.test", "bob@us.test", "c@us.test"],
                                  *([f"n{number}@us.test", f"n{number + 1}@us.test"] for number in range(100)), ["n100@us.test", "bob@us.test"]):
            await us.alias(address, *targets)
        async with us.talk() as talk:
            await talk.say("MAIL FROM:<s@s.test>")
            assert (await talk.say("RCPT TO:<a@us.test>")).startswith("550 5.4.6")
            assert (await talk.say("RCPT TO:<n0@us.test>")).startswith("550 5.4.6")
            assert (await talk.say("RCPT TO:<n95@us.test>")).startswith("250")
            await talk.say("RSET")
            for recipient in ("c@us.test", "d@us.test", "bob@us.test"):
                assert (await talk.bring(TEXT, SENDER, recipient)).startswith("250")
        await us.quiet()
        assert len(await us.inbox("bob@us.test")) == 3          # one each, however many ways lead there


async def test_an_alias_that_stands_for_too_many(tmp_path):
    async with House(tmp_path, "us.test") as us:
        for hundred in range(100):
            await us.alias(f"h{hundred}@us.test", *(f"r{hundred}-{number}@x.test" for number in range(100)))
        await us.alias("all@us.test", *(f"h{hundred}@us.test" for hundred in range(100)))
        await us.account("bob@us.test")
        async with us.talk() as talk:
            await talk.say("MAIL FROM:<s@s.test>")
            assert (await talk.say("RCPT TO:<all@us.test>")).startswith("550 5.2.4")
            assert (await talk.say("RCPT TO:<h7@us.test>")).startswith("250")
            await talk.say("RSET")
            assert (await talk.bring(TEXT, SENDER, "bob@us.test")).startswith("250")
        await us.quiet()


# Bounces of bounces

async def test_a_bounce_for_nobody_is_refused_in_the_session(tmp_path):
    async with House(tmp_path, "us.test") as us, us.talk() as talk:
        await talk.say("MAIL FROM:<>")
        assert (await talk.say("RCPT TO:<nobody@us.test>")).startswith("550 5.1.1")
        assert (await talk.say("DATA"))[0] == "5" and not us.counter("queue", "pushed") + us.counter("queue", "entered")


@pytest.mark.parametrize("queue, recipient", [("outgoing", "nobody@x.test"), ("incoming", "nobody@us.test")])
@pytest.mark.parametrize("sender", ["", "gone@us.test"])
async def test_a_bounce_that_bounces_goes_nowhere(tmp_path, queue, recipient, sender):
    async with FakeMx({"RCPT": "550 5.1.1 nobody here"}) as world, House(tmp_path, "us.test") as us:
        await us.send_to({"x.test": world.port})
        await us.push(queue, sender, [recipient], TEXT.encode() + b"\r\n")
        await us.quiet()
        assert not world.messages and us.counter("queue", "pushed") == 1
        daemon = us.daemons["smtpout" if queue == "outgoing" else "mailbox"]
        daemon.log.flush()
        assert "double bounce" in (tmp_path / "log" / "fancymail.log").read_text()


async def test_a_bounce_that_does_not_arrive_ends_there(tmp_path):
    """A notification to a remote sender is refused over there: that is the end of it."""
    async with FakeMx({"RCPT": "550 5.1.1 nobody here"}) as world, House(tmp_path, "us.test") as us:
        await us.send_to({"x.test": world.port, "s.test": world.port})
        await us.push("outgoing", SENDER, ["bob@x.test"], TEXT.encode() + b"\r\n")
        await us.quiet()
        assert us.counter("queue", "pushed") == 2 and us.counter("smtpout", "double_bounces") == 1
        assert [command for command in world.commands if command.startswith("RCPT")] == ["RCPT TO:<bob@x.test>", "RCPT TO:<s@s.test>"]


@pytest.mark.parametrize("claim", ["Return-Path: <victim@v.test>", "Return-Path: <s@s.test>(victim@v.test)", "Errors-To: victim@v.test",
                                   "Return-Path: =?utf-8?q?victim=40v.test?=", "Reply-To: victim@v.test", "Sender: victim@v.test",
                                   "Disposition-Notification-To: victim@v.test", "Return-Receipt-To: victim@v.test"])
async def test_notifications_go_to_the_envelope_sender_only(tmp_path, claim):
    async with FakeMx({"RCPT TO:<bob@": "550 5.1.1 nobody here"}) as world, House(tmp_path, "us.test") as us:
        await us.alias("a@us.test", "bob@x.test")
        await us.send_to({"x.test": world.port, "s.test": world.port, "v.test": world.port})
        assert (await us.bring(f"{claim}\r\nFrom: victim@v.test\r\n{TEXT}", SENDER, "a@us.test")).startswith("250")
        await world.wait_for(1)
        await us.quiet()
        notice, = world.messages
        assert notice.recipients == ["RCPT TO:<s@s.test>"] and failures(notice.content) == {"a@us.test": "5.1.1"}


# Storms and injections

@pytest.mark.parametrize("queue, domain", [("outgoing", "x.test"), ("incoming", "us.test")])
async def test_many_failures_make_one_notification(tmp_path, queue, domain):
    async with FakeMx({"RCPT TO:<r": "550 5.1.1 " + "nobody " * 60}) as world, House(tmp_path, "us.test") as us:
        await us.send_to({"x.test": world.port, "s.test": world.port})
        content = (TEXT + "x" * 900 + "\r\n").encode() + b"y" * 900 + b"\r\n" * 100_000
        await us.push(queue, SENDER, [f"r{number}@{domain}" for number in range(1000)], content)
        await world.wait_for(1)
        await us.quiet()
        notice, = world.messages
        assert notice.mail.startswith("MAIL FROM:<>") and notice.recipients == ["RCPT TO:<s@s.test>"]
        assert len(failures(notice.content)) == 1000 and us.counter("queue", "pushed") == 2
        assert len(notice.content) < 600 * 1000 and b"yyyy" not in notice.content            # the header comes back, not the body


@pytest.mark.parametrize("reply", [
    "550-5.1.1 first\r\n550 5.1.1 Bcc: victim@v.test", "550 5.1.1 <b>no</b>\x1b[31m<script>alert(1)</script>", "550 5.1.1 \xfcml\xe4ut \u202e\u2028",
    "550 5.1.1 " + "z" * 4000, "550 5.1.1 =?utf-8?q?=0D=0ABcc:_victim?= \x00\x07\x7f", "550 5.1.1 --=_boundary--"])
async def test_what_strangers_say_forges_nothing(tmp_path, reply):
    async with FakeMx({"RCPT TO:<r": reply}) as world, House(tmp_path, "us.test") as us:
        await us.send_to({"x.test": world.port, "s.test": world.port})
        odd = Recipient("r@x.test", orcpt="rfc822;a@b\r\nBcc: victim@v.test", notify=("FAILURE",))
        await us.push("outgoing", SENDER, [odd], TEXT.encode() + b"\r\n", envid="x\r\nBcc: victim@v.test\r\n\r\n<h1>", helo="a\r\nBcc: b")
        await world.wait_for(1)
        await us.quiet()
        notice, = world.messages
        assert notice.recipients == ["RCPT TO:<s@s.test>"] and b"\nBcc:" not in notice.content and notice.content.isascii()
        message, groups = report(notice.content)
        assert message["To"].addresses[0].addr_spec == SENDER and len(message["To"].addresses) == 1
        assert message["Auto-Submitted"].startswith("auto-") and not message.defects
        assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
        assert groups[1]["Status"] == "5.1.1" and len(groups[1]["Diagnostic-Code"]) < 1024 and len(groups) == 2
        assert all(len(line) < 1000 for line in notice.content.split(b"\r\n"))


# Hosts that misbehave

async def test_taken_but_never_confirmed_is_repeated_and_not_bounced(tmp_path):
    """The host has the message, its 250 is lost: it comes once more, and the sender hears nothing."""
    async with FakeMx({"CONTENT": ["250" + CLOSE]}) as world, House(tmp_path, "us.test", retry_first=1.0) as us:
        await us.send_to({"x.test": world.port, "s.test": world.port})
        await us.push("outgoing", SENDER, ["bob@x.test"], TEXT.encode() + b"\r\n")
        await us.quiet()
        assert [message.recipients for message in world.messages] == [["RCPT TO:<bob@x.test>"]] * 2
        assert us.counter("queue", "pushed") == 1 and not us.counter("smtpout", "notices_failed")


async def test_many_who_are_late_are_told_of_once(tmp_path):
    """The queue cannot show what became of so many; the sender hears of the delay once all the same."""
    async with FakeMx({"RCPT TO:<r": "450 4.2.2 " + "later " * 60}) as world, House(
            tmp_path, "us.test", retry_first=1.0, retry_longest=1.0, delay_notice=1.0) as us:
        await us.send_to({"x.test": world.port, "s.test": world.port})
        await us.push("outgoing", SENDER, [f"r{number}@x.test" for number in range(1000)], TEXT.encode() + b"\r\n")
        await world.wait_for(1)
        for _ in range(3):
            before = us.counter("smtpout", "recipients_deferred")
            await us.queue.call("retry", "outgoing", "all")
            async with asyncio.timeout(20):
                while us.counter("smtpout", "recipients_deferred") == before:
                    await asyncio.sleep(0.01)
        assert len(world.messages) == 1 and us.counter("smtpout", "notices_delayed") == 1
        shown = json.loads((await us.queue.call("show", "outgoing", (await us.queue.rows("messages", "outgoing"))[1][0].text()))[0])
        assert shown["count"] == 1000 and len(shown["pending"]) == 40 and shown["results"][0]["status"] == "4.2.2"
        await us.queue.call("drop", "outgoing", "all")
