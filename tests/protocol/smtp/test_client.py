"""The SMTP client engine: dialogues, split at every octet, random garbage, limits, SCRAM against our own server side."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fancymail.mail.envelope import Recipient
from fancymail.protocol import sasl
from fancymail.protocol.smtp.answers import MAX_LINE, MAX_LINES, Outcome, make_reply
from fancymail.protocol.smtp.client import SmtpClient
from fancymail.protocol.smtp.credentials import Credentials
from fancymail.protocol.smtp.session import Ended, Failed, Profile, Ready, Timeouts, WantContent
from fancymail.protocol.smtp.transaction import Transaction, speakable, xtext

TALKS = sorted((Path(__file__).parents[2] / "talks" / "smtp-client").glob("*.talk"))


def words_of(line: str) -> tuple[list[str], dict]:
    plain, named = [], {}
    for word in line.split(" "):
        match = re.fullmatch(r"(\w+)=(.*)", word)
        if match:
            named[match[1]] = match[2]
        else:
            plain.append(word)
    return plain, named


def profile_of(line: str) -> Profile:
    _, named = words_of(line)
    credentials = Credentials(named["user"], named["password"], "n" * 24) if "user" in named else None
    return Profile("out.test", tls=named.get("tls", "may"), secured="secured" in named, credentials=credentials)


def recipient_of(word: str) -> Recipient:
    address, *rest = word.split(";", 1)
    found = dict(re.findall(r"(notify|orcpt)=(.*?)(?=;notify=|;orcpt=|$)", rest[0])) if rest else {}
    notify = tuple(found.get("notify", "").split(",")) if "notify" in found else ()
    return Recipient(address, orcpt=found.get("orcpt", ""), notify=notify)


def transaction_of(line: str) -> Transaction:
    head, *options = re.split(r" (?=(?:size|eight_bit|utf8|require_tls|ret|envid)=)", line)
    sender, *recipients = head.split(" ")
    named = dict(option.split("=", 1) for option in options)
    return Transaction(
        "" if sender == "-" else sender, tuple(map(recipient_of, recipients)), int(named["size"]),
        eight_bit="eight_bit" in named, utf8="utf8" in named, require_tls="require_tls" in named,
        ret=named.get("ret", ""), envid=named.get("envid", ""))


def shown(event) -> str:
    match event:
        case Ready(tls=tls):
            return f"Ready tls={tls}"
        case WantContent():
            return "WantContent"
        case Ended(outcomes=outcomes, dsn=dsn):
            return " ".join(["Ended", *(["dsn"] if dsn else []), *map(told, outcomes)])
        case Failed(kind=kind, outcome=outcome):
            return f"Failed {kind} {told(outcome)}"
    raise AssertionError(event)


def told(outcome: Outcome) -> str:
    return f"{outcome.state}/{outcome.status}/{outcome.text}" + ("/another" if outcome.another else "")


class Talk:
    """Plays one dialogue; `step` octets of the host's words at a time."""

    def __init__(self, path: Path, step: int | None) -> None:
        self.lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        self.step = step
        self.said = b""
        self.events: list[str] = []
        first = self.lines[0].startswith("profile:")
        self.engine = SmtpClient(profile_of(self.lines.pop(0)) if first else Profile("out.test"))

    def play(self) -> None:
        for line in self.lines:
            kind, _, rest = line.partition(" ")
            if kind == "S:":
                self.hear(rest.encode() + b"\r\n")
            elif kind == "C:":
                wanted = rest.encode().decode("unicode_escape").encode("latin-1")
                head, _, self.said = self.said.partition(b"\r\n")
                assert head == wanted, f"said {head!r} at {line!r}"
            elif kind == "E:":
                assert self.events[:1] == [rest], f"phase {self.engine._phase}"
                del self.events[0]
            elif kind == ">":
                self.do(*rest.split(" ", 1))
                self.pump()
            elif kind == "closing":
                assert self.engine.closing
        assert self.said in (b"", b"DATA\r\n") and not self.events

    def hear(self, data: bytes) -> None:
        for start in range(0, len(data), self.step or len(data)):
            self.engine.receive(data[start:start + (self.step or len(data))])
            self.pump()

    def pump(self) -> None:
        while event := self.engine.next_event():
            self.events.append(shown(event))
        self.said += self.engine.to_send()

    def do(self, what: str, rest: str = "") -> None:
        engine = self.engine
        match what:
            case "send":
                engine.send(transaction_of(rest))
            case "content":
                engine.content(rest.encode().decode("unicode_escape").encode("latin-1"))
            case "tls":
                assert engine.want_tls
                engine.tls_started(None)
            case "eof":
                engine.receive_eof()
            case "abort":
                engine.abort("the content cannot be read")
            case _:
                {"end": engine.content_end, "quit": engine.quit, "expire": engine.expire}[what]()


