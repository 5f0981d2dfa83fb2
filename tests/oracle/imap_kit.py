"""What the oracles are asked: four messages and the same commands for ours and for a foreign server, and what is left of answers to compare.

Used by tests/oracle/test_imap_*.py. Answers are brought into a form in which only meaning is left: the order of untagged responses and of
items, quoted or literal strings, human text, dates of arrival and numbers that every server chooses for itself are taken away. What differs all
the same is explained where the server is named, or the test fails.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.peers.peer import Peer
from tests.imap_kit import Answer, Wire
from tests.live.suite import ALICE, Suite
from tests.samples_kit import sample_files

PLAIN = (b"Return-Path: <bob@x.test>\r\nFrom: \"Bob B.\" <bob@x.test>, eve@y.test\r\nSender: s@x.test\r\nReply-To: r@x.test\r\n"
         b"To: Alice <alice@example.test>\r\nCc: team: c@x.test, d@x.test;\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and more\r\n"
         b"Message-ID: <1@x.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nAn apple a day.\r\nSecond line\r\n")
MIXED = (b"From: eve@y.test\r\nTo: bob@x.test\r\nSubject: Re: zebra\r\nMessage-ID: <2@x.test>\r\n"
         b"References: <1@x.test>\r\nIn-Reply-To: <1@x.test>\r\n"
         b"Date: Sun, 22 Nov 2026 01:00:00 -0500\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=b\"\r\n\r\npreamble\r\n--=b\r\n"
         b"Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
         b"Content-Transfer-Encoding: quoted-printable\r\n\r\nFr=FChling\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>pear</p>\r\n--c--\r\n--=b\r\n"
         b"Content-Type: application/octet-stream; name=x.bin\r\n"
         b"Content-Disposition: attachment; filename=\"x y.bin\"\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <i@x>\r\nContent-MD5: abc\r\n"
         b"Content-Language: de, en\r\n\r\nAAECAw==\r\n--=b--\r\nepilogue\r\n")
NESTED = (b"From: carol@z.test\r\nTo: alice@example.test\r\nSubject: Fwd: forwarded\r\nMessage-ID: <3@x.test>\r\n"
          b"References: <1@x.test> <2@x.test>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n"
          b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nsee below\r\n--o\r\n"
          b"Content-Type: message/rfc822\r\n\r\nFrom: dan@w.test\r\nSubject: inner\r\nDate: Thu, 19 Nov 2026 10:00:00 +0000\r\n"
          b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\ninner text\r\n--i--\r\n--o--\r\n")
BARE = b"Subject: no date, no sender\r\n\r\n"
LETTERS = [(PLAIN, r"\Seen"), (MIXED, r"\Flagged $Work"), (NESTED, ""), (BARE, r"\Answered \Seen \Draft")]


@contextmanager
def beside(tmp: Path, make: Callable[[Path], Peer]) -> Iterator[tuple[Wire, Wire]]:
    """One connection to each, ours and the peer's; both have a mailbox `box` with the same four messages."""
    suite = Suite(tmp / "state")
    folder = Path(tempfile.mkdtemp(prefix="fancymail-oracle-"))         # pytest's own folders are closed to the user that a peer becomes
    try:
        with make(folder) as peer:
            both = Wire(suite.ports["imap"]).login(ALICE, suite.accounts[ALICE]), Wire(peer.imap_port).login(peer.user, peer.password)
            for wire in both:
                _fill(wire)
            yield both
            for wire in both:
                wire.close()
    finally:
        suite.down()
        shutil.rmtree(folder, ignore_errors=True)


def _fill(wire: Wire) -> None:
    wire.ok("CREATE box")
    for content, flags in LETTERS:
        wire.ok(f'APPEND box ({flags}) "21-Nov-2026 12:00:00 +0000" {{{len(content)}+}}\r\n'.encode() + content)
    wire.select("box")
    wire.ok("FETCH 1:* (FLAGS)")


