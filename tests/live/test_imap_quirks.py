"""What mail programs in the field stumble over, one test each: found in the issue trackers of servers and clients.

Each test says in its first line who it is that needs it. Commands go over real sockets, word for word as those clients send them.
"""

from __future__ import annotations

import re
import time
from itertools import count

import pytest

from tests.imap_kit import Wire
from tests.live.suite import ALICE, BOB

_numbers = count(1)


@pytest.fixture
def wire(suite):
    with suite.imap(ALICE) as made:
        yield made


@pytest.fixture
def box(wire):
    """Return the name of a mailbox with three messages, not selected."""
    name = f"quirk{next(_numbers)}"
    wire.ok(f"CREATE {name}")
    for number in range(3):
        wire.append(name, b"From: a@x.test\r\nSubject: %d\r\n\r\ntext\r\n" % number)
    return name


def envelope(wire: Wire, header: bytes) -> bytes:
    """Return the ENVELOPE of a message with this header."""
    name = f"envelope{next(_numbers)}"
    wire.ok(f"CREATE {name}")
    wire.append(name, header + b"\r\ntext\r\n")
    wire.select(name)
    return wire.ok("FETCH 1 ENVELOPE").of("FETCH")[0]


def test_commands_in_the_packet_right_after_done(suite, wire, box):
    """iOS 18 Mail pipelines behind DONE (stalwart#765)."""
    wire.select(box)
    tag = wire.idle()
    wire.send(b"DONE\r\nq1 NOOP\r\nq2 FETCH 1 (UID)\r\nq3 IDLE\r\n")
    assert wire.finish(tag).status == "OK"
    assert wire.finish(b"q1").status == "OK"
    assert len(wire.finish(b"q2").of("FETCH")) == 1
    while not wire.response().startswith(b"+"):
        pass
    wire.send(b"DONE\r\n")
    assert wire.finish(b"q3").status == "OK"


