"""An evil daemon: somebody has the key (and the uid) of one of ours, and says every verb to every daemon.

What each role may say is written here by hand, apart from the declarations in the code: a verb that is opened to a role without a word
here fails. Files are tried in tests/servers/containment, from inside a process of each daemon.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack

import pytest
import zmq

from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError
from fancymail.ipc.security import ROLES
from fancymail.ipc.verb import verbs_of
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.running.launch import DAEMONS, daemon_class
from fancymail.storage.slots import write_slot
from tests.servers.imap.kit import PASSWORD
from tests.servers_kit import operator, running

TABLES = {
    "server": {"default-domain": "us.test", "hostname": "mail.us.test"}, "log": {"console": "never"},
    "auth": {"failure-delay": 0.0, "argon2-memory": 64, "argon2-passes": 1, "scram-iterations": 4096},
    "queue": {"queues": {"incoming": {}, "outgoing": {}, "archive": {}}}, "smtpout": {"nameservers": ["127.0.0.1:9"]},
    **{name: {f"listen-{door}": [] for door in closed} | {f"listen-{opened}": ["127.0.0.1:0"]} for name, opened, *closed in (
        ("smtpin", "smtp", "submission", "submissions", "lmtp"), ("pop3", "pop3", "pop3s"), ("imap", "imap", "imaps"))}}

FRONTS = {"smtpin", "pop3", "imap", "web", "webmaild", "gateway"}
READERS = {"pop3", "imap", "webmaild"}
EVERYBODY = {"ping", "help", "subscribe", "unsuscribe", "alert"}
SUPERVISOR = {"stats", "metrics", "reload", "drain"}
MAY = {
    "auth": {**dict.fromkeys(("verify", "resolve", "domains", "changes"), set(ROLES)), "quota": {"mailbox"},
             **dict.fromkeys(("auth", "sasl", "mechanisms", "may-send"), FRONTS)},
    "queue": {**dict.fromkeys(("slot", "push"), {"smtpin", "smtpout", "mailbox"}), "enter": {"smtpin"}, "recover": {"smtpin"},
              **dict.fromkeys(("pop", "take", "consume", "leave", "done", "finish", "result", "settle", "defer", "renew", "resume", "reject"),
                              {"smtpout", "mailbox"})},
    "mailbox": {**dict.fromkeys(("list", "retr", "dele", "maildrop", "lock", "unlock", "blob", "expunge", "usage", "read", "derive"), READERS),
                **dict.fromkeys(("flags", "copy", "move", "expunge-from", "append", "make", "subscribe-name", "claim", "store",
                                 "set-metadata", "set-acl", "folders", "create", "rename", "remove"), READERS - {"pop3"}), "full": {"smtpin"}},
    "smtpout": {"send": {"webmaild"}}, "smtpin": {}, "pop3": {}, "imap": {}}
QUEUES = {"smtpin": ({"incoming", "outgoing"}, set()), "smtpout": ({"incoming", "outgoing"}, {"outgoing"}),
          "mailbox": ({"incoming", "outgoing"}, {"incoming"})}                # role: what it fills, what it takes from


@pytest.fixture
async def house(tmp_path):
    """Every daemon, and a way to speak to each with the key of any role."""
    async with AsyncExitStack() as stack:
        daemons = {name: await stack.enter_async_context(running(daemon_class(name), tmp_path, TABLES)) for name in DAEMONS}
        clients: dict = {}

        def speak(role: str, name: str) -> Client:
            if (role, name) not in clients:
                daemon = daemons[name]
                clients[role, name] = Client(daemon.context, daemon.paths.endpoints(name)[1], keys=daemon.keys, role=role,
                                             server_key=daemon.keys.public(name))
                stack.callback(clients[role, name].close)
            return clients[role, name]
        speak.daemons, speak.state = daemons, tmp_path
        with operator(tmp_path, "auth") as auth, operator(tmp_path, "queue") as queue:
            speak.auth, speak.queue = auth, queue
            await auth.call("domain-add", "us.test")
            for name in ("alice", "bob"):
                await auth.call("account-add", name, PASSWORD)
            yield speak
            assert await auth.call("auth", "bob", PASSWORD, "192.0.2.1") == [b"bob@us.test"]


async def status(client: Client, verb: str, *params) -> str:
    """What a role hears: "ok", or the status of the error."""
    try:
        await client.call(verb, *params, timeout=5)
    except IpcError as error:
        return error.status
    return "ok"


def allowed(role: str, name: str, verb: str) -> bool:
    """By the table above."""
    return verb in EVERYBODY or (role == "supervisor" and verb in SUPERVISOR) or role in MAY[name].get(verb, ())


@pytest.mark.parametrize("name", DAEMONS)
@pytest.mark.parametrize("role", ROLES)
async def test_every_verb_with_every_key(house, role, name):
    """Refused before anything else is looked at, unless the table says so; verbs are said bare, which none of them takes amiss."""
    client = house(role, name)
    for verb in verbs_of(daemon_class(name)).values():
        if verb.name in ("drain", "reload") and role == "supervisor":
            assert verb.allows(role)                    # not said: it would end the daemon
            continue
        for word in (verb.name, *verb.aliases):
            answer = await status(client, word)
            assert (answer != "5.7.1") == allowed(role, name, verb.name), (role, word, answer)


@pytest.mark.still
def test_the_table_knows_every_verb():
    """A verb in the table that no daemon has is a mistake of the table."""
    for name, verbs in MAY.items():
        assert set(verbs) <= set(verbs_of(daemon_class(name)))


async def pushed(house, queue: str) -> str:
    """A message of somebody else's that waits in a queue."""
    path = (await house.queue.call("slot", queue))[0].decode()
    write_slot(path, Envelope(path.rpartition("/")[2], "s@x.test", [Recipient("bob@us.test")], received=1e9), b"Subject: private\r\n\r\nx\r\n")
    await house.queue.call("hold", queue, "all")
    await house.queue.call("push", queue, path)
    return path


