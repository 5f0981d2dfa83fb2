"""Delivery status notifications: three parts that programs and people can read, and nothing that strangers can forge."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.dsn import KINDS, build, needs, wanted
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.headers import scan
from fancymail.mail.letter import meaning
from fancymail.mail.mime import scan as scan_mime
from fancymail.mail.orcpt import decode_utf8_address, encode_utf8_address, split_orcpt
from fancymail.mail.results import RecipientResult

CONTENT = (b"Received: from x\r\nFrom: alice@example.test\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nMessage-ID: <m@example.test>\r\n\r\n"
           b"the body\r\n")
FAILED = RecipientResult(0, "failed", "5.1.1", "550 5.1.1 no such user", "mx.x.test")
LATE = RecipientResult(0, "deferred", "4.4.1", "no answer")
DONE = RecipientResult(0, "delivered", "2.0.0", "250 ok", "mx.x.test")


def envelope(**changes):
    values = {"id": "a" * 26, "sender": "alice@example.test", "recipients": [Recipient("bob@x.test"), Recipient("carol@x.test")],
              "received": 1.7e9, "helo": "client.test"}
    return Envelope(**values | changes)


def make(kind="failed", env=None, results=(FAILED,), content=CONTENT, **options):
    values = {"host": "mail.example.test", "id": "id1", "time": 1.7e9 + 60} | options
    return build(kind, env or envelope(), list(results), content, **values)


def parts(message):
    """(content type, body) of the three parts, and the header."""
    structure = scan_mime(message)
    return [(part.content_type, part.text(message)) for part in structure.children(structure.root)], scan(message)


def test_a_failure_in_three_parts():
    found, headers = parts(make())
    assert [row[0] for row in found] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert "<bob@x.test>\r\n    There is no such address at that domain." in found[0][1]
    assert "mx.x.test said: 550 5.1.1 no such user" in found[0][1] and "Subject: café" in found[0][1]
    assert found[1][1].split("\r\n") == [
        "Reporting-MTA: dns; mail.example.test", "Received-From-MTA: dns; client.test", "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000", "",
        "Final-Recipient: rfc822; bob@x.test", "Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx.x.test",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user", "Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000", ""]
    assert found[2][1] == CONTENT[:CONTENT.find(b"\r\n\r\n") + 2].decode()
    assert headers.first("auto-submitted") == b"auto-replied"
    assert headers.first("in-reply-to") == headers.first("references") == b"<m@example.test>"
    assert headers.first("message-id") == b"<id1@mail.example.test>"
    assert headers.first("to") == b"<alice@example.test>"
    assert headers.text("subject") == "Undelivered: café"


def test_the_reader_of_the_standard_library_agrees():
    message = email.message_from_bytes(make(results=[FAILED, RecipientResult(1, "failed", "5.2.2", "full")]), policy=email.policy.default)
    assert message.get_content_type() == "multipart/report" and message.get_param("report-type") == "delivery-status"
    status = message.get_payload(1)
    assert [group["final-recipient"] for group in status.get_payload()[1:]] == ["rfc822; bob@x.test", "rfc822; carol@x.test"]
    assert not message.defects and all(not part.defects for part in message.walk())


def test_delays_and_successes():
    found, headers = parts(make("delayed", results=[LATE], retry_until=1.7e9 + 432_000))
    assert "Action: delayed" in found[1][1] and "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000" in found[1][1]
    assert "Diagnostic-Code: x-fancymail; no answer" in found[1][1] and headers.text("subject").startswith("Delayed: ")
    assert "you need not send it again" in " ".join(found[0][1].split())
    for kind in ("delivered", "relayed", "expanded"):
        found, _ = parts(make(kind, results=[DONE]))
        assert f"Action: {kind}" in found[1][1] and "Status: 2.0.0" in found[1][1]


def test_dsn_parameters_come_back_decoded_and_safe():
    env = envelope(envid="QQ 314", recipients=[Recipient("bob@x.test", orcpt="rfc822;Bob@old.test")])
    status = parts(make(env=env))[0][1][1]
    assert "Original-Envelope-Id: QQ 314\r\n" in status and "Original-Recipient: rfc822; Bob@old.test\r\n" in status
    env = envelope(envid="a\r\nX: y", recipients=[Recipient("bob@x.test", orcpt="rfc822;a\r\nX: y")], helo="a\r\nX: y")
    found, _ = parts(make(env=env))
    assert "\nX:" not in found[1][1]
    env = envelope(recipients=[Recipient("jürgen@x.test", orcpt="utf-8;j\\x{FC}rgen@x.test")], smtputf8=True)
    status = parts(make(env=env))[0][1][1]
    assert "Original-Recipient: utf-8; j\\x{FC}rgen@x.test" in status and "Final-Recipient: utf-8; j\\x{FC}rgen@x.test" in status


def test_an_alias_keeps_its_secret():
    env = envelope(recipients=[Recipient("secret@home.test", original="team@example.test")])
    message = make(env=env, results=[RecipientResult(0, "failed", "5.2.2", "full")])
    assert b"secret" not in message and b"team@example.test" in message


def test_ret():
    full = envelope(ret="FULL")
    assert parts(make(env=full, whole=True))[0][2][0] == "message/rfc822"
    assert make(env=full, whole=True).count(b"the body") == 1
    for env, kind, results, whole in ((full, "failed", FAILED, False), (envelope(ret="HDRS"), "failed", FAILED, True),
                                      (envelope(), "failed", FAILED, True), (full, "delayed", LATE, True)):
        message = make(kind, env, [results], whole=whole)
        assert b"the body" not in message and parts(message)[0][2][0] == "text/rfc822-headers"
    big = CONTENT + b"x" * 11_000_000
    assert len(make(env=full, content=big, whole=True)) < 10_000


def test_originals_with_eight_bits():
    content = "Subject: café\r\nFrom: jürgen@x.test\r\n\r\nbödy\r\n".encode()
    message = make(content=content)
    assert message.isascii() and needs(message) == ("7BIT", False)
    assert parts(message)[0][2] == ("text/rfc822-headers", "Subject: café\r\nFrom: jürgen@x.test\r\n")
    message = make(env=envelope(smtputf8=True, ret="FULL"), content=content, whole=True)
    assert parts(message)[0][2][0] == "message/global" and needs(message) == ("8BITMIME", False)
    message = make(env=envelope(sender="jürgen@example.test", smtputf8=True), content=content)
    assert needs(message) == ("8BITMIME", True) and parts(message)[0][2][0] == "message/global-headers"


def test_long_headers_are_cut_between_fields():
    found, _ = parts(make(content=b"A: " + b"x" * 70 + b"\r\n" + b"B: c\r\n" * 30_000 + b"\r\nbody"))
    assert found[2][1].startswith("A: x") and len(found[2][1]) <= 65_536 and found[2][1].endswith("B: c\r\n")


def test_an_original_cannot_end_its_part():
    message = make(env=envelope(ret="FULL"), whole=True, content=CONTENT + b"\r\n--=_id1--\r\n--=_id1=\r\n\r\nforged\r\n")
    assert len(parts(message)[0]) == 3 and parts(message)[0][2][1].endswith("forged\r\n")


@pytest.mark.parametrize("kind, env, results", [
    ("failed", envelope(sender=""), [FAILED]), ("lost", envelope(), [FAILED]), ("failed", envelope(), []),
])
def test_what_is_never_sent(kind, env, results):
    with pytest.raises(ValueError):
        make(kind, env, results)


@pytest.mark.parametrize("notify, kinds", [
    ((), {"failed", "delayed"}), (("NEVER",), set()), (("SUCCESS",), {"delivered", "relayed", "expanded"}), (("FAILURE",), {"failed"}),
    (("DELAY", "FAILURE"), {"failed", "delayed"}),
])
def test_who_wants_to_hear_of_what(notify, kinds):
    recipient = Recipient("bob@x.test", notify=notify)
    assert {kind for kind in KINDS if wanted(kind, envelope(), recipient)} == kinds
    assert not any(wanted(kind, envelope(sender=""), recipient) for kind in KINDS)


def test_meanings():
    assert meaning("5.1.1") and meaning("5.1.99") == meaning("5.1.8") and meaning("5.9.9") == "" and meaning("4.4.7") == meaning("4.4.1")


@pytest.mark.parametrize("orcpt, result", [
    ("rfc822;a@b", ("rfc822", "a@b")), ("UTF-8; j\\x{FC}@b", ("utf-8", "jü@b")), ("utf-8;\\x{0A}\\x{D800}\\x{110000}", None),
    ("x400;/c=de/", ("x400", "/c=de/")),
])
def test_original_recipients(orcpt, result):
    assert split_orcpt(orcpt) == (result or ("utf-8", "\\x{0A}\\x{D800}\\x{110000}"))


@pytest.mark.parametrize("orcpt", ["", "rfc822", "rfc822;", ";a@b", "a b;c", "rfc822;a\r\nb", "rfc822;a\x00"])
def test_what_is_no_original_recipient(orcpt):
    with pytest.raises(ValueError):
        split_orcpt(orcpt)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Cf", "Co", "Zl", "Zp", "Zs")), max_size=60))
def test_utf8_addresses_survive(text):
    assert decode_utf8_address(encode_utf8_address(text)) == text and encode_utf8_address(text).isascii()


hostile = st.text(st.sampled_from("\r\n\x00 :;<>@=-_aé\u202e,.\\x{0}5"), max_size=60)


def test_of_very_many_recipients_little_is_said():
    env = envelope(recipients=[Recipient(f"r{number}@x.test") for number in range(10_000)])
    message = make(env=env, results=[RecipientResult(number, "failed", "5.1.1", "550 " + "no " * 300, "mx.x.test") for number in range(10_000)])
    found, _ = parts(message)
    assert len(message) < 4_000_000 and len(found[0][1]) < 150_000
    assert message.count(b"Final-Recipient: ") == 10_000 and "And 9900 more" in found[0][1]


@given(hostile, hostile, hostile, hostile, st.binary(max_size=200), st.sampled_from(["", "FULL"]))
def test_strangers_forge_nothing(text, remote, orcpt, helo, content, ret):
    env = envelope(recipients=[Recipient("bob@x.test", orcpt=orcpt)], helo=helo, envid=text, ret=ret)
    message = make(env=env, results=[RecipientResult(0, "failed", "5.0.0", text, remote)], content=content, whole=True)
    structure = scan_mime(message)
    assert len(structure.root.children) == 3
    names = [field.name for field in scan(message)]
    assert names.count(b"to") == names.count(b"subject") == 1 and b"" not in names
    status = structure.parts[structure.root.children[1]]
    for line in message[status.body:status.end].split(b"\r\n"):
        assert not line or line.startswith((b" ", b"Original-", b"Reporting-", b"Received-", b"Arrival-", b"Final-", b"Action: failed",
                                            b"Status: 5.0.0", b"Remote-MTA: dns;", b"Diagnostic-Code: ", b"Last-"))
        assert line.isascii() and len(line) <= 998
