"""What a session sees of the engine: state, capabilities, what is enabled, and the ends of a session."""

from __future__ import annotations

import dataclasses
import types

import pytest

from fancymail.mail.uidset import LARGEST
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap.intake import Chunk, Collected, Intake, Line, Literal
from fancymail.protocol.imap.options import EXTENSIONS, Limits, Options
from fancymail.protocol.imap.server import AUTHENTICATED, LOGOUT, NOT_AUTHENTICATED, SELECTED, ImapServer

PLAIN = Options(plaintext=True, banner="ready")


def engine(state: int = SELECTED, options: Options = PLAIN) -> ImapServer:
    made = ImapServer(options)
    made.to_send()
    made.state = state
    return made


def hear(made: ImapServer, octets: bytes):
    made.receive(octets)
    return made.next_event()


def test_capabilities_follow_the_connection():
    options = Options(mechanisms=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"), message_limit=1000, revision_2=False, literal="LITERAL-")
    made = ImapServer(options)
    assert made.capability() == b"IMAP4rev1 LITERAL- SASL-IR ID ENABLE STARTTLS LOGINDISABLED AUTH=SCRAM-SHA-256"
    made.tls_started(types.SimpleNamespace(server_end_point=b"hash"))
    assert made.capability() == b"IMAP4rev1 LITERAL- SASL-IR ID ENABLE AUTH=PLAIN AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-256-PLUS"
    made.state = AUTHENTICATED
    words = made.capability().decode().split()
    assert set(EXTENSIONS) | {"MESSAGELIMIT=1000", f"APPENDLIMIT={50 * 1024 * 1024}"} <= set(words)
    assert "STARTTLS" not in words and len(words) == len(set(words))


def test_the_login_ends_the_short_deadline():
    made = ImapServer(PLAIN)
    assert made.deadline == PLAIN.login_timeout
    assert hear(made, b"a LOGIN alice secret\r\n") == c.Login("alice", b"secret")
    assert "secret" not in repr(c.Login("alice", b"secret")) and made.busy
    made.logged_in()
    assert made.state == AUTHENTICATED and made.deadline == PLAIN.idle


@pytest.mark.parametrize("line", [
    b"a SELECT x (CONDSTORE)", b"a STATUS x (HIGHESTMODSEQ)", b"a FETCH 1 MODSEQ", b"a FETCH 1 FLAGS (CHANGEDSINCE 1)",
    b"a STORE 1 (UNCHANGEDSINCE 1) FLAGS ()", b"a SEARCH OR SEEN NOT (MODSEQ 1 FUZZY ALL)", b"a SORT (DATE) UTF-8 MODSEQ 1",
    b"a THREAD REFERENCES UTF-8 MODSEQ 1"])
def test_commands_that_enable_condstore(line):
    made = engine()
    hear(made, b"a SEARCH OR SEEN NOT (ALL)\r\n")
    made.ok()
    assert not made.enabled
    hear(made, line + b"\r\n")
    assert made.enabled == {"CONDSTORE"}


def test_what_enable_means():
    made = engine(AUTHENTICATED)
    assert hear(made, b"a ENABLE QRESYNC IMAP4rev2 NONSENSE\r\n") == c.Enable(("QRESYNC", "IMAP4REV2"))
    assert made.enabled == {"QRESYNC", "CONDSTORE", "IMAP4REV2"} and made.utf8 and made.rev2 and not made.uidonly


def test_nothing_is_enabled_that_is_not_offered():
    made = engine(AUTHENTICATED, dataclasses.replace(PLAIN, extensions=frozenset(("IDLE",)), revision_2=False))
    assert hear(made, b"a ENABLE CONDSTORE QRESYNC IMAP4rev2 UTF8=ACCEPT UIDONLY\r\n") == c.Enable(())
    made.ok()
    hear(made, b"a FETCH 1 FLAGS\r\n")
    assert not made.enabled


@pytest.mark.parametrize("extension, state, lines", [
    ("MOVE", SELECTED, [b"MOVE 1 x", b"UID MOVE 1 x"]), ("UIDPLUS", SELECTED, [b"UID EXPUNGE 1"]), ("REPLACE", SELECTED, [b"REPLACE 1 x {1}"]),
    ("SORT", SELECTED, [b"SORT (DATE) UTF-8 ALL"]), ("NOTIFY", SELECTED, [b"NOTIFY NONE"]), ("QUOTA", SELECTED, [b"GETQUOTA x"]),
    ("MULTISEARCH", SELECTED, [b"ESEARCH ALL"]), ("COMPRESS=DEFLATE", SELECTED, [b"COMPRESS DEFLATE"]),
    ("NAMESPACE", SELECTED, [b"NAMESPACE"]), ("CREATE-SPECIAL-USE", SELECTED, [b"CREATE x (USE (\\Sent))"]),
    ("LIST-STATUS", SELECTED, [b'LIST "" * RETURN (STATUS (MESSAGES))']), ("PARTIAL", SELECTED, [b"UID FETCH 1:* UID (PARTIAL 1:2)"]),
    ("SEARCHRES", SELECTED, [b"SEARCH RETURN (SAVE) ALL"]), ("SORT=DISPLAY", SELECTED, [b"SORT (DISPLAYTO) UTF-8 ALL"]),
    ("WITHIN", SELECTED, [b"SEARCH OLDER 5"]), ("OBJECTID", SELECTED, [b"SEARCH EMAILID x", b"FETCH 1 EMAILID"]),
    ("PREVIEW", SELECTED, [b"FETCH 1 PREVIEW", b"FETCH 1 (UID PREVIEW (LAZY))"]), ("SAVEDATE", SELECTED, [b"FETCH 1 SAVEDATE"]),
    ("SEARCH=FUZZY", SELECTED, [b"SEARCH FUZZY ALL"]), ("CONDSTORE", SELECTED, [b"FETCH 1 MODSEQ", b"SEARCH MODSEQ 1"]),
    ("CATENATE", SELECTED, [b"APPEND x CATENATE (URL /x/;UID=1)"]), ("THREAD=REFERENCES", SELECTED, [b"THREAD REFERENCES UTF-8 ALL"])])
def test_what_is_not_offered_is_unknown(extension, state, lines):
    for line in lines:
        without = engine(state, dataclasses.replace(PLAIN, extensions=frozenset(EXTENSIONS) - {extension}))
        assert hear(without, b"a " + line + b"\r\n") is None
        assert without.to_send().startswith(b"a BAD ")
        assert hear(engine(state), b"a " + line + b"\r\n") is not None


@pytest.mark.parametrize("behind, follow", [
    (b"", False), (b"b NOOP\r\n", False), (b"b UID FETCH 1 FLAGS\r\n", False), (b"b FETCH 1 FLAGS\r\n", True), (b"b NOOP\r\nc stor", False),
    (b"b NOOP\r\nc store 1 ", True), (b"b SELECT FETCH \r\n", False)])
def test_numbers_follow(behind, follow):
    made = engine()
    assert hear(made, b"a NOOP\r\n" + behind) == c.Noop()
    assert made.numbers_follow() is follow


def test_the_same_items_are_the_same_object():
    items = []
    for line in (b"a UID FETCH 1 (FLAGS BODY.PEEK[])\r\n", b"a UID FETCH 2 (flags BODY.PEEK[])\r\n", b"a UID FETCH 3 (FLAGS BODY.PEEK[])\r\n"):
        made = engine()
        items.append(hear(made, line).items)
    assert items[0] is items[2] and items[0] is items[1]


def test_a_failed_select_leaves_nothing_selected():
    made = engine()
    assert isinstance(hear(made, b"a SELECT x\r\n"), c.Select)
    made.no("no such mailbox", b"NONEXISTENT")
    assert made.state == AUTHENTICATED
    assert made.to_send() == b"* OK [CLOSED] the other mailbox is closed\r\na NO [NONEXISTENT] no such mailbox\r\n"


def test_untagged_between_commands():
    made = engine()
    hear(made, b"a IDLE\r\n")
    made.idling()
    assert made.idle and not made.busy
    made.untagged(b"* 5 EXISTS\r\n", b"* 1 RECENT\r\n")
    assert made.to_send() == b"+ idling\r\n* 5 EXISTS\r\n* 1 RECENT\r\n"
    assert hear(made, b"DONE\r\n") == c.IdleDone() and not made.idle


def test_compression_waits_for_the_connection():
    made = engine()
    hear(made, b"a COMPRESS DEFLATE\r\n")
    made.ok()
    assert made.want_deflate and made.next_event() is None
    made.want_deflate = False
    assert hear(made, b"b COMPRESS DEFLATE\r\n") is None
    assert b"b NO [COMPRESSIONACTIVE]" in made.to_send()
    assert b"COMPRESS" not in made.capability()


def test_leaving_waits_for_the_command():
    made = engine()
    hear(made, b"a NOOP\r\nb NOOP\r\n")
    made.leave()
    assert not made.closing
    made.ok()
    assert made.next_event() is None and made.closing
    assert made.to_send() == b"a OK NOOP completed\r\n* BYE [UNAVAILABLE] the session ends here, log in again\r\n"


def test_leaving_waits_for_an_appended_message():
    made = engine()
    assert isinstance(hear(made, b"a APPEND x {3}\r\n"), c.AppendMessage)
    made.go_ahead()
    made.leave()
    assert not made.closing
    assert hear(made, b"abc\r\n") == c.AppendData(b"abc")
    assert made.next_event() == c.AppendEnd("x", 1)
    made.ok()
    assert made.next_event() is None and made.closing


def test_bye_in_the_middle():
    made = engine()
    hear(made, b"a APPEND x {3}\r\n")
    made.bye("over", b"UNAVAILABLE")
    assert made.closing and made.state == LOGOUT and not made.busy
    assert made.to_send() == b"* BYE [UNAVAILABLE] over\r\n"


@pytest.mark.parametrize("line, answer", [
    (b"a APPEND x {3}", lambda made: made.go_ahead()), (b"a NOOP", lambda made: made.ok()), (b"a NOOP", lambda made: made.no("no")),
    (b"a SELECT x", lambda made: made.selected(False)), (b"a CLOSE", lambda made: made.deselected()), (b"a IDLE", lambda made: made.idling()),
    (b"a FETCH 1 FLAGS", lambda made: made.untagged(b"* 1 FETCH ()\r\n")), (b"a NOOP", lambda made: made.bad("bad")),
    (b"a SELECT x", lambda made: made.bye("again"))])
def test_an_answer_that_comes_after_the_end_is_not_said(line, answer):
    made = engine()
    assert hear(made, line + b"\r\n") is not None
    made.to_send()
    made.bye("over")
    answer(made)
    assert made.to_send() == b"* BYE over\r\n"
    assert made.state == LOGOUT and made.closing and not made.idle and made.next_event() is None


def test_a_login_that_comes_after_the_end():
    for answer in (lambda made: made.logged_in(), lambda made: made.refused("no"), lambda made: made.challenge(b"")):
        made = engine(NOT_AUTHENTICATED, dataclasses.replace(PLAIN, limits=Limits(login_failures=1)))
        hear(made, b"a AUTHENTICATE PLAIN\r\n")
        made.expire()
        answer(made)
        assert made.to_send() == b"* BYE too slow to log in\r\n" and made.state == LOGOUT


def test_a_broken_append_is_told_once():
    made = engine()
    assert isinstance(hear(made, b"a APPEND x {3+}\r\nabc y\r\nb APPEND\r\n"), c.AppendMessage)
    made.go_ahead()
    assert made.next_event() == c.AppendData(b"abc")
    assert made.next_event() == c.AppendFailed()
    assert made.next_event() is None
    assert made.to_send().count(b"BAD") == 2


def test_tls_forgets():
    made = ImapServer(Options())
    hear(made, b"a STARTTLS\r\n")
    assert made.want_tls
    made.tls_started(None)
    assert made.tls and not made.binding and made.state == NOT_AUTHENTICATED and not made.want_tls


def test_intake_cuts():
    inbox = bytearray(b"a {3}\r\nabc def\n~{2+}\r\n\r\nlast")
    intake = Intake(inbox)
    assert intake.next(100) == Line(b"a ", Literal(3, True))
    intake.collect(3)
    assert intake.next(100) == Collected(b"abc")
    assert intake.next(100) == b" def"
    assert intake.next(100) == Line(b"", Literal(2, False, True))
    intake.stream(2)
    assert intake.next(100) == Chunk(b"\r\n", True)
    assert intake.next(100) is None
    inbox += b"\r\n"
    assert intake.next(3) == Line(b"last", None, True)


def test_intake_streams_and_throws_away():
    inbox = bytearray(b"abc")
    intake = Intake(inbox)
    intake.stream(5)
    assert intake.next(9) == Chunk(b"abc", False)
    intake.drop_stream()
    inbox += b"deNOOP\r\n"
    assert intake.next(9) == b"NOOP"
    intake.stream(0)
    assert intake.next(9) == Chunk(b"", True)


def test_limits_are_consistent():
    limits = Limits()
    assert limits.literal <= limits.command and limits.line <= limits.command and limits.append <= limits.swallow
    assert LARGEST == 2**32 - 1
