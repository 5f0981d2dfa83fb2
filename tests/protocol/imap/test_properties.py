"""Whatever a client sends: a command, a response or the end of the session, nothing else; and the network's cuts change nothing."""

from __future__ import annotations

import re
import typing

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fancymail.mail.imap.sequence import SequenceSet, parse_sequence
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap.cursor import BadSyntax, Cursor
from fancymail.protocol.imap.fetch import read_items
from fancymail.protocol.imap.grammar import RULES
from fancymail.protocol.imap.options import Options
from fancymail.protocol.imap.server import LOGOUT
from tests.protocol.imap.clerk import Clerk

COMMANDS = [
    b"a NOOP", b"a LOGIN alice secret", b"a LOGIN {5}", b"alice {6+}", b"secret", b"a AUTHENTICATE PLAIN", b"AGFsaWNlAHNlY3JldA==", b"*",
    b"a SELECT INBOX", b"a SELECT none", b"a EXAMINE {5+}", b"INBOX", b"a FETCH 1:* (FLAGS)", b"a UID FETCH 1 BODY[HEADER.FIELDS (a {1+}",
    b"b)]<1.2>", b"a STORE 1 +FLAGS (\\Seen)", b"a SEARCH OR NOT (SEEN) TEXT {3}", b"abc", b"a APPEND INBOX {3}", b"a APPEND INBOX {3+}",
    b"a APPEND full {3+}", b"abc {3+}", b"abc (\\Seen) {2}", b"a\0c",
    b"a APPEND x CATENATE (URL /x/;UID=1 TEXT {3}", b"abc)", b"abc URL /none/;UID=1)",
    b"a APPEND INBOX ~{3+}", b"a APPEND INBOX UTF8 (~{3+}", b"a REPLACE 1 INBOX {3+}", b"a IDLE", b"DONE", b"a CLOSE", b"a UNSELECT",
    b"a LIST (SUBSCRIBED) \"\" (% {1}", b"x) RETURN (STATUS (MESSAGES))", b"a ENABLE QRESYNC UTF8=ACCEPT IMAP4REV2 UIDONLY",
    b"a SETMETADATA \"\" (/shared/x ~{2+}", b"a CREATE &", b"a CREATE {70000}", b"a CREATE {70000+}", b"a XYZZY {5+}", b"\x16\x03", b"",
    b"GET / HTTP/1.1", b"a NOTIFY SET (selected (MessageNew (UID) MessageExpunge))", b"a SORT (DATE) UTF-8 ALL", b"a COMPRESS LZW",
    b"a STATUS INBOX (MESSAGES)", b"a LOGOUT", b"a ID (\"a\" NIL)", b"{5+}", b"~{3}", b"a {3+}", b"a b {3+}"]
LINES = st.one_of(st.sampled_from(COMMANDS), st.binary(max_size=40),
                  st.tuples(st.sampled_from(sorted(RULES)), st.binary(max_size=30)).map(lambda both: b"t " + both[0].encode() + b" " + both[1]))
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b""])
SESSIONS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=30)
MODES = st.sampled_from([{}, {"plaintext": "yes"}, {"state": "authenticated"}, {"state": "selected"}, {"state": "selected"},
                         {"state": "selected", "enabled": "QRESYNC CONDSTORE UTF8=ACCEPT IMAP4REV2"}, {"state": "selected", "enabled": "UIDONLY"},
                         {"state": "selected", "line": "30", "append": "5"}, {"state": "authenticated", "literal": "LITERAL-"}])
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = typing.get_args(c.Command)
RESPONSE = re.compile(
    rb"(?:\* (?:OK|NO|BAD|BYE|CAPABILITY)|\+|[^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64} (?:OK|NO|BAD)) [ -~]*|\* ENABLED[ -~]*|\* [0-9]+ EXISTS")


def perform(pieces, options) -> Clerk:
    """Let a session hear the pieces; all it says is kept in `heard`."""
    clerk = Clerk({"errors": "1000", "failures": "1000"} | options)
    clerk.heard = clerk.engine.to_send()
    for piece in pieces:
        clerk.engine.receive(piece)
        while (event := clerk.engine.next_event()) is not None:
            assert isinstance(event, VALUES)
            clerk.decide(event)
            assert not clerk.engine.busy
        clerk.heard += clerk.engine.to_send()
        if clerk.engine.closing:
            break
    clerk.heard += clerk.engine.to_send()
    return clerk


