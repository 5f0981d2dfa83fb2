"""The parent of all daemons: forks them from one warmed process, restarts what dies, stops them in order.

Run by `fancymail up`. It imports everything once and binds the listening sockets itself, so that a daemon starts in
milliseconds, shares its memory with the others, and a restart loses no connection. It has no event loop, no thread and no
ZeroMQ context (none may exist before a fork), speaks no protocol and opens no mail. What runs is told in run/supervisor.json.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fancymail.base.log import Log
from fancymail.base.settings import Paths, Settings, SettingsError, load_settings
from fancymail.servers.containment import lending
from fancymail.servers.containment.owners import Owners
from fancymail.servers.containment.reach import certificate_files
from fancymail.servers.running import sockets
from fancymail.servers.running.child import become_child, leave
from fancymail.servers.running.daemon import run_daemon
from fancymail.servers.running.launch import daemon_class, daemon_of, listeners_of

STAGES = (("smtpin", "pop3", "imap"), ("smtpout", "mailbox"), ("queue",), ("auth",))   # who asks others stops before whom it asks
FIRST_DELAY, LONGEST_DELAY = 0.25, 30.0      # seconds between a death and the next start; it doubles
STABLE = 20.0                                # seconds of life after which past deaths are forgotten
PATIENCE = 3600.0                            # seconds the loop sleeps at most
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)


@dataclass
class Child:
    """One daemon as the supervisor knows it. Times are of time.monotonic()."""

    name: str
    pid: int = 0                 # 0: not running
    started: float = 0.0
    since: float = 0.0           # time.time() of the start, for people
    restarts: int = 0
    deaths: int = 0              # in a row, without a stable life between them
    due: float | None = None     # when to start it (again)
    listeners: list[str] = field(default_factory=list)

    def died(self, now: float) -> float:
        """Note a death; return the seconds until the next start (the first comes back at once)."""
        self.deaths = 1 if now - self.started >= STABLE else self.deaths + 1
        delay = 0.0 if self.deaths == 1 else min(FIRST_DELAY * 2 ** (self.deaths - 2), LONGEST_DELAY)
        self.pid, self.due = 0, now + delay
        return delay


class Supervisor:
    """Runs `names` (processes, in the order of starting; launch.instances) until SIGTERM or SIGINT. `helper` is run in a child once all
    were started; its exit code says whether the start went well: 0 calls `ready`, anything else ends the suite."""

    def __init__(self, settings: Settings, paths: Paths, names: list[str], *, config: Path | None = None, console: bool = False,
                 helper: Callable[[], int] | None = None, ready: Callable[[int], None] = lambda code: None,
                 close_in_children: Callable[[], list[int]] = list, owners: Owners | None = None, alike: str = "") -> None:
        self.settings, self.paths, self.config, self.console = settings, paths, config, console
        self.helper, self.ready, self.close_in_children = helper, ready, close_in_children
        self.children = {name: Child(name, due=0.0, listeners=listeners_of(settings, daemon_of(name))) for name in names}
        self.log = Log("supervisor", settings.log, paths.log, console)
        self.owners, self.alike = owners, alike         # alike: why the daemons are no users of their own
        self.lender = lending.Lender(lambda: config or paths.config, self._lendable)
        self.helper_pid = 0
        self.code = 0
        self.signals: list[int] = []
        self.stopping = False
        self.begun = time.time()
        self.terminal = os.isatty(0)

    def prepare(self) -> None:
        """Import the daemons and bind their listening sockets, all that can go wrong while somebody still looks.

        Raises OSError with the address in it; ports below 1024 need root.
        """
        self.classes = {name: daemon_class(name) for name in self.children}
        for address in dict.fromkeys(address for child in self.children.values() for address in child.listeners):
            sockets.adopt(address, sockets.bind(address, self.paths.state))

    def run(self) -> int:
        """Start everything and look after it; return the exit code at the end."""
        gc.collect()
        gc.freeze()      # what was imported leaves the collector's sight, so that its pages stay shared
        gc.enable()      # bin/fancymail imports without it
        self._catch_signals()
        try:
            self.log.info("starting", pid=os.getpid(), daemons=list(self.children),
                          users={name: user.uid for name, user in self.owners.users.items()} if self.owners else self.alike)
            self._start_due()
            self._start_helper()
            while not self._stop_wanted():
                self._wait(self._next_due())
                self._react()
                self._reap()
                self._start_due()
        except Exception as error:
            self.log.exception("the supervisor failed", error)
            self.code = 1
        finally:
            self._stop_all()
            self._forget()
        return self.code

    # -- starting ----------------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.pid == 0 and child.due is not None and child.due <= now:
                self._start(child)
        self._write_state()

    def _start(self, child: Child) -> None:
        again = child.since > 0
        child.started, child.due = time.monotonic(), None
        try:
            with self.lender.line(child.name) as line:
                child.pid = self._fork(child.name, lambda: self._run_child(child, line, None if again else self.settings))
        except OSError as error:      # no process or no descriptor is left: no reason to end the daemons that run
            self.log.error("not started", child=child.name, error=error, restart=child.died(child.started))
            return
        child.since = time.time()
        child.restarts += again
        self.log.info("restarted" if again else "started", child=child.name, pid=child.pid)

    def _run_child(self, child: Child, line: socket.socket, settings: Settings | None) -> int:
        """Be the daemon. With the settings that we read ourselves at the first start; whoever comes later reads what stands there now."""
        sockets.keep_only(child.listeners)
        lending.borrow_from(line)
        run_daemon(self.classes[child.name], self.paths.state, config=self.config, console=self.console,
                   instance=child.name, settings=settings, owners=self.owners)
        return 0

    def _lendable(self, name: str) -> list[Path]:
        """Files besides the configuration that a daemon may have from us: those that the settings of now give to it."""
        with suppress(SettingsError):
            self.settings = load_settings(self.config, self.paths.state)
        reach = self.classes[name].reach(self.settings, self.paths)
        return [*reach.opens, *(certificate_files(self.settings, self.paths) if reach.certificates else ())]

    def _start_helper(self) -> None:
        if self.helper is not None:
            self.helper_pid = self._fork("helper", self.helper, keep=True)

    def _fork(self, name: str, work: Callable[[], int], keep: bool = False) -> int:
        """Run `work` in a child of its own process group; it leaves with what `work` returns and never comes back here."""
        parent = os.getpid()
        sys.stdout.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)      # a stop that comes now waits until the child has no handlers of ours
        try:
            pid = os.fork()
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if pid:
            return pid
        code = 70      # EX_SOFTWARE
        try:
            become_child(f"fm-{name}", parent, SIGNALS, [*self.pipe, *([] if keep else self.close_in_children())])
            self.log.close()
            self.lender.close()
            code = work()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else self._complain(name, end)
        except BaseException as error:
            self.log.exception("daemon failed", error, child=name)
        finally:
            leave(code)

    def _complain(self, name: str, end: SystemExit) -> int:
        if end.code is None:
            return 0
        self.log.error("daemon ended", child=name, reason=str(end.code))
        return 1

    # -- looking after -----------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        """Signals only note their number and wake the loop; all work is done in it."""
        self.pipe = os.pipe()
        for end in self.pipe:
            os.set_blocking(end, False)
        for number in SIGNALS:
            signal.signal(number, self._signalled)
        signal.set_wakeup_fd(self.pipe[1], warn_on_full_buffer=False)

    def _signalled(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self.signals.append(number)

    def _stop_wanted(self) -> bool:
        return signal.SIGTERM in self.signals or signal.SIGINT in self.signals

    def _next_due(self) -> float:
        dues = [child.due for child in self.children.values() if child.pid == 0 and child.due is not None]
        return min(max(0.0, min(dues, default=time.monotonic() + PATIENCE) - time.monotonic()), PATIENCE)

    def _wait(self, seconds: float) -> None:
        lines = list(self.lender.lines.values())
        for ready in select.select([self.pipe[0], *lines], [], [], seconds)[0]:
            if ready in lines:
                self.lender.serve(ready)
            else:
                with suppress(BlockingIOError):
                    os.read(self.pipe[0], 4096)

    def _react(self) -> None:
        """SIGHUP goes to every daemon, which reads its settings anew; SIGUSR1 reopens our log alone."""
        if signal.SIGHUP in self.signals or signal.SIGUSR1 in self.signals:
            self.log.reopen()
        if signal.SIGHUP in self.signals and self._hung_up():
            self.signals.append(signal.SIGTERM)
        elif signal.SIGHUP in self.signals:
            self.log.info("reloading")
            self._tell(self.children, signal.SIGHUP)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            while number in self.signals:
                self.signals.remove(number)      # in place: a signal that comes right now must not be lost with the old list

    def _hung_up(self) -> bool:
        """Whether the terminal that we were started at is gone: then SIGHUP means the end, not new settings."""
        if not self.terminal:
            return False
        try:
            os.tcgetpgrp(0)
        except OSError:
            return True
        return False

    def _reap(self) -> None:
        """Collect the dead; leave no zombie, whoever it was."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.helper_pid:
                self._helper_ended(os.waitstatus_to_exitcode(status))
            for child in self.children.values():
                if child.pid == pid:
                    self._died(child, os.waitstatus_to_exitcode(status))

    def _died(self, child: Child, code: int) -> None:
        delay = child.died(time.monotonic())
        reason = f"signal {_signal_name(-code)}" if code < 0 else f"code {code}"
        facts = {} if self.stopping else {"restart": delay}
        report = self.log.info if code == 0 else self.log.error
        report("ended", child=child.name, reason=reason, **facts)

    def _helper_ended(self, code: int) -> None:
        self.helper_pid = 0
        if code != 0 and not self._stop_wanted() and not self.stopping:
            self.log.error("the start failed")
            self.code = 1
            self.signals.append(signal.SIGTERM)
        self.ready(code)

    def _tell(self, names, number: int) -> None:
        for name in names:
            child = self.children.get(name)
            if child is not None and child.pid:
                os.kill(child.pid, number)      # it is our child and not yet reaped: the pid cannot be another's

    # -- stopping ----------------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Stop stage after stage; a second SIGTERM or SIGINT kills what is left."""
        self.log.info("stopping")
        self.stopping = True
        self.signals.clear()
        if self.helper_pid:
            os.kill(self.helper_pid, signal.SIGKILL)
        staged = {name for stage in STAGES for name in stage}
        for stage in ({daemon_of(name) for name in self.children} - staged, *STAGES):
            self._stop_stage([name for name, child in self.children.items() if daemon_of(name) in stage and child.pid])
        self._reap()
        self.log.info("stopped")

    def _stop_stage(self, names: list[str]) -> None:
        deadline = time.monotonic() + self.settings.server.stop_timeout
        self._tell(names, signal.SIGTERM)
        killed = False
        while any(self.children[name].pid for name in names):
            left = deadline - time.monotonic()
            if (left <= 0 or self._stop_wanted()) and not killed:
                killed = True
                self.log.warning("killing", daemons=[name for name in names if self.children[name].pid])
                self._tell(names, signal.SIGKILL)
            self._wait(0.5 if killed else max(0.0, min(left, 5.0)))
            self._reap()

    def _write_state(self) -> None:
        """Write run/supervisor.json, whole or not at all."""
        report = {
            "pid": os.getpid(), "state": str(self.paths.state), "config": str(self.config) if self.config else None, "started": self.begun,
            "daemons": {child.name: {"pid": child.pid, "since": child.since, "restarts": child.restarts, "listeners": child.listeners}
                        for child in self.children.values()}}
        path = self.paths.supervisor
        try:
            path.with_suffix(".new").write_bytes(msgspec.json.encode(report))
            path.with_suffix(".new").rename(path)
        except OSError as error:      # a full disk must not keep a daemon from being restarted
            self.log.error("state not written", error=error)

    def _forget(self) -> None:
        self.paths.supervisor.unlink(missing_ok=True)
        for child in self.children.values():
            for address in child.listeners:
                sockets.remove_path(address, self.paths.state)
            for endpoint in self.paths.endpoints(child.name):
                Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)
        self.log.close()


def _signal_name(number: int) -> str:
    """The name of a signal; real-time signals have none."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)
