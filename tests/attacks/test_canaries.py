"""The canaries can fall silent: daemons are ended, wedged and broken, and it is noticed each time. And no attack is without a canary."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from fancymail.ipc.message import IpcError
from fancymail.ipc.verb import verb
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.launch import DAEMONS, daemon_class
from tests.attacks import canary, conftest
from tests.attacks.canary import Silenced
from tests.attacks.test_dns import world
from tests.attacks.test_evil import PASSWORD, TABLES
from tests.attacks.test_tls import sending
from tests.servers.smtpin.kit import smtpin
from tests.servers.smtpout.fakemx import FakeMx
from tests.servers_kit import operator, running

pytestmark = pytest.mark.still          # what is tried here is that nobody sings


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Who is not served within a moment is not served."""
    monkeypatch.setattr(canary, "BOUND", 0.5)


@asynccontextmanager
async def household(state: Path):
    """All daemons by name, bob among the accounts."""
    async with AsyncExitStack() as stack:
        daemons = {name: await stack.enter_async_context(running(daemon_class(name), state, TABLES)) for name in DAEMONS}
        with operator(state, "auth") as auth:
            await auth.call("domain-add", "us.test")
            await auth.call("account-add", "bob", PASSWORD)
        yield daemons


async def test_in_good_health_all_of_them_sing(tmp_path, canaries):
    async with household(tmp_path):
        pass
    assert canaries == list(reversed(DAEMONS))


@pytest.mark.parametrize("name", DAEMONS)
async def test_who_ended_is_missed(tmp_path, name):
    with pytest.raises(Silenced, match=f"{name}: .*ended by itself"):
        async with running(daemon_class(name), tmp_path, TABLES) as daemon:
            daemon.stop()
            while not daemon._held.closed:
                await asyncio.sleep(0)


@pytest.mark.parametrize("name", DAEMONS)
async def test_who_does_not_answer_is_missed(tmp_path, name):
    with pytest.raises(Silenced, match=f"{name}: TimeoutError"):
        async with running(daemon_class(name), tmp_path, TABLES) as daemon:
            daemon.gatekeeper.uids = {b"54321"}


async def _never(*words) -> None:
    await asyncio.Event().wait()


WEDGES = {                  # what is wedged, in which way, and whose honest client is not served
    "nobody is let in any more by imap": ("imap", lambda daemons: setattr(daemons["imap"].caps, "total", 0)),
    "nobody is let in any more by pop3": ("pop3", lambda daemons: setattr(daemons["pop3"].caps, "total", 0)),
    "nobody is let in any more by smtpin": ("smtpin", lambda daemons: setattr(daemons["smtpin"].caps, "total", 0)),
    "every password is wrong": ("imap", lambda daemons: setattr(daemons["auth"].passwords, "verify", lambda *words: False)),
    "nothing is delivered": ("smtpin", lambda daemons: daemons["mailbox"].delivery.stop()),
    "the queue takes nothing over": ("smtpout", lambda daemons: setattr(daemons["queue"].manager, "push", _never)),
    "what is taken is not sent": ("smtpout", lambda daemons: setattr(daemons["smtpout"], "_begin", lambda task: None))}


@pytest.mark.parametrize("what", WEDGES)
async def test_who_is_wedged_is_noticed(tmp_path, what):
    singer, wedge = WEDGES[what]
    with pytest.raises(Silenced, match=f"^{singer}: "):
        async with household(tmp_path) as daemons:
            wedge(daemons)


async def test_a_queue_that_takes_nothing_over(tmp_path):
    with pytest.raises(Silenced, match="queue: TimeoutError"):
        async with running(QueueServer, tmp_path, TABLES) as daemon:
            daemon.manager.push = _never


async def test_a_server_that_takes_no_mail(tmp_path):
    with pytest.raises(Silenced, match="smtpin: "):
        async with smtpin(tmp_path) as server:
            server.queue.refuse = "4.3.1"


class Stumbling(Daemon):
    """Fails inside at every verb of its own."""

    name = "queue"

    @verb
    def stumble(self) -> None:
        """Fail."""
        raise ZeroDivisionError


async def test_who_stumbled_and_stood_up_again_is_noticed(tmp_path):
    with pytest.raises(Silenced, match="failures inside"):
        async with running(Stumbling, tmp_path, TABLES):
            with operator(tmp_path, "queue") as client, pytest.raises(IpcError):
                await client.call("stumble")


async def test_a_traceback_in_the_log_is_noticed(tmp_path):
    with pytest.raises(Silenced, match="traceback"):
        async with running(Stumbling, tmp_path, TABLES) as daemon:
            daemon.log.exception("only logged", ValueError("x"))


async def test_a_resolver_that_finds_nothing():
    with pytest.raises(Silenced, match="resolver: "):
        async with world(deadline=0.2) as hops:
            hops.server.script, hops.server.stream = lambda query, data: [], False


async def test_a_sender_that_sends_nothing():
    async with FakeMx() as mx:
        with pytest.raises(Silenced, match="sender: "):
            async with sending(mx, tls="require") as sender:
                sender.pool.borrow = _never


# No attack is without

LONELY = """
import pytest

async def test_nobody_sings(): assert True

@pytest.mark.still
async def test_nobody_has_to(): assert True
"""


def test_an_attack_after_which_nobody_sang_fails(tmp_path):
    (tmp_path / "test_lonely.py").write_text(LONELY)
    command = [sys.executable, "-m", "pytest", "-p", "tests.attacks.conftest", "-p", "no:cacheprovider", "-c", "setup.cfg", str(tmp_path)]
    done = subprocess.run(command, cwd=conftest.HERE.parents[1], capture_output=True, text=True)
    assert "no canary sang after this attack" in done.stdout and "2 passed, 1 error" in done.stdout, done.stdout + done.stderr


def test_an_attack_that_does_without_is_not_collected():
    items = [SimpleNamespace(path=folder / "test_x.py", nodeid=f"{folder.name}/test_x.py::test", fixturenames=fixtures)
             for folder, fixtures in ((conftest.HERE, ["canaries"]), (conftest.HERE, ["tmp_path"]), (conftest.HERE.parent / "mail", []))]
    conftest.pytest_collection_modifyitems([items[0], items[2]])
    with pytest.raises(pytest.UsageError, match="without a canary: attacks/test_x.py::test$"):
        conftest.pytest_collection_modifyitems(items)
