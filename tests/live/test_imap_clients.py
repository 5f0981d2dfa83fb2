"""Programs that read mail where it lies, and that we did not write: imaplib, imapclient, aioimaplib, curl, fetchmail, getmail, neomutt, imapflow.

Each does what its users do with it, over TLS that it verifies where it can.
"""

from __future__ import annotations

import asyncio
import imaplib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.conftest import needs
from tests.live.suite import ALICE, BOB, POSTMASTER
from tests.live.test_foreign_clients import run

LETTER = b"From: Bob <bob@x.test>\r\nTo: alice@example.test\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 22:00:00 +0000\r\n\r\nhello from %s\r\n"


def letter(subject: str) -> bytes:
    """Return a small message."""
    return LETTER % (subject.encode(), subject.encode())


@pytest.fixture
def folder(suite, request):
    """Return the name of a mailbox of alice's with three messages, of this test alone."""
    name = re.sub(r"\W", "-", request.node.name)
    with suite.imap() as wire:
        wire.ok(f"CREATE {name}")
        for number in (1, 2, 3):
            wire.append(name, letter(f"{name} {number}"))
    return name


def box_of(suite, user: str, name: str = "INBOX") -> list[bytes]:
    """Return the FETCH responses of all messages of a mailbox: flags and subjects."""
    with suite.imap(user) as wire:
        return wire.ok("NOOP") and wire.select(name, "EXAMINE") and wire.ask("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").of("FETCH")


# -- Python's ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["TLS", "STARTTLS", "plain"])
def test_imaplib(suite, folder, how):
    if how == "TLS":
        client = imaplib.IMAP4_SSL("localhost", suite.ports["imaps"], ssl_context=suite.client_tls(), timeout=30)
    else:
        client = imaplib.IMAP4("localhost", suite.ports["imap"], timeout=30)
        if how == "STARTTLS":
            client.starttls(suite.client_tls())
    with client:
        assert client.login(ALICE, suite.accounts[ALICE])[0] == "OK"
        assert client.select(folder) == ("OK", [b"3"])
        assert client.append(folder, r"(\Flagged)", imaplib.Time2Internaldate(1_700_000_000), letter("appended"))[0] == "OK"
        assert client.noop()[0] == "OK"
        assert client.search(None, "FLAGGED", "SUBJECT", "appended") == ("OK", [b"4"])
        assert b"hello from appended" in client.fetch("4", "(RFC822)")[1][0][1]
        assert b"14-Nov-2023 22:13:20 +0000" in client.fetch("4", "(INTERNALDATE)")[1][0]
        assert client.store("2", "+FLAGS", r"(\Deleted)")[0] == "OK"
        assert client.expunge() == ("OK", [b"2"])
        assert client.sort("(REVERSE SUBJECT)", "UTF-8", "ALL")[1] == [b"2 1 3"]
        assert client.thread("REFERENCES", "UTF-8", "ALL")[0] == "OK"
        assert client.uid("COPY", "1:*", "Drafts")[0] == "OK"
        assert client.close()[0] == "OK"
        assert client.getquotaroot("INBOX")[0] == "OK"


@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2-unknown"])
def test_imaplib_authenticates_or_is_refused(suite, mechanism):
    with imaplib.IMAP4_SSL("localhost", suite.ports["imaps"], ssl_context=suite.client_tls(), timeout=30) as client:
        if mechanism == "PLAIN":
            assert client.authenticate("PLAIN", lambda _: f"\0{BOB}\0{suite.accounts[BOB]}".encode())[0] == "OK"
        else:
            with pytest.raises(imaplib.IMAP4.error):
                client.authenticate("X-NONSENSE", lambda _: b"x")
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                client.login(BOB, "wrong")


