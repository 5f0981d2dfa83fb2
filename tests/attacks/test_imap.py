"""Attacks on fm-imap: against the live daemons."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

import pytest

from tests.attacks.test_pop3 import resident
from tests.servers.imap import kit

BEFORE = b"Subject: before\r\n\r\nlong ago\r\n"
LETTER = b"Subject: x\r\nFrom: a@x.test\r\n\r\ntext\r\n"


@pytest.fixture
async def suite(tmp_path):
    async with AsyncExitStack() as stack:
        suite = await kit.start(tmp_path, stack)
        await suite.deliver(BEFORE, "bob@example.test")
        yield suite
        bob = await suite.login("bob@example.test")
        await bob.ok("SELECT INBOX")
        assert BEFORE in (await bob.ok("FETCH 1 BODY.PEEK[]"))[-1]         # what was there before the attack still is
        await kit.stop(suite)


async def selected(suite, *letters: bytes, user: str = "alice@example.test") -> kit.Client:
    """A session of alice with these messages in the INBOX that it has selected."""
    client = await suite.login(user)
    for letter in letters:
        assert (await client.append("INBOX", letter)).startswith(b"OK")
    await client.ok("SELECT INBOX")
    return client


LINES = [
    b"SEARCH " + b"NOT " * 10_000 + b"SEEN", b"SEARCH " + b"(" * 10_000, b"SEARCH " + b"SEEN " * 10_000 + b"SEEN",
    b"FETCH 1 (" + b"UID " * 10_000 + b"UID)",
    b"FETCH 1 BODY[" + b"1." * 1000 + b"1]", b"FETCH 1 BODY[HEADER.FIELDS (" + b"a " * 10_000 + b"a)]", b"STORE 1 FLAGS (" + b"x" * 5000 + b")",
    b"NOOP (" * 9000, b"CREATE " + b"a/" * 1000 + b"a", b"CREATE &AAA-", b"CREATE \"a\x01b\"", b"LIST \"\" " + b"*%" * 30_000, b"SELECT {70000}",
    b"COPY 1 &", b"FETCH 4294967296 FLAGS", b"UID FETCH 1:4294967295 NONSENSE", b"STORE 1 +FLAGS (\\Recent)", b"SEARCH CHARSET X-NO ALL",
    b"SEARCH MODSEQ -1", b"SELECT INBOX (QRESYNC (1 1))", b"APPEND INBOX {0}", b"APPEND INBOX {4294967296}", b"APPEND INBOX {-1}",
    b"APPEND INBOX {1e9}",
    b'APPEND INBOX "99-Foo-2020 00:00:00 +0000" {3}', b"SETACL INBOX bob zzz", b"\0\0\0", b"x" * 70_000]


@pytest.mark.parametrize("line", LINES, ids=[line[:24].decode("ascii", "replace") for line in LINES])
async def test_no_command(suite, line):
    client = await selected(suite, LETTER)
    begin = time.monotonic()
    assert (await client.ask(line))[-1].split()[0] in (b"BAD", b"NO")
    assert time.monotonic() - begin < 1
    assert await client.ok("NOOP") == []


@pytest.mark.parametrize("words, last", [
    (b"a SELECT {999999999999+}\r\n", b"* BYE"), (b"a APPEND INBOX {99999999999+}\r\n", b"* BYE"), (b"a NOOP " + b"x" * 1_300_000, b"* BYE"),
    (b"\r\n" * 30, b"* BYE"), (b"a IDLE\r\nDONE\r\nDONE\r\nb LOGOUT\r\n", b"b OK"), (b"a IDLE\r\nb STARTTLS\r\nc LOGOUT\r\n", b"c OK"),
    (b"a IDLE\r\n{99999999999+}\r\n", b"* BYE")])
async def test_what_ends_a_session(suite, words, last):
    client = await selected(suite)
    client.send(words)
    heard = []
    with pytest.raises(EOFError):
        while True:
            heard.append(await client.response())
    assert heard[-1].startswith(last)


async def test_plain_text_behind_starttls(suite):
    client = await suite.connect()
    client.send(b'a STARTTLS\r\nb LOGIN alice@example.test "correct horse"\r\n')
    assert (await client.response()).startswith(b"a BAD")
    assert (await client.response()).startswith(b"* BYE")


async def test_the_tree_of_mailboxes_stays_whole(suite):
    client = await suite.login()
    for name in ("Tree", "Tree/Branch", "Tree/Branch/Leaf", "Other"):
        await client.ok(f"CREATE {name}")
    before = sorted(await client.ok('LIST "" *'))
    for line in ("RENAME Tree Tree/Branch/New", "RENAME Tree Other", "RENAME Tree INBOX", "RENAME Nothing New", "DELETE INBOX", "DELETE Nothing",
                 "CREATE INBOX", "CREATE inbox", "CREATE Tree", "CREATE /", 'CREATE "a%b"', "CREATE ../x"):
        assert (await client.ask(line))[-1].startswith(b"NO"), line
    assert sorted(await client.ok('LIST "" *')) == before


async def test_patterns_that_want_to_backtrack(suite):
    client = await suite.login()
    for number in range(60):
        client.start(f"CREATE {'a' * 40}/{number}/{'a' * 60}")
    for number in range(60):
        await client.finish(b"t%d" % (number + 2))
    begin = time.monotonic()
    await client.ok('LIST "" ' + "*a%" * 60 + "b")
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("tail", [b"{40+}\r\n" + LETTER[:5], b"{5+}\r\nabcde {40+}\r\nabc", b"~{9+}\r\nab", b"{5+}\r\nabcde"])
async def test_half_a_message_is_none(suite, tail):
    client = await suite.login()
    client.send(b"a APPEND INBOX " + tail)
    client.close()
    watcher = await selected(suite)
    assert (await watcher.ok("STATUS INBOX (MESSAGES)"))[-1].endswith(b"(MESSAGES 0)")
    folder = suite.state / "mail" / "incoming"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("words", [
    b"{3+}\r\nabc {3+}\r\na\0c", b"{3+}\r\nabc {0+}\r\n", b"{3+}\r\nabc (\\Nonsense) {3+}\r\nabc", b"{3+}\r\nabc {3+}\r\nabc nonsense",
    b'{3+}\r\nabc CATENATE (URL "/INBOX/;UID=9")'])
async def test_one_bad_message_spoils_them_all(suite, words):
    client = await selected(suite)
    assert (await client.ask(b"APPEND INBOX " + words))[-1].split()[0] in (b"BAD", b"NO")
    assert await client.ok("NOOP") == []
    assert (await client.ok("STATUS INBOX (MESSAGES)"))[-1].endswith(b"(MESSAGES 0)")


async def test_a_mailbox_copied_and_moved_into_itself(suite):
    client = await selected(suite, LETTER, LETTER)
    assert any(response == b"* 4 EXISTS" for response in await client.ok("COPY 1:* INBOX"))
    await client.ask("MOVE 1:* INBOX")
    (status,) = [response for response in await client.ok("STATUS INBOX (MESSAGES)") if response.startswith(b"* STATUS")]
    assert status.endswith(b"(MESSAGES 4)")
    assert len([response for response in await client.ok("FETCH 1:* RFC822.SIZE") if b"FETCH" in response]) == 4


@pytest.mark.parametrize("name", ["Other Users/bob@example.test/INBOX", "bob@example.test/INBOX", "../bob@example.test/INBOX",
                                  "Other Users/bob@example.test", "/INBOX", "#shared/bob", "INBOX/../../bob"])
async def test_nobody_reads_the_mail_of_others(suite, name):
    client = await suite.login()
    for line in (f'SELECT "{name}"', f'STATUS "{name}" (MESSAGES)', f'APPEND "{name}" {{3+}}\r\nabc', f'GETACL "{name}"',
                 f'GETMETADATA "{name}" /private/x',
                 f'APPEND INBOX CATENATE (URL "/{name}/;UID=1")', f'DELETE "{name}"', f'RENAME "{name}" x',
                 f'SETACL "{name}" alice@example.test lrs'):
        assert (await client.ask(line))[-1].split()[0] in (b"NO", b"BAD"), line
    assert b"bob" not in b"".join(await client.ok('LIST "" *'))


async def test_nothing_said_by_others_breaks_a_response(suite):
    nasty = (b'Subject: a"b\\c)\r\n FLAGS (x)\r\nFrom: "q\\"uote\\\\" <a"b@x.test>\r\nMessage-ID: <a"b)c@x.test>\r\n'
             b'To: (((\r\nIn-Reply-To: =?utf-8?q?=0D=0A*_1_EXPUNGE?=\r\n'
             b'Content-Type: text/plain; name="a\\"b)c"; charset=x)y\r\n'
             b'Content-Disposition: attachment; filename*=utf-8\'\'%0d%0a*%20BYE\r\n\r\n* BYE\r\n')
    client = await selected(suite, nasty)
    for items in ("ENVELOPE", "BODYSTRUCTURE", "(ENVELOPE BODYSTRUCTURE PREVIEW)", "BODY[HEADER.FIELDS (SUBJECT FROM)]", "BODY.PEEK[]"):
        responses = await client.ok(f"FETCH 1 {items}")
        assert {response[:9] for response in responses} == {b"* 1 FETCH"}
        assert all(balanced(response) for response in responses)
    await client.ok('CREATE "a \\"b\\" (c) {5}"')
    assert any(response.endswith(b'"a \\"b\\" (c) {5}"') for response in await client.ok('LIST "" *'))


def balanced(response: bytes) -> bool:
    """Whether the parentheses of a response outside of its strings are in pairs."""
    depth, at = 0, 0
    while at < len(response):
        char = response[at:at + 1]
        if char == b'"':
            at += 1
            while response[at:at + 1] != b'"':
                if at >= len(response):             # a string without an end
                    return False
                at += 2 if response[at:at + 1] == b"\\" else 1
        elif char == b"{":
            end = response.index(b"}", at)
            at = end + 2 + int(response[at + 1:end])
        elif char == b"[" and b"BODY" in response[at - 6:at]:
            at = response.index(b"]", at)
        depth += (char == b"(") - (char == b")")
        at += 1
    return depth == 0


BOMBS = {
    "nested multiparts": b"Subject: x\r\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000)) + b"\r\nx",
    "a boundary within itself": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + (
        b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 2000),
    "messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    "many parts": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 20_000,
    "many addresses": b"To: " + b"a@x.test, " * 50_000 + b"b@x.test\r\n\r\n",
    "many parameters": b"Content-Type: text/plain" + b"".join(b"; a*%d*=x" % n for n in range(20_000)) + b"\r\n\r\n",
    "many fields": b"X: y\r\n" * 50_000 + b"\r\n", "a long field": b"Subject: " + b"=?utf-8?q?x?= " * 30_000 + b"\r\n\r\n",
    "groups without end": b"From: " + b"g:" * 20_000 + b"\r\n\r\n", "comments": b"From: " + b"(" * 50_000 + b"\r\n\r\n",
    "references": b"References: " + b"<a@b> " * 50_000 + b"\r\n\r\n", "no header at all": b"\r\n" * 50_000, "octets": bytes(range(1, 256)) * 400,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_bombs(suite, bomb):
    client = await selected(suite)
    begin = time.monotonic()
    assert (await client.append("INBOX", bomb)).startswith(b"OK")
    for command in ("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY PREVIEW RFC822.SIZE)", "FETCH 1 BODY.PEEK[1.1.1.1]",
                    "FETCH 1 BODY.PEEK[HEADER.FIELDS (TO)]",
                    "SEARCH TEXT nothing FROM x SUBJECT y", "THREAD REFERENCES UTF-8 ALL", "SORT (SUBJECT FROM TO) UTF-8 ALL"):
        assert all(balanced(response) for response in await client.ok(command))
    assert time.monotonic() - begin < 5


async def test_who_asks_and_does_not_read_costs_no_memory(suite):
    letter = LETTER + b"x" * 70 * 1024 + b"\r\n"
    client = await selected(suite, *[letter] * 50)
    client.writer.transport.pause_reading()
    before = resident()
    for number in range(60):                            # 210 MB, if all of it were made
        client.start("FETCH 1:* BODY.PEEK[]")
        other = await asyncio.wait_for(suite.login("bob@example.test"), 5) if number % 30 == 0 else None
        if other is not None:
            other.close()
    for _ in range(40):                                 # whatever the daemon can do for the one it does while it serves others
        (await suite.login("bob@example.test")).close()
    assert resident() - before < 60 * 1024 * 1024
    client.writer.transport.abort()


async def test_noise(suite):
    noise = random.Random(7)
    words = [b"a FETCH 1 ", b"BODY[", b"]", b"(", b")", b"\r\n", b"{3+}\r\n", b"~{2}", b'"', b"\\", b" ", b"SEARCH ", b"OR ", b"1:*",
             b"UID ", b"$", b"\0", b"\xff", b"APPEND INBOX ", b"IDLE\r\n", b"DONE\r\n", b"<0.1>", b"STORE 1 +FLAGS ", b"COPY 1 INBOX\r\n",
             b"a CLOSE\r\n", b"a SELECT INBOX\r\n"]
    for _ in range(20):
        client = await selected(suite)
        client.send(b"".join(noise.choices(words, k=200)) + b"\r\n")
        client.writer.write_eof()
        assert (await asyncio.wait_for(client.reader.read(), 10)).endswith(b"\r\n")
        client.close()
