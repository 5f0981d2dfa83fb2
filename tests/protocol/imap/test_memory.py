"""Commands that were read before mean what they mean when they are read anew, whatever was said, enabled and selected before them."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import memory
from fancymail.protocol.imap.options import Options
from fancymail.protocol.imap.server import AUTHENTICATED, NOT_AUTHENTICATED, SELECTED, ImapServer

OPTIONS = Options(plaintext=True)
LINES = [
    b"NOOP", b"noop", b"NOOP ", b"CHECK", b"IDLE", b"SELECT INBOX", b"SELECT x (CONDSTORE)", b"EXAMINE &AOk-", b"SELECT x (QRESYNC (1 2))",
    b"STATUS x (MESSAGES UNSEEN)", b'LIST "" *', b"UID FETCH 1 (FLAGS ENVELOPE)", b"UID FETCH 1,5:9 (FLAGS ENVELOPE)", b"UID FETCH 0 (FLAGS)",
    b"UID FETCH 4294967296 FLAGS", b"UID FETCH 4294967295 FLAGS", b"FETCH 3 FLAGS", b"FETCH 4 FLAGS", b"FETCH 4  FLAGS", b"FETCH  FLAGS",
    b"FETCH 1:* FLAGS", b"FETCH 9,2 BODY[]", b"UID FETCH 7 (FLAGS) (CHANGEDSINCE 5)", b"UID FETCH 8 (FLAGS) (CHANGEDSINCE 5 VANISHED)",
    b"FETCH $ FLAGS", b"UID STORE 3 +FLAGS (\\Seen)", b"UID STORE 4:6 +FLAGS (\\Seen)", b"STORE 3 FLAGS.SILENT ()", b"COPY 1 INBOX",
    b"UID MOVE 2:9 &AOk-", b"MOVE 3 x", b"SEARCH UNSEEN", b"SEARCH 1:5", b"UID SEARCH CHARSET UTF-8 FROM x", b"SORT (SUBJECT) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL", b"EXPUNGE", b"CLOSE", b"FETCH 1 MODSEQ", b"FETCH 2 MODSEQ", b"ENABLE CONDSTORE", b"ENABLE UTF8=ACCEPT QRESYNC",
    b"ENABLE UIDONLY", b"nonsense", b"", b"UID"]
BEFORE = [b"LOGIN a b", b'ID ("name" "x")', b"NOOP"]


def play(engine: ImapServer, lines: list[bytes], states: list[int]) -> list:
    """What an engine makes of lines: for each the value, the command's name, what is enabled then, and what was said."""
    found = []
    for line, state in zip(lines, states):
        engine.state = state
        engine.receive(line + b"\r\n")
        event = engine.next_event()
        said = engine.to_send()
        if event is not None:
            engine.no("not now")
            engine.idle = False
            engine.to_send()
        engine._errors = 0
        found.append((event, engine.command, set(engine.enabled), said))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_command_means_the_same_whoever_said_it_before(seed):
    chance = random.Random(seed)
    for _ in range(15):
        said = [chance.choice((b"a ", b"b1 ", b"* ", b"", b"A+ ")) + chance.choice(LINES) for _ in range(30)]
        states = [chance.choice((AUTHENTICATED, SELECTED, SELECTED)) for _ in said]
        remembering, forgetful = ImapServer(OPTIONS), ImapServer(dataclasses.replace(OPTIONS))
        for line, state in zip(said, states):
            forgetful.options.memories.clear()
            forgetful._memory = forgetful.options.memory(forgetful.enabled)
            assert play(remembering, [line], [state]) == play(forgetful, [line], [state]), line


def test_the_same_list_of_items_is_the_same_object():
    options = Options(plaintext=True)
    first, second, third = [play(ImapServer(options), [b"a UID FETCH %d (FLAGS ENVELOPE)" % uid], [SELECTED])[0][0] for uid in (1, 2, 3)]
    assert (first.sequence.single, second.sequence.single, third.sequence.single) == (1, 2, 3)
    assert first.items is second.items is third.items


def test_nothing_of_before_a_login_is_kept():
    options = Options(plaintext=True)
    for line in BEFORE:
        play(ImapServer(options), [b"a " + line], [NOT_AUTHENTICATED])
    assert not any(kept._lines or kept._shapes for kept in options.memories.values())


def test_little_is_kept(monkeypatch):
    monkeypatch.setattr(memory, "MOST", 40_000)
    options = Options(plaintext=True)
    engine = ImapServer(options)
    for number in range(50):
        play(engine, [b"a STATUS x%d (MESSAGES)" % number, b"a UID FETCH %d (FLAGS BODY[%d])" % (number + 1, number + 1)], [SELECTED] * 2)
        kept = options.memory(engine.enabled)
        assert 0 < len(kept._lines) < 40 and 0 < len(kept._shapes) < 40 and kept.octets <= 40_000
    kept._lines.clear()
    play(engine, [b'a SEARCH SUBJECT "%b"' % (b"x" * 300)], [SELECTED])
    assert not kept._lines


def test_a_literal_is_never_taken_from_memory():
    options = Options(plaintext=True)
    for text in (b"one", b"two"):
        engine = ImapServer(options)
        found = play(engine, [b"a SEARCH SUBJECT {3+}\r\n" + text], [SELECTED])
        assert isinstance(found[0][0], c.Search) and found[0][0].key.text == text.decode()