def test_no_exists_of_less_after_expunge(wire, box):
    """Apple Mail loops over `* 0 EXISTS` after EXPUNGE (wildduck#850)."""
    wire.select(box)
    wire.ok(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
    answer = wire.ok("EXPUNGE")
    assert len(answer.of("EXPUNGE")) == 3
    assert answer.numbers("EXISTS") == []


def test_a_quote_in_a_message_id_is_escaped(wire):
    """iCloud sent it bare, and mailcore2 fell over (mailcore2#1967)."""
    answer = envelope(wire, b'From: a@x.test\r\nMessage-ID: <"a b"\\c@x.test>\r\n')
    assert rb'"<\"a b\"\\c@x.test>"' in answer or b'{18}\r\n<"a b"\\c@x.test>' in answer


@pytest.mark.parametrize("spelling", ["inbox", "InBox", "INBOX"])
def test_inbox_is_always_spelled_in_capitals(wire, spelling):
    """Some clients know only INBOX."""
    assert wire.ok(f'LIST "" {spelling}').of("LIST")[0].endswith(b" INBOX")
    assert re.match(rb'\* STATUS "?INBOX"? ', wire.ok(f"STATUS {spelling} (MESSAGES)").of("STATUS")[0])
    assert wire.ask(f"SELECT {spelling}").status == "OK"


@pytest.mark.parametrize("numbers", ["3,1,2", "3:1", "*,1:2"])
def test_fetch_answers_in_the_order_of_numbers(wire, box, numbers):
    """Thunderbird shows nonsense counts otherwise (greenmail#377)."""
    wire.select(box)
    assert wire.ok(f"FETCH {numbers} (UID)").numbers("FETCH") == [1, 2, 3]


@pytest.mark.parametrize("pattern", ["*", "%"])
def test_a_plain_list_tells_the_special_use(wire, pattern):
    """macOS Mail finds Drafts and Sent only if plain LIST says so (mox#66)."""
    listed = wire.ok(f'LIST "" {pattern}').of("LIST")
    for name in (b"Drafts", b"Sent"):
        assert any(b"\\" + name in response and response.endswith(b" " + name) for response in listed)


@pytest.mark.parametrize("item", ["FLAGS", "UID", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "RFC822.SIZE", "ALL", "FULL", "FAST", "rfc822.header"])
def test_fetch_without_parentheses(wire, box, item):
    """Small clients fetch one item so."""
    wire.select(box)
    assert len(wire.ok(f"FETCH 1:2 {item}").of("FETCH")) == 2


@pytest.mark.parametrize("name, spoken", [('"R&-D"', b"R&-D"), ('"say \\"so\\""', b'"say \\"so\\""'), ('"back\\\\slash"', b'"back\\\\slash"'),
                                          ('"with space"', b'"with space"'), ('"Entw&APw-rfe"', b"Entw&APw-rfe"), ('"&ZeVnLIqe-"', b"&ZeVnLIqe-"),
                                          ('"(parens)"', b'"(parens)"')])
def test_names_of_mailboxes_with_special_characters(wire, name, spoken):
    """Ampersands and quotes in names of folders break many."""
    wire.ok(f"CREATE {name}")
    listed = [response.partition(b' "/" ')[2] for response in wire.ok('LIST "" *').of("LIST")]
    assert any(found.strip(b'"') == spoken.strip(b'"') for found in listed)
    wire.ok(f"SUBSCRIBE {name}")
    wire.append(name[1:-1], b"Subject: x\r\n\r\n")
    assert wire.ok(f"SELECT {name}").numbers("EXISTS") == [1]
    wire.ok("UNSELECT")
    wire.ok(f"DELETE {name}")


def test_append_tells_its_uid(wire, box):
    """offlineimap insists on APPENDUID when UIDPLUS is advertised."""
    code = wire.append(box, b"Subject: new\r\n\r\n").code()
    validity = re.search(r"UIDVALIDITY (\d+)", str(wire.ok(f"STATUS {box} (UIDVALIDITY)").untagged))[1]
    assert re.fullmatch(rf"APPENDUID {validity} \d+", code)
    assert wire.select(box) and wire.ok(f"UID FETCH {code.split()[-1]} (UID)").numbers("FETCH") == [4]


def test_a_new_keyword_is_announced_before_it_is_used(wire, box):
    """Clients that look keywords up in FLAGS miss it otherwise."""
    wire.select(box)
    said = wire.ok("STORE 1 +FLAGS ($Never$Seen)").untagged
    announced = [place for place, response in enumerate(said) if response.startswith(b"* FLAGS") and b"$Never$Seen" in response]
    used = [place for place, response in enumerate(said) if b"FETCH" in response and b"$Never$Seen" in response]
    assert announced and used and announced[0] < used[0]


@pytest.mark.parametrize("before_login", [True, False])
@pytest.mark.parametrize("literal", ["{4294967296}", "{99999999999999999999}", "{4294967295+}", "{2000000000}"])
def test_a_literal_of_absurd_size_costs_nothing(suite, literal, before_login):
    """Stalwart took the memory for it (CVE-2025-61600)."""
    with (Wire(suite.ports["imap"]) if before_login else suite.imap(BOB)) as wire:
        wire.send(f"a LOGIN {literal}\r\n".encode() if before_login else f"a CREATE {literal}\r\n".encode())
        try:
            answer = wire.response()
            while answer.startswith(b"* ") and not answer.startswith(b"* BYE"):
                answer = wire.response()
        except EOFError:
            return
        assert answer.startswith((b"a BAD", b"a NO", b"* BYE")), answer


def test_deep_parentheses(suite, wire):
    """Dovecot's parser took quadratic memory for them (CVE-2026-42006)."""
    with suite.imap(BOB) as other:
        began = time.monotonic()
        assert other.ask("SEARCH " + "(" * 20_000 + "ALL" + ")" * 20_000).status in ("BAD", "NO")
        assert time.monotonic() - began < 5
    assert wire.ok("NOOP")


def test_mime_of_great_depth(wire, box):
    """Cyclic or endlessly nested MIME took a server's memory (CVE-2026-26312)."""
    depth = 3_000
    content = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (number, number) for number in range(depth))
    content += b"\r\nend\r\n"
    began = time.monotonic()
    wire.append(box, content)
    wire.append(box, b"Content-Type: message/rfc822\r\n\r\n" * depth + b"end\r\n")
    wire.select(box)
    answer = wire.ok("FETCH 4:5 (BODYSTRUCTURE ENVELOPE)")
    assert len(answer.of("FETCH")) == 2
    assert wire.ask("FETCH 4 BODY.PEEK[" + ".".join(["1"] * 500) + "]").status in ("OK", "NO", "BAD")
    assert wire.ok("SEARCH TEXT end").status == "OK"
    assert time.monotonic() - began < 10


