"""Headers in UTF-8 for clients that read ASCII only: what becomes of each field, and that nothing in UTF-8 gets through."""

from __future__ import annotations

import email
import email.header
import email.policy
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.imap.parts import headers
from fancymail.core.imap.precompute import precompute
from fancymail.mail.downgrade import LARGEST, NOWHERE, Downgrade, ascii_header
from fancymail.mail.headers import COUNT_LIMIT, iterate

INNER = "From: \u00fc@x.test\r\nSubject: inner \u00e4\r\n\r\nbody \u00e4\r\n"
MESSAGE = ("Received: from x by y\r\nFrom: J\u00f6rg <joerg@ex\u00e4mple.test>\r\nSubject: Gr\u00fc\u00dfe\r\n"
           "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble \u00e4\r\n--b\r\nContent-Type: text/plain; name=\u00e4\r\n\r\n"
           "text \u00e4\r\n"
           f"--b\r\nContent-Type: message/rfc822\r\nX-\u00e4: \u00e4\r\n\r\n{INNER}\r\n--b--\r\nepilogue \u00e4\r\n").encode()
PLAIN = ("Received: from x by y\r\nFrom: =?utf-8?b?SsO2cmc=?= <joerg@xn--exmple-cua.test>\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"
         "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble \u00e4\r\n--b\r\nContent-Type: text/plain;\r\n name*=utf-8''%C3%A4\r\n\r\n"
         "text \u00e4\r\n"
         f"--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: =?utf-8?b?w7xAeC50ZXN0?= <{NOWHERE}>\r\nSubject: =?utf-8?q?inner_=C3=A4?=\r\n\r\n"
         "body \u00e4\r\n\r\n--b--\r\nepilogue \u00e4\r\n").encode()


@pytest.mark.parametrize("field, plain", [
    ("Subject: \u00e4 b", "Subject: =?utf-8?q?=C3=A4_b?="), ("SUBJECT:\u00e4", "SUBJECT: =?utf-8?b?w6Q=?="),
    ("Subject: =?iso-8859-1?q?=E4?= \u00e4", "Subject: =?utf-8?b?w6Qgw6Q=?="), ("X-Odd: \u00e4", "X-Odd: =?utf-8?b?w6Q=?="), ("X-\u00e4: a", ""),
    ("Message-ID: <\u00e4@x>", "Downgraded-Message-ID: =?utf-8?b?PMOkQHg+?="),
    ("List-Id: \u00e4 <a.b>", "Downgraded-List-Id: =?utf-8?b?w6QgPGEuYj4=?="),
    ("Date: 1 Jan 2026 10:00 +0000 (\u00e4 \u00e4)", "Date: 1 Jan 2026 10:00 +0000 (=?utf-8?b?w6Qgw6Q=?=)"),
    ("Received: from a (\u00e4) by b (c);\r\n now", "Received: from a (=?utf-8?b?w6Q=?=) by b (c); now"),
    ("Date: \u00e4 (b)", "Downgraded-Date: =?utf-8?b?w6QgKGIp?="),
    ("To: \u00e4 <a@b.test>", "To: =?utf-8?b?w6Q=?= <a@b.test>"), ("To: a@\u00e4.test", "To: a@xn--4ca.test"),
    ("To: \u00e4@b.test", f"To: =?utf-8?b?w6RAYi50ZXN0?= <{NOWHERE}>"), ("Cc: g: \u00e4 <a@b.test>;", "Cc: g:\r\n =?utf-8?b?w6Q=?= <a@b.test>;"),
    ("To: Bob <b@c.test>, a@\u00e4.test", "To: Bob <b@c.test>,\r\n a@xn--4ca.test"), ("To: \u00e4", f"To: =?utf-8?b?w6Q=?= <{NOWHERE}>"),
    ("Content-Type: TEXT/Plain; name=\u00e4; charset=x", "Content-Type: text/plain;\r\n name*=utf-8''%C3%A4;\r\n charset=\"x\""),
    ("Content-Disposition: attachment; filename=\"\u00e4\\\".txt\"", "Content-Disposition: attachment;\r\n filename*=utf-8''%C3%A4%22.txt"),
    ("Return-Path: <\u00e4@b.test>", f"Return-Path: <{NOWHERE}>"), ("Return-Path: <a@\u00e4.test>", "Return-Path: <a@xn--4ca.test>"),
    ("Return-Path: \u00e4 <a@b.test>, <c@d.test>",
     "Downgraded-Return-Path: =?utf-8?b?w6QgPGFAYi50ZXN0PiwgPGNAZC50?=\r\n =?utf-8?b?ZXN0Pg==?="),
    ("Delivered-To: \u00e4@b.test", "Downgraded-Delivered-To: =?utf-8?b?w6RAYi50ZXN0?="),
    ("Disposition-Notification-To: \u00e4@b.test", "Downgraded-Disposition-Notification-To: =?utf-8?b?w6RAYi50ZXN0?="),
    ("Content-Type: \u00e4", "Downgraded-Content-Type: =?utf-8?b?w6Q=?="),
    ("Content-Type: text/plain; \u00e4", "Content-Type: text/plain"), ("\u00e4", "")])