def well_formed(said: bytes) -> bool:
    """Every line is a response of printable ASCII."""
    lines = said.split(b"\r\n")
    return lines.pop() == b"" and all(RESPONSE.fullmatch(line) for line in lines)


def without_pieces(events: list) -> list:
    """The events, an appended message as one however it was cut."""
    joined: list = []
    for event in events:
        if isinstance(event, c.AppendData) and joined and isinstance(joined[-1], c.AppendData):
            joined[-1] = c.AppendData(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


@QUICK
@given(SESSIONS, MODES)
def test_any_session_gets_responses(session, options):
    clerk = perform(session, options)
    assert well_formed(clerk.heard), clerk.heard
    clerk.engine.expire()
    assert clerk.engine.closing and clerk.engine.state == LOGOUT


@QUICK
@given(SESSIONS, MODES, st.data())
def test_cuts_change_nothing(session, options, data):
    session = [line for line in session if b"STARTTLS" not in line.upper() and b"COMPRESS" not in line.upper()]
    whole = b"".join(session)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)])]
    one = perform([whole], options)
    for other in (pieces, [whole[at:at + 1] for at in range(len(whole))]):
        two = perform(other, options)
        assert one.heard == two.heard
        assert one.messages == two.messages
        assert one.engine.closing == two.engine.closing
        if b"\0" not in whole:                      # of a message with NUL, more or less of it is heard before it is refused
            assert without_pieces(one.events) == without_pieces(two.events)


@QUICK
@given(SESSIONS)
def test_memory_is_bounded(session):
    clerk = perform([line + b"x" * 3000 for line in session], {"state": "selected", "line": "2000", "command": "5000"})
    assert len(clerk.engine._text) + sum(map(len, clerk.engine._literals)) < 10_000


@given(st.lists(st.tuples(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 60), st.just("*"))), min_size=1, max_size=20),
       st.integers(0, 50))
def test_sequence_sets_mean_what_they_say(items, largest):
    text = ",".join(str(first) if last is None else f"{first}:{last}" for first, last in items)
    expected = set()
    for first, last in items:
        last = first if last is None else largest if last == "*" else last
        if last:
            expected.update(range(min(first, last), max(first, last) + 1))
    found = {number for first, last in parse_sequence(text.encode()).resolve(largest) for number in range(first, last + 1)}
    # What is beyond the largest is nobody's; only that "*" is the largest itself matters.
    assert {number for number in found if number <= largest} == {number for number in expected if number <= largest}
    again = parse_sequence(str(parse_sequence(text.encode())).encode())
    assert again == parse_sequence(text.encode())


@given(st.binary(max_size=60).map(lambda octets: octets.translate(bytes(b"0123456789:*,$"[octet % 14] for octet in range(256)))))
def test_sequence_sets_never_surprise(text):
    try:
        assert isinstance(parse_sequence(text), SequenceSet)
    except ValueError:
        pass


FETCH_BITS = st.sampled_from([b"FLAGS", b"UID", b"BODY", b"BODY[", b"]", b"(", b")", b" ", b".", b"PEEK", b"1", b"2", b"<", b">", b"0.5", b"HEADER",
                              b"HEADER.FIELDS", b"\"a b\"", b"Date", b"BINARY", b"SIZE", b"TEXT", b"MIME", b"PREVIEW", b"(LAZY)", b"RFC822", b"[]",
                              b"BODY.PEEK[]", b"ALL", b"\xff", b"\0"])


@QUICK
@given(st.lists(FETCH_BITS, max_size=14).map(b"".join))
def test_fetch_items_are_read_the_same_with_and_without_memory(text):
    results = []
    for _ in range(2):
        cursor = Cursor(text, [], Options())
        try:
            results.append((read_items(cursor), cursor.at))
        except BadSyntax as error:
            results.append(error.text)
    assert results[0] == results[1]
