"""Real messages with octets changed, cut, doubled and moved: every reader answers, and what it answers holds together."""

import random

import pytest

from fancymail.mail.addresses import addresses
from fancymail.mail.dates import parse_date
from fancymail.mail.dsn import build
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.headers import scan_start
from fancymail.mail.mime import scan
from fancymail.mail.report import read_report
from fancymail.mail.results import RecipientResult
from fancymail.mail.thread import base_subject, message_ids

PIECES = [b"\r\n", b"\n", b"\r", b"--", b":", b";", b"=", b"\"", b"(", b"<", b"=?", b"?=", b"*0*=", b"\x00", b"\xff", b"\r\n\r\n", b"boundary="]
ENVELOPE = Envelope("a" * 26, "alice@example.test", [Recipient("bob@x.test")], ret="FULL")


def mutate(data, chance):
    """Change a message in one to six places."""
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(data) + 1), chance.randrange(40)
        what = chance.randrange(4)
        if what == 0:
            data = data[:at] + chance.choice(PIECES) + data[at:]
        elif what == 1:
            data = data[:at] + data[at + length:]
        elif what == 2:
            data = data[:at] + data[at:at + length] * 3 + data[at + length:]
        else:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1:]
    return data


def read_all(data):
    """Use every reader on a message."""
    headers = scan_start(data)
    assert b"".join(map(headers.raw, headers)) == data[headers.start:headers.end]
    for name in ("from", "to", "cc"):
        for mailbox in addresses(headers.first(name) or b""):
            assert mailbox.display.isprintable() or mailbox.display
            assert mailbox.address is None or mailbox.domain
    base_subject(headers.text("subject"))
    message_ids(headers.first("references") or b"")
    parse_date(headers.first("date") or b"")
    structure = scan(data)
    for part in structure:
        assert part.start <= part.header_end <= part.body <= part.end <= len(data)
        assert part.lines == data.count(b"\n", part.body, part.end)
        part.text(data).encode()
        part.filename.encode()
    read_report(data)
    notice = build("failed", ENVELOPE, [RecipientResult(0, "failed", "5.0.0", "no")], data, host="h.test", id="x", time=0, whole=True)
    assert len(scan(notice).root.children) == 3


def test_the_samples_themselves(samples):
    for _, data in samples:
        read_all(data)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_samples(samples, seed):
    chance = random.Random(seed)
    for _, data in samples:
        read_all(mutate(data, chance))
