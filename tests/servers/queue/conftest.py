"""A running fm-queue, and the operator's door to it."""

from __future__ import annotations

import pytest

from fancymail.servers.queue.daemon import QueueServer
from tests.servers_kit import operator, running


@pytest.fixture
async def daemon(tmp_path):
    async with running(QueueServer, tmp_path) as daemon:
        yield daemon


@pytest.fixture
async def door(daemon, tmp_path):
    with operator(tmp_path, "queue") as client:
        yield client
