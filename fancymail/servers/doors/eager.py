"""Begin a coroutine at once: most decisions of IMAP and POP3 wait for nothing, and then no task is made and no turn of the loop is lost.

Used by servers/imap/session.py and servers/pop3/session.py for their commands. What does wait goes on as the task that the connection makes of it.
Until then there is no task, and nothing that such a command calls may use asyncio.timeout (ipc/client.py does without).
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator


class Rest:
    """What is left of a coroutine that began already and waits for `future`."""

    __slots__ = ("_coroutine", "_future")

    def __init__(self, coroutine: Coroutine, future: object) -> None:
        self._coroutine, self._future = coroutine, future

    def __await__(self) -> Generator:
        coroutine, waited = self._coroutine, self._future
        while True:
            try:
                value = yield waited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                step, argument = coroutine.throw, error
            else:
                step, argument = coroutine.send, value
            try:
                waited = step(argument)
            except StopIteration as end:
                return end.value


def begin(coroutine: Coroutine) -> Rest | None:
    """Run a coroutine until it has to wait; return what is left to be awaited, None when it is through. Raises what it raises."""
    try:
        future = coroutine.send(None)
    except StopIteration:
        return None
    return Rest(coroutine, future)
