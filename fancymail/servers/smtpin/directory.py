"""What auth says about recipients and senders, remembered for a while.

Asked by session.py for every RCPT and MAIL. A known answer comes at once; an unknown one is a future, shared by all sessions
that want to know the same. Errors that may pass are never remembered; an alert `accounts` makes everything be asked anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fancymail.ipc.message import IpcError

MOST = 20_000                        # answers that are kept
PATIENCE = 15.0                      # seconds that auth may take

Answer = list[bytes] | IpcError      # the parameters of ok, or the error


class Directory:
    """`ask(daemon, verb, *params, timeout=)` as in Daemon; `lifetimes` are the seconds for which a yes and a no are kept."""

    def __init__(self, ask: Callable[..., asyncio.Future], lifetimes: tuple[float, float]) -> None:
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self.lifetimes = lifetimes
        self._known: dict[tuple, tuple[float, Answer]] = {}
        self._asked: dict[tuple, asyncio.Future] = {}
        self._generation = 0

    def resolve(self, address: str) -> Answer | asyncio.Future:
        """Where mail for an address goes."""
        return self._look("resolve", address)

    def may_send(self, account: str, address: str) -> Answer | asyncio.Future:
        """Whether an address belongs to an account."""
        return self._look("may-send", account, address)

    def forget(self) -> None:
        """Something about the accounts changed."""
        self._generation += 1
        self._known.clear()
        self._asked.clear()          # who waits for an answer of before still gets it; nobody joins them

    def _look(self, *question: str) -> Answer | asyncio.Future:
        known = self._known.get(question)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        waiting = self._asked.get(question)
        return waiting if waiting is not None else self._inquire(question)

    def _inquire(self, question: tuple[str, ...]) -> asyncio.Future:
        answered = self._asked[question] = self._loop.create_future()
        generation = self._generation

        def take(done: asyncio.Future) -> None:
            answer = _answer_of(done)
            if generation == self._generation:
                self._asked.pop(question, None)
                self._keep(question, answer)
            answered.set_result(answer)

        try:
            self._ask("auth", *question, timeout=PATIENCE).add_done_callback(take)
        except IpcError as error:                    # too many questions wait already
            self._asked.pop(question, None)
            answered.set_result(error)
        return answered

    def _keep(self, question: tuple, answer: Answer) -> None:
        positive, negative = self.lifetimes
        if isinstance(answer, IpcError):
            if answer.temporary:
                return
            lifetime = negative
        else:
            lifetime = positive
        if len(self._known) >= MOST:
            for old in list(self._known)[:MOST // 4]:
                del self._known[old]
        self._known[question] = (self._loop.time() + lifetime, answer)


def _answer_of(done: asyncio.Future) -> Answer:
    if done.cancelled():
        return IpcError("4.4.1", "no answer from auth")
    error = done.exception()
    if error is None:
        return done.result()
    return error if isinstance(error, IpcError) else IpcError("4.3.0", str(error))
