"""Attacks on mail that comes in: against the live daemon."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import time
from base64 import b64encode

import pytest

from tests.servers.smtpin.kit import PASSWORD, canary, connected, several, smtpin, until

GROUP = "MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n"
SECOND = "MAIL FROM:<admin@us.test>\r\nRCPT TO:<alice@us.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\nQUIT\r\n"


def resident() -> int:
    """Octets of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


async def in_data(talk) -> None:
    """Up to 354."""
    await talk.hello()
    talk.send(GROUP)
    assert (await talk.replies(3))[2].startswith("354")


# A. Smuggling and line discipline

FALSE_ENDS = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\n", "\n.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r.\r\n", "\n\n.\r\n", "\r\r\n.\r\r\n",
              "\r\n.\r\r\n", "\n\r.\n\r", "\r\n.\n\r\n"]


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "octets"])
async def test_false_ends_of_data(tmp_path, end, cut):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await in_data(talk)
        attack = f"Subject: x\r\n\r\nfirst{end}{SECOND}"
        for piece in attack if cut else [attack]:
            talk.send(piece)
            if cut:
                await asyncio.sleep(0)
        assert (await talk.reply()).startswith("550 5.6.11 ")
        talk.send("EHLO c\r\n")
        talk.writer.write_eof()
        assert await talk.ended() == b""
        assert not server.queue.messages


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
async def test_false_ends_in_chunks(tmp_path, end):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        attack = f"Subject: x\r\n\r\nfirst{end}{SECOND}"
        talk.send(f"MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nBDAT {len(attack)} LAST\r\n{attack}NOOP\r\n")
        replies = await talk.replies(4)
        assert replies[2].startswith("550 5.6.11") and replies[3].startswith("250")       # length rules only: in step all the time
        assert not server.queue.messages


async def test_an_end_cut_anywhere_is_an_end(tmp_path):
    wire = "Subject: x\r\n\r\nbody\r\n.\r\n"
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        for cut in range(1, len(wire)):
            talk.send(GROUP)
            await talk.replies(3)
            talk.send(wire[:cut])
            await asyncio.sleep(0)
            talk.send(wire[cut:])
            assert (await talk.reply()).startswith("250")
        assert {content.partition(b"Subject")[2] for _, _, content in server.queue.messages} == {b": x\r\n\r\nbody\r\n"}


async def test_dot_at_the_end_of_the_connection(tmp_path):
    async with smtpin(tmp_path) as server:
        async with connected(server) as talk:
            await in_data(talk)
            talk.send("Subject: x\r\n\r\nbody\r\n.")
            talk.writer.write_eof()
            assert await talk.ended() == b""
        assert not server.queue.messages


