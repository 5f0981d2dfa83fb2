"""What is a command and what is none: the lines of our talks, asked of Dovecot too. Wherever we differ, the reason stands here.

Only the kind of the answer counts: OK, NO or BAD. Our side is the engine alone, with a session that says OK to whatever it understood; so a
NO of Dovecot's about a mailbox that does not exist is no difference.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.imap_kit import Wire
from tests.protocol.imap.clerk import Clerk
from tests.talks.player import octets, read_talk

pytestmark = [pytest.mark.live, pytest.mark.skipif(shutil.which("dovecot") is None, reason="dovecot is not installed"),
              pytest.mark.skipif(os.getuid() != 0, reason="Dovecot wants to be started by root")]
TALKS = Path(__file__).parents[1] / "talks" / "imap"
BOTH = ("append", "copy-move-expunge", "enable", "fetch", "id", "list", "mailboxes", "metadata", "notify", "qresync", "search", "select",
        "sort-thread", "status", "store")

# What Dovecot 2.3 does not speak, or not without a plugin.
UNKNOWN_THERE = re.compile(r"EMAILID|MAILBOXID|PARTIAL|MYRIGHTS|METADATA|FUZZY|APPENDLIMIT|\d UTF8|CANCELUPDATE|USE \(")
# Lines on which we differ, and why we do.
DIFFERENT = {
    "EXPUNGE 1": "an argument that the grammar does not have is BAD, not passed over",
    "ENABLE": "the grammar wants one name at least",
    "ENABLE UTF8=ACCEPT": "RFC 9051 6.3.1: ENABLE only before a mailbox is selected",
    "FETCH 1 BODY[]<0.0>": "RFC 9051 9: partial = \"<\" number64 \".\" nz-number64 \">\"",
    "FETCH 1 BODY[0]": "RFC 9051 9: parts are counted from 1",
    "FETCH 1 (MODSEQ) (CHANGEDSINCE 9223372036854775808)": "RFC 7162 7: a mod-sequence has 63 bits",
    'ID ("name")': "a field has a value",
    'ID ("name" "a" "name" "b")': "RFC 2971 3.3: no field twice",
    "ID (name x)": "RFC 2971 4: strings, not atoms",
    'LIST "" ()': "RFC 5258 6: one pattern at least",
    'CREATE "a*b"': "RFC 9051 5.1: wildcards in names only make trouble; NO [CANNOT]",
    "CREATE a*b": "an astring has no *; theirs is NO for it is there already",
    "RENAME a b c": "an argument that the grammar does not have",
    "NOTIFY SET (personal (MessageNew))": "RFC 5465 5.2: MessageNew and MessageExpunge go together",
    "NOTIFY SET (personal (FlagChange))": "RFC 5465 5.3",
    "NOTIFY SET (selected (MailboxName))": "RFC 5465 6.1: events of messages only",
    "NOTIFY SET": "RFC 5465 8: one group at least",
    "SELECT INBOX (QRESYNC (0 2))": "RFC 7162 7: UIDVALIDITY is not 0",
    "SELECT INBOX (QRESYNC (1 0))": "RFC 7162 7: a mod-sequence here is not 0",
    "SELECT INBOX (QRESYNC (1 9223372036854775808))": "RFC 7162 7: a mod-sequence has 63 bits",
    "SELECT INBOX (CONDSTORE CONDSTORE)": "RFC 4466 2.1: no parameter twice",
    "SELECT INBOX extra": "parameters stand in parentheses",
    "SEARCH ON 31-Feb-2020": "there is no such day",
    "SORT (DATE) ALL": "ALL is read as the charset; theirs misses the key first",
    "STORE 1 FLAGS": "RFC 9051 9: a list of flags, be it empty",
    "STORE 1 FLAGS ": "RFC 9051 9: a list of flags, be it empty",
    "STORE 1 FLAGS (a]b)": "an atom of a flag has no ]: BAD before NO [CANNOT]",
}


def lines() -> list[tuple[str, str, str]]:
    """(state, enabled, command) of the talks, without tags: all that stand on one line by themselves."""
    found = []
    for name in BOTH:
        talk = read_talk(TALKS / f"{name}.talk")
        for before, (kind, text, _), after in zip([("", "", 0), *talk.steps], talk.steps, [*talk.steps[1:], ("", "", 0)]):
            if kind == "C" and "C" not in (before[0], after[0]) and not re.search(r"\{\d+\+?\}$", text) and " " in text:
                found.append((talk.options.get("state", ""), text.split(" ", 1)[1]))
    return [(state, command) for state, command in dict.fromkeys(found) if not UNKNOWN_THERE.search(command) and not command.startswith("LOGOUT")]


@pytest.fixture(scope="module")
def folder():
    """One that Dovecot's user may enter; pytest's own are root's alone, and stay so: what is started there finds out whether others may enter."""
    with tempfile.TemporaryDirectory(prefix="fancymail-oracle-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def dovecot(folder):
    peers = pytest.importorskip("bench.peers")
    running = peers.Dovecot(folder)
    running.start()
    try:
        with Wire(running.imap_port) as wire:
            wire.ask(f"LOGIN {running.user} secret")
            for _ in range(9):
                wire.send(b"z APPEND INBOX {28+}\r\nFrom: a@b.test\r\n\r\nhello hell\r\n")
                assert wire.response().startswith(b"z OK")
        yield running
    finally:
        running.stop()


def ours(state: str, command: bytes, prepared: list[bytes]) -> str:
    """What the engine says to a command."""
    clerk = Clerk({"state": state, "errors": "1000", "show": "no"})
    for line in [*prepared, command]:
        clerk.engine.to_send()
        clerk.engine.receive(b"a " + line + b"\r\n")
        while (event := clerk.engine.next_event()) is not None:
            clerk.decide(event)
    answers = [line for line in clerk.engine.to_send().split(b"\r\n") if line.startswith(b"a ")]
    return answers[-1].split(b" ")[1].decode()


def theirs(dovecot, state: str, command: bytes, prepared: list[bytes]) -> str:
    """What Dovecot says to it."""
    with Wire(dovecot.imap_port) as wire:
        wire.ask(f"LOGIN {dovecot.user} secret")
        for line in [*prepared, *[b"SELECT INBOX"] * (state == "selected"), command]:
            wire.send(b"a " + line + b"\r\n")
            while not (answer := wire.response()).startswith(b"a "):
                pass
    return answer.split(b" ")[1].decode()


@pytest.mark.parametrize("state, command", lines(), ids=[command[:60] for _, command in lines()])
def test_the_same_kind_of_answer(dovecot, state, command):
    line = octets(command)
    prepared = [b"ENABLE QRESYNC"] if "QRESYNC (" in command or "VANISHED" in command else []
    if "VANISHED" in command:
        state = "selected"
    if prepared and state == "selected":
        state, prepared = "authenticated", [*prepared, b"SELECT INBOX"]
    if command == "ENABLE UTF8=ACCEPT":
        state = "selected"
    mine, other = ours(state, line, prepared), theirs(dovecot, state, line, prepared)
    if command in DIFFERENT:
        assert mine != other, "the difference is gone: take it off the list"
    elif mine == "OK":
        assert other in ("OK", "NO")                # understood by both; what became of it is another matter
    else:
        assert mine == other or (mine, other) == ("NO", "BAD")
