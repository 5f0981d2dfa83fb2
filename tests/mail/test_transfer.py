"""Content-transfer-encodings: one result, however the octets are cut."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.transfer import decode, decoder, encode_base64, encode_quoted_printable


@pytest.mark.parametrize("encoding, octets, result", [
    ("base64", b"aGVsbG8=", b"hello"), ("BASE64 ", b"aGVs\r\nbG8=\r\n", b"hello"), ("base64", b"aGVsbG8", b"hello"),
    ("base64", b"aG!V%s-bG_8=", b"hello"), ("base64", b"aA==aQ==", b"hi"), ("base64", b"a", b""), ("base64", b"====", b""),
    ("base64", b"a\nG\nV\ns\n", b"hel"), ("base64", b"", b""),
    ("quoted-printable", b"a=3Db", b"a=b"), ("quoted-printable", b"a=\r\nb", b"ab"), ("quoted-printable", b"a=ZZ", b"a=ZZ"),
    ("quoted-printable", b"a=", b"a"), ("quoted-printable", b"a==", b"a="), ("quoted-printable", b"a=\rb", b"a=\rb"),
    ("quoted-printable", b"a  \r\nb\t\r\n", b"a\r\nb\r\n"), ("quoted-printable", b"a= \r\nb", b"ab"), ("quoted-printable", b"a=c3=A9", b"a\xc3\xa9"),
    ("7bit", b"x", b"x"), ("", b"x", b"x"), ("x-uuencode", b"begin", b"begin"),
])
def test_decoding(encoding, octets, result):
    assert decode(octets, encoding) == result


@given(st.binary(max_size=300))
def test_what_is_encoded_is_decoded(data):
    assert decode(encode_base64(data), "base64") == data
    text = data.replace(b"\r", b"").replace(b"\n", b"\r\n")
    assert decode(encode_quoted_printable(text), "quoted-printable") == text
    assert all(len(line) <= 76 for line in encode_quoted_printable(text).split(b"\r\n"))


@given(st.one_of(st.binary(max_size=120), st.text("ab=\r\n 3D", max_size=80).map(str.encode)), st.lists(st.integers(0, 120), max_size=8),
       st.sampled_from(["base64", "quoted-printable", "8bit"]))
def test_cuts_change_nothing(data, cuts, encoding):
    machine, out, last = decoder(encoding), [], 0
    for cut in sorted(min(cut, len(data)) for cut in cuts) + [len(data)]:
        out.append(machine.feed(data[last:cut]))
        last = cut
    assert b"".join(out) + machine.finish() == decode(data, encoding)


@pytest.mark.parametrize("encoding, piece", [
    ("quoted-printable", b"="), ("quoted-printable", b"=\r\n"), ("quoted-printable", b" "), ("quoted-printable", b"=ZZ"),
    ("quoted-printable", b" \r"), ("base64", b"="), ("base64", b"A="), ("base64", b"!"), ("base64", b"A\n"), ("base64", b"QUJD"),
])
def test_bombs_take_linear_work(encoding, piece, steps):
    small, large = (steps(decode, piece * count, encoding) for count in (100_000, 400_000))
    assert large <= small * 4.5 + 100
    decode(piece * 2_000_000, encoding)


def test_large_parts_are_exact():
    data = bytes(range(256)) * 4_000
    assert decode(base64.encodebytes(data), "base64") == data
    long = b"x" * 200_000 + b"=3D" * 50_000
    assert decode(long, "quoted-printable") == b"x" * 200_000 + b"=" * 50_000