@pytest.mark.parametrize("step", [None, 1, 3])
@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
def test_talk(path: Path, step: int | None) -> None:
    Talk(path, step).play()


def test_there_are_talks() -> None:
    assert len(TALKS) > 25


def up(*extensions: str, profile: Profile = Profile("out.test"), timeouts: Timeouts = Timeouts()) -> SmtpClient:
    engine = SmtpClient(profile, timeouts)
    lines = ["mx", *extensions]
    engine.receive(b"220 mx\r\n")
    assert engine.next_event() is None
    engine.to_send()
    engine.receive("".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode())
    assert isinstance(engine.next_event(), Ready)
    return engine


def mail(*addresses: str, **facts) -> Transaction:
    return Transaction("a@s.test", tuple(map(Recipient, addresses or ("b@x.test",))), facts.pop("size", 10), **facts)


@pytest.mark.parametrize("address", [
    "b@x.test>\r\nDATA", "b@x.test\r\nRSET", "b c@x.test", "<b@x.test>", "", "b\0@x.test", '"b\r\nDATA"@x.test', '"a>b@x.test'])
def test_an_address_never_becomes_a_command(address: str) -> None:
    engine = up("PIPELINING")
    engine.send(mail("ok@x.test", address))
    said = engine.to_send()
    assert said == b"MAIL FROM:<a@s.test>\r\nRCPT TO:<ok@x.test>\r\nDATA\r\n"
    engine.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(engine.next_event(), WantContent)
    engine.content_end()
    engine.receive(b"250 ok\r\n")
    outcomes = engine.next_event().outcomes
    assert [outcome.state for outcome in outcomes] == ["delivered", "failed"] and outcomes[1].status == "5.1.3"


def test_a_sender_never_becomes_a_command() -> None:
    engine = up("PIPELINING")
    engine.send(Transaction("a@s.test>\r\nRSET", (Recipient("b@x.test"),), 1))
    assert engine.to_send() == b"" and engine.next_event().outcomes[0].status == "5.1.7"


def test_no_recipient_that_can_be_said() -> None:
    engine = up("PIPELINING")
    engine.send(mail("b c@x.test"))
    assert engine.to_send() == b"" and engine.next_event().outcomes[0].status == "5.1.3"
    engine.send(mail())                                   # and the session lives on
    assert engine.to_send().startswith(b"MAIL FROM:")


def test_quoted_local_parts_can_be_said() -> None:
    assert speakable('"a b>c\\""@x.test') and speakable("ü@x.test") and not speakable('"a"b c"@x.test')


@pytest.mark.parametrize("pieces", [
    [b".\r\n.\r\n"], [b".", b"\r\n.\r", b"\n"], [b".\r\n", b".", b"\r\n"], [b".\r", b"\n", b".\r\n"], [b"", b".\r\n", b"", b".\r\n"]])
def test_dots_are_stuffed_across_pieces(pieces: list[bytes]) -> None:
    engine = ready_for_content()
    for piece in pieces:
        engine.content(piece)
    engine.content_end()
    assert engine.to_send() == b"..\r\n..\r\n.\r\n"