@pytest.mark.parametrize("queue", ["incoming", "outgoing", "archive"])
@pytest.mark.parametrize("role", QUEUES)
async def test_a_role_has_its_queues_and_no_other(house, role, queue):
    fills, takes = QUEUES[role]
    client, path = house(role, "queue"), await pushed(house, "archive")
    name = path.rpartition("/")[2]
    for verb, params in (("slot", ()), ("push", (name,))):
        assert (await status(client, verb, queue, *params) != "5.7.1") == (queue in fills), verb
    for verb, params in (("pop", ()), ("take", (1,)), ("consume", (1, 0)), ("leave", ()), ("done", (name,)),
                         ("finish", (f'["{name}"]',)), ("result", (name, "[]")), ("settle", (name, "[]")),
                         ("defer", (name, 1)), ("renew", (name,)),
                         ("reject", (name, "x")), ("resume", ())):
        assert (await status(client, verb, queue, *params) != "5.7.1") == (queue in takes), verb
    assert await house.queue.call("show", "archive", name)         # nothing of that touched it


@pytest.mark.parametrize("path", [
    "../../etc/passwd", "/etc/passwd", "../keys/auth.key", "incoming/../../accounts.db", "../archive/{name}", "{state}/queues/archive/{name}",
    "{state}/queues/incoming/../archive/{name}", "{state}/queues/incoming//{name}", "{state}/queues/incoming/./{name}", "{state}/accounts.db",
    "{state}/queues/incoming/{upper}", "{name}/", "{name}\u2028", " {name}", "./{name}", "a" * 26 + "b", "", "%2e%2e%2f{name}", "file://{name}",
    "{state}/queues/incoming", "{state}/queues/incoming/", "{state}/queues/dead/{name}", "-{name}", "\\{name}", "~/{name}"])
@pytest.mark.parametrize("verb", ["push", "done", "reject"])
async def test_file_names_are_slots_of_that_queue_or_nothing(house, verb, path):
    role = "smtpin" if verb == "push" else "mailbox"
    name = (await pushed(house, "archive")).rpartition("/")[2]
    said = path.format(name=name, state=house.state, upper=name.upper())
    assert await status(house(role, "queue"), verb, "incoming", said, *(["x"] if verb == "reject" else [])) in ("5.5.4", "5.5.0", "4.3.0")
    assert b'"archive"' in (await house.queue.call("show", "archive", name))[0].replace(b" ", b"")


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo", "folder", "device-like socket", "symlink to a slot", "no file",
                                  "empty", "cut", "not ours"])
