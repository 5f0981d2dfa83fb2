"""One set of daemons per test."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.servers.imap import kit


@pytest.fixture
async def suite(tmp_path):
    async with AsyncExitStack() as stack:
        suite = await kit.start(tmp_path, stack)
        yield suite
        await kit.stop(suite)
