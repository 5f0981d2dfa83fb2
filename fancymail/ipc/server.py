"""The answering side: doors, validation, dispatch, answers of one or many messages, memory of answers.

A `Server` stands between ROUTER sockets and one object whose methods are declared with @verb. Made by servers/running/daemon.py (and by tests
around any class). No message stops it: what cannot be read is answered `error` or dropped, and counted.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable

import zmq

from fancymail.ipc.message import DELIMITER, ERROR, MAX_FRAMES, OK, RAW, IpcError, answer_frames, encode_value, error_frames, fitting
from fancymail.ipc.raw import RawInbox
from fancymail.ipc.security import prepare
from fancymail.ipc.verb import OPERATOR, Caller, Verb, verbs_of
from fancymail.ipc.wire import Wire, receive_first, receive_rest

LONGEST_TAG = 255         # octets; tags are remembered
UNIQUE_TAG = 16           # octets from which a tag counts as unique, so that its answer may be remembered
REMEMBERED = 4096         # answers kept
MOST_RUNNING = 4096       # requests whose answer comes later
MOST_PEERS = 65536        # peers whose role is kept
STREAM_PATIENCE = 60.0    # seconds that a multi-message answer waits for a reader that does not read

INTERNAL = IpcError("4.3.0", "internal error")


class Door:
    """One ROUTER socket with its endpoints; knows the role of each peer from what ZAP proved."""

    def __init__(self, context: zmq.Context, server: "Server", role: str | None) -> None:
        self.server = server
        self.role = role                        # the role of everybody at this door, or None: the peer's key tells
        self.socket = prepare(context.socket(zmq.ROUTER))
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.peers: OrderedDict[bytes, Caller] = OrderedDict()
        self.wire: Wire | None = None

    def open(self) -> None:
        """Begin to receive; called when all endpoints are bound."""
        self.wire = Wire(self.socket, self._received, receive=self._receive)

    def _receive(self) -> list:
        """Receive [caller, delimiter, tag, verb, params...]; a peer's first message tells the role that its handshake proved."""
        identity = receive_first(self.socket)
        caller = self.peers.get(identity)
        return [*(self._meet(identity) if caller is None else [caller]), *receive_rest(self.socket)]

    def _meet(self, identity: bytes) -> list:
        frame = self.socket.recv(copy=False)
        try:
            role, address = frame.get("User-Id"), frame.get("Peer-Address")
        except zmq.ZMQError:
            role, address = "", ""
        caller = Caller(self.role or role or "", address or "", identity)
        if identity[:1] == b"\0":               # numbered by the ROUTER, so never reused; an identity that a peer chose may be taken over
            if len(self.peers) >= MOST_PEERS:
                self.peers.popitem(last=False)
            self.peers[identity] = caller
        return [caller, frame.bytes]

    def _received(self, frames: list) -> None:
        if not 4 <= len(frames) <= MAX_FRAMES or frames[1] != DELIMITER or len(frames[2]) > LONGEST_TAG:
            self.server.counters["malformed"] += 1
            return
        self.server.dispatch(self, frames[0], frames[2], frames[3], frames[4:])

    def send(self, caller: Caller, frames: list[bytes]) -> bool | None:
        """Send [tag, verb, params...] to a peer; False when its pipe is full, None when it is gone."""
        return self.wire.send([caller.identity, DELIMITER, *frames])

    def close(self) -> None:
        """Close the socket."""
        if self.wire:
            self.wire.close()
        else:
            self.socket.close(0)


class Bound:
    """A verb with the method that carries it out."""

    __slots__ = ("verb", "method", "kind")

    def __init__(self, verb: Verb, method: Callable, around: Callable[[Callable], Callable] | None) -> None:
        self.verb, self.method = verb, around(method) if around else method
        method = self.method
        if inspect.isasyncgenfunction(method):
            self.kind = "stream"
        else:
            self.kind = "later" if inspect.iscoroutinefunction(method) else "now"


