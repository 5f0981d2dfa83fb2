"""fm-pop3 live: poplib and raw clients against the three real daemons."""

from __future__ import annotations

import asyncio
import poplib
import socket
from base64 import b64decode, b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fancymail.ipc.message import IpcError
from fancymail.protocol.sasl import ScramClient
from fancymail.servers.doors.tls import server_end_point
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.sqlite.shard import ReadShard
from tests.servers.pop3.kit import PASSWORD

ALICE = "alice@example.test"
SMALL = b"Subject: one\r\n\r\n.\r\nThis is the first message.\r\n"
MIDDLE = b"Subject: middle\r\n\r\n" + b"a line of a message that is a file\r\n" * 1500
LARGE = b"Subject: large\r\n\r\n" + b".line of a large message, stuffed\r\n" * 20_000
LOGIN = f"USER {ALICE}\r\nPASS {PASSWORD}\r\n".encode()


def lines(content: bytes) -> list[bytes]:
    return content.split(b"\r\n")[:-1]


async def test_poplib_reads_lists_and_deletes(suite):
    small, large = await suite.store(SMALL), await suite.store(LARGE)

    def fetch():
        client = suite.poplib()
        assert client.stat() == (2, len(small) + len(large))
        assert client.list()[1] == [b"1 %d" % len(small), b"2 %d" % len(large)]
        unique = client.uidl()[1]
        assert client.retr(1)[1] == lines(small)
        assert client.retr(2)[1] == lines(large)
        assert client.top(1, 1)[1] == lines(small)[:4]
        assert client.top(2, 3)[1] == lines(large)[:6]
        client.dele(1)
        client.quit()
        return unique

    unique = await suite.client(fetch)
    assert len({item.split()[1] for item in unique}) == 2

    def again():
        client = suite.poplib()
        assert client.stat() == (1, len(large))
        assert client.uidl()[1] == [b"1 " + unique[1].split()[1]]
        client.quit()
    await suite.client(again)


async def test_unique_ids_survive_restarts(suite):
    await suite.store(SMALL)

    def unique():
        client = suite.poplib()
        found = client.uidl()[1]
        client.quit()
        return found
    before = await suite.client(unique)
    await suite.restart()
    assert await suite.client(unique) == before


async def test_nothing_is_deleted_without_quit(suite):
    await suite.store(SMALL)
    answer = await suite.client(suite.talk, LOGIN + b"DELE 1\r\n", True)
    assert answer.endswith(b"+OK message 1 will be deleted\r\n")
    answer = await suite.client(suite.talk, LOGIN + b"DELE 1\r\nRSET\r\nQUIT\r\n")
    assert answer.endswith(b"+OK 1 messages\r\n+OK bye\r\n")
    assert (await suite.mailbox.rows("list", ALICE))[0] == [b"1"]


async def test_everything_pipelined_at_once(suite):
    messages = [await suite.store(b"Subject: %d\r\n\r\n%b" % (number, b"text\r\n" * number * 700)) for number in range(30)]
    words = LOGIN + b"".join(b"RETR %d\r\n" % number for number in range(1, 31)) + b"QUIT\r\n"
    answer = await suite.client(suite.talk, words)
    assert answer == (b"+OK FancyMail POP3 ready\r\n+OK the password, please\r\n+OK 30 messages (%d octets)\r\n" % sum(map(len, messages))
                      + b"".join(b"+OK %d octets\r\n%b.\r\n" % (len(content), content) for content in messages) + b"+OK bye\r\n")


