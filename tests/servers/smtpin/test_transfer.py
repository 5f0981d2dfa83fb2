"""Mail from other servers: into which queue, in which shape, with which replies."""

from __future__ import annotations

import asyncio
import smtplib
import ssl

import msgspec
import pytest

from tests.servers.smtpin.kit import HOST, canary, connected, several, smtpin, until


async def test_a_message_for_a_local_user(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        reply = await talk.bring("Subject: hi\r\n\r\n..dots\r\nend", "s@x.test", "bob@us.test")
        queue, envelope, content = server.queue.messages[0]
        assert reply == f"250 2.0.0 queued as {envelope.id}\r\n"
        assert queue == "incoming" and envelope.sender == "s@x.test"
        assert [one.address for one in envelope.recipients] == ["bob@us.test"]
        assert envelope.protocol == "ESMTP" and envelope.helo == "client.test" and envelope.client == "127.0.0.1"
        head, _, body = content.partition(b"Subject: hi\r\n")
        assert body == b"\r\n.dots\r\nend\r\n"
        assert head.startswith(b"Received: from client.test ([127.0.0.1])\r\n\tby mail.us.test with ESMTP id " + envelope.id.encode())
        assert b"for <bob@us.test>;" in head and head.count(b"\r\n") == 4
        assert await talk.say("QUIT") == "221 2.0.0 mail.us.test closing connection\r\n"
        await canary(server)


async def test_aliases_are_expanded_and_duplicates_are_one_delivery(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("x", "s@x.test", "team@us.test", "bob@us.test", "bob@us.test", "Postmaster")
        _, envelope, content = server.queue.messages[0]
        assert [(one.address, one.original) for one in envelope.recipients] == [
            ("alice@us.test", "team@us.test"), ("bob@us.test", "team@us.test"), ("postmaster@us.test", "")]
        assert b"for <" not in content               # several recipients are not told of each other


async def test_a_forwarding_alias_goes_out_and_both_kinds_get_a_slot(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("Subject: x\r\n\r\n" + "body\r\n" * 20000, "s@x.test", "away@us.test", "bob@us.test")
        (one, first, content), (two, second, copy) = server.queue.messages
        assert (one, two) == ("incoming", "outgoing") and content == copy
        assert first.id == second.id
        assert [one.address for one in first.recipients] == ["bob@us.test"]
        assert [(one.address, one.original) for one in second.recipients] == [("v@x.test", "away@us.test")]
        await talk.bring("y", "s@x.test", "mixed@us.test")
        assert [queue for queue, _, _ in server.queue.messages[2:]] == ["incoming", "outgoing"]


async def test_dsn_parameters_reach_the_envelope(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        talk.send("MAIL FROM:<s@x.test> RET=HDRS ENVID=a+2Bb BODY=8BITMIME SIZE=10\r\n"
                  "RCPT TO:<bob@us.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40y.test\r\nDATA\r\n")
        await talk.replies(3)
        await talk.say("x\r\n.")
        _, envelope, _ = server.queue.messages[0]
        assert (envelope.ret, envelope.envid, envelope.body) == ("HDRS", "a+b", "8BITMIME")
        assert envelope.recipients[0].notify == ("SUCCESS", "DELAY") and envelope.recipients[0].orcpt == "rfc822;Bob@y.test"


async def test_eight_bit_content_is_called_so(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("Subject: é", "s@x.test", "bob@us.test")
        assert server.queue.messages[0][1].body == "8BITMIME"


@pytest.mark.parametrize("address, code", [("nobody@us.test", "550 5.1.1"), ("v@x.test", "550 5.7.1"), ("bob@[127.0.0.1]", "550 5.7.1")])
async def test_recipients_are_verified_in_the_session(tmp_path, address, code):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("MAIL FROM:<s@x.test>")
        assert (await talk.say(f"RCPT TO:<{address}>")).startswith(code)
        assert (await talk.say("DATA")).startswith("554 5.5.1")
        assert not server.queue.messages


async def test_answers_about_recipients_are_remembered_until_accounts_change(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        for _ in range(3):
            await talk.bring("x")
            await talk.say("MAIL FROM:<s@x.test>")
            await talk.say("RCPT TO:<nobody@us.test>")
            await talk.say("RSET")
        asked = [one for one in server.auth.asked if one[0] == "resolve"]
        assert asked == [("resolve", "bob@us.test"), ("resolve", "nobody@us.test")]
        server.auth.routes["nobody"] = ["local:nobody@us.test"]
        server.alert_received("accounts")
        assert (await talk.bring("x", "s@x.test", "nobody@us.test")).startswith("250")


async def test_pipelined_recipients_are_asked_about_together(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        server.auth.routes |= {f"u{number}": [f"local:u{number}@us.test"] for number in range(50)}
        server.hold()
        talk.send("MAIL FROM:<s@x.test>\r\n" + "".join(f"rcpt to: <u{number}@us.test> NOTIFY=NEVER\r\n" for number in range(50)) + "DATA\r\n")
        await until(lambda: sum(held[2] == "resolve" for held in server.held) == 50)
        server.release()
        replies = await talk.replies(52)
        assert [reply[:3] for reply in replies] == ["250"] * 51 + ["354"]


async def test_messages_that_are_finished_together_are_entered_together(tmp_path):
    async with smtpin(tmp_path) as server, several(server, 20) as talks:
        for talk in talks:
            await talk.hello()
            talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
            await talk.replies(3)
        server.hold()
        for talk in talks:
            talk.send("x\r\n.\r\n")
        for talk in talks:
            assert (await talk.reply()).startswith("250 2.0.0")
        assert sum(held[2] == "enter" for held in server.held) == 1
        server.release()
        await until(lambda: server.outbox.waiting == 0)
        assert sum(server.queue.pushes) == 20 and len(server.queue.pushes) <= 3


async def test_trace_and_foreign_claims_in_the_header(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("Return-Path: <evil@x.test>\r\nAuthentication-Results: mail.us.test; spf=pass\r\n"
                         "Authentication-Results: other.test; spf=pass\r\nSubject: x\r\nBcc: hidden@x.test\r\n\r\nReturn-Path: body")
        _, _, content = server.queue.messages[0]
        head, _, body = content.partition(b"\r\n\r\n")
        assert head.endswith(b"\r\nAuthentication-Results: other.test; spf=pass\r\nSubject: x\r\nBcc: hidden@x.test")
        assert b"Return-Path" not in head and body == b"Return-Path: body\r\n"


async def test_a_text_without_header_stays_a_text(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("just words")
        assert server.queue.messages[0][2].endswith(b"\r\n\r\njust words\r\n")


async def test_a_loop_is_ended(tmp_path):
    async with smtpin(tmp_path, hops=10) as server, connected(server) as talk:
        await talk.hello()
        assert (await talk.bring("Received: by a\r\n" * 10 + "\r\nx")).startswith("250")
        assert (await talk.bring("received: by a\r\n" * 11 + "\r\nx")).startswith("554 5.4.6")
        assert len(server.queue.messages) == 1
        await canary(server)


async def test_starttls(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        assert "250-STARTTLS" in await talk.hello()
        assert (await talk.say("STARTTLS")).startswith("220 2.0.0")
        await talk.start_tls(context)
        assert (await talk.say("MAIL FROM:<s@x.test>")).startswith("503")
        assert "STARTTLS" not in await talk.say("EHLO again.test")
        await talk.bring("Subject: x")
        _, envelope, content = server.queue.messages[0]
        assert envelope.protocol == "ESMTPS" and b"with ESMTPS (TLSv1.3 " in content


async def test_smtplib(tmp_path):
    async with smtpin(tmp_path) as server:
        def bring():
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
                client.sendmail("s@x.test", ["bob@us.test", "alice@us.test"], "Subject: x\n\nhello\n.\nend")
        await asyncio.to_thread(bring)
        assert server.queue.messages[0][2].endswith(b"Subject: x\r\n\r\nhello\r\n.\r\nend\r\n")


async def test_draining_ends_sessions_between_messages(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as busy, connected(server) as idle:
        await idle.hello()
        await busy.hello()
        busy.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
        await busy.replies(3)
        draining = asyncio.create_task(server.stopping())
        assert (await idle.reply()).startswith("421 4.3.2")
        busy.send("x\r\n.\r\n")
        assert (await busy.reply()).startswith("250 2.0.0")
        assert (await busy.reply()).startswith("421 4.3.2")
        await draining
        assert len(server.queue.messages) == 1


async def test_reload_takes_new_limits_for_new_sessions(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as old:
        await old.hello()
        settings = msgspec.structs.replace(server.settings, smtpin=msgspec.structs.replace(server.settings.smtpin, message_size=70000))
        server.reloaded(settings)
        async with connected(server) as new:
            assert "SIZE 70000" in await new.hello()
        assert "SIZE 52428800" in await old.say("EHLO again")


async def test_log_and_counters(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.bring("x")
        await talk.say("MAIL FROM:<s@x.test>")
        await talk.say("RCPT TO:<v@x.test>")
        server.log.flush()
        log = server.paths.log.read_text()
        id = server.queue.messages[0][1].id
        accepted = next(line for line in log.splitlines() if " accepted " in line)
        assert f"id={id} sender=s@x.test to=bob@us.test" in accepted and "client=127.0.0.1" in accepted
        refused = next(line for line in log.splitlines() if "recipient refused" in line)
        assert "status=5.7.1" in refused and "to=v@x.test" in refused
        assert server.counters["accepted"] == 1 and server.counters["refused"] == 1
        assert HOST in (await talk.say("QUIT"))


async def test_a_full_mailbox_is_refused_in_the_session(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        server.mailbox.full = ["bob@us.test", "mary@us.test"]
        for wake in server.alerted["full"]:
            wake()
        await until(lambda: server.full_accounts)
        await talk.hello()
        await talk.say("MAIL FROM:<s@x.test>")
        assert await talk.say("RCPT TO:<bob@us.test>") == "552 5.2.2 The mailbox is full\r\n"
        assert (await talk.say("RCPT TO:<alice@us.test>")).startswith("250 ")
        for address in ("team@us.test", "mixed@us.test", "away@us.test"):           # somebody of them has room
            assert (await talk.say(f"RCPT TO:<{address}>")).startswith("250 ")
        server.mailbox.full = []
        for wake in server.alerted["full"]:
            wake()
        await until(lambda: not server.full_accounts)
        assert (await talk.say("RCPT TO:<bob@us.test>")).startswith("250 ")
