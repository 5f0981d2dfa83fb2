"""What attacks leave behind: logs that cannot be forged, no secret anywhere, files that nobody else may read, no door to code execution.

Odd words are said to every daemon that strangers reach; then every file of the state folder is looked through.
"""

from __future__ import annotations

import ast
import os
import re
import stat
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fancymail.ipc.message import IpcError
from tests.servers.imap import kit as imap_kit
from tests.servers.pop3 import kit as pop3_kit
from tests.servers.smtpin.kit import connected, smtpin

ROOT = Path(__file__).parents[2]
LINE = re.compile(r'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z [a-z0-9-]+ (debug|info|warning|error) [A-Za-z ]+( [a-z_]+=("(?:[^"\\]|\\.)*"|[^" ]+))*')
FORGERIES = ["\x1b[2J\x1b]0;owned\x07", "a\u202eb", "x\u2028y", "\u0085", "a\x7fb", "=1+1", "%s%n%x", "${jndi:ldap://x}", "id=1 state=delivered",
             "\" level=error", "\\n2026-01-01T00:00:00.000Z queue info forged", "x" * 400, "\ufeff", "\u200b", "\U000e0041", "'; DROP TABLE x;--"]


def log_of(state: Path) -> str:
    return (state / "log" / "fancymail.log").read_text()


def require_honest_lines(text: str) -> None:
    """One line per event, printable, bounded, nothing that moves a cursor or turns a line around."""
    assert text.endswith("\n")
    for line in text.splitlines(keepends=False) if "\u2028" not in text else text.split("\n")[:-1]:
        assert LINE.fullmatch(line) and line.isprintable() and len(line.encode()) <= 2048, line


@pytest.mark.parametrize("word", FORGERIES, ids=ascii)
async def test_smtp_words_in_the_log(tmp_path, word):
    async with smtpin(tmp_path, strict_pipelining=False, auth_without_tls=True) as server:
        async with connected(server) as talk:
            await talk.reply()
            for line in (f"EHLO {word}", f"MAIL FROM:<{word}@x.test> SMTPUTF8", f"RCPT TO:<{word}@us.test>", f"RCPT TO:<v@{word}>",
                         f"VRFY {word}", word):
                await talk.say(line)
        async with connected(server) as talk:
            await talk.hello()
            await talk.bring(f"Subject: {word}\r\nFrom: {word} <a@b.test>\r\nMessage-ID: <{word}>\r\n\r\n{word}")
        quoted = "".join(f"\\{char}" if char in '"\\' else char for char in word)[:60]
        async with connected(server) as talk:                  # a sender that is an address, and is logged
            await talk.hello()
            if (await talk.say(f'MAIL FROM:<"{quoted}"@x.test> SMTPUTF8')).startswith("250"):
                await talk.say("RCPT TO:<bob@us.test>")
                await talk.say("DATA")
                assert (await talk.say("x\r\n.")).startswith("250")
        async with connected(server, "submission") as talk:
            await talk.hello()
            await talk.say("AUTH PLAIN " + b64encode(f"\0{word}\0{word}".encode()).decode())
    require_honest_lines(log_of(tmp_path / "state"))


@pytest.mark.parametrize("word", FORGERIES, ids=ascii)
async def test_login_names_in_the_log(tmp_path, word):
    async with pop3_kit.started(tmp_path) as suite:
        octets = word.encode()
        suite_words = b"USER %b\r\nPASS wrong-%b\r\nAUTH PLAIN %b\r\nQUIT\r\n" % (octets, octets, b64encode(b"\0" + octets + b"\0x"))
        await suite.client(suite.talk, suite_words, True)
    text = log_of(tmp_path)
    require_honest_lines(text)
    assert f"wrong-{word}" not in text


