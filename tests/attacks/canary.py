"""Canaries: an honest client of each kind of daemon, over a connection of its own, after an attack.

conftest.py has `before_end` called for every daemon that a test of this folder starts: the daemon answers at both of its doors, what it is there
for is done for somebody honest within BOUND seconds, it is still the one that was started, and it failed at nothing. What is no daemon (a
resolver, a sender of mail, real processes) calls `sing` itself. Who falls silent raises Silenced, which no attack takes for a refusal.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress

import msgspec
import zmq

from fancymail.base.settings.smtpout import Transport
from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.imap import ImapDaemon
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.pop3 import Pop3Daemon
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.smtpin import SmtpInServer
from fancymail.servers.smtpout import SmtpOutServer
from fancymail.storage.slots import write_slot
from tests.servers.imap import kit as imap_kit
from tests.servers.smtpin import kit as smtpin_kit
from tests.servers.smtpout.fakemx import FakeMx

BOUND = 5.0                         # seconds that an honest client waits at most, for all that it wants
HONEST = "203.0.113.200"            # an address from which nobody attacks
CONTENT = b"Subject: canary\r\n\r\nsings\r\n"

sung: list[str] = []                # who sang in this test
covered: set[tuple] = set()         # (state folder, daemon) of those that another one's song went through


class Silenced(Exception):
    """Somebody honest was not served in time, or what serves is not what it was."""


@asynccontextmanager
async def listening(name: str):
    """Everything within has to succeed in time."""
    try:
        async with asyncio.timeout(BOUND):
            yield
    except Exception as error:
        raise Silenced(f"{name}: {error!r}") from error
    sung.append(name)


async def sing(name: str, song: Awaitable) -> None:
    """Hear one song out."""
    async with listening(name):
        await song


async def before_end(daemon: Daemon, task: asyncio.Task) -> None:
    """A daemon that was under attack is about to be ended by its test: `task` is its life."""
    async with listening(daemon.instance):
        assert not task.done(), "it ended by itself"
        await _answers(daemon)
        for kind, (song, parts) in SONGS.items():
            if isinstance(daemon, kind) and (daemon.paths.state, daemon.name) not in covered and _has_doors(daemon):
                await song(daemon)
                covered.update((daemon.paths.state, name) for name in parts)
        assert not task.done() and not daemon.draining, "it ended by itself"
        _require_unharmed(daemon)


async def _answers(daemon: Daemon) -> None:
    """At the operator's door, and at the daemons' to who has a key."""
    with _doors(daemon, daemon.instance) as (plain,), closing(Client(
            zmq.Context.instance(), daemon.paths.endpoints(daemon.instance)[1], keys=daemon.keys, role="supervisor",
            server_key=daemon.keys.public(daemon.name))) as keyed:
        heard = await asyncio.gather(*(client.call("ping", timeout=BOUND) for client in (plain, keyed)))
    assert heard == [[daemon.instance.encode()]] * 2


@contextmanager
def _doors(daemon: Daemon, *names: str):
    """Operator's doors of daemons beside this one."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Client(zmq.Context.instance(), daemon.paths.endpoints(name)[0], name=name))) for name in names]


def _require_unharmed(daemon: Daemon) -> None:
    """No bug of ours was met on the way: no verb, no task and no session broke, and the log holds no traceback."""
    broken = daemon.server.counters["failures"] + daemon.counters["failures"] + daemon.counters["broken"]
    assert not broken, f"{broken} failures inside"
    daemon.log.flush()
    with suppress(FileNotFoundError):
        assert b" trace=" not in daemon.paths.log.read_bytes(), "a traceback in the log"


def _address(daemon: Daemon, name: str) -> str:
    return f"{name}@{daemon.settings.server.default_domain}"


# Songs: what each daemon is there for

async def _auth(daemon: AuthServer) -> None:
    """Somebody new logs in from a place of no attack."""
    address = _address(daemon, f"canary-{secrets.token_hex(4)}")
    with _doors(daemon, "auth") as (auth,):
        await auth.call("account-add", address, "sings well")
        assert await auth.call("auth", address, "sings well", HONEST) == [address.encode()]
        await auth.call("account-remove", address)


async def _queue(daemon: QueueServer) -> None:
    """A message is taken over, found, and gone when the operator drops it."""
    with _doors(daemon, "queue") as (queue,):
        path = (await queue.call("slot", "incoming"))[0].decode()
        name = path.rpartition("/")[2]
        write_slot(path, Envelope(name, "s@x.test", [Recipient("canary@x.test")], received=1e9), CONTENT)
        await queue.call("push", "incoming", path)
        assert json.loads((await queue.call("show", "incoming", name))[0])["id"] == name
        assert await queue.call("drop", "incoming", name) == [b"1"]


