"""Properties of the engine: garbage gives replies or the end, octets may come in any pieces, memory stays flat."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancymail.protocol.pop3.server import ABUSE, COMMANDS
from tests.protocol.pop3.fetcher import Fetcher

COMMAND = st.sampled_from(sorted(COMMANDS) + [b"X", b"", b"*", b"AGFsaWNlAHNlY3JldA==", b"USER alice", b"PASS secret", b"RETR 1", b"TOP 2 1",
                                              b"DELE 1", b"LIST 2", b"UIDL 1", b"AUTH PLAIN"])
ARGUMENT = st.sampled_from([b"", b" 1", b" 2 3", b" -1", b" alice", b" secret", b" PLAIN", b" \xff", b"  ", b" " + b"x" * 300])
LINE = st.tuples(COMMAND, ARGUMENT, st.sampled_from([b"\r\n", b"\n", b"\r", b""])).map(b"".join)
TRAFFIC = st.one_of(st.lists(LINE, max_size=25).map(b"".join), st.binary(max_size=400))
OPTIONS = st.fixed_dictionaries({
    "plaintext": st.sampled_from(["yes", "no"]), "login": st.sampled_from(["yes", "no"]), "blob": st.sampled_from(["", "fails", "streamed"]),
    "mechanisms": st.sampled_from(["PLAIN LOGIN", "SCRAM-SHA-256", "PLAIN"]), "errors": st.just("20"),
    "message1": st.just("A: 1\\r\\n\\r\\n.x\\r\\n"), "message2": st.just("none"), "update": st.sampled_from(["", "fails"])})


def converse(options: dict, pieces: list[bytes]) -> tuple[bytes, Fetcher]:
    driver = Fetcher(options)
    engine, said = driver.engine, [driver.engine.to_send()]
    for piece in pieces:
        if engine.closing or engine.want_tls:
            break
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            driver.decide(event)
        said.append(engine.to_send())
    return b"".join(said), driver


@settings(max_examples=300)
@given(OPTIONS, TRAFFIC)
def test_replies_or_the_end_whatever_comes(options, traffic):
    said, driver = converse(options, [traffic])
    assert said.endswith(b"\r\n") or not said
    assert b"\n" not in said.replace(b"\r\n", b"")
    status = [line for line in said.split(b"\r\n") if line[:1] in (b"+", b"-")]
    assert all(line.startswith((b"+OK", b"-ERR", b"+ ")) for line in status)


@given(OPTIONS, TRAFFIC)
def test_pieces_make_no_difference(options, traffic):
    # STLS is the exception by design: what follows it in the same segment is refused.
    if b"STLS" in traffic.upper():
        traffic = traffic.upper().replace(b"STLS", b"XTLS")
    whole, one = converse(options, [traffic])
    cut, other = converse(options, [traffic[at:at + 1] for at in range(len(traffic))])
    assert whole == cut
    assert one.expunged == other.expunged and one.engine.closing == other.engine.closing


@given(OPTIONS, TRAFFIC)
def test_nothing_is_deleted_without_quit(options, traffic):
    _, driver = converse(options, [traffic])
    if b"QUIT" not in traffic.upper():
        assert driver.expunged == []


def test_endless_line_is_thrown_away_and_ends_the_session():
    driver = Fetcher({"login": "yes"})
    for _ in range(ABUSE // 65536 + 1):
        driver.engine.receive(b"x" * 65536)
        assert driver.engine.next_event() is None
        assert len(driver.engine.inbox) <= 65536
    assert driver.engine.closing
    assert driver.engine.to_send() == b"-ERR line too long\r\n"


def test_pipelined_commands_wait_for_the_decision():
    driver = Fetcher({"login": "yes", "message": "hello\\r\\n"})
    engine = driver.engine
    engine.receive(b"RETR 1\r\nSTAT\r\n")
    event = engine.next_event()
    assert engine.next_event() is None and engine.to_send() == b""
    driver.decide(event)
    assert engine.next_event() is None
    assert engine.to_send() == b"+OK 7 octets\r\nhello\r\n.\r\n+OK 1 7\r\n"


def test_session_leaves_behind_the_command_under_way():
    driver = Fetcher({"login": "yes", "message1": "hello\\r\\n", "message2": "there\\r\\n"})
    engine = driver.engine
    engine.receive(b"DELE 1\r\nRETR 2\r\nRETR 2\r\nQUIT\r\n")
    while (event := engine.next_event()) is not None:
        engine.leave()
        assert not engine.closing
        driver.decide(event)
    assert engine.closing and driver.expunged == []
    assert engine.to_send().endswith(b"there\r\n.\r\n-ERR [SYS/TEMP] the session ends here, log in again\r\n")
    engine = Fetcher({"login": "yes"}).engine
    engine.leave()
    assert engine.closing and engine.to_send().startswith(b"-ERR [SYS/TEMP]")


def test_login_has_one_deadline_and_silence_another():
    driver = Fetcher({"plaintext": "yes"})
    engine = driver.engine
    epoch = engine.deadline_epoch
    assert engine.deadline == 120
    engine.receive(b"CAPA\r\nUSER alice\r\n")
    engine.next_event()
    assert engine.deadline_epoch == epoch           # a client that dallies does not win time
    engine.receive(b"PASS secret\r\n")
    driver.decide(engine.next_event())
    assert engine.deadline == 600 and engine.deadline_epoch > epoch
    epoch = engine.deadline_epoch
    engine.receive(b"NOOP\r\n")
    engine.next_event()
    assert engine.deadline_epoch > epoch


@pytest.mark.parametrize("reason", ["x" * 2000, "two\r\nlines", "caf\u00e9", "\x1b[2J"])
def test_reasons_from_elsewhere_stay_one_plain_line(reason):
    engine = Fetcher({"login": "yes"}).engine
    engine.failed(reason)
    said = engine.to_send()
    assert said.endswith(b"\r\n") and len(said) <= 512
    assert said[:-2].isascii() and said[:-2].decode().isprintable()


def test_tls_forgets_what_was_said_before():
    driver = Fetcher({"plaintext": "yes"})
    engine = driver.engine
    engine.receive(b"UTF8\r\nUSER alice\r\nSTLS\r\n")
    assert engine.next_event() is None and engine.want_tls and engine.utf8
    driver.tls()
    assert not engine.utf8 and engine.tls and engine.binding
    engine.to_send()
    engine.receive(b"PASS secret\r\n")
    assert engine.next_event() is None
    assert engine.to_send() == b"-ERR say USER first\r\n"