def test_imapclient(suite, folder):
    imapclient = pytest.importorskip("imapclient", reason="imapclient is not installed")
    with imapclient.IMAPClient("localhost", suite.ports["imaps"], ssl_context=suite.client_tls(), timeout=30) as client:
        client.login(ALICE, suite.accounts[ALICE])
        assert client.select_folder(folder)[b"EXISTS"] == 3
        client.create_folder(folder + "/Übung & mehr")
        assert folder + "/Übung & mehr" in [name for _, _, name in client.list_folders()]
        client.copy([1, 3], folder + "/Übung & mehr")
        assert client.folder_status(folder + "/Übung & mehr", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 2, b"UNSEEN": 2}
        found = client.fetch([1, 2], ["ENVELOPE", "BODYSTRUCTURE", "FLAGS"])
        assert found[1][b"ENVELOPE"].subject == f"{folder} 1".encode() and found[1][b"ENVELOPE"].from_[0].mailbox == b"bob"
        client.move([2], "Trash")
        assert sorted(client.search()) == [1, 3]
        assert client.add_flags([1], [imapclient.SEEN]) and b"\\Seen" in client.get_flags([1])[1]
        client.idle()
        with suite.imap() as other:
            other.append(folder, letter("pushed"))
        assert (3, b"EXISTS") in client.idle_check(timeout=20)
        client.idle_done()
        client.delete_folder(folder + "/Übung & mehr")


# What imapclient's own tests get wrong at every server, and one where RFC 9051 6.3.7 leaves the choice: a name without a mailbox may be subscribed.
LIVETEST_FAILS = {"test_small_connection_timeout_fail", "test_small_read_timeout_fail", "test_fetch", "test_getacl", "test_move",
                  "test_subscriptions"}


def test_imapclient_s_own_tests(suite, tmp_path):
    pytest.importorskip("imapclient", reason="imapclient is not installed")
    (tmp_path / "ini").write_text(f"[DEFAULT]\nhost = localhost\nport = {suite.ports['imaps']}\nusername = {POSTMASTER}\n"
                                  f"password = {suite.accounts[POSTMASTER]}\nssl = true\nssl_ca_file = {suite.ca}\ntimeout = 20\n")
    done = subprocess.run([sys.executable, "-m", "imapclient.livetest", tmp_path / "ini", "-v"], capture_output=True, text=True, timeout=100)
    assert (ran := re.search(r"Ran (\d+) tests", done.stderr)) and int(ran[1]) >= 50, done.stderr[-2000:]
    failed = set(re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE))
    assert failed <= LIVETEST_FAILS, done.stderr[-6000:]


async def test_aioimaplib(suite, folder):
    aioimaplib = pytest.importorskip("aioimaplib", reason="aioimaplib is not installed")
    client = aioimaplib.IMAP4_SSL("localhost", suite.ports["imaps"], ssl_context=suite.client_tls(), timeout=30)
    await client.wait_hello_from_server()
    assert (await client.login(ALICE, suite.accounts[ALICE])).result == "OK"
    assert (await client.select(folder)).result == "OK"
    idle = await client.idle_start(timeout=30)
    await asyncio.to_thread(_append, suite, folder)
    while b"4 EXISTS" not in (told := await client.wait_server_push(20)):
        assert told
    client.idle_done()
    await asyncio.wait_for(idle, 20)
    answers = await asyncio.gather(client.fetch("1", "(UID FLAGS)"), client.uid("fetch", "1:4", "(RFC822.SIZE)"))
    assert [answer.result for answer in answers] == ["OK", "OK"]
    await client.logout()


def _append(suite, folder: str) -> None:
    with suite.imap() as other:
        other.append(folder, letter("pushed"))


# -- programs ------------------------------------------------------------------------------------------------------------------


@needs("curl")
def test_curl(suite, folder, tmp_path):
    base = f"imaps://localhost:{suite.ports['imaps']}/"
    login = ["--user", f"{ALICE}:{suite.accounts[ALICE]}", "--cacert", suite.ca]
    assert f"{folder} 2" in run("curl", "-sS", f"{base}{folder};MAILINDEX=2", *login)
    assert run("curl", "-sS", f"{base}{folder};MAILINDEX=2;SECTION=HEADER.FIELDS%20(SUBJECT)", *login).strip() == f"Subject: {folder} 2"
    assert "* SEARCH 1 3" in run("curl", "-sS", f"{base}{folder}?UNSEEN", *login)
    (tmp_path / "mail").write_bytes(letter("by curl"))
    run("curl", "-sS", "-T", tmp_path / "mail", f"{base}{folder}", *login)
    assert "* STATUS" in run("curl", "-sS", base, "-X", f"STATUS {folder} (MESSAGES)", *login)
    assert f"{folder}" in run("curl", "-sS", base, *login)
    assert "by curl" in run("curl", "-sS", f"imap://localhost:{suite.ports['imap']}/{folder};UID=4", "--ssl-reqd", *login)
    assert run("curl", "-sS", f"{base}{folder};UID=99", *login, code=78)