def strings(response: bytes) -> bytes:
    """Write every literal as a quoted string."""
    parts, rest = [], response
    while found := re.search(rb"~?\{(\d+)\}\r\n", rest):
        end = found.end() + int(found[1])
        parts += [rest[:found.start()], b'"' + rest[found.end():end].replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"']
        rest = rest[end:]
    return b"".join(parts) + rest


def meaning(answer: Answer) -> tuple[str, list[bytes]]:
    """Return what is left to compare: the status, and untagged responses without what each server chooses."""
    kept = []
    for response in answer.untagged:
        if re.match(rb"\* (OK|\d+ RECENT|FLAGS)", response):
            continue
        plain = strings(response).replace(b" \\Recent", b"").replace(b"\\Recent ", b"").replace(b"\\Recent", b"")
        plain = re.sub(rb"HEADER\.FIELDS[^)]*", lambda found: found[0].upper(), plain)      # names of fields: as asked, or in capitals
        plain = re.sub(rb"(BODY\[[^\]]*\](?:<\d+>)?) NIL", rb'\1 ""', plain)     # no such section: NIL and "" are both right
        plain = re.sub(rb"FLAGS \(([^)]*)\)", lambda found: b"FLAGS (%s)" % b" ".join(sorted(found[1].split())), plain)
        plain = re.sub(rb"\bBODY(STRUCTURE)? \(.*", lambda found: found[0].lower(), plain)       # RFC 2045 5.1: types and names have no case
        kept.append(_in_order(plain))
    return answer.status, sorted(line.rstrip() for line in kept)


def _in_order(response: bytes) -> bytes:
    """Put items whose order is the server's into one of ours."""
    if re.fullmatch(rb"\* \d+ FETCH \((?:(?:UID \d+|FLAGS \([^)]*\)|RFC822\.SIZE \d+) ?)+\)", response):
        return b" ".join(sorted(re.findall(rb"UID \d+|FLAGS \([^)]*\)|RFC822\.SIZE \d+", response)))
    if response.startswith(b"* ESEARCH"):
        return b"* ESEARCH " + b" ".join(sorted(re.findall(rb"\(.*?\)|UID(?= |$)|[A-Z]+ [0-9:,]+", response[10:])))
    return response


ITEMS = ["FLAGS", "UID", "RFC822.SIZE", "INTERNALDATE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822.HEADER", "BODY.PEEK[]", "BODY.PEEK[HEADER]",
         "BODY.PEEK[TEXT]", "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[2]", "BODY.PEEK[2.MIME]", "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.TEXT]",
         "BODY.PEEK[2.1]", "BODY.PEEK[2.1.MIME]", "BODY.PEEK[1.1]", "BODY.PEEK[1.2]", "BODY.PEEK[HEADER.FIELDS (SUBJECT to X-None)]",
         "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT FROM)]", "BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[TEXT]<0.9>", "BODY.PEEK[]<10.20>",
         "BODY.PEEK[]<100000.5>", "ALL", "FAST", "FULL", "(UID FLAGS RFC822.SIZE)"]


SEARCHES = ["ALL", "SEEN", "UNSEEN", "FLAGGED", "NOT FLAGGED", "ANSWERED", "DRAFT", "DELETED", "KEYWORD $Work", "UNKEYWORD $Work", "KEYWORD $Nobody",
            "FROM eve", "FROM bob@x.test", "FROM EVE", "TO alice", "CC d@x.test", "BCC x", "SUBJECT grüße", "SUBJECT zebra", "SUBJECT \"and more\"",
            "BODY apple", "BODY pear", "BODY \"inner text\"", "BODY nothing-like-it", "TEXT zebra", "TEXT forwarded", "BODY frühling",
            "HEADER Message-ID 2@x", "HEADER References \"\"", "HEADER X-None \"\"", "HEADER Subject fwd", "LARGER 300", "SMALLER 300", "LARGER 0",
            "SINCE 21-Nov-2026", "BEFORE 21-Nov-2026", "ON 21-Nov-2026", "SENTSINCE 21-Nov-2026", "SENTBEFORE 21-Nov-2026", "SENTON 22-Nov-2026",
            "OR FROM eve SUBJECT fwd", "OR (SEEN FROM bob) (NOT SEEN NOT FLAGGED)", "NOT (FROM eve)", "1:2 UNSEEN", "UID 1:3", "UID 2:*", "*",
            "YOUNGER 60", "OLDER 1", "NOT NOT SEEN", "FROM eve FROM bob", "LARGER 10 SMALLER 100000 SEEN"]


FOUND = [
    "SEARCH RETURN (MIN MAX COUNT ALL) SEEN", "SEARCH RETURN (COUNT) FLAGGED", "SEARCH RETURN () ALL", "UID SEARCH RETURN (ALL) 1:3",
    "SEARCH RETURN (MIN) DELETED",
    "SORT (DATE) UTF-8 ALL", "SORT (REVERSE DATE) UTF-8 ALL", "SORT (SUBJECT) UTF-8 ALL", "SORT (FROM) UTF-8 1:3", "SORT (SIZE) UTF-8 ALL",
    "SORT (ARRIVAL) UTF-8 ALL", "UID SORT (TO) UTF-8 ALL", "SORT (DISPLAYFROM) UTF-8 1:3", "THREAD REFERENCES UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 ALL",
    "UID THREAD REFERENCES UTF-8 SEEN", "THREAD REFERENCES UTF-8 DELETED"]


WRONG = ["FETCH 1", "FETCH 9 FLAGS", "FETCH 0 FLAGS", "FETCH x FLAGS", "FETCH 1 BODY[", "SEARCH", "SEARCH NONSENSE", "NONSENSE",
         "COPY 1 no-such-box", "SELECT", "CREATE", "DELETE no-such-box", "DELETE INBOX", "RENAME no-such-box other", "UID NONSENSE",
         "STATUS no-such-box (MESSAGES)",
         "STATUS box (NONSENSE)", "LOGIN a b", "AUTHENTICATE PLAIN", "APPEND no-such-box {1+}\r\nx", "SORT (NONSENSE) UTF-8 ALL",
         "SEARCH CHARSET X-NONE TEXT x",
         "CREATE INBOX", "CREATE box", "MOVE 1 no-such-box", "FETCH 1:2,, FLAGS", "STORE 1 +FLAGS (\\Nonsense)", "UID FETCH 1:* (FLAGS) x"]


# Whole messages: a literal holds no NUL, and not every server takes a header without a body.
SAMPLES = [path for path in sample_files() if b"\0" not in (octets := path.read_bytes()) and re.search(rb"\n\r?\n", octets)][::7]


class SameCommands:
    """The tests. A subclass names the server and says what it answers otherwise: "2 BODY" (number and item), a key or a command -> why."""

    different: dict[str, str] = {}

    def compare(self, name: str, ours: object, theirs: object) -> None:
        """Both mean the same, unless a reason is known why not."""
        if reason := self.different.get(name):
            assert ours != theirs, f"no longer different: {reason}"
        else:
            assert ours == theirs

    @pytest.mark.parametrize("item", ITEMS)
    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_fetch(self, servers, item, number):
        self.compare(f"{number} {item}", *(meaning(wire.ask(f"FETCH {number} {item}")) for wire in servers))

    @pytest.mark.parametrize("key", SEARCHES)
    def test_search(self, servers, key):
        said = key
        if not key.isascii():                       # eight bits go into literals only
            word, _, text = key.partition(" ")
            said = f"CHARSET UTF-8 {word} {{{len(text.encode())}+}}\r\n{text}"
        ours, theirs = (sorted(wire.ok(f"SEARCH {said}").numbers("SEARCH")) for wire in servers)
        if "SENT" in key:                           # RFC 5256 2.2: a message without Date was sent when it came; others say in 1970
            ours, theirs = ([number for number in found if number != 4] for found in (ours, theirs))
        self.compare(key, ours, theirs)

    @pytest.mark.parametrize("command", FOUND)
    def test_found_otherwise(self, servers, command):
        tags = re.compile(rb' ?\(TAG "[^"]*"\)')
        found = [meaning(wire.ask(command)) for wire in servers]
        self.compare(command, *((status, [tags.sub(b"", line) for line in lines]) for status, lines in found))

    # RFC 9051 leaves NO or BAD to the server where a command makes no sense for other reasons than its syntax; clients rely on the refusal alone.
    @pytest.mark.parametrize("command", WRONG)
    def test_both_refuse(self, servers, command):
        self.compare(command, *(wire.ask(command).status in ("NO", "BAD") for wire in servers))
        for wire in servers:
            wire.ok("NOOP")                         # too many refusals in a row end a session

    def test_codes_of_refusals(self, servers):
        for wire in servers:
            wire.select("box")                      # whatever was refused before: a mailbox may be left at a SELECT that fails
        for command in ("COPY 1 no-such-box", "APPEND no-such-box {1+}\r\nx", "MOVE 1 no-such-box"):
            self.compare(f"code {command}", *(wire.ask(command).code() for wire in servers))
        self.compare("code CREATE", *(wire.ask("CREATE box").code() for wire in servers))
        self.compare("code DELETE", *(wire.ask("DELETE no-such-box").code() for wire in servers))

    @pytest.mark.parametrize("pattern", ['"" box*', '"" BOX', '"" "tree/%"', '"" "tree/*"', '"tree/" %', '"tree" *', '"" tree', '"" "%/%"', '"" ""'])
    def test_list(self, servers, pattern):
        for wire in servers:
            wire.ask("CREATE tree")
            wire.ask("CREATE tree/one")
            wire.ask("CREATE tree/one/two")
        names = []
        for wire in servers:
            listed = [response.rpartition(b"/")[0] + b"/" + response.rpartition(b"/")[2] for response in wire.ok(f"LIST {pattern}").of("LIST")]
            names.append(sorted((re.sub(rb'.*?"/" ', b"", line).replace(b'"', b""), b"\\HasChildren" in line) for line in listed))
        self.compare(f"LIST {pattern}", *names)

    @pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
    def test_real_mail_keeps_every_octet(self, servers, path):
        """Size, header and text of sample messages: both have to say what was appended."""
        content = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
        found = []
        for wire in servers:
            wire.ask("CREATE real")
            taken = wire.ask(f"APPEND real {{{len(content)}+}}\r\n".encode() + content)
            last = wire.select("real").numbers("EXISTS")[-1]
            said = strings(wire.ok(f"FETCH {last} (RFC822.SIZE BODY.PEEK[HEADER] BODY.PEEK[TEXT])").of("FETCH")[0])
            found.append((taken.status, said.partition(b"(")[2]))
            wire.select("box")
        self.compare(f"mail {path.stem}", *found)
