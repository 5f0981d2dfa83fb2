"""What is fuzzed: one function per reader of what strangers send. Each takes any octets and returns, or an invariant is broken.

The invariant: an event, a value, or the reader's own error; never another exception, never an answer that is no line of its protocol.
Used by test_fuzz.py (hypothesis, and every file of corpus/) and by run.py (atheris, `bin/test --fuzz MINUTES`, which also bounds
time and memory). The first octet of an input chooses among the modes of a target, so that an input is a plain file.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from types import SimpleNamespace

from fancymail.core import settlement
from fancymail.core.imap import parts as sections
from fancymail.core.imap.precompute import precompute
from fancymail.core.intake import Refusal
from fancymail.ipc.message import IpcError, format_message, parse_line
from fancymail.ipc.raw import RawInbox
from fancymail.ipc.verb import verbs_of
from fancymail.mail import address, addresses, charset, dates, dsn, headers, mime, parameters, report, thread, transfer, utf7, words
from fancymail.mail.domain import DomainError, parse_domain
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.imap import strings
from fancymail.mail.results import RecipientResult
from fancymail.mail.uidset import parse as parse_uids
from fancymail.protocol import proxy, sasl
from fancymail.protocol.engine import Engine, ProtocolError
from fancymail.protocol.smtp.client import SmtpClient
from fancymail.protocol.smtp.credentials import Credentials
from fancymail.protocol.smtp.session import Ended, Failed, Profile, Ready, WantContent
from fancymail.protocol.smtp.transaction import Transaction
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.doors.deflate import Deflate, DeflateError
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.smtpout.dnswire import Alias, DnsError, answers, make_question, read_answer, truncated
from fancymail.storage.slots import Slot, SlotError
from tests.protocol.imap.clerk import Clerk
from tests.protocol.pop3.fetcher import Fetcher
from tests.protocol.smtp.receiver import Receiver

EVENTS = 100_000            # more than any input can honestly cause
VERBS = [verb for daemon in (AuthServer, QueueServer, MailboxServer) for verb in verbs_of(daemon).values()]
SMTP = [{"mode": "transfer"}, {"mode": "lmtp"}, {"mode": "transfer", "tls": "yes", "size": "60", "line": "20"}, {"mode": "transfer", "errors": "0"},
        {"mode": "submission", "auth_in_plain": "yes", "mechanisms": "PLAIN LOGIN SCRAM-SHA-256", "auth_required": "yes"}]
POP3 = [{"plaintext": "yes"}, {"stls": "no"}, {"login": "yes", "message": "a\\r\\n.\\r\\nb", "message2": ""},
        {"tls": "yes", "mechanisms": "SCRAM-SHA-256"}]
IMAP = [{"plaintext": "yes"}, {"tls": "yes"}, {"state": "authenticated"}, {"state": "selected"},
        {"state": "selected", "enabled": "QRESYNC CONDSTORE UTF8=ACCEPT IMAP4REV2"},
        {"state": "selected", "enabled": "UIDONLY", "literal": "LITERAL-"}]
CLIENT = [Profile("out.test"), Profile("out.test", secured=True), Profile("out.test", tls="never"),
          Profile("out.test", tls="require"), Profile("out.test", auth_in_clear=True, credentials=Credentials("u", "p", "n" * 24))]


def chosen(data: bytes, modes: list) -> tuple:
    """The mode that the first octet asks for, and the rest."""
    return modes[data[0] % len(modes) if data else 0], data[1:]


def converse(engine: Engine, decide: Callable, tls: Callable, data: bytes) -> bytes:
    """Let an engine hear the octets in pieces, decide all events, and end; returns what it said."""
    said, events = b"", 0
    for piece in re.findall(rb"[^\n]*\n?", data, re.DOTALL):
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            decide(event)
            events += 1
            assert events < EVENTS
        said += engine.to_send()
        if engine.closing:
            break
        if engine.want_tls:
            tls()
    engine.receive_eof()
    while (event := engine.next_event()) is not None:
        decide(event)
    return said + engine.to_send()


def smtp_server(data: bytes) -> None:
    options, data = chosen(data, SMTP)
    receiver = Receiver({"errors": "0", "junk": "0", "logins": "0", "sync": "no"} | options)
    greeting = receiver.engine.to_send()
    said = greeting + converse(receiver.engine, receiver.decide, receiver.tls, data)
    assert not said or said.endswith(b"\r\n")
    for line in said.split(b"\r\n")[:-1]:
        assert re.fullmatch(rb"[2-5][0-9]{2}[ -][ -~]*", line) and len(line) < 512, line
    for _, recipients, content in receiver.messages:
        assert recipients and not re.search(rb"(?<!\r)\n|\r(?!\n)", content), "a bare CR or LF came in"


def smtp_client(data: bytes) -> None:
    profile, data = chosen(data, CLIENT)
    engine, asked = SmtpClient(profile), []

    def decide(event) -> None:
        if isinstance(event, Ready) and not asked:
            asked.append(event)
            engine.send(Transaction("s@us.test", (Recipient("a@x.test"), Recipient("b@x.test")), 20, eight_bit=True))
        elif isinstance(event, Ready):
            engine.quit()
        elif isinstance(event, WantContent):
            engine.content(b"Subject: x\r\n\r\n.x\r\n")
            engine.content_end()
        elif isinstance(event, Ended):
            assert len(event.outcomes) == 2 and all(outcome.state in ("delivered", "failed", "deferred") for outcome in event.outcomes)
            asked.clear()
            asked.append(event)
            engine.quit()
        else:
            assert isinstance(event, Failed) and event.outcome.state in ("failed", "deferred") and event.outcome.text.isprintable()

    said = converse(engine, decide, lambda: engine.tls_started(SimpleNamespace(server_end_point=b"x")), data)
    assert all(line.isascii() for line in said.split(b"\r\n")[:1])


def pop3_server(data: bytes) -> None:
    options, data = chosen(data, POP3)
    fetcher = Fetcher(options)
    said = converse(fetcher.engine, fetcher.decide, fetcher.tls, data)
    assert not said or said.endswith(b"\r\n")
    assert set(fetcher.expunged) <= {10, 11}


def imap_server(data: bytes) -> None:
    options, data = chosen(data, IMAP)
    clerk = Clerk({"show": "no"} | options)
    said = converse(clerk.engine, clerk.decide, clerk.tls, data)
    assert not said or said.endswith(b"\r\n")
    for line in said.split(b"\r\n")[:-1]:
        assert re.match(rb"(\*|\+|[!#-$&'!,-\[\]^-z|}~]+) ?", line), line
    assert b"\0" not in said


def ipc_request(data: bytes) -> None:
    """The frames of a request, as every verb of three daemons would read them; and the line that people write."""
    verb = VERBS[data[0] % len(VERBS)] if data else VERBS[0]
    try:
        verb.read(data[1:].split(b"\xff\xfe"))
    except IpcError as error:
        assert re.fullmatch(r"5\.5\.4", error.status) and len(error.text) < 2000
    inbox = RawInbox()
    for piece in data.split(b"\0"):
        inbox.feed(piece)
    text = data.decode("utf-8", "replace")
    try:
        name, params = parse_line(text)
    except ValueError:
        return
    if text.isprintable():
        assert parse_line(format_message(name, params)) == (name, params)


def addresses_(data: bytes) -> None:
    """Paths of SMTP commands, and address lists of headers."""
    for read in (address.parse_path, address.parse_reverse_path, address.parse_forward_path, address.parse_mailbox):
        for wide in (False, True):
            try:
                found = read(data, wide)
            except address.AddressError:
                continue
            if found.domain:
                assert address.parse_mailbox(str(found)) == found, "an address is not itself when it is said again"
    for entry in addresses.entries(data):
        assert entry is not None
    try:
        parse_domain(data.decode("utf-8", "replace"))
    except DomainError:
        pass


def mime_scanner(data: bytes) -> None:
    """The structure of a message, everything that is computed of it at delivery, and the places of its sections."""
    structure = mime.scan(data)
    for part in structure:
        assert 0 <= part.start <= part.body <= part.end <= len(data)
        assert sum(map(len, part.read(data))) <= 4 * len(data) + 16
    derived = precompute(b"Return-Path: <>\r\n", data, 1_700_000_000)
    assert derived == precompute(b"Return-Path: <>\r\n", data, 1_700_000_000)
    for value in (derived.envelope, derived.bodystructure):
        assert balanced(value), value
    for path in ((1,), (2, 1), (1, 1, 1)):
        found = sections.find(derived.parts, path)
        assert found is None or 0 <= found.start


def balanced(response: bytes) -> bool:
    """Whether parentheses outside of strings and literals are in pairs."""
    bare = re.sub(rb'"(?:[^"\\\r\n]|\\.)*+"', b"", _without_literals(response))
    return b'"' not in bare and bare.count(b"(") == bare.count(b")")


def _without_literals(response: bytes) -> bytes:
    kept, at = b"", 0
    for match in re.finditer(rb"~?\{([0-9]+)\}\r\n", response):
        if match.start() >= at:
            kept += response[at:match.start()]
            at = match.end() + int(match[1])
    return kept + response[at:]


def headers_(data: bytes) -> None:
    """Header fields and all that is read out of their values."""
    found = headers.scan_start(data)
    for name in (b"subject", b"from", b"content-type", b"date", b"references"):
        found.first(name.decode())
    assert "\0" not in words.decode_words(data)
    text = "".join(words.encode_words(words.decode_words(data)))
    assert text.isascii()
    dates.parse_date(data)
    thread.message_ids(data)
    thread.base_subject(words.decode_words(data))
    type_, subtype, given = parameters.parse_type(data)
    for name in ("charset", "boundary", "name", "filename"):
        parameters.parameter(given, name)
    for label in ("utf-8", "utf-7", "zlib_codec", "unicode_escape", "idna", "iso-2022-jp", "gb18030", data[:20].decode("latin-1")):
        charset.decode(data, label)
    for encoding in ("base64", "quoted-printable", "7bit"):
        decoder = transfer.decoder(encoding)
        pieces = b"".join(decoder.feed(data[at:at + 7]) for at in range(0, len(data), 7)) + decoder.finish()
        assert pieces == transfer.decode(data, encoding), "the cuts of the network change a decoding"


def report_reader(data: bytes) -> None:
    """A notification that comes in; and ours, about a message and replies of any octets."""
    told = report.read_report(data)
    if told:
        assert all(text.isprintable() for one in told.recipients for text in (one.final, one.original, one.diagnostic, one.remote))
    text = data[:3000].decode("utf-8", "replace")
    envelope = Envelope("a" * 26, "s@x.test", [Recipient("bob@us.test", orcpt=text[:300])], received=1e9, envid=text[:100])
    result = RecipientResult(0, "failed", "5.1.1", text, remote=text[:50])
    said = dsn.build(dsn.FAILED, envelope, [result], data, host="mx.us.test", id="b" * 26, time=1e9)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", said.split(b"\r\n\r\n", 1)[0]), "a stranger's line end in our header"
    ours = report.read_report(said)
    assert ours is not None and len(ours.recipients) == 1, "we cannot read our own notification"


def dns_answer(data: bytes) -> None:
    """A datagram that claims to answer our question, and one that repeats it to the octet."""
    for kind in ("MX", "A", "TXT"):
        question = make_question("x.test", kind, 0x1234, 0)
        for wire in (data, b"\x12\x34\x81\x80\0\1" + data[:6].ljust(6, b"\0") + question.section + data[6:]):
            if answers(question, wire):
                truncated(wire)
                try:
                    read_answer(question, wire)
                except (DnsError, Alias):
                    pass


def slot_file(data: bytes) -> None:
    """A slot file as some writer left it."""
    descriptor = os.memfd_create("slot")
    os.write(descriptor, data)
    try:
        with Slot("(fuzz)", descriptor, os.fstat(descriptor)) as slot:
            assert slot.content_offset + slot.content_length <= len(data)
            list(slot.chunks(1000))
            slot.verify()
    except SlotError as error:
        assert str(error)


def sasl_server(data: bytes) -> None:
    """Every mechanism, with responses of any octets."""
    for mechanism in sasl.MECHANISMS:
        exchange = sasl.server(mechanism, "nonce", b"binding", True)
        for response in [None, *data.split(b"\xff")][:6]:
            try:
                outcome = exchange.step(response)
            except sasl.SaslError:
                break
            if isinstance(outcome, (sasl.CheckPassword, sasl.CheckToken, sasl.NeedKeys, sasl.Success)):
                break
    try:
        sasl.decode_response(data)
    except sasl.SaslError:
        pass


def small_words(data: bytes) -> None:
    """The small readers: PROXY headers, mailbox names, UID sets, results of recipients, compressed octets, strings of IMAP."""
    try:
        header = proxy.parse(data)
        assert header is None or header.length <= len(data)
    except ProtocolError:
        pass
    try:
        assert utf7.encode(utf7.decode(data)) == data
    except ValueError:
        pass
    try:
        parse_uids(data.decode("latin-1"))
    except ValueError:
        pass
    try:
        settlement.read(data)
    except Refusal:
        pass
    assert balanced(strings.string(data)) and balanced(strings.astring(data)) and balanced(strings.nstring(data, True))
    deflate = Deflate()
    for octets in (data, zlib.compress(data, wbits=-15)):
        try:
            deflate.receive(octets)
            while deflate.waiting:
                assert len(deflate.take()) <= 1 << 20
        except DeflateError:
            break


TARGETS: dict[str, Callable[[bytes], None]] = {
    "smtp-server": smtp_server, "smtp-client": smtp_client, "pop3": pop3_server, "imap": imap_server, "ipc": ipc_request,
    "address": addresses_, "mime": mime_scanner, "headers": headers_, "report": report_reader, "dns": dns_answer, "slot": slot_file,
    "sasl": sasl_server, "words": small_words}
