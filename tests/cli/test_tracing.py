"""trace: lines of one message out of many, whatever wrote them."""

import gzip
import os

import msgspec
import pytest

from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogSettings
from fancymail.cli.tracing import find, log_files, read_line

ID = "k3vabcdefghijklmnopqrstuvw"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "fancymail.log"


def test_events_of_one_id(log):
    settings = LogSettings(console="never")
    Log("smtpin", settings, log).info("accepted", id=ID, size=3, helo="a b")
    Log("smtpin", settings, log).info("accepted", id="other", size=3)
    Log("queue", msgspec.structs.replace(settings, format="json"), log).info("pushed", id=ID, queue="incoming")
    Log("mailbox", settings, log).info("delivered", ids=["x", ID])
    events = list(find([log], ID))
    assert [(event["daemon"], event["event"]) for event in events] == [
        ("smtpin", "accepted"), ("queue", "pushed"), ("mailbox", "delivered")]
    assert events[0]["helo"] == "a b" and events[0]["size"] == "3"


def test_an_id_within_a_word_is_another(log):
    Log("x", LogSettings(console="never"), log).info("accepted", id=ID + "x", text=f"says {ID[:-1]}")
    assert list(find([log], ID)) == []


def test_rotated_files_come_first(log):
    with gzip.open(log.with_name("fancymail.log.2.gz"), "wt") as old:
        old.write(f"2026-01-01T00:00:00.000Z smtpin info accepted id={ID}\n")
    log.with_name("fancymail.log.1").write_text(f"2026-01-02T00:00:00.000Z queue info pushed id={ID}\n")
    log.write_text(f"2026-01-03T00:00:00.000Z mailbox info delivered id={ID}\n")
    for age, name in enumerate(("", ".1", ".2.gz")):
        os.utime(f"{log}{name}", (1000 - age, 1000 - age))
    assert [event["event"] for event in find(log_files(log), ID)] == ["accepted", "pushed", "delivered"]


@pytest.mark.parametrize("line, event", [
    ("garbage\n", None), ("{broken\n", None), ("\n", None),
    ('2026-01-01T00:00:00.000Z x info log lines lost count=2\n', "log lines lost"),
    ('2026-01-01T00:00:00.000Z x info nothing else\n', "nothing else")])
def test_lines(line, event):
    assert (read_line(line) or {}).get("event") == event


def test_quotes_are_undone():
    line = '2026-01-01T00:00:00.000Z x info e a="q \\"w\\" id=no" id=yes\n'
    assert read_line(line)["a"] == 'q "w" id=no' and read_line(line)["id"] == "yes"
