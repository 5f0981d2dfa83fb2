"""What goes wrong: each function does it to a running laboratory for some seconds, by the laboratory's own chance.

    fault(laboratory, seconds)

All of them leave the suite able to go on when they return; the promises are judged by Laboratory.reckon.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

from tests.faults.laboratory import DAEMONS, Laboratory
from tests.suite_kit import CHECKOUT

# Groups of system calls that fail alike. Which of them a program uses is between it and its libraries.
CALLS = {
    "fsync": "fsync", "fdatasync": "fdatasync", "syncfs": "syncfs", "write": "write,pwrite64,writev", "rename": "rename,renameat,renameat2",
    "link": "link,linkat", "unlink": "unlink,unlinkat", "open": "open,openat", "connect": "connect", "accept": "accept,accept4"}
ERRORS = ("EIO", "ENOSPC", "EMFILE", "ENOMEM", "EINTR")         # each of each, also those that the call should never say
WORKING = ("queue", "mailbox", "smtpin", "smtpout", "auth")


def until(seconds: float) -> Iterator[None]:
    """Go round until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def kill_in_turn(laboratory: Laboratory, seconds: float) -> None:
    """Kill one daemon after the other, every 50 to 500 ms."""
    for _ in until(seconds):
        time.sleep(laboratory.chance.uniform(0.05, 0.5))
        laboratory.kill(laboratory.chance.choice(DAEMONS))


def kill_all_at_once(laboratory: Laboratory, seconds: float) -> None:
    """Kill all daemons in the same moment, now and then."""
    for _ in until(seconds):
        time.sleep(laboratory.chance.uniform(0.5, 2.0))
        for name in DAEMONS:
            laboratory.kill(name)


def freeze(laboratory: Laboratory, seconds: float) -> None:
    """Freeze one daemon, let it go on."""
    for _ in until(seconds):
        name = laboratory.chance.choice(DAEMONS)
        laboratory.suite.signal(name, signal.SIGSTOP)
        time.sleep(laboratory.chance.uniform(0.1, 1.5))
        laboratory.suite.signal(name, signal.SIGCONT)
        laboratory.count["frozen"] += 1


def lose_the_network(laboratory: Laboratory, seconds: float) -> None:
    """Cut the line to the other server, in the ways that it has, while fm-smtpout is killed now and then."""
    for _ in until(seconds):
        time.sleep(laboratory.chance.uniform(0.1, 0.6))
        laboratory.wire.cut(how := laboratory.chance.choice(laboratory.wire.ways))
        laboratory.count[f"line {how}"] += 1
        time.sleep(laboratory.chance.uniform(0.1, 1.5))
        if laboratory.chance.random() < 0.2:
            laboratory.kill("smtpout")
        laboratory.wire.mend()


def kill_and_freeze_and_cut(laboratory: Laboratory, seconds: float) -> None:
    """Two faults together: a line that is cut, a daemon frozen, another killed."""
    for _ in until(seconds):
        laboratory.wire.cut(laboratory.chance.choice(laboratory.wire.ways))
        frozen, killed = laboratory.chance.sample(DAEMONS, 2)
        laboratory.suite.signal(frozen, signal.SIGSTOP)
        time.sleep(laboratory.chance.uniform(0.05, 0.5))
        laboratory.kill(killed)
        time.sleep(laboratory.chance.uniform(0.05, 0.5))
        laboratory.suite.signal(frozen, signal.SIGCONT)
        laboratory.wire.mend()


def refuse_system_calls(laboratory: Laboratory, seconds: float) -> None:
    """The N-loop by chance: let the Nth call of some kind fail, once or from then on, in one daemon, for a short time."""
    for _ in until(seconds):
        kind = laboratory.chance.choice(list(CALLS))
        error, name = laboratory.chance.choice(ERRORS), laboratory.chance.choice(WORKING)
        number = laboratory.chance.choice((1, 2, 3, 5, 8, 13, 21))
        when = f"{number}{laboratory.chance.choice(('', '+', f'..{number + 3}'))}"
        refuse(laboratory, name, CALLS[kind], error, when, laboratory.chance.uniform(0.3, 1.0))
        time.sleep(laboratory.chance.uniform(0.0, 0.3))


