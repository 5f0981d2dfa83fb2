"""The header on its way in: refused, cleaned, completed, and our trace field in front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.heading import Submission, header_senders, submission_heading, transfer_heading
from fancymail.core.reception import Refusal

HOST = "mail.us.test"
OWN = Submission("<id@mail.us.test>", "Fri, 21 Nov 2025 10:00:00 +0000", "alice@us.test")
ADDED = b"Message-ID: <id@mail.us.test>\r\nDate: Fri, 21 Nov 2025 10:00:00 +0000\r\nFrom: <alice@us.test>\r\n"


def test_transfer_leaves_a_header_as_it_is():
    header = b"Received: by a\r\nSubject: x\r\n y\r\nBcc: z@x.test\r\n"
    assert transfer_heading(header, HOST, 50) is header
    assert transfer_heading(b"", HOST, 50) == b""


@pytest.mark.parametrize("claim", [b"Return-Path: <a@x.test>\r\n",
                                   b"return-path:\r\n <a@x.test>\r\n",
                                   b"Authentication-Results: mail.us.test; spf=pass\r\n",
                                   b"AUTHENTICATION-RESULTS:\r\n MAIL.us.test 1; spf=pass\r\n", b"Authentication-Results: ;\r\n"])
def test_transfer_takes_out_what_only_we_may_claim(claim):
    assert transfer_heading(b"A: 1\r\n" + claim + b"B: 2\r\n", HOST, 50) == b"A: 1\r\nB: 2\r\n"
    assert transfer_heading(claim + b"B: 2\r\n", HOST, 50) == b"B: 2\r\n"


def test_transfer_keeps_the_claims_of_others():
    header = b"Authentication-Results: mail.us.test.x.test; spf=pass\r\nX-Return-Path: y\r\n"
    assert transfer_heading(header, HOST, 50) == header


@pytest.mark.parametrize("heading", [lambda header: transfer_heading(header, HOST, 10), lambda header: submission_heading(header, HOST, 10, OWN)])
def test_loops(heading):
    assert not isinstance(heading(b"A: Received: x\r\n" + b"Received: a\r\n" * 10), Refusal)
    assert heading(b"A: Received: x\r\n" + b"ReCeived: a\r\n" * 11).status == "5.4.6"


def test_a_text_without_a_header():
    assert transfer_heading(b"hello world\r\nmore: text\r\n", HOST, 50) == b"\r\nhello world\r\nmore: text\r\n"
    assert submission_heading(b"hello\r\n", HOST, 50, OWN) == ADDED + b"\r\nhello\r\n"
    assert submission_heading(b"", HOST, 50, OWN) == ADDED


def test_submission_is_completed_and_bcc_is_gone():
    header = b"Subject: x\r\nBcc: a@x.test,\r\n b@x.test\r\nTo: c@x.test\r\nResent-Bcc: d@x.test\r\nReturn-Path: <e@x.test>\r\n"
    assert submission_heading(header, HOST, 50, OWN) == ADDED + b"Subject: x\r\nTo: c@x.test\r\n"


def test_submission_keeps_what_is_there():
    header = b"message-id: <1@x>\r\ndate: now\r\nFROM: a@b.test\r\n"
    assert submission_heading(header, HOST, 50, OWN) is header


def test_submission_without_any_sender():
    assert submission_heading(b"Subject: x\r\n", HOST, 50, OWN._replace(sender="")).status == "5.6.0"


@pytest.mark.parametrize("header, senders", [
    (b"", []), (b"no header\r\nFrom: a@b.test\r\n", []), (b"From: A <a@b.test>\r\n", ["a@b.test"]),
    (b"from:\r\n a@b.test,\r\n \"x\" <c@D.test>\r\n", ["a@b.test", "c@d.test"]), (b"From : (c) a@b.test\r\n", ["a@b.test"]),
    (b"From: g: a@b.test, c@d.test;\r\n", ["a@b.test", "c@d.test"]), (b"From: \"c@d.test\" <a@b.test>\r\n", ["a@b.test"])])
def test_senders(header, senders):
    assert header_senders(header) == senders


@pytest.mark.parametrize("header", [b"From:\r\n", b"From: a\r\n", b"From: a@b.test, nonsense\r\n", b"From: a@b.test\r\nFrom: a@b.test\r\n",
                                    b"From: " + b"a@b.test, " * 200 + b"a@b.test\r\n", b"From: a@b.test)c@d.test\r\n", b"From: g:;\r\n"])
def test_senders_that_cannot_be_told(header):
    assert isinstance(header_senders(header), Refusal)


@given(st.binary(max_size=300).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"))
def test_any_header_is_kept_or_refused(header):
    for verdict in (transfer_heading(header, HOST, 50), submission_heading(header, HOST, 50, OWN), header_senders(header)):
        assert isinstance(verdict, (bytes, list, Refusal))
