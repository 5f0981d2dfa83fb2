"""DNS questions and answers as octets: what we ask, and what of a reply we are ready to believe (RFC 1035, 2181, 2308, 6891).

Used by servers/smtpout/resolver.py. A reply counts only when it repeats our question octet by octet, mixed case included; of its records
only those count that the question leads to. Parsing is dnspython's; whatever it cannot read is a DnsError. No I/O here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

UDP_SIZE = 1232                      # octets; what passes without fragments
CHAIN_LIMIT = 8                      # CNAMEs that are followed
RECORDS = 64                         # of a reply that are looked at; 64 KiB hold thousands
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\Z")
_OPT = struct.pack("!BHHIH", 0, 41, UDP_SIZE, 0, 0)
_QR, _OPCODE, _TC = 0x8000, 0x7800, 0x0200


class DnsError(Exception):
    """No answer that can be believed was got in time: nothing is known, ask again later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has: records of the type asked for, and for how many seconds that is true.

    MX records are (preference, host), the host "" for the root; A and AAAA are address texts; TXT are octets. `exists` is False when
    the name itself does not exist (NXDOMAIN).
    """

    records: tuple = ()
    ttl: float = 0.0
    exists: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it goes out; `section` is what the reply must repeat."""

    id: int
    kind: str
    section: bytes
    edns: bool = True

    def wire(self) -> bytes:
        """The whole message, recursion desired."""
        return struct.pack("!6H", self.id, 0x0100, 1, 0, 0, int(self.edns)) + self.section + (_OPT if self.edns else b"")


class Alias(Exception):
    """The answer leads to another name that has to be asked for; args: the name and the seconds the lead is good for."""


class Refusal(DnsError):
    """The server answered with an rcode that tells nothing about the name; args: the rcode's text."""


def sayable(name: str) -> bool:
    """Whether `name` can be asked for at all: letters, digits, hyphens, underscores."""
    return _NAME.match(name) is not None


def make_question(name: str, kind: str, identity: int, case: int, edns: bool = True) -> Question:
    """Build the question; the bits of `case` decide which letters are capitals (draft-vixie-dnsext-dns0x20)."""
    mixed = "".join(char.upper() if case >> index & 1 else char.lower() for index, char in enumerate(name))
    labels = b"".join(bytes((len(label),)) + label.encode("ascii") for label in mixed.split("."))
    return Question(identity, kind, labels + struct.pack("!BHH", 0, dns.rdatatype.from_text(kind), 1), edns)


def answers(question: Question, wire: bytes) -> bool:
    """Whether `wire` is a reply to exactly this question; anything else is somebody's guess."""
    if len(wire) < 12:
        return False
    identity, flags, questions = struct.unpack_from("!3H", wire)
    return (identity == question.id and flags & _QR != 0 and flags & _OPCODE == 0 and questions == 1
            and wire[12:12 + len(question.section)] == question.section)


def truncated(wire: bytes) -> bool:
    """Whether the server had more to say than a datagram takes."""
    return bool(wire[2] << 8 & _TC)


def read_answer(question: Question, wire: bytes) -> Answer:
    """Read a reply that `answers` the question. Raises DnsError (unreadable), Refusal, Alias (ask on)."""
    try:
        message = dns.message.from_wire(_bounded(wire), ignore_trailing=True)
        rcode = message.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Refusal(dns.rcode.to_text(rcode))
        return _follow(question, message, rcode == dns.rcode.NXDOMAIN)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, OverflowError) as error:
        raise DnsError(f"the answer cannot be read: {type(error).__name__}") from None


def _bounded(wire: bytes) -> bytes:
    """The reply with no more records than are looked at: to read thousands takes a third of a second, and half a megabyte to keep them."""
    counts, room = [], RECORDS
    for count in struct.unpack_from("!3H", wire, 6):
        counts.append(min(count, room))
        room = max(room - count, 0)
    return wire[:6] + struct.pack("!3H", *counts) + wire[12:]


def _follow(question: Question, message: dns.message.Message, missing: bool) -> Answer:
    """Go from the question along CNAMEs to the records; records of other names are not even looked at."""
    name, kind = message.question[0].name, dns.rdatatype.from_text(question.kind)
    found = {(rrset.name, rrset.rdtype): rrset for rrset in message.answer if rrset.rdclass == 1}
    ttl = float("inf")
    for hops in range(CHAIN_LIMIT):
        records = found.get((name, kind))
        if records is not None:
            return Answer(tuple(sorted(map(_value, records), key=repr)), min(ttl, records.ttl))
        alias = found.get((name, dns.rdatatype.CNAME))
        if alias is None:
            return _nothing(name, hops, message, ttl, missing)
        name, ttl = alias[0].target, min(ttl, alias.ttl)
    raise DnsError("a chain of aliases without end")


def _nothing(name: dns.name.Name, hops: int, message: dns.message.Message, ttl: float, missing: bool) -> Answer:
    negative = _negative_ttl(name, message)
    if hops and not missing and negative is None:
        raise Alias(name.to_text(omit_final_dot=True), ttl)
    return Answer((), min(ttl, negative or 0), not missing)


def _negative_ttl(name: dns.name.Name, message: dns.message.Message) -> float | None:
    """RFC 2308 5: the SOA of a zone that the name is in tells how long there is nothing."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
            return min(rrset.ttl, rrset[0].minimum)
    return None


def _value(record) -> tuple[int, str] | str | bytes:
    match record.rdtype:
        case dns.rdatatype.MX:
            return record.preference, record.exchange.to_text(omit_final_dot=True).lower().removesuffix(".")
        case dns.rdatatype.A | dns.rdatatype.AAAA:
            return record.address
        case dns.rdatatype.TXT:
            return b"".join(record.strings)
    return record.to_text()