def test_a_field(field, plain):
    said = ascii_header(f"A: b\r\n{field}\r\nC: d\r\n\r\n".encode())
    assert said.decode() == f"A: b\r\n{plain}{chr(13) + chr(10) if plain else str()}C: d\r\n\r\n"


def test_what_is_no_utf_8_stays_as_it_came():
    """No mail of RFC 6532: clients have guessed at it since there are clients, and a copy of a mailbox wants it as it is."""
    assert ascii_header(b"X: \xfc\r\nSubject: \xc3\xa4\r\n\r\n") == b"X: \xfc\r\nSubject: =?utf-8?b?w6Q=?=\r\n\r\n"
    assert ascii_header(b"\xfc\r\n\r\n") == b"\xfc\r\n\r\n"


def test_a_client_reads_what_was_meant():
    name, subject = "\u00fc" * 90 + " \u4e2d\u6587.txt", "\u4e2d\u6587 " * 60 + "end"
    header = f"Subject: {subject}\r\nFrom: \u4e2d\u6587 <a@b.test>\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n".encode()
    plain = ascii_header(header)
    assert max(map(len, plain.split(b"\r\n"))) < 120
    message = email.message_from_bytes(plain, policy=email.policy.default)
    assert message["Subject"] == subject and message["From"].addresses[0].display_name == "\u4e2d\u6587" and message.get_filename() == name


@pytest.mark.parametrize("seed", range(10))
def test_only_headers_are_changed_in_whatever_pieces_it_comes(seed):
    chance, downgrade, found, at = random.Random(seed), Downgrade(headers(precompute(b"", MESSAGE, 0).parts)), [], 0
    while at < len(MESSAGE):
        size = chance.choice((1, 3, 40, 300))
        found.append(downgrade(MESSAGE[at:at + size]))
        at += size
    assert b"".join(found) == PLAIN


def test_what_is_in_ascii_stays_as_it_is():
    message = MESSAGE.decode().encode("ascii", "ignore")
    assert Downgrade(headers(precompute(b"", message, 0).parts))(message) == message


@pytest.mark.parametrize("name", ["X-Long", "Message-ID"])
def test_nothing_of_a_long_value_is_lost(name):
    said = ascii_header(f"{name}: {chr(0xe4) * 100_000}\r\n\r\n".encode())
    message = email.message_from_bytes(said, policy=email.policy.compat32)
    words = email.header.decode_header(message.values()[0])
    assert "".join(octets.decode(charset) for octets, charset in words) == "\u00e4" * 100_000


def test_a_header_beyond_all_measure_is_never_held():
    line = b"X-Line: \xc3\xa4" + b"y" * 70 + b"\r\n"
    count = LARGEST // len(line) + 2
    downgrade, length = Downgrade([(0, count * len(line))]), 0
    for _ in range(count):
        length += len(said := downgrade(line))
        assert said.isascii() and len(said) == len(line)
    assert downgrade(b"\xc3") == b"\xc3" and length == count * len(line)


HOSTILE = st.lists(st.sampled_from(["\u00e4", "\ud7ff", "\0", "\r", "\n", "\r\n", " ", "\t", ",", ";", ":", "<", ">", "@", "(", ")", "[", "]", "\"",
                                    "\\",
                                    "=?utf-8?q?=0D=0AX:?=",
                                    "=", "*", "a", "b.test", "From", "Subject:", "Content-Type: text/plain;", "name=", "g:"]), max_size=40)


@given(st.sampled_from(["From", "To", "Subject", "Content-Type", "Content-Disposition", "X", "Cc"]), HOSTILE)
def test_whatever_comes_it_is_a_header_in_ascii_with_no_field_more(name, words):
    header = f"{name}: \u00e4{str().join(words)}".encode().split(b"\r\n\r\n")[0].split(b"\n\n")[0].split(b"\n\r\n")[0] + b"\r\n\r\n"
    said = ascii_header(header)
    assert said.isascii() and said.endswith(b"\r\n")
    before, after = ([field.name for field in iterate(one, 0, len(one) - 2, COUNT_LIMIT)] for one in (header, said))
    assert not [name for name in after if name and name.removeprefix(b"downgraded-") not in before] and len(after) <= len(before)
