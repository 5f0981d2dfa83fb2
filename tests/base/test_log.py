"""The log: one line whatever is in it, no secret, no stop."""

import asyncio
import json
import os

import msgspec
import pytest
from hypothesis import given, strategies as st

from fancymail.base.log import LINE_LIMIT, Log, escape
from fancymail.base.secret import Secret
from fancymail.base.settings.log import Log as LogSettings

VALUES = st.one_of(st.text(max_size=3000), st.binary(max_size=3000), st.integers(), st.floats(), st.none())
HOSTILE = "a\r\nqueue info accepted\x1b[2J\u202e\x00\x85\u2028\"\\"


@pytest.fixture
def settings():
    return LogSettings(level="debug", console="never")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fancymail.log"


def test_a_line_for_people(settings, path):
    Log("queue", settings, path).info("accepted", id="abc", size=12, good=True, seconds=0.25, nothing=None, who=("a", "b c"))
    head, _, rest = path.read_text().partition(" queue ")
    assert rest == 'info accepted id=abc size=12 good=yes seconds=0.25 nothing=- who="a,b c"\n'
    assert len(head) == 24 and head.endswith("Z")


def test_what_is_hostile_is_escaped(settings, path):
    Log("smtpin", settings, path).info("refused", helo=HOSTILE, raw=b"\xff\n")
    line = path.read_text()
    assert line.count("\n") == 1 and line[:-1].isprintable()
    assert r'helo="a\r\nqueue info accepted\x1b[2J\u202e\x00\x85\u2028\"\\"' in line


@pytest.mark.parametrize("value, shown", [
    ("a\0b", '"a\\x00b"'), ("", '""'), ("two words", '"two words"'), (True, "yes"), (["a", "b"], "a,b"), (0, "0")])
def test_one_that_is_not_plain_among_plain_ones(settings, path, value, shown):
    log = Log("queue", settings, path)
    log.info("x", before="plain", odd=value, size=12)
    assert path.read_text().rstrip("\n").endswith(f"x before=plain odd={shown} size=12")


@given(values=st.lists(VALUES | st.booleans() | st.text(st.characters(max_codepoint=127), max_size=40), max_size=8))
def test_a_line_that_is_made_together_is_that_of_its_facts(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log"
    log = Log("x", LogSettings(console="never"), path)
    log.info("y", **{f"fact{index}": value for index, value in enumerate(values)})
    log.close()
    line = path.read_text().partition(" x info y")[2]
    if sum(map(len, line)) < LINE_LIMIT // 4:
        assert line == "".join(f" fact{index}={escape(value)}" for index, value in enumerate(values)) + "\n"


@pytest.mark.parametrize("format", ["text", "json"])
@given(event=st.text(max_size=300), values=st.lists(VALUES, max_size=30))
def test_any_facts_make_one_short_printable_line(format, event, values, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log"
    log = Log("x", LogSettings(format=format, console="never"), path)
    log.info(event, **{f"fact{index}": value for index, value in enumerate(values)})
    log.close()
    octets = path.read_bytes()
    assert octets.endswith(b"\n") and octets.count(b"\n") == 1 and len(octets) <= LINE_LIMIT
    assert octets[:-1].decode().isprintable()
    if format == "json":
        assert json.loads(octets)["daemon"] == "x"


def test_json_on_request(settings, path):
    Log("queue", msgspec.structs.replace(settings, format="json"), path).warning("slow", id="abc", seconds=1.5, text=HOSTILE)
    record = json.loads(path.read_text())
    assert (record["daemon"], record["level"], record["event"], record["seconds"]) == ("queue", "warning", "slow", 1.5)
    assert record["text"] == HOSTILE


def test_facts_may_have_any_name(settings, path):
    log = Log("queue", msgspec.structs.replace(settings, format="json"), path)
    log.info("odd", event="a", daemon="b", error="c")
    record = json.loads(path.read_text())
    assert (record["event"], record["event_"], record["daemon"], record["daemon_"], record["error"]) == ("odd", "a", "queue", "b", "c")


def test_secrets_never_show(settings, path):
    secret = Secret("hunter2")
    log = Log("auth", settings, path)
    log.info("login", password="hunter2", key=secret, both=[secret])
    try:
        raise ValueError(f"bad {secret} {secret!r}")
    except ValueError:
        log.exception("failed")
    assert "hunter2" not in path.read_text() and path.read_text().count("***") == 5


def test_levels(path):
    log = Log("x", LogSettings(level="warning", console="never"), path)
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    log.apply(LogSettings(level="info", console="never"))
    log.info("e")
    assert [line.split()[3] for line in path.read_text().splitlines()] == ["c", "d", "e"]


async def test_lines_of_a_turn_are_written_at_once(settings, path, monkeypatch):
    writes = []
    log = Log("x", settings, path)
    monkeypatch.setattr("os.write", lambda descriptor, data: writes.append(data) or len(data))
    log.info("one")
    log.info("two")
    assert writes == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(writes) == 1 and writes[0].count(b"\n") == 2


def test_an_exception_names_the_place(settings, path):
    log = Log("x", settings, path)
    try:
        {}["absent"]
    except KeyError:
        log.exception("bug", verb="push")
    line = path.read_text()
    assert "error=\"KeyError: 'absent'\"" in line and "test_log.test_an_exception_names_the_place" in line and "verb=push" in line


def test_a_full_disk_loses_lines_and_says_so(settings, path, monkeypatch):
    log, write = Log("x", settings, path), os.write

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    log.info("lost")
    log.info("lost too")
    monkeypatch.setattr("os.write", write)
    log.info("back")
    assert [line.split(" ", 3)[3] for line in path.read_text().splitlines()] == ["back", "log lines lost count=2"]
    assert log.lost == 0


def test_a_pipe_that_nobody_reads_never_blocks(settings, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    log = Log("x", settings, fifo)
    log.info("nobody listens")
    assert log.lost == 1
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log.reopen()
    for _ in range(2000):
        log.info("x" * 100)
    assert log.lost > 0
    os.close(reader)


def test_a_rotated_file_is_opened_anew(settings, path):
    log = Log("x", settings, path)
    log.info("old")
    path.rename(path.with_suffix(".1"))
    log.reopen()
    log.info("new")
    assert "new" in path.read_text() and "new" not in path.with_suffix(".1").read_text()


def test_a_removed_file_comes_back_by_itself(settings, path, monkeypatch):
    log = Log("x", settings, path)
    log.info("old")
    path.unlink()
    monkeypatch.setattr("fancymail.base.log.REOPEN_INTERVAL", 0)
    log.info("new")
    assert "new" in path.read_text()


def test_a_stopped_terminal_does_not_stop_us(settings, path, monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        log = Log("x", msgspec.structs.replace(settings, console="always"), path)
        for _ in range(3000):
            log.info("x" * 100)
        assert path.read_text().count("\n") == 3000
    os.close(reader)


@pytest.mark.parametrize("value, text", [("plain", "plain"), ("two words", '"two words"'), ("", '""'), ("é", '"é"'), (3, "3"),
                                         (b"a\x80", '"a\\\\x80"'), ("x" * 700, "x" * 600 + "...")])
def test_escape(value, text):
    assert escape(value) == text