async def _stored(daemon: Daemon, address: str) -> int:
    """Put a message into a mailbox, read it there; its number."""
    with _doors(daemon, "mailbox") as (mailbox,):
        number = int((await mailbox.write_raw("store", address, address, len(CONTENT), content=CONTENT))[0])
        assert (await mailbox.read_raw("retr", address, number))[1].endswith(CONTENT)
    return number


async def _mailbox(daemon: MailboxServer) -> None:
    await _stored(daemon, _address(daemon, "bob"))


async def _pop3(daemon: Pop3Daemon) -> None:
    """bob, whom nobody attacks, logs in and reads."""
    address = _address(daemon, "bob")
    number = await _stored(daemon, address)
    reader, writer = await asyncio.open_connection("127.0.0.1", _port(daemon))
    writer.write(f"USER {address}\r\nPASS {imap_kit.PASSWORD}\r\nRETR {number}\r\nQUIT\r\n".encode())
    heard = await reader.read()
    writer.close()
    assert heard.count(b"\r\n" + CONTENT + b".\r\n") == 1 and heard.count(b"+OK") == 5, heard


async def _imap(daemon: ImapDaemon) -> None:
    """The same by IMAP."""
    address = _address(daemon, "bob")
    number = await _stored(daemon, address)
    client = imap_kit.Client(*await asyncio.open_connection("127.0.0.1", _port(daemon), limit=1 << 20))
    await client.response()
    await client.ok(f'LOGIN {address} "{imap_kit.PASSWORD}"')
    await client.ok("SELECT INBOX")
    assert CONTENT in (await client.ok(f"FETCH {number} BODY.PEEK[]"))[-1]
    client.close()


def _has_doors(daemon: Daemon) -> bool:
    """No front of the mail, or one that is open."""
    return any(listener._doors for listener in getattr(daemon, "listeners", ())) or not hasattr(daemon, "listeners")


def _port(daemon) -> int:
    return next(iter(daemon.listeners[0]._doors.values()))


async def _smtpin(daemon: SmtpInServer) -> None:
    """An honest message is taken and is where it belongs: in the queue of the kit, or all the way in a mailbox."""
    if isinstance(daemon, smtpin_kit.Server):
        before = len(daemon.queue.messages)
        await _brought(daemon, "bob@us.test")
        queue, envelope, content = daemon.queue.messages.pop()
        assert len(daemon.queue.messages) == before and queue == "incoming" and content.endswith(b"\r\n" + CONTENT)
        assert [recipient.address for recipient in envelope.recipients] == ["bob@us.test"]
        return
    address = _address(daemon, "canary")
    with _doors(daemon, "auth", "mailbox") as (auth, mailbox):
        with suppress(IpcError):        # it was here before
            await auth.call("account-add", address)
        before = int((await mailbox.rows("list", address))[0][0])
        await _brought(daemon, address)
        while int((await mailbox.rows("list", address))[0][0]) == before:
            await asyncio.sleep(0.002)
        assert (await mailbox.read_raw("retr", address, before + 1))[1].endswith(b"\r\n" + CONTENT)


async def _brought(daemon: SmtpInServer, address: str) -> None:
    talk = smtpin_kit.Talk(*await asyncio.open_connection("127.0.0.1", _port(daemon)))
    if daemon.settings.smtpin.proxies:
        talk.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")
    await talk.hello()
    assert (await talk.bring(CONTENT.removesuffix(b"\r\n"), "honest@x.test", address)).startswith("250 2.0.0 ")
    talk.close()


async def _smtpout(daemon: SmtpOutServer) -> None:
    """A message arrives at a host that takes everything; the operator has told the way there in the meantime."""
    async with FakeMx() as host:
        own = daemon.settings.smtpout
        ways = own.transports | {"canary.test": Transport(host="127.0.0.1", port=host.port, tls="never")}
        settings = msgspec.structs.replace(daemon.settings, smtpout=msgspec.structs.replace(own, transports=ways))
        daemon.reloaded(settings)
        daemon.settings = settings
        with _doors(daemon, "queue") as (queue,):
            path = (await queue.call("slot", "outgoing"))[0].decode()
            write_slot(path, Envelope(path.rpartition("/")[2], "honest@x.test", [Recipient("c@canary.test")], received=1e9), CONTENT)
            await queue.call("push", "outgoing", path)
            await host.wait_for(1)
        assert host.messages[0].content == CONTENT and host.messages[0].recipients == ["RCPT TO:<c@canary.test>"]


SONGS: dict[type, tuple[Callable, tuple[str, ...]]] = {         # kind: its song (where it has doors open), and the daemons that this goes through
    SmtpOutServer: (_smtpout, ("queue",)), SmtpInServer: (_smtpin, ("auth", "queue", "mailbox")), Pop3Daemon: (_pop3, ("auth", "mailbox")),
    ImapDaemon: (_imap, ("auth", "mailbox")), MailboxServer: (_mailbox, ()), QueueServer: (_queue, ()), AuthServer: (_auth, ())}