async def test_unchanged_maildrop_is_not_sent_again(suite):
    content, stat, listed = await suite.store(SMALL), b"STAT\r\nLIST\r\nQUIT\r\n", []
    records = suite.pop3.snapshots.share
    suite.pop3.snapshots.share = lambda *parts: (listed.append(parts[2]), records(*parts))[1]
    first, again = [await suite.client(suite.talk, LOGIN + stat) for _ in range(2)]
    assert first == again and b"1 %d\r\n" % len(content) in first and len(listed) == 1
    await suite.store(SMALL)
    assert b"+OK 2 %d\r\n" % (2 * len(content)) in await suite.client(suite.talk, LOGIN + stat)
    await suite.client(suite.talk, LOGIN + b"DELE 1\r\nQUIT\r\n")
    assert b"+OK 1 %d\r\n" % len(content) in await suite.client(suite.talk, LOGIN + stat)
    assert [len(each) // 12 for each in listed] == [1, 2, 1]


async def test_two_sessions_of_one_maildrop(suite):
    first = await suite.client(suite.poplib)
    with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
        await suite.client(suite.poplib)
    await suite.client(first.quit)
    second = await suite.client(suite.poplib)
    second.sock.shutdown(socket.SHUT_RDWR)             # gone without a word: the maildrop is free again
    second.close()
    while suite.pop3.sessions:
        await asyncio.sleep(0)
    third = await suite.client(suite.poplib)
    await suite.client(third.quit)


async def test_snapshot_does_not_see_what_comes_later(suite):
    await suite.store(SMALL)
    client = await suite.client(suite.poplib)
    later = await suite.store(SMALL)
    assert (await suite.client(client.stat))[0] == 1
    await suite.client(client.quit)
    client = await suite.client(suite.poplib)
    assert (await suite.client(client.retr, 2))[:2] == (b"+OK %d octets" % len(later), lines(later))
    await suite.client(client.quit)


async def test_implicit_tls_and_stls(suite):
    content = await suite.store(LARGE)

    def implicit():
        client = poplib.POP3_SSL("127.0.0.1", suite.tls_port, context=suite.context(), timeout=10)
        client.user("alice")
        client.pass_(PASSWORD)
        assert client.retr(1)[1] == lines(content)
        assert "STLS" not in client.capa()
        client.quit()

    def mechanisms():
        client = poplib.POP3_SSL("127.0.0.1", suite.tls_port, context=suite.context(), timeout=10)
        offered = client.capa()["SASL"]
        assert offered == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]    # nobody issues tokens
        client.quit()

    def upgraded():
        client = poplib.POP3("127.0.0.1", suite.port, timeout=10)
        assert "STLS" in client.capa()
        client.stls(suite.context())
        assert "STLS" not in client.capa()
        client.user(ALICE)
        client.pass_(PASSWORD)
        assert client.retr(1)[1] == lines(content)
        client.quit()

    await suite.client(implicit)
    await suite.client(mechanisms)
    await suite.client(upgraded)


async def test_wrong_passwords_end_the_session(suite):
    wrong = f"USER {ALICE}\r\nPASS wrong\r\n".encode()
    answer = await suite.client(suite.talk, wrong * 4 + LOGIN)
    refusals = [line for line in answer.split(b"\r\n") if line.startswith(b"-ERR")]
    assert refusals == [b"-ERR [AUTH] wrong user name or password"] * 3
    assert b"PASS" not in (suite.state / "log" / "fancymail.log").read_bytes()


@pytest.mark.parametrize("user", ["nobody@example.test", "alice@elsewhere.test", "a" * 200, "@", "alice@@example.test"])
async def test_users_that_do_not_exist_look_like_wrong_passwords(suite, user):
    answer = await suite.client(suite.talk, f"USER {user}\r\nPASS {PASSWORD}\r\nQUIT\r\n".encode())
    assert answer.split(b"\r\n")[1:-1] == [b"+OK the password, please", b"-ERR [AUTH] wrong user name or password", b"+OK bye"]


async def test_plaintext_login_may_be_forbidden(suite):
    await suite.restart(**{"plaintext-login": "never"})
    answer = await suite.client(suite.talk, LOGIN + b"QUIT\r\n")
    assert answer.split(b"\r\n")[1].startswith(b"-ERR [AUTH]")
    assert b"messages" not in answer


def scram(suite, mechanism: str, tls: bool) -> bytes:
    """Log in with SCRAM, check the server's own proof, return the reply to STAT."""
    client = (poplib.POP3_SSL("127.0.0.1", suite.tls_port, context=suite.context(), timeout=10) if tls
              else poplib.POP3("127.0.0.1", suite.port, timeout=10))
    binding = server_end_point((suite.state / "tls" / "cert.pem").read_bytes()) if mechanism.endswith("-PLUS") else b""
    talk = ScramClient(mechanism, ALICE, PASSWORD, "0123456789abcdef", binding)
    client._putcmd(f"AUTH {mechanism} {b64encode(talk.first()).decode()}")
    client._putcmd(b64encode(talk.final(b64decode(client._getline()[0][2:]))).decode())
    talk.verify(b64decode(client._getline()[0][2:]))
    client._putcmd("")
    client._getresp()
    answer = client._shortcmd("STAT")
    client.quit()
    return answer