def refuse(laboratory: Laboratory, name: str, calls: str, error: str, when: str, seconds: float) -> None:
    """Have strace refuse system calls of a daemon; it may die of it, and then it is a killed daemon."""
    pid = laboratory.suite.pid(name)
    if not pid:
        return
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    tracer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    laboratory.count["calls refused"] += 1
    with contextlib.suppress(subprocess.TimeoutExpired):
        tracer.wait(seconds)
    tracer.terminate()
    try:
        tracer.wait(10)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait()


def fill_the_disk(laboratory: Laboratory, seconds: float) -> None:
    """Fill the filesystem below the state to the last octet or the last inode, and empty it again."""
    balloon = laboratory.state.parent / "balloon"
    for _ in until(seconds):
        time.sleep(laboratory.chance.uniform(0.1, 0.5))
        balloon.mkdir()
        (_eat_octets if laboratory.chance.random() < 0.5 else _eat_inodes)(balloon)
        laboratory.count["disk full"] += 1
        time.sleep(laboratory.chance.uniform(0.1, 1.0))
        if laboratory.chance.random() < 0.3:
            laboratory.kill(laboratory.chance.choice(WORKING))
            time.sleep(0.3)
        shutil.rmtree(balloon)


def _eat_octets(balloon) -> None:
    with contextlib.suppress(OSError), open(balloon / "octets", "wb", buffering=0) as file:
        while file.write(bytes(65536)):
            """Until nothing goes in any more."""


def _eat_inodes(balloon) -> None:
    with contextlib.suppress(OSError):
        for number in range(1_000_000):
            os.close(os.open(balloon / str(number), os.O_CREAT | os.O_WRONLY))


def step_the_clock(laboratory: Laboratory, seconds: float) -> None:
    """Let the wall clock jump by minutes, days and years, forth and back, while daemons die."""
    for _ in until(seconds):
        time.sleep(laboratory.chance.uniform(0.2, 0.8))
        step = laboratory.chance.choice((60, 3600, 86400, 40 * 86400, 3650 * 86400)) * laboratory.chance.choice((1, -1))
        laboratory.set_clock(step)
        laboratory.count["clock steps"] += 1
        if laboratory.chance.random() < 0.3:
            laboratory.kill(laboratory.chance.choice(DAEMONS))
    laboratory.set_clock(0)


ELSEWHERE = ("core/queue_node.py", "core/moving.py", "servers/moving/files.py", "servers/moving/move.py")     # a cluster's, and tests/live's
RARE = {"queue.aside"}                  # load alone never comes there: tests/faults/test_queue_crash.py does


def points() -> list[str]:
    """Every named point of a slot's life on one machine, as the code has them."""
    found = set()
    for path in (CHECKOUT / "fancymail").rglob("*.py"):
        if str(path).endswith(ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "crash_point" and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return sorted(found)


# Dies at a point when a file says so, once: FM_CRASH_AT would kill every process that comes after it, too.
ARMED = """
import os, signal
import fancymail.base.crash
def _visit(name, path=%r):
    try:
        with open(path) as file:
            point, _, count = file.read().partition(":")
        if point != name:
            return
        if int(count) > 1:
            with open(path, "w") as file:
                file.write(f"{point}:{int(count) - 1}")
            return
        os.unlink(path)
    except (OSError, ValueError):
        return
    os.kill(os.getpid(), signal.SIGKILL)
fancymail.base.crash.crash_point = _visit
"""


def kill_at_points(laboratory: Laboratory, seconds: float) -> None:
    """Let a daemon die between two steps of the durable path: at each named point, at its first, second ... visit."""
    for _ in until(seconds):
        often = [point for point in points() if point not in RARE]
        for point in laboratory.chance.sample(often, len(often)):
            laboratory.trigger.write_text(f"{point}:{laboratory.chance.randint(1, 6)}")
            end = time.monotonic() + 10.0
            while laboratory.trigger.exists() and time.monotonic() < end:
                time.sleep(0.01)
            laboratory.count[f"at {point}"] += not laboratory.trigger.exists()
            laboratory.trigger.unlink(missing_ok=True)


def refuse_each_call(laboratory: Laboratory, seconds: float) -> None:
    """The N-loop: the first, second ... Nth call of each kind fails with each error in each daemon. It takes as long as it takes."""
    cases = [(name, kind, error) for name in WORKING for kind in CALLS for error in ERRORS]
    for name, kind, error in laboratory.chance.sample(cases, len(cases)):
        for number in (1, 2, 4, 8):
            refuse(laboratory, name, CALLS[kind], error, str(number), 0.35)
