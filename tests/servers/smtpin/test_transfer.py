"""Mail from other servers: into which queue, in which shape, with which replies."""

from __future__ import annotations

from tests.servers.smtpin.kit import canary, connected, smtpin


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