@pytest.mark.parametrize("mechanism,tls", [("SCRAM-SHA-256", False), ("SCRAM-SHA-1", False), ("SCRAM-SHA-256", True),
                                           ("SCRAM-SHA-256-PLUS", True), ("SCRAM-SHA-1-PLUS", True)])
async def test_scram_with_and_without_channel_binding(suite, mechanism, tls):
    assert await suite.client(scram, suite, mechanism, tls) == b"+OK 0 0"


async def test_sasl_plain_login_and_cancelling(suite):
    plain = b64encode(f"\0{ALICE}\0{PASSWORD}".encode())
    stat = b"STAT\r\nQUIT\r\n"
    for words in (b"AUTH PLAIN " + plain, b"AUTH PLAIN\r\n" + plain, b"AUTH PLAIN\r\n*\r\nAUTH PLAIN " + plain,
                  b"AUTH LOGIN\r\n" + b64encode(ALICE.encode()) + b"\r\n" + b64encode(PASSWORD.encode())):
        answer = await suite.client(suite.talk, words + b"\r\n" + stat)
        assert answer.endswith(b"+OK 0 messages (0 octets)\r\n+OK 0 0\r\n+OK bye\r\n"), answer
    answer = await suite.client(suite.talk, b"AUTH PLAIN !!!\r\nAUTH PLAIN " + b64encode(b"\0alice\0wrong") + b"\r\nQUIT\r\n")
    assert answer.split(b"\r\n")[1:-2] == [b"-ERR [AUTH] this login cannot be read", b"-ERR [AUTH] wrong user name or password"]


async def test_auth_or_mailbox_away_is_temporary(suite, monkeypatch):
    away = asyncio.get_running_loop().create_future
    ask = suite.pop3.ask

    def asking(missing):
        def answer(name, verb, *params, timeout=None):
            if (name, verb) != missing:
                return ask(name, verb, *params, timeout=timeout)
            future = away()
            future.set_exception(IpcError("4.4.1", f"no answer from {name}"))
            return future
        return answer

    content = await suite.store(SMALL)
    for missing, replies in ((("auth", "auth"), [b"-ERR [SYS/TEMP] the login cannot be checked now, try again later"]),
                             (("mailbox", "expunge"), [b"+OK 1 messages (%d octets)" % len(content), b"+OK message 1 will be deleted",
                                                       b"-ERR [SYS/TEMP] some deleted messages are not removed"])):
        monkeypatch.setattr(suite.pop3, "ask", asking(missing))
        answer = (await suite.client(suite.talk, LOGIN + b"DELE 1\r\nQUIT\r\n", True)).split(b"\r\n")[2:]
        assert answer[:len(replies)] == replies, missing
        while suite.pop3.caps.sessions:
            await asyncio.sleep(0)
    assert (await suite.mailbox.rows("list", ALICE))[0] == [b"1"]


async def test_mailbox_that_restarts_costs_a_delay_and_one_that_stays_away_is_temporary(suite, monkeypatch):
    ask, asked, lost = suite.pop3.ask, [], {1}

    def asking(name, verb, *params, timeout=None):
        if verb != "lock":
            return ask(name, verb, *params, timeout=timeout)
        asked.append(verb)
        if len(asked) not in lost:
            return ask(name, verb, *params, timeout=timeout)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(IpcError("4.4.1", f"no answer from {name}"))
        return future

    monkeypatch.setattr(suite.pop3, "ask", asking)
    assert (await suite.client(suite.talk, LOGIN + b"QUIT\r\n")).endswith(b"+OK 0 messages (0 octets)\r\n+OK bye\r\n")
    assert asked == ["lock"] * 2
    lost.update(range(100))
    answer = await suite.client(suite.talk, LOGIN + b"QUIT\r\n")
    assert answer.split(b"\r\n")[2] == b"-ERR [SYS/TEMP] the maildrop cannot be opened now, try again later"


