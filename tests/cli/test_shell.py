"""The shell's reading and completing, without a terminal."""

import pytest

from fancymail.cli.shell import Completer, read_line


@pytest.mark.parametrize("line, message", [
    ("ping", ("ping", [])),
    ("slot: incoming ; 2", ("slot", ["incoming", "2"])),
    ("slot incoming 2", ("slot", ["incoming", "2"])),
    ("auth alice 'two words'", ("auth", ["alice", "two words"])),
    ('push: incoming ; "a;b"', ("push", ["incoming", "a;b"]))])
def test_both_notations(line, message):
    verb, params = read_line(line)
    assert (verb, list(params)) == message


def completions(typed: str, text: str) -> list[str]:
    completer, found = Completer("queue", lambda: typed), []
    while (word := completer(text, len(found))) is not None:
        found.append(word)
    return found


def test_verbs_are_completed():
    assert completions("pu", "pu") == ["push: "]
    assert completions("he", "he") == ["help "]
    assert completions("help pu", "pu") == ["push"]


def test_files_are_completed(tmp_path):
    (tmp_path / "slot-1").write_text("")
    (tmp_path / "slots").mkdir()
    assert completions("push: incoming ; ", f"{tmp_path}/slot") == [f"{tmp_path}/slot-1", f"{tmp_path}/slots/"]
    assert completions("push: x ; ", "/nowhere/at/all") == []
