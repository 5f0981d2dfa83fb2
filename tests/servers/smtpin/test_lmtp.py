"""Mail from programs beside us: one reply for each recipient, and local ones only."""

from __future__ import annotations

import asyncio
import smtplib

from tests.servers.smtpin.kit import connected, smtpin


async def test_each_recipient_has_its_reply(tmp_path):
    async with smtpin(tmp_path) as server, connected(server, "lmtp") as talk:
        await talk.hello("LHLO")
        talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nRCPT TO:<v@x.test>\r\nRCPT TO:<nobody@us.test>\r\n"
                  "RCPT TO:<bob@us.test>\r\nRCPT TO:<alice@us.test>\r\nDATA\r\n")
        replies = [reply[:9] for reply in await talk.replies(7)]
        assert replies == ["250 2.1.0", "250 2.1.5", "550 5.7.1", "550 5.1.1", "250 2.1.5", "250 2.1.5", "354 Send "]
        talk.send("Subject: x\r\n\r\nhi\r\n.\r\n")
        assert [reply[:9] for reply in await talk.replies(3)] == ["250 2.0.0"] * 3
        _, envelope, content = server.queue.messages[0]
        assert [one.address for one in envelope.recipients] == ["bob@us.test", "alice@us.test"]
        assert envelope.protocol == "LMTP" and b" with LMTP id " in content


async def test_a_failing_disk_is_told_for_each(tmp_path, monkeypatch):
    def fail(path, directory):
        raise OSError(5, "EIO")
    monkeypatch.setattr("fancymail.storage.sync._sync_file", fail)
    async with smtpin(tmp_path) as server, connected(server, "lmtp") as talk:
        await talk.hello("LHLO")
        talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nRCPT TO:<alice@us.test>\r\nDATA\r\n")
        await talk.replies(4)
        talk.send("x\r\n.\r\n")
        assert [reply[:9] for reply in await talk.replies(2)] == ["451 4.3.0"] * 2


async def test_unix_socket_and_smtplib(tmp_path):
    async with smtpin(tmp_path, listen_lmtp=["unix:run/lmtp.sock"]) as server:
        def bring():
            path = str(server.paths.state / "run" / "lmtp.sock")
            with smtplib.LMTP(path, local_hostname="here.test") as client:
                client.sendmail("s@x.test", ["bob@us.test"], "Subject: x\n\nhi")
        await asyncio.to_thread(bring)
        _, envelope, content = server.queue.messages[0]
        assert envelope.client == "" and content.startswith(b"Received: from here.test (localhost)\r\n")