async def test_shards_that_cannot_be_read_are_temporary(suite, monkeypatch):
    await suite.store(SMALL)
    client = await suite.client(suite.poplib)

    def broken(*question):
        raise StoreFailed("disk I/O error")
    monkeypatch.setattr(ReadShard, "read", broken)
    with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\] the message cannot be read now"):
        await suite.client(client.retr, 1)
    await suite.client(client.quit)
    answer = await suite.client(suite.talk, LOGIN + b"QUIT\r\n")
    assert answer.split(b"\r\n")[2] == b"-ERR [SYS/TEMP] the maildrop cannot be opened now, try again later"


async def test_blob_that_is_gone_or_cut_is_no_message(suite):
    """RETR of one that goes out in one piece is refused; a large one that is shorter than it was is never sent as if it were whole."""
    await suite.store(MIDDLE)
    await suite.store(LARGE)
    for blob in (suite.state / "mail" / "blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o600)
            with open(blob, "r+b") as file:
                file.truncate(20)
    answer = await suite.client(suite.talk, LOGIN + b"RETR 1\r\nRETR 2\r\nTOP 1 0\r\nQUIT\r\n")
    assert answer.split(b"\r\n")[3:] == [b"-ERR [SYS/TEMP] the message cannot be read now"] * 3 + [b"+OK bye", b""]


async def test_message_expunged_by_another_way(suite):
    await suite.store(SMALL)
    client = await suite.client(suite.poplib)
    await suite.mailbox.call("expunge", ALICE, "1")
    with pytest.raises(poplib.error_proto, match=r"\[SYS/PERM\] the message is gone"):
        await suite.client(client.retr, 1)
    await suite.client(client.quit)


async def test_login_delay(suite):
    await suite.restart(**{"login-delay": 600})
    await suite.client((await suite.client(suite.poplib)).quit)
    with pytest.raises(poplib.error_proto, match=r"\[LOGIN-DELAY\]"):
        await suite.client(suite.poplib)
    await suite.client((await suite.client(suite.poplib, "bob")).quit)


async def test_changed_password_ends_sessions(suite):
    await suite.restart()
    while suite.pop3._serial is None:
        await asyncio.sleep(0)
    client, other = await suite.client(suite.poplib), await suite.client(suite.poplib, "bob")
    await suite.auth.call("account-password", ALICE, "another horse")
    with pytest.raises(poplib.error_proto, match=r"the session ends here"):
        await suite.client(client._getresp)
    assert await suite.client(other.stat) == (0, 0)
    await suite.client(other.quit)


async def test_drain_ends_idle_sessions_with_a_word_and_deletes_nothing(suite):
    await suite.store(SMALL)
    client = await suite.client(suite.poplib)
    await suite.client(client.dele, 1)
    await suite.closing.aclose()
    with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\]"):
        await suite.client(client.stat)
    assert (await suite.mailbox.rows("list", ALICE))[0] == [b"1"]
    await suite.open()


async def test_locks_are_renewed_and_freed(suite):
    await suite.restart(lock=10)
    client = await suite.client(suite.poplib)
    held = suite.mailbox_daemon.maildrops._held
    before = held[ALICE]
    suite.pop3._renew_locks()
    while held[ALICE] == before:
        await asyncio.sleep(0)
    assert held[ALICE][0] == before[0]
    await suite.client(client.quit)
    while ALICE in held:
        await asyncio.sleep(0)


async def test_ten_thousand_messages_are_listed_in_one_go(suite):
    """Many messages need no more than a few milliseconds: the listings are made by one join and kept."""
    import struct
    records = b"".join(struct.pack("<IQ", uid, 1000 + uid) for uid in range(1, 10_001))
    first = suite.pop3.snapshots.share(ALICE, 5, records)
    assert suite.pop3.snapshots.share(ALICE, 5, records) is first
    assert first.unique.startswith(b"1 5.1\r\n2 5.2\r\n") and first.unique.count(b"\r\n") == 10_000
    assert first.scan.endswith(b"10000 11000\r\n")


def test_certificate_of_the_suite_binds(tmp_path):
    from tests.servers.doors.lines import make_certificate
    certificate = make_certificate(tmp_path, "mail.example.test")
    pem = (tmp_path / "cert.pem").read_bytes()
    assert x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) == certificate.public_bytes(Encoding.DER)
    assert len(server_end_point(pem)) == 32
