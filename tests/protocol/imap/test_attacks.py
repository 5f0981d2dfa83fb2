"""What clients send to make a server slow, fat or confused: each gets its BAD or NO at once, and the session goes on."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from fancymail.protocol.imap.options import Limits
from tests.protocol.imap.clerk import Clerk

DEEP, MANY = 10_000, 10_000


def session(**options: str) -> Clerk:
    return Clerk({"state": "selected", "errors": "100000"} | options)


def say(clerk: Clerk, *octets: bytes) -> bytes:
    """Let the client say something and return what it hears."""
    for piece in octets:
        clerk.engine.receive(piece)
        while (event := clerk.engine.next_event()) is not None:
            clerk.decide(event)
    return clerk.engine.to_send()


@pytest.mark.parametrize("line, answer", [
    (b"a SEARCH " + b"NOT " * DEEP + b"SEEN", b"a BAD [LIMIT] search keys are nested too deeply"),
    (b"a SEARCH " + b"(" * DEEP + b"SEEN" + b")" * DEEP, b"a BAD [LIMIT] search keys are nested too deeply"),
    (b"a SEARCH " + b"OR SEEN " * 5000 + b"SEEN", b"a BAD [LIMIT] search keys are nested too deeply"),
    (b"a SEARCH " + b"SEEN " * MANY, b"a BAD [LIMIT] too many search keys"),
    (b"a SEARCH FUZZY " * 20 + b"ALL", b"a BAD there is no such search key"),
    (b"a NOOP " + b"(" * DEEP, b"a BAD more arguments than the command has"),
    (b"a FETCH 1 BODY[" + b"1." * 1000 + b"1]", b"a BAD the section is too deep"),
    (b"a FETCH 1 (" + b"UID " * MANY + b"UID)", b"a BAD the list is too long"),
    (b"a FETCH 1 BODY[HEADER.FIELDS (" + b"a " * MANY + b"a)]", b"a BAD the list is too long"),
    (b"a FETCH 1 BODY[]<0.99999999999999999999>", b"a BAD a partial is <offset.octets>"),
    (b"a FETCH " + b",".join(b"%d" % number for number in range(1, 2 * 16_500, 2))[:60_000].rstrip(b",") + b" FLAGS", b"a OK Fetch"),
    (b"a LIST \"\" (" + b"* " * MANY + b"*)", b"a BAD the list is too long"),
    (b"a LIST \"\" " + b"*%" * 20_000, b"a NO [LIMIT] the name is too long"),
    (b"a SETMETADATA INBOX (" + b'/shared/a "b" ' * 4000 + b'/shared/a "b")', b"a BAD the list is too long"),
    (b"a ID (" + b'"a" "b" ' * 4000 + b")", b"a BAD a field of ID is too long or stands twice"),
    (b"a STORE 1 FLAGS (" + b"x" * 300 + b")", b"a NO [LIMIT] the keyword is too long"),
    (b"a CREATE " + b"a/" * 1000 + b"a", b"a NO [CANNOT] a mailbox name has at most 32 levels"),
    (b"a CREATE " + b"x" * 5000, b"a NO [LIMIT] the name is too long"),
    (b"a NOTIFY SET " + b"(personal NONE) " * 3000, b"a NO [NOTIFICATIONOVERFLOW] too many groups"),
    (b"a CANCELUPDATE" + b' "x"' * MANY, b"a BAD too many tags"),
    (b"a APPEND x CATENATE (" + b"URL /x/;UID=1 " * 3000 + b"URL /x/;UID=1)", b"a BAD too many parts in one line"),
    (b"a APPEND x" + b" CATENATE (URL /x/;UID=1)" * 2000, b"a BAD too many parts in one line"),
    (b"a ESEARCH IN (mailboxes (" + b"x " * MANY + b"x)) ALL", b"a BAD the list is too long"),
    (b"t" * 10_000 + b" NOOP", b"* BAD a tag is missing"),
    (b"a NOOP " + b"x" * 70_000, b"a BAD [LIMIT] the line is too long"),
    (b"a SELECT INBOX (QRESYNC (1 99999999999999999999))", b"a BAD QRESYNC is not enabled"),
    (b"a SEARCH MODSEQ 9223372036854775808", b"a BAD a number here is 0 to 9223372036854775807"),
    (b"a SEARCH BEFORE 1-Jan-0000", b"a BAD there is no such day"),
    (b'a APPEND INBOX "01-Jan-9999 00:00:00 +0000" {3}', b"a BAD a message has not come at such a time"),
    (b'a APPEND INBOX "01-Jan-0001 00:00:00 +9900" {3}', b"a BAD there is no such time"),
], ids=lambda value: value[:30].decode())
def test_refused_at_once(line, answer):
    clerk = session()
    begin = time.process_time()
    heard = say(clerk, line + b"\r\n")
    assert time.process_time() - begin < 0.5
    assert heard.startswith(answer), heard[:200]
    assert say(clerk, b"b NOOP\r\n") == b"b OK Noop\r\n"


def test_a_claim_allocates_nothing():
    clerk = session(append=str(2**40))
    tracemalloc.start()
    say(clerk, b"a APPEND INBOX {999999999999}\r\n", b"abc")
    say(session(), b"a SEARCH TEXT {65536}\r\nabc")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_line_without_end_is_thrown_away_and_ends_the_session():
    clerk = session()
    for _ in range(200):
        heard = say(clerk, b"a NOOP " + b"x" * 8192)
        assert len(clerk.engine.inbox) <= Limits().line + 8192 * 2
        if clerk.engine.closing:
            break
    assert clerk.engine.closing and heard == b"* BYE the line does not end\r\n"


def test_many_small_literals_have_a_bound():
    clerk = session()
    assert say(clerk, b"a SEARCH" + b" KEYWORD {1+}\r\nx" * 3000 + b"\r\n") == b"a BAD [LIMIT] the command is too long\r\n"
    assert say(clerk, b"b NOOP\r\n") == b"b OK Noop\r\n"


def test_the_octets_of_a_command_have_a_bound():
    clerk = session()
    piece = b"KEYWORD {60000+}\r\n" + b"x" * 60_000 + b" "
    assert say(clerk, b"a SEARCH " + piece * 5 + b"ALL\r\n") == b"a BAD [LIMIT] the command is too long\r\n"
    assert say(clerk, b"b NOOP\r\n") == b"b OK Noop\r\n"


def test_pipelined_commands_are_answered_in_order_and_linearly():
    clerk = session(show="no")
    begin = time.process_time()
    heard = say(clerk, b"".join(b"a%d NOOP\r\n" % number for number in range(20_000)))
    assert time.process_time() - begin < 5
    assert heard == b"".join(b"a%d OK NOOP completed\r\n" % number for number in range(20_000))


def test_needles_that_look_like_patterns_are_text():
    clerk = session()
    assert say(clerk, b'a SEARCH TEXT "(a+)+$"\r\n') == b"a OK Search key=Text(where=text, text=(a+)+$)\r\n"
    assert say(clerk, b"b SEARCH BODY {9000+}\r\n" + b"x" * 9000 + b"\r\n") == b"b NO [LIMIT] the string is too long to be searched for\r\n"