@needs("fetchmail")
def test_fetchmail(suite, tmp_path):
    with suite.imap(BOB) as wire:
        for number in range(3):
            wire.append("INBOX", letter(f"fetch {number}"))
    box = tmp_path / "box"
    (tmp_path / "rc").write_text(
        f'poll localhost protocol imap port {suite.ports["imaps"]} user "{BOB}" password "{suite.accounts[BOB]}"\n'
        f'  ssl sslcertck sslcertfile "{suite.ca}" mda "cat >> {box}; echo >> {box}"\n')
    (tmp_path / "rc").chmod(0o600)
    run("fetchmail", "-f", tmp_path / "rc", "--nodetach", "--nosyslog", "-i", tmp_path / "ids", "--pidfile", tmp_path / "pid")
    assert all(f"Subject: fetch {number}" in box.read_text() for number in range(3))
    assert box_of(suite, BOB) == []


@needs("getmail")
def test_getmail(suite, folder, tmp_path):
    (tmp_path / "rc").write_text(
        f"[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = localhost\nport = {suite.ports['imaps']}\nusername = {ALICE}\n"
        f"password = {suite.accounts[ALICE]}\nca_certs = {suite.ca}\nmailboxes = ('{folder}',)\n[destination]\ntype = MDA_external\n"
        f"path = /usr/bin/tee\narguments = ('-a', '{tmp_path / 'box'}')\nallow_root_commands = true\n"
        "[options]\nread_all = false\ndelete = false\n")
    assert "3 messages (" in run("getmail", "-g", tmp_path, "-r", tmp_path / "rc")
    assert f"{folder} 3" in (tmp_path / "box").read_text()
    assert "0 messages (0 bytes) retrieved" in run("getmail", "-g", tmp_path, "-r", tmp_path / "rc")


