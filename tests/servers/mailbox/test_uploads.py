"""Uploads: one sync for all that waits, each failing by itself."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fancymail.servers.mailbox.uploads import Uploads


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as thread:
        yield thread


async def test_what_waits_is_synced_together(thread):
    gate, syncs = threading.Event(), []
    uploads = Uploads(thread, lambda: syncs.append(1))
    first = uploads.keep(gate.wait)
    await asyncio.sleep(0)
    others = [uploads.keep(lambda number=number: number) for number in range(5)]
    gate.set()
    assert await asyncio.gather(first, *others) == [True, 0, 1, 2, 3, 4]
    assert len(syncs) == 2


async def test_each_fails_by_itself(thread):
    uploads = Uploads(thread, lambda: None)
    good, bad, later = uploads.keep(lambda: 1), uploads.keep(lambda: 1 / 0), uploads.keep(lambda: 2)
    assert await good == 1 and await later == 2
    with pytest.raises(ZeroDivisionError):
        await bad
    assert await uploads.keep(lambda: 3) == 3


async def test_a_failed_sync_fails_all(thread):
    def sync():
        raise OSError("broken disk")
    uploads = Uploads(thread, sync)
    for future in [uploads.keep(lambda: 1), uploads.keep(lambda: 2)]:
        with pytest.raises(OSError, match="broken disk"):
            await future


async def test_who_is_gone_is_no_trouble(thread):
    uploads = Uploads(thread, lambda: None)
    gone, there = uploads.keep(lambda: 1), uploads.keep(lambda: 2)
    gone.cancel()
    assert await there == 2