async def test_what_is_planted_under_a_slots_name(house, kind, tmp_path):
    """The name was honestly given; what lies there is no message, or another's."""
    client, other = house("smtpin", "queue"), await pushed(house, "archive")
    path = (await client.call("slot", "incoming"))[0].decode()
    if os.path.lexists(path):
        os.unlink(path)
    secret = tmp_path / "keys" / "auth.key"
    if kind == "symlink":
        os.symlink(secret, path)
    elif kind == "hardlink":
        os.link(other, path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "device-like socket":
        with socket.socket(socket.AF_UNIX) as planted:
            here = os.getcwd()
            os.chdir(os.path.dirname(path))
            try:
                planted.bind(os.path.basename(path))
            finally:
                os.chdir(here)
    elif kind == "symlink to a slot":
        os.symlink(other, path)
    elif kind in ("empty", "cut"):
        with open(other, "rb") as slot, open(path, "wb") as file:
            file.write(slot.read()[:-20] if kind == "cut" else b"")
    elif kind == "not ours":
        path = other.replace("/archive/", "/incoming/")
    assert await status(client, "push", "incoming", path) in ("5.6.0", "5.5.4", "4.3.0")
    rows = (await house.queue.rows("messages", "incoming"))[1]
    assert not rows, "something of another's became a message"
    assert secret.read_bytes() and os.path.getsize(other) > 100


async def test_an_accepted_message_cannot_be_changed_unseen(house):
    """smtpin still knows the name of what it pushed: what it writes there later is found out, and no other message suffers."""
    smtpin, mailbox, consumer = house("smtpin", "queue"), house("mailbox", "queue"), house.daemons["mailbox"]
    path = (await smtpin.call("slot", "incoming"))[0].decode()
    envelope = Envelope(path.rpartition("/")[2], "s@x.test", [Recipient("bob@us.test")], received=1e9)
    consumer.delivery.stop()
    write_slot(path, envelope, b"Subject: honest\r\n\r\nx\r\n")
    await house.queue.call("push", "archive", (await other_slot(house, "archive")))
    await smtpin.call("push", "incoming", path)
    with open(path, "r+b") as file:
        file.seek(70)
        file.write(b"EVIL")
    assert await status(mailbox, "reject", "incoming", path, "content differs") == "ok"
    rows = (await house.queue.rows("messages", "incoming"))[1]
    assert [row.text(1) for row in rows] == ["corrupt"]
    await asyncio.wait({consumer.consumer})
    consumer.delivery.stopped = False                   # it takes again, for who comes after
    consumer.spawn(consumer.delivery.run(), "delivery")


async def other_slot(house, queue: str) -> str:
    path = (await house.queue.call("slot", queue))[0].decode()
    write_slot(path, Envelope(path.rpartition("/")[2], "s@x.test", [Recipient("bob@us.test")], received=1e9), b"Subject: other\r\n\r\nx\r\n")
    return path


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"supervisor"}))
async def test_no_answer_holds_a_secret(house, role):
    """All that a role may hear of auth, in one pile: no hash, no key, no password."""
    heard = []
    for verb, params in (("verify", ("alice",)), ("resolve", ("alice@us.test",)), ("domains", ()), ("changes", ("0",)), ("quota", ("alice",)),
                         ("help", ()), ("account-show", ("alice",)), ("mechanisms", ("192.0.2.1", "1", "1"))):
        try:
            heard += await house(role, "auth").call(verb, *params, timeout=5)
        except IpcError as error:
            heard.append(error.text.encode())
    pile = b" ".join(heard)
    assert not any(word in pile for word in (b"$argon2", PASSWORD.encode(), b"salt", b"stored_key", b"server_key"))


async def test_a_key_of_nobody_is_refused_by_all(house):
    public, secret = zmq.curve_keypair()
    for name, daemon in house.daemons.items():
        with daemon.context.socket(zmq.DEALER) as stranger:
            stranger.setsockopt(zmq.CURVE_SERVERKEY, daemon.keys.public(name))
            stranger.setsockopt(zmq.CURVE_PUBLICKEY, public)
            stranger.setsockopt(zmq.CURVE_SECRETKEY, secret)
            stranger.setsockopt(zmq.LINGER, 0)
            refused = daemon.gatekeeper.refused
            stranger.connect(daemon.paths.endpoints(name)[1])
            stranger.send_multipart([b"", b"t", b"ping"])
            await house("smtpin", name).call("ping")
            async with asyncio.timeout(5):
                while daemon.gatekeeper.refused == refused:
                    await asyncio.sleep(0.01)
            assert not stranger.poll(0), name
