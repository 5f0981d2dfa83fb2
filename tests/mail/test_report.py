"""Notifications that come in: ours are read back, strange ones too, hostile ones harm nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.dsn import build
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.report import ReportedRecipient, read_report
from fancymail.mail.results import RecipientResult

ORIGINAL = b"Message-ID: <m@example.test>\r\nSubject: x\r\n\r\nbody\r\n"


def ours(ret="", whole=False):
    envelope = Envelope("a" * 26, "alice@example.test", [Recipient("bob@x.test", orcpt="rfc822;Bob@old.test"), Recipient("jürgen@x.test")],
                        received=1.7e9, envid="QQ 314", ret=ret)
    results = [RecipientResult(0, "failed", "5.1.1", "550 5.1.1 no such user", "mx.x.test"), RecipientResult(1, "failed", "5.4.7", "late")]
    return build("failed", envelope, results, ORIGINAL, host="mail.example.test", id="id1", time=1.7e9, whole=whole)


@pytest.mark.parametrize("ret, whole", [("", False), ("FULL", True)])
def test_our_own_are_read_back(ret, whole):
    report = read_report(ours(ret, whole))
    assert (report.envelope_id, report.reporter, report.message_id) == ("QQ 314", "mail.example.test", "m@example.test")
    assert report.recipients == (
        ReportedRecipient("bob@x.test", "Bob@old.test", "failed", "5.1.1", "smtp; 550 5.1.1 no such user", "mx.x.test"),
        ReportedRecipient("jürgen@x.test", "", "failed", "5.4.7", "x-fancymail; late", ""))


def test_other_messages_are_none():
    assert read_report(ORIGINAL) is None and read_report(b"") is None
    assert read_report(b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b--\r\n") is None


@pytest.mark.parametrize("status, recipients", [
    (b"", 0), (b"\r\n\r\n", 0), (b"Reporting-MTA: dns; a\r\n", 0), (b"Reporting-MTA: dns; a\r\n\r\n\r\n \r\nFinal-Recipient: a@b\r\n", 1),
    (b"X\n\nY\n\nZ\n", 2), (b"A: b\r\n\r\nAction: exploded\r\nStatus: 9.9.9\r\nFinal-Recipient: rfc822;\r\n", 1),
])
def test_strange_ones(status, recipients):
    report = read_report(b"Content-Type: message/delivery-status\r\n\r\n" + status)
    assert len(report.recipients) == recipients
    for recipient in report.recipients:
        assert recipient.action == recipient.status == ""


def test_they_are_capped():
    report = read_report(b"Content-Type: message/delivery-status\r\n\r\n" + b"A: b\r\n\r\n" * 100_000)
    assert len(report.recipients) == 1_000
    report = read_report(b"Content-Type: message/delivery-status\r\n\r\nA: b\r\n\r\nDiagnostic-Code: " + b"x" * 100_000)
    assert len(report.recipients[0].diagnostic) == 1_000
    for piece in (b" ", b"\r\n", b" \r\n", b"\r", b"A", b"A\n"):
        read_report(b"Content-Type: message/delivery-status\r\n\r\n" + piece * 1_000_000)


def test_the_samples_with_reports_are_read(samples):
    reports = [report for _, data in samples if (report := read_report(data))]
    assert reports and any(recipient.status for report in reports for recipient in report.recipients)


@given(st.binary(max_size=200))
def test_any_octets_can_be_read(data):
    report = read_report(b"Content-Type: message/delivery-status\n\nA: b\n\nFinal-Recipient: rfc822; a@b\nStatus: 5.1.1\nX: " + data)
    assert report.recipients[0].final == "a@b" and report.recipients[0].diagnostic.isprintable()
    for cut in range(0, 800, 40):
        read_report(ours()[:cut] + data + ours()[cut:])
