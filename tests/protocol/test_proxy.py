"""PROXY headers: the examples, every split, and garbage."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.protocol.engine import ProtocolError
from fancymail.protocol.proxy import SIGNATURE, ProxyHeader, crc32c, parse


def v2(payload: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def addresses(source="192.0.2.1", destination="198.51.100.2", ports=(4000, 25)) -> bytes:
    return b"".join(ipaddress.ip_address(text).packed for text in (source, destination)) + struct.pack("!HH", *ports)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_crc(payload: bytes) -> bytes:
    bare = v2(payload + tlv(0x03, bytes(4)))
    return v2(payload + tlv(0x03, crc32c(bare).to_bytes(4, "big")))


SIX = addresses("2001:db8::1", "2001:db8::2")
GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 25\r\n", ("192.0.2.1", 4000, "198.51.100.2", 25)),
    (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 4000 25\r\n", ("2001:db8::1", 4000, "2001:db8::2", 25)),
    (b"PROXY UNKNOWN\r\n", ("", 0, "", 0)),
    (b"PROXY UNKNOWN ffff:f...f:ffff anything at all 65535\r\n", ("", 0, "", 0)),
    (v2(addresses()), ("192.0.2.1", 4000, "198.51.100.2", 25)),
    (v2(SIX, family=0x21), ("2001:db8::1", 4000, "2001:db8::2", 25)),
    (v2(addresses() + tlv(0x02, b"mail.example.test") + tlv(0xE0, b"")), ("192.0.2.1", 4000, "198.51.100.2", 25)),
    (with_crc(addresses() + tlv(0x05, b"id")), ("192.0.2.1", 4000, "198.51.100.2", 25)),
    (v2(b"", command=0x20, family=0x00), ("", 0, "", 0)),
    (v2(addresses(), command=0x20), ("", 0, "", 0)),
    (v2(bytes(216), family=0x31), ("", 0, "", 0)),
    (v2(addresses(), family=0x12), ("", 0, "", 0)),
    (v2(b"whatever", family=0x00), ("", 0, "", 0)),
    (v2(b"whatever", command=0x20), ("", 0, "", 0)),
]
BAD = [
    b"EHLO client\r\n", b"\x16\x03\x01\x02\x00\x01", b"PROXY\r\n      ", b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"X",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", b"PROXY TCP4 ::1 ::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", b"PROXY TCP4 \xff \xfe 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * 100, b"PROXY " + b"x" * 101, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + b" " * 90,
    v2(addresses(), command=0x11), v2(addresses(), command=0x22), v2(addresses()[:11]), v2(SIX[:35], family=0x21),
    v2(addresses() + b"\x01"), v2(addresses() + b"\x01\x00\x05abcd"), v2(addresses() + tlv(0x03, b"\0\0\0\1")),
    v2(addresses() + tlv(0x03, b"\0\0\0")), SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 50,
]


@pytest.mark.parametrize("data,expected", GOOD)
def test_headers_are_read_and_end_where_they_end(data, expected):
    assert parse(data) == parse(data + b"EHLO x\r\n") == ProxyHeader(len(data), *expected)
    for end in range(len(data)):
        assert parse(data[:end]) is None


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(ProtocolError):
        parse(data)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda tail: SIGNATURE + tail),
                 st.binary(max_size=120).map(lambda tail: b"PROXY " + tail), st.binary(max_size=60).map(lambda tail: v2(tail))))
def test_garbage_gives_a_header_or_an_error(data):
    try:
        header = parse(data)
    except ProtocolError:
        return
    assert header is None or 0 < header.length <= len(data)


def test_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283
