"""Where a message has been: the fields that say so, and the marks that end loops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.trace import delivered_to, forwarded_by, made_here, mark, marks, received_field, return_path, transmission_type

HOST = "mail.us.test"


def test_received():
    field = received_field("client.test", "192.0.2.1", HOST, "ESMTPSA", "TLSv1.3 X", "abc", "bob@us.test", 0.0)
    assert field == (b"Received: from client.test ([192.0.2.1])\r\n\tby mail.us.test with ESMTPSA (TLSv1.3 X) id abc\r\n\tfor <bob@us.test>;"
                     b"\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n")
    other = received_field("c", "2001:db8::1", HOST, "SMTP", "", "abc", "", 0.0)
    assert b"([IPv6:2001:db8::1])\r\n\tby mail.us.test with SMTP id abc;\r\n\tThu" in other
    assert received_field("c", "", HOST, "UTF8SMTP", "", "abc", "bøb@us.test", 0.0).isascii()
    assert received_field("a)b;c", "", HOST, "LMTP", "", "abc", "", 0.0).startswith(b"Received: from a?b?c (localhost)\r\n")


@pytest.mark.parametrize("facts, word", [
    ((False, False, False, False, False), "SMTP"), ((False, True, False, False, False), "ESMTP"), ((False, True, True, False, False), "ESMTPS"),
    ((False, True, True, True, False), "ESMTPSA"), ((False, True, False, True, False), "ESMTPA"), ((True, True, False, False, False), "LMTP"),
    ((True, True, True, True, False), "LMTPSA"), ((False, True, True, True, True), "UTF8SMTPSA"), ((True, True, False, False, True), "UTF8LMTP")])
def test_transmission_types(facts, word):
    assert transmission_type(*facts) == word


def test_a_message_of_our_own():
    assert made_here(HOST, "abc", 0.0) == b"Received: by mail.us.test (FancyMail) with local id abc;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n"


def test_final_delivery():
    assert return_path("") + delivered_to("bob@us.test") == b"Return-Path: <>\r\nDelivered-To: bob@us.test\r\n"


@pytest.mark.parametrize("written", ["Sales@US.test", "sales@us.test", "SALES@us.TEST"])
def test_a_mark_is_found_again_however_the_name_is_written(written):
    assert forwarded_by(written) == b"Delivered-To: sales@us.test\r\n"
    for header in (forwarded_by(written), b"A: 1\r\nDELIVERED-TO:sales@US.test\r\n", b"Delivered-To :\r\n\tSales@us.test \r\nB: 2\r\n"):
        assert mark(written) in marks(b"Received: by x\r\n" + header)


def test_marks_of_others_are_not_ours():
    header = b"X-Delivered-To: a@us.test\r\nSubject: Delivered-To: a@us.test\r\n Delivered-To: a@us.test\r\nDelivered-To: b@us.test\r\n"
    assert marks(header) == {b"b@us.test"}
    assert marks(b"") == frozenset() and marks(b"no header at all") == frozenset()


@given(st.text(max_size=300))
def test_a_mark_is_one_line_of_ascii(address):
    field = forwarded_by(address)
    assert field.isascii() and field.endswith(b"\r\n") and field.count(b"\r") == field.count(b"\n") == 1 and len(field) < 998
    assert marks(field) == {mark(address)}


@given(st.binary(max_size=300))
def test_marks_of_garbage(header):
    assert all(b"\n" not in each for each in marks(header))
