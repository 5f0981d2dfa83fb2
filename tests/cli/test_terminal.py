"""What the tools print when nobody looks: plain columns that nothing in them can disturb."""

import io

import pytest

from fancymail.cli.terminal import console, duration, json_line, octets, printable, table


def test_a_plain_table():
    out = io.StringIO()
    table(console(out), "title", ["name", "value"], [("日本", 1), ("a\x1b[2Jb\n", None)])
    assert out.getvalue() == "title\nname         value\n日本         1\na\\x1b[2Jb\\n  -\n\n"


@pytest.mark.parametrize("value, text", [("plain", "plain"), (b"\xff", "\\xff"), ("\u202e", "\\u202e"), ("\ud800", "\\ud800"), (3, "3")])
def test_printable(value, text):
    assert printable(value) == text


@pytest.mark.parametrize("seconds, text", [(0, "0s"), (75, "1m15s"), (3600, "1h"), (90_000, "1d1h"), (59.9, "59s")])
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("count, text", [(0, "0 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")])
def test_octets(count, text):
    assert octets(count) == text


def test_json_of_octets():
    assert json_line({"params": [b"a", b"\xff"]}) == '{"params":["a","\\\\xff"]}'
