"""The listener is tested on both event loops: uvloop, which daemons use, and asyncio's own."""

from __future__ import annotations

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """Run every test of this folder twice."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