async def test_no_password_and_no_token_in_any_file(tmp_path):
    """Logins that succeed and fail, by every mechanism and protocol; then every file is searched, in plain and in base64."""
    secret, wrong, token = "Sesame-Opens-51", "Wrong-Horse-77", "eyTokenOfNobody99"
    async with AsyncExitStack() as stack:
        suite = await imap_kit.start(tmp_path, stack)
        await suite.auth.call("account-add", "carol@example.test", secret)
        await suite.auth.call("account-password", "carol@example.test", secret)
        for password in (secret, wrong):
            plain = b64encode(f"\0carol@example.test\0{password}".encode()).decode()
            bearer = b64encode(f"n,,\x01auth=Bearer {token}\x01\x01".encode()).decode()
            for line in (f'LOGIN carol@example.test "{password}"', f"AUTHENTICATE PLAIN {plain}", f"AUTHENTICATE OAUTHBEARER {bearer}",
                         f"LOGIN carol@example.test {{{len(password)}+}}\r\n{password}", f"LOGIN {password} {password} {password}", password,
                         f'LOGIN "{password}'):
                client = await suite.connect()
                client.send(f"t {line}\r\n*\r\nx LOGOUT\r\n")
                await client.reader.read()
        with pytest.raises(IpcError):
            await suite.auth.call("auth", "carol", wrong, "192.0.2.9", timeout=5)
        for door in (suite.auth, suite.mailbox):
            await door.call("stats")
            await door.call("metrics")
        await imap_kit.stop(suite)
    forms = [form for word in (secret, wrong, token) for form in (word, *(b64encode(("\0" * at + word).encode()).decode()[4:-4] for at in range(3)))]
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        found = [form for form in forms if form.encode() in path.read_bytes()]
        assert not found, (path, found)


async def test_what_is_made_is_closed_to_others_whatever_the_umask(tmp_path):
    """umask 000, which run_daemon would mend: every maker of files closes them by itself, or its folder is closed."""
    before = os.umask(0)
    try:
        async with pop3_kit.started(tmp_path) as suite:
            await suite.store(b"Subject: x\r\n\r\nx\r\n")
    finally:
        os.umask(before)
    own = [path for path in tmp_path.rglob("*") if path.suffix != ".pub" and not path.is_symlink() and path.parent != tmp_path / "tls"]
    open_to_others = [str(path) for path in own if not path.is_socket() and stat.S_IMODE(path.stat().st_mode) & 0o077
                      and not any(stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 for folder in path.parents if folder.is_relative_to(tmp_path))]
    assert {Path(path).name for path in open_to_others} <= {"accounts.db-shm", "accounts.db-wal"} and len(own) > 20


CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
MODULES = {"pickle", "marshal", "shelve", "yaml", "subprocess", "pty", "code", "xml", "multiprocessing", "webbrowser", "telnetlib", "tarfile",
           "zipfile"}
SYSTEM = {"system", "popen", "execv", "execve", "execvp", "spawnv", "posix_spawn", "fork", "forkpty"}


@pytest.mark.still
def test_no_way_from_octets_to_code():
    """No eval, no pickle, no shell in all the programs; the forks are the supervisor's, the command's own, and a trial before both."""
    found = set()
    for path in (ROOT / "fancymail").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = path.relative_to(ROOT / "fancymail").as_posix()
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                found.add((name, node.func.id))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                found |= {(name, module) for module in modules if module.split(".")[0] in MODULES}
            elif isinstance(node, ast.Attribute) and node.attr in SYSTEM and isinstance(node.value, ast.Name) and node.value.id == "os":
                found.add((name, f"os.{node.attr}"))
    assert found == {("servers/running/supervisor.py", "os.fork"), ("cli/suite.py", "os.fork"), ("servers/containment/standing.py", "os.fork")}


@pytest.mark.parametrize("number", ["1_000", "\u0661", "\uff11", "+1", "0x1", "1e3", "1.0", "", "-0", "9" * 5000, "\u00b2", "1\x00", "nan",
                                    "inf"])
async def test_numbers_are_ascii_digits_everywhere(tmp_path, number):
    async with AsyncExitStack() as stack:
        suite = await imap_kit.start(tmp_path, stack)
        client = await suite.login()
        await client.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        await client.ok("SELECT INBOX")
        for line in (f"FETCH {number} FLAGS", f"SEARCH LARGER {number}", f"FETCH 1 BODY[]<{number}.1>",
                     f"STORE 1 (UNCHANGEDSINCE {number}) FLAGS (x)"):
            client.send(b"n%d " % len(line) + line.encode() + b"\r\nz NOOP\r\n")
            heard = []
            while not heard or not heard[-1].startswith(b"z "):
                heard.append(await client.response())
            tagged = [response for response in heard[:-1] if not response.startswith(b"*")]
            assert not any(response.split(b" ")[1:2] == [b"OK"] for response in tagged), (line, heard)
        for verb in ("retr", "blob"):
            with pytest.raises(IpcError):
                await suite.mailbox.call(verb, "alice", number)
        await imap_kit.stop(suite)