@needs("neomutt")
@needs("script")
def test_neomutt_reads_flags_and_saves(suite, folder, tmp_path):
    target = f"{folder}-saved"
    (tmp_path / "muttrc").write_text(
        f'set spoolfile="imaps://localhost:{suite.ports["imaps"]}/{folder}"\nset folder="imaps://localhost:{suite.ports["imaps"]}/"\n'
        f'set imap_user="{ALICE}"\nset imap_pass="{suite.accounts[ALICE]}"\nset ssl_ca_certificates_file="{suite.ca}"\nset ssl_force_tls\n'
        'unset ssl_usesystemcerts\nset quit=yes\nset delete=yes\nset confirmcreate=no\nset confirmappend=no\nset move=no\nset mark_old=no\n'
        'set header_cache=""\nset resolve=no\nset wait_key=no\nset sleep_time=0\nset timeout=5\n')
    keys = f"<first-entry><flag-message><next-entry><save-message><kill-line>={target}<enter><next-entry><delete-message><sync-mailbox><quit>"
    command = f"neomutt -n -F {tmp_path}/muttrc -e 'push \"{keys}\"'"
    environment = os.environ | {"TERM": "xterm", "HOME": str(tmp_path), "LINES": "40", "COLUMNS": "120"}
    done = subprocess.run(["script", "-qec", command, "/dev/null"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    left = box_of(suite, ALICE, folder)
    assert len(left) == 1 and rb"\Flagged" in left[0], (left, done.stdout[-3000:])
    saved = box_of(suite, ALICE, target)
    assert len(saved) == 1 and f"{folder} 2".encode() in saved[0]


@pytest.fixture(scope="session")
def imapflow(pytestconfig):
    """Return an environment in which node finds imapflow; skips where node or npm's registry is missing."""
    if subprocess.run(["sh", "-c", "command -v node npm"], capture_output=True).returncode:
        pytest.skip("node and npm are not installed")
    folder = Path(pytestconfig.cache.mkdir("imapflow"))
    if not (folder / "node_modules" / "imapflow").is_dir():
        done = subprocess.run(["npm", "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "imapflow@1.0.190"],
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"imapflow cannot be installed: {done.stderr[-200:]}")
    return os.environ | {"NODE_PATH": str(folder / "node_modules")}


FLOW = """
const { ImapFlow } = require('imapflow');
const [port, user, pass, ca, folder] = process.argv.slice(1);
(async () => {
  const options = { host: 'localhost', port: +port, secure: true, tls: { ca: require('fs').readFileSync(ca) }, auth: { user, pass },
                    logger: false, qresync: true };
  const client = new ImapFlow(options);
  const seen = [];
  client.on('exists', told => seen.push(['exists', told.path, told.count]));
  client.on('expunge', told => seen.push(['expunge', told.path, told.seq || told.uid]));
  client.on('flags', told => seen.push(['flags', told.path, [...told.flags].sort()]));
  const until = async what => {
    for (let i = 0; i < 400 && !what(); i++) await new Promise(done => setTimeout(done, 25));
    if (!what()) throw 'never';
  };
  await client.connect();
  const listed = await client.list({ statusQuery: { messages: true } });
  const out = { enabled: [...client.enabled], folders: listed.map(box => [box.path, box.specialUse, box.status]) };
  const lock = await client.getMailboxLock(folder);
  out.exists = client.mailbox.exists;
  out.fetched = [];
  for await (const message of client.fetch('1:*', { uid: true, flags: true, envelope: true, bodyStructure: true, threadId: true }))
    out.fetched.push([message.seq, message.uid, message.envelope.subject, message.bodyStructure.type]);
  out.appended = await client.append(folder, 'Subject: from node\\r\\n\\r\\nGr\\u00fc\\u00dfe\\r\\n', ['\\\\Seen']);
  out.found = await client.search({ subject: 'from node' }, { uid: true });
  out.flagged = await client.messageFlagsAdd('1', ['$Flow']);
  out.moved = await client.messageMove('2', 'Trash');
  out.text = (await client.fetchOne(String(out.found[0]), { source: true }, { uid: true })).source.toString();
  const other = new ImapFlow(options);
  await other.connect();
  const idle = client.idle();
  await other.append(folder, 'Subject: pushed\\r\\n\\r\\n');
  await until(() => seen.some(told => told[0] == 'exists' && told[2] == 4));
  await other.mailboxOpen(folder);
  await other.messageDelete('1');
  await until(() => seen.some(told => told[0] == 'expunge'));
  out.seen = seen;
  lock.release();
  await other.logout(); await client.logout();
  console.log(JSON.stringify(out, (key, value) => typeof value == 'bigint' ? Number(value) : value));
})().catch(error => { console.error(error); process.exit(1); });
"""


def test_imapflow(suite, folder, imapflow):
    done = subprocess.run(["node", "-e", FLOW, str(suite.ports["imaps"]), ALICE, suite.accounts[ALICE], suite.ca, folder],
                          capture_output=True, text=True, timeout=60, env=imapflow)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert "QRESYNC" in out["enabled"] and out["exists"] == 3
    assert ["INBOX", "\\Inbox"] in [row[:2] for row in out["folders"]] and ["Sent", "\\Sent"] in [row[:2] for row in out["folders"]]
    assert [row[1:] for row in out["fetched"]] == [[number, f"{folder} {number}", "text/plain"] for number in (1, 2, 3)]
    assert out["appended"]["uid"] == 4 and out["found"] == [4] and out["flagged"] is True
    assert out["text"].endswith("Grüße\r\n")


def test_a_program_that_speaks_http(suite):
    """A browser's request is no mail: it is hung up on before it does anything."""
    began = time.monotonic()
    done = subprocess.run(["curl", "-sS", "--http0.9", "-m", "20", "-d", "a1 LOGIN x y\r\n" * 50, f"http://localhost:{suite.ports['imap']}/"],
                          capture_output=True, text=True)
    assert "a1 OK" not in done.stdout and time.monotonic() - began < 19
