"""A name server of ours on a loopback port, UDP and TCP, that says what a test wants to hear."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SOA = "ns.test. host.test. 1 3600 600 86400 300"


class FakeDns:
    """`zone` maps (name, type) to records ("10 mx.x.test.") or to an rcode name; or `script(query, wire)` gives the datagrams to send.

    Names that are in no entry do not exist; names with other types have nothing of the type asked.
    """

    def __init__(self, zone: dict | None = None, script: Callable | None = None, ttl: int = 60) -> None:
        self.zone = {(name.lower(), kind): value for (name, kind), value in (zone or {}).items()}
        self.script = script
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []
        self.ports: set[int] = set()
        self.by_stream = 0
        self.stream = True

    async def __aenter__(self) -> FakeDns:
        loop = asyncio.get_running_loop()
        outer = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                outer.ports.add(address[1])
                for reply in outer.datagrams(data):
                    self.transport.sendto(reply, address)

        for _ in range(50):            # the same port number has to be free twice
            self.datagram, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
            self.port = self.datagram.get_extra_info("sockname")[1]
            try:
                self.server = await asyncio.start_server(self.converse, "127.0.0.1", self.port)
                break
            except OSError:
                self.datagram.close()
        return self

    async def __aexit__(self, *exc) -> None:
        self.datagram.close()
        self.server.close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def datagrams(self, data: bytes) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.note(query)
        if self.script:
            return self.script(query, data)
        return [self.reply(query).to_wire()]

    def note(self, query: dns.message.Message) -> None:
        question = query.question[0]
        self.asked.append((question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name))

    def reply(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        name, kind = self.asked[-1]
        value = self.zone.get((name, kind)) or self.zone.get((name, "CNAME"))
        if isinstance(value, str):
            response.set_rcode(dns.rcode.from_text(value))
        elif value:
            kind = kind if (name, kind) in self.zone else "CNAME"
            response.answer.append(dns.rrset.from_text(query.question[0].name, self.ttl, "IN", kind, *value))
        else:
            if not any(known == name for known, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            zone = query.question[0].name.parent() if len(query.question[0].name) > 2 else query.question[0].name
            response.authority.append(dns.rrset.from_text(zone, 300, "IN", "SOA", SOA))
        return response

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.stream:
                return
            size, = struct.unpack("!H", await reader.readexactly(2))
            query = dns.message.from_wire(await reader.readexactly(size))
            self.note(query)
            self.by_stream += 1
            wire = self.reply(query).to_wire(max_size=65535)
            writer.write(struct.pack("!H", len(wire)) + wire)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
