"""Whatever a client sends: an event, a reply or the end of the session, nothing else; and the network's cuts change nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fancymail.protocol.smtp import events
from fancymail.protocol.smtp.content import ContentLimits, ContentRules, Unacceptable, bare_newline
from fancymail.protocol.smtp.data import DataReader, Inbox
from fancymail.protocol.smtp.reply import Reply
from tests.protocol.smtp.receiver import Receiver

COMMANDS = [
    b"EHLO c", b"HELO c", b"LHLO c", b"MAIL FROM:<s@x.test>", b"MAIL FROM:<> SIZE=10 BODY=8BITMIME", b"RCPT TO:<alice@us.test>",
    b"RCPT TO:<nobody@us.test>", b"RCPT TO:<bob@us.test> NOTIFY=NEVER", b"DATA", b"BDAT 0", b"BDAT 3 LAST", b"abc", b".", b"..", b"",
    b"RSET", b"NOOP", b"QUIT", b"STARTTLS", b"AUTH PLAIN", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", b"AUTH LOGIN", b"YWxpY2U=", b"*", b"VRFY x",
    b"Subject: x", b"MAIL FROM:<full@x.test>", b"MAIL FROM:<doubt@x.test>", b"\x16\x03\x01", b"a\rb", b"\xff", b"HELP", b"EXPN y"]
LINES = st.one_of(st.sampled_from(COMMANDS), st.binary(max_size=40))
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b""])
BEGINNINGS = st.sampled_from([b"", b"EHLO c\r\n", b"EHLO c\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<alice@us.test>\r\n",
                              b"LHLO c\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<alice@us.test>\r\nRCPT TO:<bob@us.test>\r\n",
                              b"EHLO c\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<>\r\nRCPT TO:<v@x.test>\r\nDATA\r\n"])
SESSIONS = st.tuples(BEGINNINGS, st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=40)).map(lambda both: [both[0], *both[1]])
MODES = st.sampled_from([{"mode": "transfer"}, {"mode": "lmtp"}, {"mode": "transfer", "tls": "yes", "size": "60", "line": "20"},
                         {"mode": "submission", "auth_in_plain": "yes", "mechanisms": "PLAIN LOGIN", "auth_required": "yes"}])
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def perform(pieces, options) -> Receiver:
    """Let a session hear the pieces; all it says is kept in `heard`."""
    receiver = Receiver({"errors": "0", "junk": "0", "logins": "0", "sync": "no"} | options)
    receiver.heard = b""
    for piece in pieces:
        receiver.engine.receive(piece)
        while (event := receiver.engine.next_event()) is not None:
            assert isinstance(event, events.Event)
            receiver.decide(event)
        receiver.heard += receiver.engine.to_send()
        if receiver.engine.want_tls:
            receiver.tls()
        if receiver.engine.closing:
            break
    receiver.heard += receiver.engine.to_send()
    return receiver


def well_formed(said: bytes) -> bool:
    """Replies are lines of a code and printable ASCII."""
    lines = said.split(b"\r\n")
    return lines.pop() == b"" and all(
        line[:3].isdigit() and line[3:4] in (b" ", b"-") and line.decode("ascii").isprintable() and len(line) < 512 for line in lines)


@QUICK
@given(SESSIONS, MODES)
def test_any_session_gets_replies(session, options):
    receiver = perform(session, options)
    assert well_formed(receiver.heard)
    receiver.engine.receive_eof()
    while (event := receiver.engine.next_event()) is not None:
        receiver.decide(event)
    assert receiver.engine.closing


@QUICK
@given(SESSIONS, MODES, st.data())
def test_cuts_change_nothing(session, options, data):
    options = {name: value for name, value in options.items() if name not in ("size", "line")}      # of two faults either may be seen first
    if options.get("tls"):
        session = [line for line in session if b"STARTTLS" not in line.upper()]      # a cut decides whether octets come behind it
    whole = b"".join(session)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)])]
    for other in (pieces, [whole[at:at + 1] for at in range(len(whole))]):
        one, two = perform([whole], options), perform(other, options)
        assert one.messages == two.messages
        assert one.heard == two.heard
        assert one.engine.closing == two.engine.closing


@QUICK
@given(st.binary(max_size=3000))
def test_octets_of_no_language_at_all(garbage):
    assert well_formed(perform([garbage], {}).heard)


@QUICK
@given(SESSIONS, MODES)
def test_what_is_accepted_is_whole_lines(session, options):
    for _, recipients, content in perform(session, options).messages:
        assert recipients
        assert not bare_newline(content) and b"\0" not in content
        assert content == b"" or content.endswith(b"\r\n")


def stuffed(content: bytes) -> bytes:
    """RFC 5321 4.5.2, the client's side."""
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in content.split(b"\r\n")[:-1]) + b".\r\n"


TEXT = st.lists(st.binary(max_size=30).map(lambda line: line.translate(None, b"\r\n\0")), max_size=30).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines))


@QUICK
@given(TEXT, st.lists(st.integers(1, 50), max_size=30))
def test_content_comes_through_unchanged(content, sizes):
    wire, inbox, reader, got = stuffed(content) + b"NEXT\r\n", Inbox(), DataReader(ContentRules(ContentLimits())), b""
    ended = False
    while not ended:
        size = sizes.pop() if sizes else len(wire)
        inbox.add(wire[:size])
        wire = wire[size:]
        ended = reader.read(inbox)
        while (event := reader.rules.next_event()) is not None:
            got += event[0]
    assert got == content and reader.rules.octets == len(content)
    assert bytes(inbox.octets[inbox.start:]) + wire == b"NEXT\r\n"


@QUICK
@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\0"]), max_size=24).map(b"".join))
def test_only_crlf_dot_crlf_ends_data(wire):
    """Against a reader that looks at one octet after the other."""
    inbox, reader = Inbox(), DataReader(ContentRules(ContentLimits()))
    inbox.add(wire)
    try:
        ended, refused = reader.read(inbox), False
    except Unacceptable:
        refused, ended = True, False
        try:
            ended = reader.read(inbox)
        except Unacceptable:
            raise AssertionError("refused twice") from None
    end = (b"\r\n" + wire).find(b"\r\n.\r\n")
    assert ended == (end >= 0)
    content = wire[:end] if end >= 0 else wire
    naive = any((octet == 10 and content[at - 1:at] != b"\r") or (octet == 13 and content[at + 1:at + 2] not in (b"\n", b"")) or octet == 0
                for at, octet in enumerate(content))
    assert refused == naive


@given(st.text(max_size=600))
def test_replies_cannot_be_broken(text):
    assert well_formed(Reply(550, "5.1.1", text, text).octets)


@QUICK
@given(st.binary(max_size=400))
def test_bare_newlines_are_found(block):
    naive = block.replace(b"\r\n", b"")
    assert bare_newline(block) == (b"\r" in naive or b"\n" in naive)