def ready_for_content() -> SmtpClient:
    engine = up("PIPELINING")
    engine.send(mail())
    engine.to_send()
    engine.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(engine.next_event(), WantContent)
    return engine


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r\n.", b"x.y"]), max_size=12), st.integers(0, 30))
def test_content_arrives_as_it_was(parts: list[bytes], cut: int) -> None:
    content = b"".join(parts)
    engine = ready_for_content()
    for piece in (content[:cut], content[cut:]):
        engine.content(piece)
    engine.content_end()
    wire = engine.to_send()
    ended = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    lines = wire.split(b"\r\n")
    assert lines.index(b".") == len(lines) - 2              # exactly one end, and it is the end
    assert b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2]) == ended


def test_chunk_sizes_are_held() -> None:
    engine = up("PIPELINING", "CHUNKING")
    engine.send(mail(size=4))
    engine.receive(b"250 ok\r\n250 ok\r\n")
    assert isinstance(engine.next_event(), WantContent)
    with pytest.raises(ValueError):
        engine.content(b"12345")
    engine.content(b"123")
    with pytest.raises(ValueError):
        engine.content_end()


def test_deadlines_are_those_of_the_rfc() -> None:      # RFC 5321 4.5.3.2
    engine = SmtpClient(Profile("out.test"))
    assert engine.deadline == 300
    engine = up("PIPELINING")
    assert engine.deadline is None
    engine.send(mail())
    seen = [engine.deadline]
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        engine.receive(reply)
        engine.next_event()
        seen.append(engine.deadline)
    engine.content(b"x\r\n")
    engine.content_end()
    assert seen == [300, 300, 120, 180] and engine.deadline == 600


def test_a_trickle_does_not_prolong_the_deadline() -> None:
    engine = up()
    engine.send(mail())
    epoch = engine.deadline_epoch
    for octet in b"250-a\r\n250-b\r\n":
        engine.receive(bytes([octet]))
        engine.next_event()
    assert engine.deadline_epoch == epoch


@pytest.mark.parametrize("flood", [b"2" * (MAX_LINE + 1), b"220-x\r\n" * (MAX_LINES + 1), b"\n" * 5, b"220\x00\r\n", b"999 x\r\n",
                                   b"120 x\r\n", b"220_x\r\n", b"\xff\xfe\r\n", b"22\r\n", b"2200 x\r\n"])
def test_a_reply_without_measure_ends_the_session(flood: bytes) -> None:
    engine = SmtpClient(Profile("out.test"))
    engine.receive(flood)
    event = engine.next_event()
    assert isinstance(event, Failed) and event.kind == "protocol" and event.outcome.state == "deferred" and engine.closing
    engine.receive(b"x" * 1000)
    assert engine.next_event() is None and engine.to_send() == b""


def test_plain_text_behind_starttls_is_refused() -> None:
    for pieces in ([b"220 go\r\n250 injected\r\n"], [b"220 go\r\n", b"250 injected\r\n"], [b"220 go\r\n2"]):
        engine = SmtpClient(Profile("out.test", tls="may"))
        engine.receive(b"220 mx\r\n")
        engine.next_event()
        engine.receive(b"250-mx\r\n250 STARTTLS\r\n")
        engine.next_event()
        for piece in pieces:
            engine.receive(piece)
            event = engine.next_event()
        assert isinstance(event, Failed) and event.kind == "protocol" and engine.closing and not engine.want_tls


