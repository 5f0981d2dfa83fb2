"""fm-smtpout is killed at each step of settling a message: nothing is lost, and at most the one step under way happens twice (R9, R11)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.servers.smtpout.fakemx import FakeMx
from tests.servers.smtpout.test_smtpout import House, zone
from tests.servers_kit import operator

ROOT = Path(__file__).parents[2]
START = 60.0                # seconds
PATIENT = {"connect_timeout": 30.0, "command_timeout": 30.0, "final_timeout": 30.0}        # on a busy machine nothing may be put off
CHILD = "import sys; from fancymail.servers.running.launch import launch; launch('smtpout', sys.argv[1:])"


class Idle:
    """Stands where a daemon in this process would: what is under way in the other one cannot be seen."""

    active: dict = {}


async def dies(process: asyncio.subprocess.Process, state: Path) -> int:
    """How it ended; if it does not, what it was about."""
    try:
        return await asyncio.wait_for(process.wait(), START)
    except TimeoutError:
        raise AssertionError(f"it lives on:\n{(state / 'log' / 'fancymail.log').read_text()}") from None


@asynccontextmanager
async def living(state: Path):
    """fm-smtpout as a process of its own, once it answers."""
    async with child(state) as process:
        with operator(state, "smtpout") as door:
            await door.call("ping", timeout=START)
        yield process


@asynccontextmanager
async def child(state: Path, crash: str = ""):
    """fm-smtpout as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, "--state", str(state), "--quiet", cwd=ROOT, env={**os.environ, "FM_CRASH_AT": crash})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def write_settings(house: House, state: Path) -> None:
    options = "\n".join(f"{name} = {_toml(value)}" for name, value in house.options.items())
    # As root it would become a user of its own, to whom the daemons of this process have opened nothing.
    (state / "fancymail.toml").write_text(f'[server]\nhostname = "us.test"\nown-users = "off"\n[ipc]\npoll-interval = 0.2\n[smtpout]\n{options}\n')


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def leases_end(house: House) -> None:
    """Let ten minutes pass for the queue."""
    manager = house.queue_daemon.manager
    clock = manager.monotonic
    manager.monotonic = lambda: clock() + 601
    manager.tick()
    manager.monotonic = clock


@pytest.mark.parametrize("point, times", [("smtpout.delivered", 2), ("smtpout.recorded", 1)])
async def test_delivered_once_more_at_most(tmp_path, point: str, times: int) -> None:
    async with FakeMx() as mx, House(tmp_path, zone("x.test"), mx.port, recipients=1, **PATIENT) as house:
        house.daemon = Idle
        write_settings(house, tmp_path)
        path = await house.push("1@x.test", "2@x.test", "3@x.test")
        async with child(tmp_path, f"{point}:2") as process:        # dies at the second of three transactions
            assert await dies(process, tmp_path) == -signal.SIGKILL
        leases_end(house)
        async with living(tmp_path):
            await house.settled(path)
        got = sorted(message.recipients[0] for message in mx.messages)
        assert got == ["RCPT TO:<1@x.test>", *["RCPT TO:<2@x.test>"] * times, "RCPT TO:<3@x.test>"]


async def test_a_failure_is_told_once(tmp_path) -> None:
    async with FakeMx({"RCPT": "550 5.1.1 no"}) as mx, House(tmp_path, zone("x.test"), mx.port, **PATIENT) as house:
        house.daemon = Idle
        write_settings(house, tmp_path)
        path = await house.push("1@x.test")
        async with child(tmp_path, "smtpout.told:1") as process:
            assert await dies(process, tmp_path) == -signal.SIGKILL
        await house.notice()
        leases_end(house)
        async with living(tmp_path):
            await house.settled(path)
        assert await house.nothing_in()      # the crash came between telling and writing down: it is known, and not told again