class Server:
    """Reads requests, asks the owner's method, answers; see the module's head."""

    def __init__(self, owner, *, grants: dict[str, list[str]] | None = None, failed: Callable[[str, BaseException], None] | None = None,
                 around: Callable[[Callable], Callable] | None = None) -> None:
        """around: what each verb's method is wrapped in, if it cannot simply be called."""
        self.owner = owner
        self.name = getattr(owner, "name", type(owner).__name__.lower())
        self.grants = grants or {}              # role -> ["daemon.verb" ...]: what the settings allow to further daemons
        self.failed = failed or _print_failure
        self.counters: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.verbs = verbs_of(type(owner))
        self.bound: dict[bytes, Bound] = {}
        for verb in self.verbs.values():
            for name in (verb.name, *verb.aliases):
                self.bound[name.encode()] = Bound(verb, getattr(type(owner), verb.method).__get__(owner), around)
        self.doors: list[Door] = []
        self.running: dict[tuple[str, bytes], Job] = {}
        self.tasks: set[asyncio.Task] = set()
        self.remembered: OrderedDict[tuple[str, bytes], list[bytes]] = OrderedDict()
        self.inboxes: dict[tuple[bytes, bytes], RawInbox] = {}

    # -- one request -------------------------------------------------------------------------------------------------------

    def dispatch(self, door: Door, caller: Caller, tag: bytes, name: bytes, frames: list[bytes]) -> None:
        """Carry out one request and answer it, now or later."""
        bound = self.bound.get(name)
        if bound is None:
            self._unknown(door, caller, tag, name, frames)
            return
        verb = bound.verb
        try:
            if not self.may(caller.role, verb):
                self.counters["forbidden"] += 1
                raise IpcError("5.7.1", f"role {caller.role or 'unknown'} may not say {verb.name}")
            values = verb.read(frames)
            self.asked[verb.name] += 1
            if bound.kind != "now":
                self._begin(door, caller, tag, bound, values)
                return
            if verb.remember and self._repeated(door, caller, tag):
                return
            result = bound.method(*values, **{verb.wants_caller: caller}) if verb.wants_caller else bound.method(*values)
            answer = [tag, *answer_frames(result)]
        except IpcError as error:
            self.counters["errors"] += 1
            answer = [tag, *error_frames(error)]
        except Exception as error:
            self.failed(name.decode("utf-8", "replace"), error)
            self.counters["failures"] += 1
            answer = [tag, *error_frames(INTERNAL)]
        if verb.remember:
            self._remember(caller, tag, answer)
        if not door.send(caller, answer):
            self.counters["unsent"] += 1

    def may(self, role: str, verb: Verb) -> bool:
        """Whether a role may say a verb: by its declaration, or by the settings' grants."""
        if verb.allows(role):
            return True
        granted = self.grants.get(role)
        return bool(granted) and (f"{self.name}.{verb.name}" in granted or f"{self.name}.*" in granted) and role != OPERATOR

    def _unknown(self, door: Door, caller: Caller, tag: bytes, name: bytes, frames: list[bytes]) -> None:
        if name == RAW:
            inbox = self.inboxes.get((caller.identity, tag))
            if inbox is None:
                self.counters["malformed"] += 1
            for frame in frames if inbox else ():
                inbox.feed(frame)
            return
        if name in (OK, ERROR):                 # answers to our alerts
            return
        self.counters["unknown"] += 1
        shown = name[:64].decode("utf-8", "replace")
        door.send(caller, [tag, *error_frames(IpcError("5.5.1", f"{self.name} knows no verb {shown!r}; say help"))])

    # -- answers that come later -------------------------------------------------------------------------------------------

    def _repeated(self, door: Door, caller: Caller, tag: bytes) -> bool:
        """Whether this request was asked before: then send its answer again, or let the running one answer to here."""
        if len(tag) < UNIQUE_TAG:
            return False
        key = (caller.role, tag)
        if answer := self.remembered.get(key):      # a job that has answered may not have ended yet
            door.send(caller, answer)
            return True
        if job := self.running.get(key):
            job.door, job.caller = door, caller
            return True
        return False

    def _remember(self, caller: Caller, tag: bytes, answer: list[bytes]) -> None:
        if len(tag) >= UNIQUE_TAG:
            self.remembered[caller.role, tag] = answer
            if len(self.remembered) > REMEMBERED:
                self.remembered.popitem(last=False)

    def _begin(self, door: Door, caller: Caller, tag: bytes, bound: Bound, values: list) -> None:
        if self._repeated(door, caller, tag):
            return
        if len(self.tasks) >= MOST_RUNNING:
            raise IpcError("4.4.5", "too many requests are running")
        verb, extra = bound.verb, {}
        if verb.wants_caller:
            extra[verb.wants_caller] = caller
        if verb.wants_raw:
            extra[verb.wants_raw] = self.inboxes[caller.identity, tag] = RawInbox()
        job = Job(door, caller, tag)
        if len(tag) >= UNIQUE_TAG:
            self.running[caller.role, tag] = job
        work = self._stream(job, bound, values, extra) if bound.kind == "stream" else self._later(job, bound, values, extra)
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, job))

    def _ended(self, task: asyncio.Task, job: "Job") -> None:
        self.tasks.discard(task)
        self.running.pop((job.role, job.tag), None)
        self.inboxes.pop((job.identity, job.tag), None)

    async def _later(self, job: "Job", bound: Bound, values: list, extra: dict) -> None:
        try:
            answer = [job.tag, *answer_frames(await bound.method(*values, **extra))]
        except Exception as error:
            answer = [job.tag, *self._frames_of(bound, error)]
        if bound.verb.remember:
            self._remember(job.caller, job.tag, answer)
        if not job.door.send(job.caller, answer):
            self.counters["unsent"] += 1

    async def _stream(self, job: "Job", bound: Bound, values: list, extra: dict) -> None:
        answers = bound.method(*values, **extra)
        try:
            async for reply in answers:
                answer = [job.tag, *fitting([reply.verb.encode(), *[encode_value(value) for value in reply.params]])]
                await self._push(job, answer)
                if bound.verb.remember:         # of several messages the last; who remembers has one
                    self._remember(job.caller, job.tag, answer)
        except PeerGone:
            self.counters["unsent"] += 1
        except Exception as error:
            job.door.send(job.caller, [job.tag, *self._frames_of(bound, error)])
        finally:
            await answers.aclose()

    async def _push(self, job: "Job", frames: list[bytes]) -> None:
        """Send one message of several; a reader that is slow is waited for, one that is gone ends the answer."""
        waited, pause = 0.0, 0.001
        while not (sent := job.door.send(job.caller, frames)):
            if sent is None or waited > STREAM_PATIENCE:
                raise PeerGone
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(pause * 2, 0.05)

    def _frames_of(self, bound: Bound, error: Exception) -> list[bytes]:
        if isinstance(error, IpcError):
            self.counters["errors"] += 1
            return error_frames(error)
        self.failed(bound.verb.name, error)
        self.counters["failures"] += 1
        return error_frames(INTERNAL)

    async def finish(self, seconds: float) -> None:
        """Let running requests end, at most for `seconds`; then cancel them."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in list(self.tasks):
            task.cancel()

    def close(self) -> None:
        """Close all doors."""
        for door in self.doors:
            door.close()


class Job:
    """A request whose answer comes later; a repeated request moves the answer to where it was asked last."""

    __slots__ = ("door", "caller", "tag", "role", "identity")

    def __init__(self, door: Door, caller: Caller, tag: bytes) -> None:
        self.door, self.caller, self.tag = door, caller, tag
        self.role, self.identity = caller.role, caller.identity


class PeerGone(Exception):
    """The asker of a multi-message answer does not read any more."""


def _print_failure(verb: str, error: BaseException) -> None:
    traceback.print_exception(error)
