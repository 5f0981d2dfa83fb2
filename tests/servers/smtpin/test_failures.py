"""Auth, queue or the disk is in trouble: the client is told to come back, nothing is lost, nothing is accepted that isn't kept."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from fancymail.ipc.message import IpcError
from fancymail.servers.smtpin import injection, outbox
from fancymail.storage import slots
from tests.servers.smtpin.kit import canary, connected, smtpin, until
from tests.servers_kit import operator


@pytest.mark.parametrize("status", ["4.4.1", "5.3.0", "4.3.1", "5.5.4"])
async def test_a_queue_that_cannot_take_what_is_durable_is_told_again(tmp_path, monkeypatch, status):
    monkeypatch.setattr(outbox, "AGAIN", 0.01)
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        server.queue.refuse = status
        assert (await talk.bring("x")).startswith("250")                # it is on the disk, whatever the queue says
        await until(lambda: server.queue.refused > 1)
        server.queue.refuse = ""
        assert (await talk.bring("x")).startswith("250")
        await until(lambda: len(server.queue.messages) == 2)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_sync_that_fails(tmp_path, monkeypatch, number):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        with monkeypatch.context() as patch:
            patch.setattr("fancymail.storage.sync._sync_file", _failing(number))
            assert (await talk.bring("x")).startswith("451 4.3.0")
        assert (await talk.bring("x")).startswith("250")
        assert len(server.queue.messages) == 1
        await canary(server)


async def test_no_slots(tmp_path):
    async with smtpin(tmp_path, slots_ahead=1) as server, connected(server) as talk:
        await talk.hello()
        await until(lambda: len(server.pools["incoming"]))
        server.queue.refuse_slots = "4.4.1"
        assert (await talk.bring("x")).startswith("250")                # the one that was asked for ahead
        talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
        assert (await talk.replies(3))[2].startswith("451 4.3.0")
        server.queue.refuse_slots = "4.3.1"
        assert (await talk.say("DATA")).startswith("452 4.3.1")
        assert (await talk.say("RSET")).startswith("250")
        assert (await talk.say("MAIL FROM:<s@x.test>")).startswith("452 4.3.1")      # remembered for a moment
        server.queue.refuse_slots = ""
        for pool in server.pools.values():
            pool._full_until = 0.0
        await canary(server)


async def test_a_client_that_leaves_gives_its_slot_back(tmp_path):
    async with smtpin(tmp_path, slots_ahead=4) as server:
        await until(lambda: len(server.pools["incoming"]) == 4)
        for _ in range(10):
            async with connected(server) as talk:
                await talk.hello()
                talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
                await talk.replies(3)
                talk.send("half a mess")
        await until(lambda: not any(listener.connections for listener in server.listeners))
        await until(lambda: len(server.pools["incoming"]) >= 4)
        assert len(server.queue.out) <= 16 and not server.queue.messages
        await canary(server)


async def test_a_client_that_leaves_while_slots_or_answers_are_awaited(tmp_path):
    async with smtpin(tmp_path, slots_ahead=1) as server:
        await until(lambda: len(server.pools["incoming"]))
        server.hold()
        async with connected(server) as talk:
            await talk.hello()
            talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\n")
            await until(lambda: any(held[2] == "resolve" for held in server.held))
            talk.vanish()
        await until(lambda: not any(listener.connections for listener in server.listeners))
        server.release()
        await canary(server)
        server.hold()
        server.pools["incoming"].forget()
        async with connected(server) as talk:
            await talk.hello()
            talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
            await until(lambda: any(held[2] == "slot" for held in server.held))
            talk.vanish()
        await until(lambda: not any(listener.connections for listener in server.listeners))
        server.release()
        await canary(server)


@pytest.mark.parametrize("number, code", [(errno.ENOSPC, "452 4.3.1"), (errno.EIO, "451 4.3.0"), (errno.EDQUOT, "452 4.3.1")])
@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "spilled"])
async def test_the_disk_refuses(tmp_path, monkeypatch, number, code, size):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        with monkeypatch.context() as patch:
            patch.setattr(slots, "_write_all", _failing(number))
            assert (await talk.bring("Subject: x\r\n\r\n" + "line\r\n" * (size // 6))).startswith(code)
        assert not server.queue.messages
        assert (await talk.bring("x")).startswith("250")
        await canary(server)


def _failing(number: int):
    def write(*_):
        raise OSError(number, os.strerror(number))
    return write


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "spilled"])
async def test_a_disk_that_takes_one_slot_of_two_leaves_no_message(tmp_path, monkeypatch, size):
    """What is whole and names itself would be a message to the queue, whatever the client was told."""
    finish, finished = slots.SlotWriter.finish, []

    def once(writer, envelope):
        if finished:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finished.append(writer.path)
        return finish(writer, envelope)
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        with monkeypatch.context() as patch:
            patch.setattr(slots.SlotWriter, "finish", once)
            assert (await talk.bring("Subject: x\r\n\r\n" + "line\r\n" * (size // 6), "s@x.test", "mixed@us.test")).startswith("452 4.3.1")
        with slots.read_slot(finished[0]) as slot:
            assert slot.bare and not slot.content_length
        await canary(server)


async def test_what_is_injected_into_one_slot_of_two_is_no_message(tmp_path, monkeypatch):
    written = []

    def once(path, envelope, content):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return slots.write_slot(path, envelope, content)
    async with smtpin(tmp_path) as server:
        with operator(tmp_path / "state", "smtpin") as door, monkeypatch.context() as patch:
            patch.setattr(injection, "write_slot", once)
            with pytest.raises(IpcError, match="4.3.1 not stored"):
                await door.write_raw("inject", "s@x.test", 20, "mixed@us.test", content=b"Subject: x\r\n\r\nline\r\n")
        with slots.read_slot(written[0]) as slot:
            assert slot.bare and not slot.content_length
        await canary(server)


async def test_the_slot_folder_is_gone(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        folder = server.queue.folder
        await until(lambda: len(server.pools["incoming"]))
        folder.rename(folder.with_name("elsewhere"))
        assert (await talk.bring("x")).startswith("451 4.3.0")          # there is nothing to write into
        assert not len(server.pools["incoming"])                        # its neighbours are gone too
        folder.with_name("elsewhere").rename(folder)
        assert (await talk.bring("x")).startswith("250")


async def test_questions_wait_while_auth_is_restarted(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as one, connected(server) as two:
        for talk in (one, two):
            await talk.hello()
        server.hold()
        for talk in (one, two):
            talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\n")
            await talk.reply()
        await until(lambda: [held[2] for held in server.held].count("resolve") == 1)      # one question for both
        await asyncio.sleep(0)
        server.release()
        for talk in (one, two):
            assert (await talk.reply()).startswith("250 2.1.5")


async def test_auth_answers_nonsense(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        for answer in ([], ["nonsense"], ["file:/etc/passwd"], ["local:"]):
            server.auth.routes["odd"] = answer
            server.directory.forget()
            await talk.say("MAIL FROM:<s@x.test>")
            assert (await talk.say("RCPT TO:<odd@us.test>")).startswith("451")
            await talk.say("RSET")
