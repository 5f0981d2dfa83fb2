"""Messages as people write them, and as frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.ipc.message import (
    MAX_FRAME, MAX_FRAMES, IpcError, Reply, answer_frames, encode_result, encode_value, error_frames, format_message, parse_line, raise_error)


@pytest.mark.parametrize("line, verb, params", [
    ("slot: incoming", "slot", ["incoming"]),
    ("push: incoming ; /tmp/x", "push", ["incoming", "/tmp/x"]),
    ("ping", "ping", []),
    ("ping:", "ping", []),
    ("a: ;", "a", ["", ""]),
    ('a: "x ; y" ; " z "', "a", ["x ; y", " z "]),
    ('a: "say \\"so\\" \\\\"', "a", ['say "so" \\']),
    ("callback: socket://127.0.0.1:1", "callback", ["socket://127.0.0.1:1"]),
    ('auth: alice ; pass"word', "auth", ["alice", 'pass"word']),
])
def test_lines_are_read(line, verb, params):
    assert parse_line(line) == (verb, params)


@pytest.mark.parametrize("line", ["", "  ", ": a", "two words: a", 'a: "open'])
def test_lines_that_are_no_message(line):
    with pytest.raises(ValueError):
        parse_line(line)


PRINTABLE = st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs", "Cf", "Cn", "Co")) | st.just(" ")


@given(st.lists(st.text(PRINTABLE, max_size=20), min_size=1))
def test_what_is_written_is_read_back(params):
    assert parse_line(format_message("v", params)) == ("v", params)


def test_octets_are_shown_by_length():
    assert format_message(b"raw", [b"\xff\xfe", b"a\nb"]) == "raw: <2 octets> ; <3 octets>"


@pytest.mark.parametrize("value, frame", [("é", "é".encode()), (7, b"7"), (True, b"1"), (False, b"0"), (0.5, b"0.5"), (b"\xff", b"\xff"),
                                          ({"a": [1]}, b'{"a":[1]}'), (bytearray(b"x"), b"x")])
def test_values_become_frames(value, frame):
    assert encode_value(value) == frame


def test_results_become_frames():
    assert encode_result(None) == []
    assert encode_result("x") == [b"x"]
    assert encode_result(("x", 1)) == [b"x", b"1"]
    assert encode_result([]) == []
    assert answer_frames("x") == [b"ok", b"x"] and answer_frames(Reply("challenge", b"d")) == [b"challenge", b"d"]


def test_errors_travel_with_the_message_first():
    frames = error_frames(IpcError("4.3.1", "disk full", "more"))
    assert frames == [b"error", b"disk full", b"4.3.1", b"more"]
    with pytest.raises(IpcError) as caught:
        raise_error(frames[1:])
    assert (caught.value.status, caught.value.text, caught.value.more, caught.value.temporary) == ("4.3.1", "disk full", ("more",), True)


def test_a_bare_error_of_the_reference_is_understood():
    with pytest.raises(IpcError) as caught:
        raise_error([])
    assert caught.value.status == "5.0.0"


def test_what_fits_into_no_message_is_said_at_once():
    assert answer_frames("x" * MAX_FRAME)[1] == b"x" * MAX_FRAME
    for answer in ("x" * (MAX_FRAME + 1), ["x"] * MAX_FRAMES, Reply("row", b"x" * (MAX_FRAME + 1)), {"all": "x" * MAX_FRAME}):
        with pytest.raises(IpcError) as error:
            answer_frames(answer)
        assert error.value.status == "5.3.4" and "does not fit" in error.value.text
