"""The only main loop: what every daemon has in common.

A daemon is a class with a name and verbs (docs/house.md section 6). `run_daemon` gives it settings, log, doors, peers and signals, and
ends it cleanly. Started by the scripts in bin/ or forked by the supervisor, which hands listening sockets over. Daemons never import each other.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import re
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import uvloop
import zmq

from fancymail import __version__
from fancymail.base.log import Log
from fancymail.base.metrics import Metrics
from fancymail.base.service import notify
from fancymail.base.settings import Settings
from fancymail.base.settings.load import SettingsError, load_settings
from fancymail.base.settings.paths import Paths
from fancymail.ipc.alerts import Callbacks
from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.security import ROLES, Gatekeeper, KeyRing, bind
from fancymail.ipc.server import Door, Server
from fancymail.ipc.verb import Callback, Name, Text, verb
from fancymail.servers.containment import cell, lending
from fancymail.servers.containment.owners import Owners
from fancymail.servers.containment.reach import Reach
from fancymail.servers.moving.settled import require_settled
from fancymail.servers.running.allocator import give_back
from fancymail.servers.running.nodes import open_cluster
from fancymail.servers.running.sockets import bind_door

RENEWAL = 5.0          # seconds between renewals of our own subscriptions
TIDYING = 60.0         # seconds between two looks for memory that nobody uses
MANY = 200             # subscriptions that are renewed at a time
FINISH = 10.0          # seconds that running requests get at the end


class AlreadyRunning(OSError):
    """Another process of the same daemon holds the lock."""


class Daemon:
    """Base of all daemons: doors, peers, alerts, the common verbs. Subclasses declare verbs and the three hooks."""

    name = ""
    stores = False                              # whether it stands on storage ports, which are far away in a cluster

    def __init__(self, settings, paths: Paths, *, config: Path | None = None, sockets: dict | None = None, console: bool = False,
                 instance: str = "") -> None:
        self.settings, self.paths, self.config = settings, paths, config
        self.instance = instance or self.name   # several processes of one daemon: each has its own doors, all have one key
        self.sockets = sockets or {}            # listening sockets by name, bound by the supervisor or the service manager
        self.log = Log(self.instance, settings.log, paths.log, console)
        self.metrics = Metrics(self.instance)
        self.counters = self.metrics.counters
        self.keys = KeyRing(paths.keys)
        self.peers: dict[str, Client] = {}
        self.wanted: dict[tuple[str, str], Callable[[], None]] = {}
        self.alerted: dict[str, list[Callable[[], None]]] = {}
        self.draining = False
        self.ready = False                      # started() is through
        require_settled(paths, bool(settings.storage.database))
        self.cluster = open_cluster(self) if settings.storage.database else None
        self.started_by = os.getuid()           # the operator; this process may become another user
        self.tasks: set[asyncio.Task] = set()
        self.bound: list[socket.socket] = []    # our doors' sockets, from take_place() until ZeroMQ has them

    # -- hooks of a daemon -------------------------------------------------------------------------------------------------

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """Declare what this daemon may touch besides what all daemons need."""
        return Reach()

    def prepare(self) -> None:
        """Called before the process is shut in: make files that must be there, in folders that will be out of reach."""

    async def started(self) -> None:
        """Called when the doors are open."""

    async def stopping(self) -> None:
        """Called before the doors close: finish what was begun."""

    def reloaded(self, settings) -> None:
        """Called with new, valid settings; `self.settings` still holds the old ones."""

    # -- verbs of every daemon ---------------------------------------------------------------------------------------------

    @verb(callers="*")
    def ping(self) -> str:
        """Answer at once, with the daemon's name."""
        return self.instance

    @verb(callers="*")
    async def help(self, verb: Name = "") -> AsyncIterator[Reply]:
        """List all verbs, or one: `verb: usage ; sentence ; callers` for each, then ok."""
        chosen = [spec for spec in self.server.verbs.values() if verb in ("", spec.name, *spec.aliases)]
        if not chosen:
            raise IpcError("5.5.1", f"{self.name} knows no verb {verb}")
        yield Reply("ok", len(chosen))
        for spec in chosen:
            who = " ".join(sorted(spec.callers | ({"operator"} if spec.operator else set())))
            yield Reply("verb", spec.usage(), spec.sentence, who, " ".join(spec.aliases))
        yield Reply("ok")

    @verb(callers="supervisor")
    def stats(self) -> dict:
        """Give all counters and gauges as JSON."""
        own = {f"ipc_{name}": count for name, count in self.server.counters.items()}
        asked = {f"verb_{name}": count for name, count in self.server.asked.items()}
        return {"daemon": self.instance, "version": __version__, "pid": os.getpid(), "draining": self.draining, "ready": self.ready,
                **self.metrics.values(), **own, **asked}

    @verb(name="metrics", callers="supervisor")
    def metrics_text(self) -> str:
        """Give all counters and gauges in Prometheus text."""
        for kind, counts in (("ipc", self.server.counters), ("verb", self.server.asked)):
            for name, count in counts.items():
                self.metrics.counters[f"{kind}_{name.replace('-', '_')}"] = count
        return self.metrics.text()

    @verb(callers="supervisor")
    def reload(self) -> None:
        """Read the configuration, keys and certificates again; a broken file is an error and changes nothing."""
        try:
            settings = load_settings(self.config, self.paths.state, lending.read)
        except SettingsError as error:
            self.log.error("settings refused", reason=str(error))
            raise IpcError("5.3.5", str(error)) from None
        self.reloaded(settings)
        self.settings = settings
        self.gatekeeper.reload(self._guests(settings), self._operators(settings))
        self.server.grants = settings.ipc.grants
        self.log.apply(settings.log)
        self.log.reopen()
        self.log.info("reloaded")

    @verb(callers="supervisor")
    def drain(self) -> None:
        """Take no new work, finish what was begun, then end."""
        self.draining = True
        self.log.info("draining")
        self.stop()

    @verb(callers="*")
    def subscribe(self, topic: Text, callback: Callback, key: Text = "") -> None:
        """Have `alert: topic` said to the callback when there is something new; over TCP beyond this machine give its CURVE key."""
        self.check_topic(topic)
        self.callbacks.subscribe(topic, callback, key)
        if self.cluster is not None:
            self.cluster.watch(topic)

    @verb(callers="*", aliases="unsubscribe")
    def unsuscribe(self, topic: Text, callback: Callback) -> None:
        """End a subscription; the callback is spelled exactly as when it was made."""
        self.callbacks.unsubscribe(topic, callback)

    @verb(callers="*", name="alert")
    def alert_received(self, topic: Text) -> None:
        """Say that there is something new under a topic to which this daemon subscribed; a hint, it may be lost or repeated."""
        for wake in self.alerted.get(topic, ()):
            wake()

    def check_topic(self, topic: str) -> None:
        """Raise IpcError when there can be no such topic; daemons that know their topics say so."""

    # -- asking others -----------------------------------------------------------------------------------------------------

    def peer(self, name: str) -> Client:
        """Return the connection to another daemon; made at first use, kept for good."""
        client = self.peers.get(name)
        if client is None:
            endpoint = self.settings.ipc.peers.get(name) or self.paths.endpoints(name)[1]
            key = self.settings.ipc.peer_keys.get(name, "").encode() or self.keys.public(name)
            client = self.peers[name] = Client(self.context, endpoint, keys=self.keys, role=self.name, server_key=key, name=name,
                                               connected=lambda: self._subscribe_again(name))
        return client

    def ask(self, name: str, verb: str, *params, timeout: float | None = None) -> asyncio.Future:
        """Say a verb to another daemon; awaiting gives the parameters of `ok` as octets, or raises IpcError."""
        return self.peer(name).call(verb, *params, timeout=timeout or self.settings.ipc.deadline)

    def alert(self, topic: str) -> None:
        """Tell the subscribers of a topic that there is something new; in a cluster those of other nodes, too."""
        self.callbacks.alert(topic)
        if self.cluster is not None:
            self.cluster.tell(topic)

    def heard(self, topic: str) -> None:
        """Another node has something new under a topic: our subscribers want to know it."""
        self.callbacks.alert(topic)

    def subscribe_to(self, name: str, topic: str, wake: Callable[[], None]) -> None:
        """Have `wake()` called at each alert of another daemon's topic, and now and then anyway; renewed after restarts."""
        self.wanted[name, topic] = wake
        self.alerted.setdefault(topic, []).append(wake)
        self._renew(name, topic)

    def unsubscribe_from(self, name: str, topic: str) -> None:
        """End what `subscribe_to` began, for all who are woken by this topic."""
        if self.wanted.pop((name, topic), None) is not None:
            self.alerted.pop(topic, None)
            self._quietly(name, "unsubscribe", topic)

    def _quietly(self, name: str, verb: str, topic: str) -> None:
        with suppress(IpcError):                # too much waits for that daemon: the next renewal says it again
            future = self.ask(name, verb, topic, self.paths.endpoints(self.instance)[1], timeout=RENEWAL)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _renew(self, name: str, topic: str) -> None:
        self._quietly(name, "subscribe", topic)

    def _subscribe_again(self, name: str) -> None:
        for (daemon, topic), wake in self.wanted.items():
            if daemon == name:
                self._renew(daemon, topic)
                wake()

    async def _keep_subscribed(self) -> None:
        turn, elapsed = 0, 0.0
        while True:
            await asyncio.sleep(RENEWAL)
            turn, elapsed = turn + 1, elapsed + RENEWAL
            parts = 1 + len(self.wanted) // MANY            # of thousands, a part at a time
            due = list(self.wanted.items())[turn % parts::parts]
            for (name, topic), _ in due:
                self._renew(name, topic)
            if parts > 1 or elapsed >= self.settings.ipc.poll_interval:
                elapsed = 0.0
                for _, wake in due:
                    wake()

    def spawn(self, work, what: str = "task") -> asyncio.Task:
        """Run a coroutine beside the others; its failure is logged, it is cancelled at the end."""
        task = asyncio.get_running_loop().create_task(self._able_to_wait(work))
        self.tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, what))
        return task

    def _able_to_wait(self, work):
        """A coroutine in which ports may be called, wherever their engine is."""
        return self.cluster.fibered(work) if self.cluster is not None and self.stores else work

    def _finished(self, task: asyncio.Task, what: str) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.log.exception("failed", task.exception(), what=what)
            self.counters["failures"] += 1

    # -- life --------------------------------------------------------------------------------------------------------------

    def take_place(self) -> None:
        """Take our name, our keys and our doors' addresses. Raises AlreadyRunning, OSError."""
        self.paths.create()
        self._held = _lock(self.paths.lock(self.instance), self.instance)      # before bind: a second daemon would silently steal the socket
        self.keys.create()
        self.bound = [bind_door(endpoint) for endpoint in self.paths.endpoints(self.instance)]
        self.prepare()

    def shut_in(self, owners: Owners | None = None) -> None:
        """From here on this process reaches what it declared and nothing else, whoever comes to command it."""
        if owners is not None:
            owners.become(self.name, self.instance)
        reach = self.reach(self.settings, self.paths)
        facts = cell.contain(self.name, self.instance, reach, self.settings, self.paths, self.config)
        (self.log.warning if "missing" in facts else self.log.info)("contained", **facts)

    async def serve(self) -> None:
        """Open the doors, run until stop(), close."""
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        try:
            self._open()
        except BaseException:
            if context := getattr(self, "context", None):
                context.destroy(0)              # an open context would keep the process from ending
            raise
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.loop.add_signal_handler(number, self.stop)
            self.loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        except (ValueError, RuntimeError):      # not the main thread: a test runs us
            pass
        try:
            await self._able_to_wait(self.started())
            if self.cluster is not None:
                self.cluster.begin()
            self.ready = True
            self.spawn(self._keep_subscribed(), "subscriptions")
            self.spawn(_tidy(), "tidying")
            notify("READY=1")
            self.log.info("ready", version=__version__)
            await self.ended.wait()
        except Exception as error:
            self.log.exception("cannot go on", error)
            raise
        finally:
            await self._close()

    def stop(self) -> None:
        """Ask the daemon to end."""
        self.ended.set()

    def _hang_up(self) -> None:
        with suppress(IpcError):
            self.reload()

    def _open(self) -> None:
        if not self.bound:
            self.take_place()
        self.context = zmq.Context()
        self.gatekeeper = Gatekeeper(self.context, self.keys)
        self.gatekeeper.reload(self._guests(self.settings), self._operators(self.settings))
        self.callbacks = Callbacks(self.context, self.keys, self.name, self._key_behind)
        self.server = Server(self, grants=self.settings.ipc.grants, failed=self._failed,
                             around=self.cluster.around if self.cluster is not None and self.stores else None)
        operators, daemons = self.paths.endpoints(self.instance)
        for endpoints, role in (([operators], "operator"), ([daemons, *self._beyond()], None)):
            door = Door(self.context, self.server, role)
            if role is None:
                self.keys.serve(door.socket, self.name)
            else:
                door.socket.setsockopt(zmq.ZAP_DOMAIN, b"operator")
            door.socket.setsockopt(zmq.USE_FD, self.bound.pop(0).detach())
            door.socket.bind(endpoints[0])
            door.socket.setsockopt(zmq.USE_FD, -1)
            for endpoint in endpoints[1:]:
                bind(door.socket, endpoint)
            door.open()
            self.server.doors.append(door)

    def _beyond(self) -> list[str]:
        endpoint = self.settings.ipc.listen.get(self.instance)
        return [endpoint] if endpoint else []

    @staticmethod
    def _guests(settings) -> dict[bytes, str]:
        """Return the keys of attached programs that the settings allow: Z85 key -> role."""
        return {key.encode(): role for role, keys in settings.ipc.allow.items() for key in keys}

    def _operators(self, settings) -> tuple[int, ...]:
        return (self.started_by, *settings.ipc.operators)

    def _key_behind(self, callback: str) -> bytes:
        for role in ROLES:
            before, _, behind = self.paths.endpoints(role)[1].rpartition(role)
            number = callback.removeprefix(before + role).removesuffix(behind)
            if callback == before + role + number + behind and re.fullmatch(r"(-[0-9]{1,3})?", number):
                return self.keys.public(role)
        return b""

    def _failed(self, verb: str, error: BaseException) -> None:
        self.log.exception("verb failed", error, verb=verb)

    async def _close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(FINISH):
                await self._able_to_wait(self.stopping())
        await self.server.finish(1.0)
        for task in list(self.tasks):
            task.cancel()
        for part in (self.callbacks, self.server, *self.peers.values(), self.gatekeeper):
            part.close()
        if self.cluster is not None:
            await self.cluster.close()
        self.log.info("ended")
        self.log.close()
        self.context.destroy(200)
        for endpoint in self.paths.endpoints(self.instance):
            with suppress(OSError):         # a daemon that is shut in leaves this to the next one, or to the supervisor
                os.unlink(endpoint.removeprefix("ipc://"))
        self._held.close()


async def _tidy() -> None:
    """Let go of what a busy hour took."""
    while True:
        await asyncio.sleep(TIDYING)
        give_back()


def run_daemon(daemon_class: type[Daemon], state: Path | str, *, config: Path | None = None, sockets: dict | None = None,
               console: bool = False, instance: str = "", settings: Settings | None = None, owners: Owners | None = None) -> None:
    """Run one daemon in this process until it is told to end. Raises SettingsError, AlreadyRunning.

    `instance`: what it is called when there are several processes of it. `settings`: when they have been read already.
    `owners`: the daemons are users of their own.
    """
    paths = Paths(state)
    settings = settings or load_settings(config, paths.state)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))       # a core file would hold mail and keys
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(50_000, 20, 50)
    gc.freeze()
    gc.enable()

    daemon = daemon_class(settings, paths, config=config, sockets=sockets, console=console, instance=instance)
    daemon.take_place()
    daemon.shut_in(owners)
    uvloop.run(daemon.serve())


def _lock(path: Path, name: str):
    lock = open(path, "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(f"{name} is already running here ({path} is locked)") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