def test_all_replies_at_once_are_not_believed() -> None:
    engine = SmtpClient(Profile("out.test"))
    engine.receive(b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n")
    assert engine.next_event().kind == "protocol"


def test_early_354_with_the_final_reply() -> None:
    engine = up("PIPELINING")
    engine.send(mail())
    engine.receive(b"250 ok\r\n250 ok\r\n354 go\r\n250 got it\r\n")
    event = engine.next_event()
    assert isinstance(event, Ended) and event.outcomes[0].state == "deferred" and event.outcomes[0].status == "4.5.0"


def test_replies_text_is_safe_and_short() -> None:
    reply = make_reply([(b"550", b"5.1.1 \x1b[2J bad\xff" + b"x" * 5000)])
    assert reply.status == "5.1.1" and reply.text.isprintable() and reply.text.isascii() and len(reply.text) <= 600


def test_an_enhanced_code_of_another_class_is_text() -> None:
    reply = make_reply([(b"450", b"5.1.1 hm")])
    assert reply.status.startswith("4.") and "5.1.1" in reply.text


def test_session_cannot_be_misused() -> None:
    engine = up()
    engine.send(mail())
    with pytest.raises(RuntimeError):
        engine.send(mail())


def test_xtext() -> None:
    assert xtext("a+b=c d\r\n") == "a+2Bb+3Dc+20d+0D+0A" and xtext("ü") == "\\x{FC}"


def scram_server(password: str, cheat: bool = False):
    """Our own server side answers our client, at EHLO's other end."""
    from fancymail.mail.scram import derive
    from fancymail.mail.saslprep import saslprep
    server = sasl.server("SCRAM-SHA-256", "s" * 24)
    keys = derive("SCRAM-SHA-256", saslprep(password), b"salt" * 4, 4096)
    engine = SmtpClient(Profile("out.test", secured=True, credentials=Credentials("u,=ser", "pässword", "c" * 24)))
    engine.receive(b"220 mx\r\n")
    engine.next_event()
    engine.receive(b"250-mx\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n")
    engine.next_event()
    line = engine.to_send().splitlines()[-1]
    assert line.startswith(b"AUTH SCRAM-SHA-256 ")
    server.step(base64.b64decode(line.split()[-1]))
    first = server.keys(keys)
    engine.receive(b"334 " + base64.b64encode(first.data) + b"\r\n")
    engine.next_event()
    return engine, server, base64.b64decode(engine.to_send().strip())


def test_scram_both_sides_prove_themselves() -> None:
    engine, server, answer = scram_server("pässword")
    final = server.step(answer)
    engine.receive(b"334 " + base64.b64encode(final.data) + b"\r\n")
    assert engine.next_event() is None and engine.to_send() == b"\r\n"
    engine.receive(b"235 ok\r\n")
    assert isinstance(engine.next_event(), Ready)


def test_scram_server_that_does_not_know_the_password() -> None:
    for reply in (b"235 welcome\r\n", b"334 " + base64.b64encode(b"v=" + base64.b64encode(b"x" * 32)) + b"\r\n", b"334 ===\r\n"):
        engine, _, _ = scram_server("pässword")
        engine.receive(reply)
        event = engine.next_event()
        assert isinstance(event, Failed) and event.kind == "protocol" and event.outcome.state == "deferred"


WORDS = st.sampled_from([b"220 mx\r\n", b"250-mx\r\n", b"250 PIPELINING\r\n", b"250 STARTTLS\r\n", b"250 CHUNKING\r\n", b"354 go\r\n",
                         b"550 5.1.1 no\r\n", b"421 bye\r\n", b"450 x\r\n", b"250 ok\r\n", b"334 \r\n", b"235 ok\r\n", b"garbage", b"\r\n",
                         b"\xff\r\n", b"2", b"503 5.5.1 x\r\n", b"220 go\r\n"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=25), st.booleans(), st.booleans())
def test_whatever_a_host_says_every_recipient_gets_an_outcome(words: list[bytes], secured: bool, ends: bool) -> None:
    engine = SmtpClient(Profile("out.test", secured=secured, credentials=Credentials("u", "p", "n" * 24) if ends else None))
    sent, results = False, []
    for word in [*words, None]:
        if word is None:
            engine.receive_eof()
        else:
            engine.receive(word)
        while event := engine.next_event():
            results.append(event)
            if isinstance(event, Ready) and not sent:
                engine.send(mail("b@x.test", "c@x.test"))
                sent = True
            elif isinstance(event, WantContent):
                engine.content(b"0123456789"[:engine._transfer.left])
                engine.content_end()
        if engine.want_tls:
            engine.tls_started(None)
        engine.to_send()
    assert engine.closing and engine.deadline is None
    ended = [event for event in results if isinstance(event, Ended)]
    assert len(ended) == sent
    for event in ended:
        assert len(event.outcomes) == 2 and all(outcome.state in ("delivered", "failed", "deferred") for outcome in event.outcomes)
    assert sent or isinstance(results[-1], Failed)
