"""A daemon running inside a test: on the test's own loop, in a temporary state folder, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import zmq

from fancymail.base.settings.load import load_settings, parse_settings
from fancymail.base.settings.paths import Paths
from fancymail.ipc.client import Client

# Awaited with each daemon, and its task, before it is ended: tests/attacks looks after it there.
farewells: list[Callable[..., Awaitable]] = []


@contextlib.asynccontextmanager
async def running(daemon_class, state, tables: dict | None = None, **options):
    """Run a daemon; yields it once its doors are open and `started` is through."""
    paths = Paths(state)
    settings = parse_settings(tables, "(test)") if tables is not None else load_settings(None, state)
    daemon = daemon_class(settings, paths, **options)
    began = asyncio.Event()
    original = daemon.started

    async def started():
        await original()
        began.set()
    daemon.started = started
    task = asyncio.create_task(daemon.serve())
    waiter = asyncio.create_task(began.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if not began.is_set():
        waiter.cancel()
        await task
    try:
        yield daemon
        for farewell in farewells:
            await farewell(daemon, task)
    finally:
        daemon.stop()
        await task


@contextlib.contextmanager
def operator(state, name: str):
    """A client at the operator's door of a daemon."""
    context = zmq.Context()
    client = Client(context, Paths(state).endpoints(name)[0], name=name)
    try:
        yield client
    finally:
        client.close()
        context.destroy(0)