def test_very_many_parameters(wire, box):
    """RFC 2231's pieces took quadratic time in Dovecot (CVE-2026-27859)."""
    pieces = b"".join(b';\r\n name*%d="x"' % number for number in range(20_000))
    began = time.monotonic()
    wire.append(box, b"Content-Type: text/plain" + pieces + b"\r\n\r\ntext\r\n")
    wire.select(box)
    assert len(wire.ok("FETCH 4 (BODYSTRUCTURE)").of("FETCH")) == 1
    assert time.monotonic() - began < 5


def test_lsub_of_inbox(wire):
    """Evolution shows no INBOX when LSUB leaves it out though it is subscribed (gluon#331)."""
    wire.ok("SUBSCRIBE INBOX")
    assert [response.split()[-1] for response in wire.ok('LSUB "" INBOX').of("LSUB")] in ([b"INBOX"], [b'"INBOX"'])


def test_fields_with_a_tab_or_nothing_behind_the_colon(wire):
    """Gluon's parser of headers needed a space."""
    answer = envelope(wire, b"From:\ta@x.test\r\nSubject:nothing\r\nTo:b@x.test\r\n")
    assert b'"nothing"' in answer and b'(NIL NIL "a" "x.test")' in answer and b'(NIL NIL "b" "x.test")' in answer


def test_lists_of_addresses_with_commas_too_many(wire):
    """Gluon stopped at the last comma."""
    answer = envelope(wire, b"From: a@x.test\r\nTo: b@x.test,, c@x.test,\r\n")
    assert b'((NIL NIL "b" "x.test")(NIL NIL "c" "x.test"))' in answer


@pytest.mark.parametrize("field", [b"team: a@x.test, b@x.test;", b"nobody:;", b"open: a@x.test", b"a@[1.2.3.4", b"<<<<a@x.test>", b'"never closed'])
def test_groups_and_torn_addresses_end(wire, field):
    """Gluon looped for ever over some of these."""
    answer = envelope(wire, b"From: a@x.test\r\nTo: " + field + b"\r\n")
    assert b"ENVELOPE (" in answer
    if field.startswith(b"team"):                       # RFC 9051 7.5.2: a group's name, its members, its end
        assert b'((NIL NIL "team" NIL)(NIL NIL "a" "x.test")(NIL NIL "b" "x.test")(NIL NIL NIL NIL))' in answer


def test_an_invalid_command_does_not_block_news(suite, wire, box):
    """In Gluon it did."""
    wire.select(box)
    with suite.imap(ALICE) as other:
        other.append(box, b"Subject: x\r\n\r\n")
        assert wire.ask("FETCH 1 NONSENSE").status == "BAD"
        deadline = time.monotonic() + 20
        while wire.ok("NOOP").numbers("EXISTS") != [4]:
            assert time.monotonic() < deadline


def test_inbox_can_be_renamed_and_stays(wire, suite):
    """RFC 9051 6.3.6: its messages move into the new mailbox, and INBOX is empty."""
    with suite.imap("postmaster@example.test") as other:
        other.append("INBOX", b"Subject: to move\r\n\r\n")
        assert other.ask("RENAME InBox Old").status in ("OK", "NO")
        assert b"MESSAGES" in other.ok("STATUS INBOX (MESSAGES)").of("STATUS")[0]
        assert other.ask("DELETE inbox").status == "NO"


def test_empty_strings_and_empty_literals(wire, box):
    """Gluon refused {0}."""
    wire.select(box)
    assert wire.ok("SEARCH SUBJECT {0+}\r\n").numbers("SEARCH") == [1, 2, 3]
    assert wire.ok('SEARCH SUBJECT ""').numbers("SEARCH") == [1, 2, 3]
    assert wire.ok('LIST "" ""').of("LIST")


def test_an_empty_line_between_commands(wire):
    """Some clients send one after a literal."""
    wire.send(b"\r\n")
    answer = wire.ask("NOOP")
    assert answer.status == "OK"
