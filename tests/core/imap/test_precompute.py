"""What is computed once per message: correct for known mail, readable for any client whatever the mail."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.imap import parts
from fancymail.core.imap.folding import fold, fold_key
from fancymail.core.imap.precompute import PREVIEW, TEXT, hash_id, precompute
from fancymail.mail.derived import Derived

from .grammar import check_body, check_envelope, read

MESSAGE = b"""From: "Bob \\"B\\" Example" <bob@example.org>
To: Alice <alice@example.test>, carol@example.net
Cc: Team: dave@example.net, Eve <eve@example.net>;
Subject: Re: [list] =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here
Date: Tue, 1 Jul 2003 00:30:00 +0200
Message-ID: <c@example.org>
In-Reply-To: <b@example.org>
References: <a@example.org>
 <b@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=xx

--xx
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

> what you said
Caf=C3=A9 is
open.
--xx
Content-Type: message/rfc822

From: inner@example.org
Subject: Inside

Inner text.
--xx
Content-Type: image/png; name="holiday.png"
Content-Disposition: attachment; filename="holiday.png"
Content-Transfer-Encoding: base64

AAAA
--xx--
""".replace(b"\n", b"\r\n")

# What broken mail is made of, so that chance finds structures.
PIECES = st.sampled_from([
    b"--x\r\n", b"--x--\r\n", b"--y\r\n", b"--y--", b"\r\n", b"\n", b"Content-Type: multipart/mixed; boundary=x\r\n", b"a b", b"\0", b"\xff\xfe",
    b"Content-Type: multipart/digest; boundary=y\r\n", b"Content-Type: message/rfc822\r\n", b"Content-Type: message/global\r\n",
    b"Content-Type: text/html\r\n", b"<style>", b"<b>", b"From: \"a\\\" <b@c>, d\r\n", b"To: g: a@b, <c>;, (\r\n", b"Subject: \"q\\ \x01\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: x\"y\r\n", b"Content-Disposition: attachment; filename=\"a\\\"b\r\n",
    b"Content-Language: de, en\r\n", b"Content-Id: <a b>\r\n", b"Date: 1 Jan 2000 00:00 -0100\r\n", b"References: <a> <b\r\n", b"Message-ID: <>\r\n",
    b"{3}\r\nabc", b"Content-Description: (x) \"\r\n", b"Content-Type: text/plain; a=\"b\\\"\r\n c\"; d*=utf-8''%00\r\n"])
BROKEN = st.lists(PIECES | st.binary(max_size=6), max_size=24).map(b"".join)


def one(data: bytes):
    items = read(data)
    assert len(items) == 1
    return items[0]


def check(derived: Derived, message: bytes) -> None:
    check_envelope(one(derived.envelope))
    check_body(one(derived.bodystructure), extended=True)
    check_body(one(derived.body), extended=False)
    assert len(derived.preview) <= PREVIEW and derived.header_length <= len(message)
    for text in derived:
        if isinstance(text, str):
            text.encode()
            assert "\0" not in text


def test_envelope_of_known_mail():
    envelope = one(precompute(b"", MESSAGE, 5).envelope)
    author = [[b'Bob "B" Example', None, b"bob", b"example.org"]]
    assert envelope == [
        b"Tue, 1 Jul 2003 00:30:00 +0200", b"Re: [list] =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here", author, author, author,
        [[b"Alice", None, b"alice", b"example.test"], [None, None, b"carol", b"example.net"]],
        [[None, None, b"Team", None], [None, None, b"dave", b"example.net"], [b"Eve", None, b"eve", b"example.net"], [None] * 4],
        None, b"<b@example.org>", b"<c@example.org>"]


@pytest.mark.parametrize("value, shown", [
    (b"<x@sender.test>", b'(NIL NIL "x" "sender.test")'), (b"X <x@sender.test>", b'("X" NIL "x" "sender.test")'),
    (b'"" <x@sender.test>', b'(NIL NIL "x" "sender.test")'), (b"x@sender.test, <y@z.test>", b'(NIL NIL "x" "sender.test")(NIL NIL "y" "z.test")')])
def test_addresses_are_the_same_however_they_are_spelled(value, shown):
    from_ = b"From: " + value + b"\r\n\r\n"
    assert b"(" + shown + b")" in precompute(b"", from_, 0).envelope
    slowly = precompute(b"", b"From: () " + value + b"\r\n\r\n", 0)                  # a comment: not spelled as usual
    assert (slowly.envelope, slowly.from_key, slowly.display_from) == (lambda d: (d.envelope, d.from_key, d.display_from))(precompute(b"", from_, 0))


def test_structure_of_known_mail():
    derived = precompute(b"", MESSAGE, 5)
    assert derived.bodystructure == (
        b'(("text" "plain" ("charset" "utf-8") NIL NIL "quoted-printable" 36 2 NIL NIL NIL NIL)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 55 (NIL "Inside" ((NIL NIL "inner" "example.org")) ((NIL NIL "inner" "example.org"))'
        b' ((NIL NIL "inner" "example.org")) NIL NIL NIL NIL NIL) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 11 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)'
        b'("image" "png" ("name" "holiday.png") NIL NIL "base64" 4 NIL ("attachment" ("filename" "holiday.png")) NIL NIL)'
        b' "mixed" ("boundary" "xx") NIL NIL NIL)')
    check(derived, MESSAGE)


def test_a_name_in_pieces_is_told_in_one():
    """RFC 2231 6: clients need not know how to put it together."""
    message = (b"Content-Type: application/pdf; name*0=\"a long \"; name*1=name.pdf\r\nContent-Disposition: attachment;\r\n"
               b" filename*0*=utf-8''%E2%82%AC;\r\n filename*1=\" rates\";\r\n filename*2*=%2Epdf\r\n\r\nx")
    assert precompute(b"", message, 0).bodystructure == (
        b'("application" "pdf" ("name" "a long name.pdf") NIL NIL "7bit" 1 NIL'
        b""" ("attachment" ("filename*" "utf-8''%E2%82%AC%20rates%2Epdf")) NIL NIL)""")


def test_keys_and_texts_of_known_mail():
    derived = precompute(b"Return-Path: <bob@example.org>\r\n", MESSAGE, 5)
    assert (derived.subject_key, derived.reply) == (fold("grüsse from here"), 1)
    assert (derived.from_key, derived.to_key, derived.cc_key) == ("bob", "alice", "team")
    assert (derived.display_from, derived.display_to) == ('bob "b" example', "alice")
    assert derived.sent == 1057012200 and derived.date_only == 12234            # 30 June in UTC, 1 July where it was written
    assert derived.subject_text == fold("re: [list] grüsse from here") and "eve@example.net" in derived.cc_text
    assert derived.preview == "Café is open."
    assert fold("café is open.") in derived.text and "inner text." in derived.text and "inside" in derived.text and "holiday.png" in derived.text
    assert "return-path: <bob@example.org>\n" in derived.header_text and "\tcontent-type: message/rfc822\n" in derived.header_text
    assert struct.unpack("<3q", derived.references) == (hash_id(b"c@example.org"), hash_id(b"a@example.org"), hash_id(b"b@example.org"))
    assert derived.fields.startswith(b"Return-Path: <bob@example.org>\r\nFrom: ")


def test_sections_are_slices():
    prefix = b"Return-Path: <>\r\n"
    data = prefix + MESSAGE
    table = precompute(prefix, MESSAGE, 0).parts
    text = parts.find(table, (1,))
    assert data[text.body:text.end] == b"> what you said\r\nCaf=C3=A9 is\r\nopen." and text.encoding == "quoted-printable"
    message = parts.find(table, (2,))
    inner = parts.inside(table, message)
    assert data[inner.start:inner.body] == b"From: inner@example.org\r\nSubject: Inside\r\n\r\n"
    assert data[inner.body:inner.end] == b"Inner text."
    assert parts.find(table, (2, 1)) == inner and parts.inside(table, text) is None
    assert parts.find(table, ()).body == precompute(prefix, MESSAGE, 0).header_length
    for path in ((4,), (0,), (1, 1), (2, 2), (2, 1, 1), (3, 1)):
        assert parts.find(table, path) is None
    plain = precompute(b"", b"A: b\r\n\r\nHello", 0).parts
    assert parts.find(plain, (1,)) == parts.find(plain, ()) and parts.find(plain, (2,)) is None


def test_every_path_agrees_with_the_scanner(samples):
    from fancymail.mail import mime
    for name, data in samples:
        tree, table = mime.scan(data), precompute(b"", data, 0).parts
        for part in tree:
            found, expected = parts.find(table, part.path), tree.find(part.path)
            assert (found.start, found.body, found.end) == (expected.start, expected.body, expected.end), (name, part.path)


def test_samples_are_readable_for_every_client(samples):
    for _, data in samples:
        check(precompute(b"", data, 0), data)


@given(BROKEN, st.sampled_from([b"", b"Return-Path: <>\r\n"]))
def test_whatever_comes_is_readable_and_always_the_same(message, prefix):
    derived = precompute(prefix, message, 1)
    check(derived, prefix + message)
    assert derived == precompute(prefix, message, 1)


@pytest.mark.parametrize("message", [
    b"To: " + b"a," * 300_000 + b"\r\n\r\n",
    b"References: " + b"<a@b> " * 20_000 + b"\r\n\r\n",
    b"Content-Type: text/html\r\n\r\n" + b"<" * 500_000,
    b"Content-Type: text/html\r\n\r\n" + b"<!-- " * 100_000,
    b"Content-Type: text/html\r\n\r\n" + b"<style>" * 70_000,
    b"Content-Type: text/html\r\n\r\n" + b"<title>" * 70_000,
    b"Content-Type: text/html\r\n\r\n" + b"&" * 500_000,
    b"Subject: " + b"re: " * 50_000 + b"\r\n\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 30_000,
    b"Content-Type: message/rfc822\r\n\r\n" * 5_000,
    (b"Content-Type: message/rfc822\r\nTo: " + b"a," * 9_000 + b"\r\n\r\n") * 40,
    b"Content-Type: text/plain; " + b"a=b; " * 50_000 + b"\r\n\r\n",
    b"x" * 2_000_000], ids=lambda message: repr(message[:24] + b"..."))
def test_size_of_the_answer_is_bounded_and_quick(message):
    derived = precompute(b"", message, 0)
    check(derived, message)
    assert sum(len(value) for value in derived if isinstance(value, (bytes, str))) <= 4 * len(message) + 3 * TEXT
    assert len(derived.text) <= TEXT and len(derived.references) <= 808


def test_a_message_without_anything():
    derived = precompute(b"", b"", 77)
    check(derived, b"")
    assert (derived.sent, derived.preview, derived.references, derived.fields) == (77, "", bytes(8), b"")


def test_folding():
    assert fold("Stra\u00dfe  \t CAF\u00c9") == fold("STRASSE cafe\u0301") == "strasse cafe\u0301"
    assert fold("cafe") in fold("Caf\u00e9") and fold("\u210c\uff21") == "ha"
    assert (fold_key(" a  B "), fold_key(" "), fold_key("")) == (" a b ", " ", "")
    assert sorted(["saz", fold("s\u00e4"), "sb", "sa"]) == ["sa", "saz", fold("s\u00e4"), "sb"]


@pytest.mark.parametrize("text", ["".join(f"{chr(code)}A{chr(code)}{chr(code)}" for code in range(128)), " " * 7, "", "x" + "\r\n" * 1000 + "Y",
                                  "\x1c\x7f\0"])
def test_ascii_is_folded_as_all_else(text):
    assert fold(text) == " ".join(text.casefold().split()) and fold(text + "\u00e9") == " ".join(f"{text.casefold()}e\u0301".split())


def test_reports_can_be_searched():
    report = (b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n--x--\r\n")
    assert "action: failed" in precompute(b"", report, 0).text
