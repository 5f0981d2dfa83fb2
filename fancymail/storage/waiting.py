"""Calls of storage ports that wait for an engine over the network, without keeping the loop from others.

The ports are synchronous: core's rules read and write as if all were at hand, which is true of files. Behind a database on the network each such
call would stop its daemon for a round trip. So a daemon that stands on one runs its verbs and tasks as *fibers* (`fibered`): ordinary coroutines,
stepped inside a greenlet. When a port's call has to wait (`wait`), the greenlet hands the engine's coroutine to the loop, others have their turn,
and the call goes on where it was. Outside of a fiber `wait` blocks: a worker thread until the loop's answer, a tool or a test until it is there.

Used by the engines of storage/postgres and storage/s3, and by servers/running/nodes.py. Daemons on files never import it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from greenlet import getcurrent, greenlet

_ENGINE, _OTHERS, _END = range(3)       # what a fiber hands out: an engine's coroutine, a future of its own coroutine, its result


class Fiber(greenlet):
    """A flow of control that can be left in the middle of a synchronous call."""


class Steps:
    """Awaits a coroutine, stepping it inside a fiber."""

    def __init__(self, coroutine: Coroutine) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        fiber = Fiber(self._run)
        word, what = fiber.switch()
        while word is not _END:
            value = error = None
            try:
                value = (yield what) if word is _OTHERS else (yield from what.__await__())
            except BaseException as caught:         # cancellation too: it belongs to whoever waits inside
                error = caught
            word, what = fiber.switch(value, error)
        return what

    def _run(self) -> tuple[int, Any]:
        """In the fiber: all steps of the coroutine; its errors leave by themselves."""
        value = error = None
        while True:
            try:
                future = self.coroutine.send(value) if error is None else self.coroutine.throw(error)
            except StopIteration as stop:
                return _END, stop.value
            value, error = getcurrent().parent.switch((_OTHERS, future))


async def fibered(coroutine: Coroutine) -> Any:
    """Run a coroutine in which ports may be called."""
    return await Steps(coroutine)


def around(method: Callable, begun: Callable[[], Awaitable]) -> Callable:
    """A method of a daemon (plain, coroutine, or async generator) so that ports may be called in it, once `begun` lets it; a generator stays one."""
    if inspect.isasyncgenfunction(method):
        async def stream(*values: Any, **named: Any) -> AsyncIterator:
            await begun()
            answers = method(*values, **named)
            try:
                while True:
                    try:
                        answer = await Steps(answers.__anext__())
                    except StopAsyncIteration:
                        return
                    yield answer
            finally:
                await answers.aclose()
        return stream

    async def later(*values: Any, **named: Any) -> Any:
        await begun()

        async def call() -> Any:
            result = method(*values, **named)
            return await result if inspect.isawaitable(result) else result
        return await Steps(call())
    return later


class Waiter:
    """Waits for coroutines of one loop: the daemon's, or (for tools and tests) one of our own that turns in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._thread: threading.Thread | None = None
        if loop is None:
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=loop.run_forever, name="storage", daemon=True)
            self._thread.start()
        self.loop = loop

    def __call__(self, coroutine: Awaitable) -> Any:
        """What it gives, to synchronous code; the loop runs others meanwhile."""
        current = getcurrent()
        if isinstance(current, Fiber):
            value, error = current.parent.switch((_ENGINE, coroutine))
            if error is not None:
                raise error
            return value
        if asyncio._get_running_loop() is self.loop:
            coroutine.close()
            raise RuntimeError("a port was called in the loop, outside of a fiber: everybody would have to wait")
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        """End the loop, if it is ours."""
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
            self._thread = None


def beside(work: Callable[[], Any]) -> Any:
    """Do what blocks: from a fiber in a thread of the loop's, so that others have their turn; from elsewhere here."""
    current = getcurrent()
    if not isinstance(current, Fiber):
        return work()
    value, error = current.parent.switch((_ENGINE, _in_thread(work)))
    if error is not None:
        raise error
    return value


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)