async def test_half_close_behind_the_end(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await in_data(talk)
        talk.send("x\r\n.\r\n")
        talk.writer.write_eof()
        assert (await talk.ended()).startswith(b"250 2.0.0")
        assert len(server.queue.messages) == 1


@pytest.mark.parametrize("size", ["2147483648", "9223372036854775808", "-1", "1e9", "0x10", "1 000", "\u0661", "99999999999999999999999", ""])
async def test_claimed_chunk_sizes(tmp_path, size):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        before = resident()
        talk.send(f"MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nBDAT {size} LAST\r\nQUIT\r\n")
        replies = await talk.replies(3)
        assert replies[2][:3] in ("501", "552"), replies
        assert await talk.ended() == b"" and resident() - before < 16 << 20
        assert not server.queue.messages


async def test_ahead_of_354_and_behind_hello(tmp_path):
    async with smtpin(tmp_path) as server:
        async with connected(server) as talk:
            await talk.hello()
            talk.send(GROUP + "Subject: x\r\n\r\nx\r\n.\r\n" + SECOND)
            assert (await talk.replies(3))[2].startswith("554 5.5.0")
            await talk.ended()
        async with connected(server) as talk:
            await talk.reply()
            talk.send("EHLO c\r\n" + GROUP)
            assert (await talk.reply()).startswith("554 5.5.0")
        assert not server.queue.messages


async def test_who_speaks_before_the_greeting(tmp_path):
    async with smtpin(tmp_path, greet_delay=1) as server, connected(server) as talk:
        talk.send("EHLO c\r\n")
        assert (await talk.reply()).startswith("554 5.5.0")
        assert await talk.ended() == b""


@pytest.mark.parametrize("helo", ["a\rb", "a\tb", "a\x00b", "a\x1b[2Jb", "a\x7fb", "x" * 600])
async def test_control_characters_reach_no_header(tmp_path, helo):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.reply()
        assert (await talk.say(f"EHLO {helo}"))[:3] in ("500", "501")
        assert (await talk.say(f"MAIL FROM:<s{helo}@x.test>"))[0] == "5"


async def test_a_strange_hello_stays_one_word_in_received(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.reply()
        await talk.say("EHLO a(b);by\"x\"<c@d>")
        await talk.bring("x")
        assert server.queue.messages[0][2].startswith(b"Received: from a?b??by?x??c?d? ([127.0.0.1])\r\n")


# B. STARTTLS

async def test_injection_behind_starttls(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        talk.send("STARTTLS\r\nEHLO evil\r\n" + GROUP)
        assert (await talk.reply()).startswith("503 5.5.1")
        assert await talk.ended() == b""


async def test_nothing_of_before_tls_counts(tmp_path):
    async with smtpin(tmp_path, auth_without_tls=True) as server, connected(server, "submission") as talk:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        await talk.hello()
        assert (await talk.say("STARTTLS now")).startswith("501")
        await talk.say("STARTTLS")
        await talk.start_tls(context)
        assert (await talk.say("MAIL FROM:<alice@us.test>"))[:3] in ("503", "530")
        await talk.say("EHLO c")
        assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530")
        assert (await talk.say("STARTTLS")).startswith("503 5.5.1")
        plain = b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
        assert (await talk.say(f"AUTH PLAIN {plain}")).startswith("235")
        assert (await talk.say("STARTTLS")).startswith("503 5.5.1")
        assert (await talk.bring("x", "alice@us.test", "v@x.test")).startswith("250")


async def test_starttls_out_of_place_changes_nothing(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("MAIL FROM:<s@x.test>")
        assert (await talk.say("STARTTLS")).startswith("503")
        assert (await talk.say("RCPT TO:<bob@us.test>")).startswith("250")
        assert (await talk.say("STARTTLS")).startswith("503")
        assert (await talk.say("DATA")).startswith("354")
        assert (await talk.say("x\r\n.")).startswith("250")


async def test_no_tls_where_tls_was_promised(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("STARTTLS")
        talk.send("EHLO c\r\n" + GROUP)
        assert b"250" not in await talk.ended()


# C. Commands and limits

@pytest.mark.parametrize("length", [2049, 1 << 20, 8 << 20])
async def test_endless_command_lines(tmp_path, length):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        before = resident()
        talk.send(b"x" * length)
        assert (await talk.reply()).startswith("500 5.5.2")
        await talk.ended()
        assert resident() - before < 32 << 20


@pytest.mark.parametrize("command", ["NOOP", "RSET", "HELP", "HELO c", "VRFY x", "XYZZY", "EXPN x", "RCPT TO:<bob@us.test>", "DATA x", "BDAT 0",
                                     "AUTH PLAIN"])
async def test_floods_of_commands(tmp_path, command):
    async with smtpin(tmp_path, strict_pipelining=False) as server, connected(server) as talk:
        await talk.hello()
        for _ in range(320):
            talk.send(f"{command}\r\n")
        heard = await talk.ended()
        assert b"\r\n421 4.7.0 " in heard and heard.count(b"\r\n") <= 320


@pytest.mark.parametrize("header", ["X: " + "x" * (10 << 20) + "\r\n", "X: y\r\n" * 20_000, ("X: " + "y" * 900 + "\r\n") * 400, "x" * 300_000])
async def test_huge_headers(tmp_path, header):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await in_data(talk)
        started = time.process_time()
        talk.send(header + "\r\nbody\r\n.\r\n")
        assert (await talk.reply())[:9] in ("552 5.3.4", "554 5.6.0")
        assert time.process_time() - started < 1
        assert (await talk.bring("x")).startswith("250")
        assert len(server.queue.messages) == 1


async def test_body_lines_are_never_folded(tmp_path):
    async with smtpin(tmp_path, line_length=70_000) as server, connected(server) as talk:
        await talk.hello()
        for length, code in ((999, "250"), (65_536, "250"), (70_000, "250"), (70_001, "554 5.6.0"), (3 << 20, "554 5.6.0")):
            reply = await talk.bring("Subject: x\r\n\r\n" + "x" * length)
            assert reply.startswith(code)
            if code == "250":
                assert server.queue.messages.pop()[2].endswith(b"\r\n\r\n" + b"x" * length + b"\r\n")


async def test_octets_are_counted_whatever_was_declared(tmp_path):
    async with smtpin(tmp_path, message_size=70_000) as server, connected(server) as talk:
        await talk.hello()
        for size in ("9223372036854775808", "70001"):
            assert (await talk.say(f"MAIL FROM:<s@x.test> SIZE={size}")).startswith("552 5.3.4")
        for size in ("-1", "1x", "0x10", "\u0661", "1e3", "99999999999999999999999"):
            assert (await talk.say(f"MAIL FROM:<s@x.test> SIZE={size}")).startswith("501 5.5.4")
        assert (await talk.bring("Subject: x\r\n\r\n" + "line\r\n" * 20_000)).startswith("552 5.3.4")
        assert (await talk.bring("Subject: x\r\n\r\n" + "line\r\n" * 10_000)).startswith("250")
        assert len(server.queue.messages) == 1


async def test_the_same_recipient_ten_thousand_times(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        talk.send("MAIL FROM:<s@x.test>\r\n" + "RCPT TO:<bob@us.test>\r\n" * 10_000 + "DATA\r\n")
        replies = await talk.replies(10_002)
        assert replies[1000].startswith("250") and replies[1001].startswith("452 4.5.3") and replies[-1].startswith("354")
        await talk.say("x\r\n.")
        assert len(server.queue.messages) == 1 and len(server.queue.messages[0][1].recipients) == 1


@pytest.mark.parametrize("parameters", ["X" * 1900, "AUTH=+0", "ENVID=" + "x" * 200, "BODY=9BIT", "REQUIRETLS",
                                        "BY=1;R", "HOLDFOR=1", "MT-PRIORITY=9",
                                        "SIZE=1 SIZE=1", "ENVID=a+0D+0Ab", "\u2028=1", "=", "SIZE==1"])
async def test_odd_parameters(tmp_path, parameters):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        assert (await talk.say(f"MAIL FROM:<s@x.test> {parameters}"))[:3] in ("500", "501", "504", "555")


@pytest.mark.parametrize("octets, code", [
    (b"\x80", "500"), (b"\xff\xfe", "500"), (b"\xc0\xaf", "500"), (b"\xed\xa0\x80", "500"), (b"\xe2\x80\xae", "553"), (b"\xef\xbb\xbf", "553"),
    ("\u212a".encode(), "553"), ("\u0430".encode(), "550"), ("\uff41dmin".encode(), "5")])
async def test_octets_beyond_ascii_in_addresses(tmp_path, octets, code):
    """Look-alikes of bob and admin are others, and what no address may hold is refused."""
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        talk.send(b"MAIL FROM:<s@x.test> SMTPUTF8\r\nRCPT TO:<" + octets + b"@us.test>\r\n")
        assert (await talk.replies(2))[1].startswith(code)


# D. Addresses

@pytest.mark.parametrize("address", [
    "../../etc/passwd@us.test", "..@us.test", ".@us.test", "@us.test", "/abs@us.test", "a/b@us.test", "\"a\\\\b\"@us.test", "%2e%2e%2f@us.test",
    "%00@us.test", "\"../x\"@us.test", "\"a b\"@us.test", "\"\"@us.test", "\"@\"@us.test", "x" * 65 + "@us.test", "bob @us.test", "bob@us.test ",
    "bob+../../x@us.test", "bob@[0x7f.1]", "bob@[]", "bob@us.test/", "(x)bob@us.test"])
async def test_addresses_are_never_paths(tmp_path, address):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("MAIL FROM:<s@x.test>")
        assert (await talk.say(f"RCPT TO:<{address}>"))[0] == "5"
        assert (await talk.say("DATA")).startswith("554")


# F. Authentication

@pytest.mark.parametrize("response", [
    "", "=", "!!!!", "AGFsaWNl AHg=", "AGFsaWNlAHg", b64encode(b"alice").decode(), b64encode(b"\0alice").decode(), b64encode(b"\0\0\0\0").decode(),
    b64encode(b"bob\0alice\0" + PASSWORD.encode()[:3]).decode(), b64encode(b"\0" * 3000).decode(), b64encode(b"\xff\0\xfe\0\xfd").decode()])
async def test_odd_sasl_messages(tmp_path, response):
    async with smtpin(tmp_path, auth_without_tls=True) as server:
        server.auth.sasl = _strict_sasl
        async with connected(server, "submission") as talk:
            await talk.hello()
            reply = await talk.say(f"AUTH PLAIN {response}" if response else "AUTH PLAIN")
            if reply.startswith("334"):
                reply = await talk.say("*")
            assert reply[:3] in ("501", "535"), reply
            assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530")


def _strict_sasl(*params):
    from fancymail.ipc.message import IpcError
    raise IpcError("5.7.8", "authentication failed")


async def test_endless_sasl_responses(tmp_path):
    async with smtpin(tmp_path, auth_without_tls=True) as server, connected(server, "submission") as talk:
        await talk.hello()
        await talk.say("AUTH PLAIN")
        talk.send(b"A" * (1 << 20))
        assert (await talk.reply()).startswith("500 5.5.2")


async def test_auth_in_auth_and_commands_in_auth(tmp_path):
    async with smtpin(tmp_path, auth_without_tls=True) as server, connected(server, "submission") as talk:
        await talk.hello()
        await talk.say("AUTH SCRAM-SHA-256 cA==")
        assert (await talk.say("AUTH PLAIN x")).startswith("501")
        assert (await talk.say("AUTH XOAUTH2 x")).startswith("504")
        assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530")


async def test_a_slow_auth_lets_nothing_overtake_it(tmp_path):
    async with smtpin(tmp_path, auth_without_tls=True) as server, connected(server, "submission") as talk:
        await talk.hello()
        server.hold()
        wrong = b64encode(b"\0alice\0wrong").decode()
        talk.send(f"AUTH PLAIN {wrong}\r\nMAIL FROM:<alice@us.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\n")
        await until(lambda: any(held[2] == "sasl" for held in server.held))
        server.release()
        assert [reply[:3] for reply in await talk.replies(4)] == ["535", "530", "503", "503"]


async def test_answers_tell_nothing_about_users(tmp_path):
    async with smtpin(tmp_path, auth_without_tls=True) as server:
        replies = set()
        for user in ("alice", "nobody", "root", "postmaster", "queue"):
            async with connected(server, "submission") as talk:
                await talk.hello()
                replies.add(await talk.say(f"AUTH PLAIN {b64encode(f'{chr(0)}{user}{chr(0)}x'.encode()).decode()}"))
        assert replies == {"535 5.7.8 Authentication failed\r\n"}
        async with connected(server) as talk:
            await talk.hello()
            assert await talk.say("VRFY alice") == await talk.say("VRFY nobody")


# G. Connections

async def test_idle_clients_leave_room_for_honest_ones(tmp_path):
    async with smtpin(tmp_path, hello_timeout=0.2) as server:
        before = descriptors()
        async with several(server, 200) as talks:
            await canary(server)
            for talk in talks:
                assert (await talk.reply()).startswith("220")
            for talk in talks:
                assert (await talk.reply()).startswith("421 4.4.2")
        await until(lambda: not server.caps.sessions)
        await until(lambda: descriptors() <= before + 80)        # the slots that are open ahead


async def test_octet_after_octet_does_not_move_a_deadline(tmp_path):
    async with smtpin(tmp_path, hello_timeout=0.3, content_timeout=0.3, command_timeout=0.3) as server:
        for phase in ("hello", "command", "content"):
            async with connected(server) as talk:
                if phase == "content":
                    await in_data(talk)
                elif phase == "command":
                    await talk.hello()
                else:
                    await talk.reply()
                started = time.monotonic()
                reply = asyncio.create_task(talk.reply())
                while not reply.done():
                    talk.send("x")
                    await asyncio.wait({reply}, timeout=0.02)
                assert reply.result().startswith("421 4.4.2") and time.monotonic() - started < 2


async def test_connections_that_vanish(tmp_path):
    async with smtpin(tmp_path) as server:
        await canary(server)
        before = descriptors()
        for number in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["smtp" if number % 2 else "submissions"])
            if number % 3:
                writer.write(b"EHLO c\r\n\x16\x03")
            writer.transport.abort()
        await until(lambda: not server.caps.sessions)
        gc.collect()
        await until(lambda: descriptors() <= before + 2)
        assert server.counters["connections"] >= 200 and not server.queue.messages


@pytest.mark.parametrize("port", ["smtp", "submission", "lmtp", "submissions"])
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + GROUP.encode(), b"POST / HTTP/1.1\r\n\r\nEHLO c\r\n", b"SSH-2.0-x\r\n",
                                     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), b"\0" * 4096, bytes(range(128, 144)), b"\n" * 100],
                         ids=["get", "post", "ssh", "tls", "nul", "octets", "newlines"])
async def test_other_protocols(tmp_path, port, garbage):
    async with smtpin(tmp_path, hello_timeout=1) as server, connected(server, port) as talk:
        if port != "submissions":
            await talk.reply()
        talk.send(garbage)
        talk.writer.write_eof()
        heard = await talk.ended()
        assert heard.count(b"\n") <= 2 or port == "submissions"
        assert not server.queue.messages


async def test_many_big_messages_at_once(tmp_path):
    async with smtpin(tmp_path) as server, several(server, 50) as talks:
        for talk in talks:
            await in_data(talk)
            talk.send("Subject: x\r\n\r\n")
        before = resident()
        block = b"line of a big message\r\n" * 10_000
        for _ in range(4):
            for talk in talks:
                talk.send(block)
            for talk in talks:
                await talk.writer.drain()
        assert resident() - before < 64 << 20        # 46 MB on the way, none of it kept
        for talk in talks:
            talk.send(b".\r\n")
        for talk in talks:
            assert (await talk.reply()).startswith("250")
        assert len(server.queue.messages) == 50


async def test_too_many_of_one_address(tmp_path, monkeypatch):
    from fancymail.servers.doors import listener
    monkeypatch.setattr(listener, "identify", lambda peer: (peer, False))
    async with smtpin(tmp_path, connections_per_address=3) as server:
        async with several(server, 3) as talks:
            for talk in talks:
                await talk.hello()
            async with connected(server) as fourth:
                assert (await fourth.reply()).startswith("421 4.7.0")
                assert await fourth.ended() == b""
        await until(lambda: not server.caps.sessions)
