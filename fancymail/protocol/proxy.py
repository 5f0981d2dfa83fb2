"""The PROXY protocol, versions 1 and 2: what a load balancer says of the client before the client's own octets.

Called by servers/doors/connection.py for peers in trusted networks, where the header is mandatory. `parse` looks at what has arrived
and returns None while the header is incomplete. TLVs are skipped, except the checksum, which is verified when present. Values
only: no socket, no clock. The specification is HAProxy's doc/proxy-protocol.txt, version 2.3.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from fancymail.protocol.engine import ProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"            # section 2.2: no other protocol begins so
LONGEST_V1 = 107                                 # section 2.1: CRLF included
LONGEST_V2 = 16 + 4096                           # our bound: addresses take 216 at most, the rest are TLVs
CRC32C = 0x03                                    # PP2_TYPE_CRC32C

_V1 = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))\r\n")
_V2_ADDRESSES = {0x1: ("!4s4sHH", 12), 0x2: ("!16s16sHH", 36), 0x3: ("", 216)}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the header says. `source` is empty when it names no client (LOCAL, UNKNOWN, unix): keep the socket's own peer."""

    length: int                  # octets of the header: the client's own begin there
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0


def parse(data: bytes | bytearray) -> ProxyHeader | None:
    """Parse the header at the beginning of `data`; None: more octets are needed. Raises ProtocolError on anything else."""
    if data[:12] == SIGNATURE[:len(data)] and data[:1] == b"\r":
        return _parse_v2(data) if len(data) >= 16 else None
    if data[:6] == b"PROXY "[:len(data)]:
        return _parse_v1(data)
    raise ProtocolError("no PROXY header")


def _parse_v1(data: bytes | bytearray) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, LONGEST_V1)
    if end < 0:
        if len(data) >= LONGEST_V1:
            raise ProtocolError("PROXY line too long")
        return None
    match = _V1.fullmatch(data, 0, end + 2)
    if match is None:
        raise ProtocolError("PROXY line unreadable")
    if match[1] is None:                         # UNKNOWN: what follows it must be ignored
        return ProxyHeader(end + 2)
    version = int(match[1])
    source, destination = _address(match[2], version), _address(match[3], version)
    return ProxyHeader(end + 2, source, _port(match[4]), destination, _port(match[5]))


def _address(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:                           # UnicodeDecodeError is one, too
        raise ProtocolError("PROXY line with a wrong address") from None
    if address.version != version or "%" in str(address):
        raise ProtocolError("PROXY line with a wrong address")
    return _spelled(address)


def _spelled(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """RFC 4291 2.5.5.2: a balancer that listens for both families in one socket names IPv4 clients by mapped addresses."""
    return str(address.version == 6 and address.ipv4_mapped or address)


def _port(text: bytes) -> int:
    port = int(text)
    if port > 65535:
        raise ProtocolError("PROXY line with a wrong port")
    return port


def _parse_v2(data: bytes | bytearray) -> ProxyHeader | None:
    command, family, length = struct.unpack_from("!BBH", data, 12)
    total = 16 + length
    if command >> 4 != 2 or command & 15 > 1:
        raise ProtocolError("PROXY version or command unknown")
    if total > LONGEST_V2:
        raise ProtocolError("PROXY header too long")
    if len(data) < total:
        return None
    # LOCAL (a health check of the balancer's own) and AF_UNSPEC: the block is discarded, whatever it holds.
    if command & 15 == 0 or family >> 4 not in _V2_ADDRESSES:
        return ProxyHeader(total)
    header = bytes(data[:total])
    form, size = _V2_ADDRESSES[family >> 4]
    if length < size:
        raise ProtocolError("PROXY header shorter than its addresses")
    _check_crc(header, 16 + size)
    if not form or family & 15 != 1:             # a unix socket or a datagram names no peer that we could use
        return ProxyHeader(total)
    source, destination, source_port, destination_port = struct.unpack_from(form, header, 16)
    return ProxyHeader(total, _spelled(ipaddress.ip_address(source)), source_port,
                       _spelled(ipaddress.ip_address(destination)), destination_port)


def _check_crc(header: bytes, position: int) -> None:
    """Walk the TLVs; if there is a CRC32C, it must be right (section 2.2.4: the connection must be refused otherwise)."""
    while position < len(header):
        if position + 3 > len(header):
            raise ProtocolError("PROXY header with a broken TLV")
        kind, length = struct.unpack_from("!BH", header, position)
        value, position = position + 3, position + 3 + length
        if position > len(header):
            raise ProtocolError("PROXY header with a broken TLV")
        if kind == CRC32C:
            if length != 4:
                raise ProtocolError("PROXY header with a broken checksum")
            said = header[value:position]
            if crc32c(header[:value] + bytes(4) + header[position:]).to_bytes(4, "big") != said:
                raise ProtocolError("PROXY header with a wrong checksum")


def _table() -> list[int]:
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
        table.append(octet)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of RFC 4960 appendix B."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
