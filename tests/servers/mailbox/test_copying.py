"""Logs are copied back behind the commits, one at a time; one that cannot be is left alone for a while."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogSettings
from fancymail.servers.mailbox.copying import Copying
from fancymail.storage.ports.mailboxes import StoreFailed


class Shard:
    """One whose log is as long as it is said to be."""

    def __init__(self) -> None:
        self.long, self.gate, self.did = True, threading.Event(), []
        self.failing = False

    def copy_back(self) -> None:
        self.did.append(threading.current_thread())
        self.gate.wait(10)
        if self.failing:
            raise StoreFailed("no room")

    def restart_log(self) -> None:
        self.did.append(threading.current_thread())
        self.long = False


@pytest.fixture
def shard():
    return Shard()


@pytest.fixture
async def copying(shard, tmp_path):
    log = Log("mailbox", LogSettings(console="never"), tmp_path / "log")
    copying = Copying(lambda: [shard] if shard.long else [], log)
    yield copying
    shard.gate.set()
    await copying.stop()
    log.close()


async def test_what_takes_long_is_done_in_a_thread_and_once(copying, shard):
    copying.look()
    copying.look()
    shard.gate.set()
    await copying.stop()
    assert len(shard.did) == 2 and shard.did[0] is not threading.current_thread() is shard.did[1]
    assert copying.count == 1
    copying.look()
    assert len(shard.did) == 2                  # it is short now


async def test_one_that_cannot_be_copied_is_left_alone_for_a_while(copying, shard, tmp_path):
    shard.failing = True
    shard.gate.set()
    copying.look()
    await copying.stop()
    copying.log.flush()
    assert "no room" in (tmp_path / "log").read_text()
    for _ in range(3):
        copying.look()
        await asyncio.sleep(0)
    assert len(shard.did) == 1 and copying.count == 0
