"""Replies of remote servers: cut out of the stream, and read the same whether they were said before or not."""

from __future__ import annotations

import tracemalloc

import pytest

from fancymail.protocol.engine import ProtocolError
from fancymail.protocol.smtp.answers import MAX_LINE, SHORT, Reply, ReplyReader, make_reply, outcome_of

REPLIES = [
    (b"250 2.1.0 Ok", Reply(250, "2.1.0", "Ok", ("2.1.0 Ok",))),
    (b"250 Ok", Reply(250, "2.0.0", "Ok", ("Ok",))),
    (b"354", Reply(354, "2.0.0", "", ("",))),
    (b"550 4.1.1 who?", Reply(550, "5.0.0", "4.1.1 who?", ("4.1.1 who?",))),
    (b"250 " + b"x" * SHORT, Reply(250, "2.0.0", "x" * SHORT, ("x" * SHORT,))),
    (b"250-2.1.0 one\r\n250 2.1.0 two", Reply(250, "2.1.0", "one two", ("2.1.0 one", "2.1.0 two"))),
]


@pytest.mark.parametrize("said, meant", REPLIES)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_reply_is_read_the_same_each_time(said, meant, end):
    reader, inbox = ReplyReader(), bytearray((said + end) * 2 + said)
    assert [reader.take(inbox), reader.take(inbox), reader.take(inbox)] == [meant, meant, None]
    inbox += end
    assert reader.take(inbox) == meant and not inbox


@pytest.mark.parametrize("said", [b"", b"hello", b"2500 x", b"250_x", b"650 x", b"250-a\r\n251 b"])
def test_what_is_no_reply_is_none_the_second_time_either(said):
    for _ in range(2):
        with pytest.raises(ProtocolError):
            ReplyReader().take(bytearray(said + b"\r\n"))


def test_a_line_between_others_is_not_taken_for_a_reply_of_its_own():
    reader, inbox = ReplyReader(), bytearray(b"250-a\r\n250 2.1.0 Ok\r\n250 2.1.0 Ok\r\n")
    assert reader.take(inbox).lines == ("a", "2.1.0 Ok")
    assert reader.take(inbox).lines == ("2.1.0 Ok",)


def test_an_outcome_is_that_of_its_reply():
    outcomes = [outcome_of(Reply(code, status, "x")) for code, status in ((250, "2.1.5"), (354, "2.0.0"), (450, "4.2.0"), (550, "5.1.1"))]
    assert [(outcome.state, outcome.status) for outcome in outcomes] == [
        ("delivered", "2.1.5"), ("deferred", "4.5.0"), ("deferred", "4.2.0"), ("failed", "5.1.1")]


def test_long_words_are_not_remembered():
    line = "x" * (MAX_LINE - 50)
    tracemalloc.start()
    for number in range(40):
        outcome_of(make_reply([(b"550", f"{number} {count} {line}".encode()) for count in range(10)]))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 200_000           # of 1.6 million octets
