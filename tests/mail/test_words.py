"""Encoded words and charsets: what is read is right, what is written is read back, codecs stay out of reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail import charset
from fancymail.mail.words import decode_words, encode_words, phrase

READ = [
    (b"plain", "plain"), (b"=?utf-8?q?caf=C3=A9?=", "café"), (b"=?UTF-8?B?Y2Fmw6k=?=", "café"),
    (b"=?iso-8859-1?q?caf=E9?= bar", "café bar"), (b"a =?utf-8?q?b?= c", "a b c"),
    (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"), (b"=?utf-8?q?a?=\r\n =?iso-8859-1?q?=E9?=", "aé"),
    (b"=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),
    (b"=?utf-8*en?q?a?=", "a"), (b"=?utf-8?q?a_b?=", "a b"), (b"=?utf-8?q?a b?=", "a b"), (b"=?utf-8?q?=0D=0AX:_y?=", "X: y"),
    (b"=?utf-8?x?a?=", "=?utf-8?x?a?="), (b"=?utf-8?q?a", "=?utf-8?q?a"), (b"=?zlib_codec?b?eA==?=", "=?zlib_codec?b?eA==?="),
    (b"=?unknown?q?a?= =?unknown?q?b?=", "=?unknown?q?a?= =?unknown?q?b?="), (b"caf\xc3\xa9", "café"), (b"caf\xe9", "café"),
    (b"=?koi8-r?b?8NLJ18XU?=", "Привет"), (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"), (b"=?gb2312?b?xOO6ww==?=", "你好"),
    (b"=?utf-8?b?YWI?=", "ab"), (b"=?utf-8?b?!!YWI=?=", "ab"), (b"=?utf-8?q?=ZZ?=", "=ZZ"), (b"a=?utf-8?q?b?=c", "abc"), (b"", ""),
]


@pytest.mark.parametrize("value, text", READ)
def test_reading(value, text):
    assert decode_words(value) == text


@pytest.mark.parametrize("name", ["zlib_codec", "idna", "punycode", "unicode_escape", "utf-7", "raw_unicode_escape", "undefined", "rot13",
                                  "base64_codec", "hex", "bz2", "uu", "mbcs", "oem", "string_escape", "", "utf_8_sig", "../x"])
def test_codecs_of_python_are_no_charsets(name):
    assert not charset.known(name)
    assert charset.decode(b"+AGE- x\\u0041", name) == "+AGE- x\\u0041"


def test_every_charset_of_the_list_decodes_anything():
    for name in charset.CHARSETS:
        assert charset.known(name.upper())
        assert isinstance(charset.decode(bytes(range(256)) * 2, name), str)


@pytest.mark.parametrize("octets, name, text", [
    (b"\x80\xe9", "iso-8859-1", "€é"), (b"caf\xc3\xa9", "us-ascii", "café"), (b"\xe9", "utf-8", "é"), (b"\xe9", "x-nonsense", "é"),
    (b"a\xff", "utf-16", "\uff61"),
])
def test_lying_charsets(octets, name, text):
    assert charset.decode(octets, name) == text


@pytest.mark.parametrize("text, written", [
    ("Alice", "Alice"), ("Alice B. Clark", '"Alice B. Clark"'), ('a"b\\', '"a\\"b\\\\"'), ("a, b", '"a, b"'),
    ("Jürgen", "=?utf-8?q?J=C3=BCrgen?="), ("=?x?=", "=?utf-8?b?PT94Pz0=?="), ("a\r\nb", "a b"), ("", ""),
])
def test_phrases(text, written):
    assert phrase(text) == written


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=200))
def test_what_is_written_is_read_back(text):
    words = encode_words(text)
    assert all(len(word) <= 75 and word.isascii() for word in words)
    assert decode_words(" ".join(words)) == text.strip(" ")


@given(st.one_of(st.binary(max_size=200), st.text("=?utf-8bq_ \r\na", max_size=80)))
def test_anything_can_be_read(value):
    text = decode_words(value)
    text.encode()
    assert not set(text) & set("\r\n\x00")


@pytest.mark.parametrize("piece", [b"=?", b"=?utf-8?q?", b"=?utf-8?q?=", b"=?utf-8?q?a?=", b"=?utf-8?b?A?= ", b"?=", b"=?a*", b"="])
def test_hostile_words_take_linear_work(piece, steps):
    small, large = (steps(decode_words, piece * count) for count in (500, 2_000))
    assert large <= small * 4.4 + 100
    decode_words(piece * 1_000_000, limit=1 << 26)
