"""The SASL conversations: against the RFCs' own examples, against a client that is not ours, and against bad clients."""

import hashlib
from base64 import b64decode, b64encode

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.scram import ScramKeys, derive
from fancymail.protocol import sasl
from fancymail.protocol.sasl import Challenge, CheckPassword, CheckToken, NeedKeys, SaslError, Scram, ScramClient, Success

BINDING = hashlib.sha256(b"a certificate").digest()
NONCE = "3rfcNHYJY1ZVvWVs7j"


def keys_for(mechanism, password="pencil", iterations=4096):
    return derive(mechanism.removesuffix("-PLUS"), password, b"0123456789abcdef", iterations)


def test_rfc5802_example():
    server = Scram("SCRAM-SHA-1", NONCE)
    assert server.step(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL") == NeedKeys("user")
    salt = bytes.fromhex("4125c247e43ab1e93c6dff76")
    challenge = server.keys(derive("SCRAM-SHA-1", "pencil", salt, 4096))
    assert challenge == Challenge(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
    outcome = server.step(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    assert outcome == Success("", "user", b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


def test_rfc7677_example():
    server = Scram("SCRAM-SHA-256", r"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    server.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    salt = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    server.keys(derive("SCRAM-SHA-256", "pencil", salt, 4096))
    outcome = server.step(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert outcome.data == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def talk(server, client):
    """Run both sides of SCRAM; return the server's Success after the client has checked it."""
    outcome = server.step(client.first())
    assert isinstance(outcome, NeedKeys)
    challenge = server.keys(keys_for(server.mechanism))
    outcome = server.step(client.final(challenge.data))
    client.verify(outcome.data)
    return outcome


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_our_client_and_server_agree(mechanism):
    binding = BINDING if mechanism.endswith("-PLUS") else b""
    client = ScramClient(mechanism, "a=b,c@example.test", "pencil", "cnonce", binding)
    outcome = talk(Scram(mechanism, NONCE, binding, bool(binding)), client)
    assert outcome.username == "a=b,c@example.test" and outcome.authzid == ""


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_scramp_as_client(mechanism):
    binding = BINDING if mechanism.endswith("-PLUS") else b""
    server = Scram(mechanism, NONCE, binding, bool(binding))
    channel = ("tls-server-end-point", binding) if binding else None
    client = scramp.ScramClient([mechanism], "us,er", "pencil", channel_binding=channel)
    assert server.step(client.get_client_first().encode()) == NeedKeys("us,er")
    client.set_server_first(server.keys(keys_for(mechanism)).data.decode())
    client.set_server_final(server.step(client.get_client_final().encode()).data.decode())


def test_scramp_as_server_for_our_client():
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    info = mechanism.make_auth_info("pencil", iteration_count=4096)
    server, client = mechanism.make_server(lambda user: info), ScramClient("SCRAM-SHA-256", "user", "pencil", "cnonce")
    server.set_client_first(client.first().decode())
    server.set_client_final(client.final(server.get_server_first().encode()).decode())
    proof = server.get_server_final().encode()
    client.verify(proof)
    with pytest.raises(SaslError, match="could not prove"):
        client.verify(b"v=" + b64encode(b64decode(proof[2:])[::-1]))


def test_wrong_password_fails_with_invalid_proof():
    server = Scram("SCRAM-SHA-256", NONCE)
    client = ScramClient("SCRAM-SHA-256", "user", "pen", "cnonce")
    server.step(client.first())
    challenge = server.keys(keys_for("SCRAM-SHA-256"))
    with pytest.raises(SaslError) as refused:
        server.step(client.final(challenge.data))
    assert refused.value.value == "invalid-proof" and not refused.value.syntax


@pytest.mark.parametrize("mechanism, first, value", [
    ("SCRAM-SHA-256", b"y,,n=user,r=abc", "server-does-support-channel-binding"),
    ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=user,r=abc", "other-error"),
    ("SCRAM-SHA-256-PLUS", b"n,,n=user,r=abc", "other-error"),
    ("SCRAM-SHA-256-PLUS", b"y,,n=user,r=abc", "other-error"),
    ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=user,r=abc", "unsupported-channel-binding-type"),
    ("SCRAM-SHA-256", b"n,,m=ext,n=user,r=abc", "extensions-not-supported"),
    ("SCRAM-SHA-256", b"n,,n=us=41er,r=abc", "invalid-encoding"),
    ("SCRAM-SHA-256", b"n,,n=\xff,r=abc", "invalid-encoding"),
    ("SCRAM-SHA-256", b"n,,n=a\x07,r=abc", "invalid-username-encoding"),
    ("SCRAM-SHA-256", b"n,,n=user,r=", "invalid-encoding"),
    ("SCRAM-SHA-256", b"n,,n=user,r=a b", "invalid-encoding"),
    ("SCRAM-SHA-256", b"n,,n=,r=abc", "invalid-encoding"),
    ("SCRAM-SHA-256", b"n,,n=user", "invalid-encoding"),
    ("SCRAM-SHA-256", b"", "invalid-encoding"),
])
def test_bad_first_message(mechanism, first, value):
    with pytest.raises(SaslError) as refused:
        Scram(mechanism, NONCE, BINDING, plus_offered=True).step(first)
    assert refused.value.value == value


def test_plus_without_a_channel_is_refused():
    with pytest.raises(SaslError) as refused:
        Scram("SCRAM-SHA-256-PLUS", NONCE).step(b"p=tls-server-end-point,,n=user,r=abc")
    assert refused.value.value == "channel-binding-not-supported"


def started(mechanism="SCRAM-SHA-256", binding=b""):
    server = Scram(mechanism, NONCE, binding, bool(binding))
    client = ScramClient(mechanism, "user", "pencil", "cnonce", binding)
    server.step(client.first())
    return server, client.final(server.keys(keys_for(mechanism)).data)


@pytest.mark.parametrize("change", [
    lambda m: m.replace(b"r=cnonce", b"r=xnonce"), lambda m: m.replace(NONCE.encode(), b"x"),
    lambda m: m.replace(NONCE.encode(), b""), lambda m: m.replace(b"c=biws", b"c=eSws"),
    lambda m: m.replace(b"c=biws", b"c=biwsbiws"), lambda m: m.replace(b"c=biws", b"c=b"),
    lambda m: m.split(b",p=")[0], lambda m: m.split(b",p=")[0] + b",p=AAAA",
    lambda m: m.split(b",p=")[0] + b",p=" + b64encode(bytes(32)), lambda m: m.split(b",p=")[0] + b",p=!!!!",
    lambda m: m + b",x=1", lambda m: b"", lambda m: m + b"\0",
])
def test_bad_final_message(change):
    server, final = started()
    with pytest.raises(SaslError):
        server.step(change(final))


def test_binding_of_another_channel_is_refused():
    server = Scram("SCRAM-SHA-256-PLUS", NONCE, BINDING, True)
    client = ScramClient("SCRAM-SHA-256-PLUS", "user", "pencil", "cnonce", bytes(32))
    server.step(client.first())
    with pytest.raises(SaslError) as refused:
        server.step(client.final(server.keys(keys_for("SCRAM-SHA-256")).data))
    assert refused.value.value == "channel-bindings-dont-match"


def test_a_proof_cannot_be_replayed():
    _, final = started()
    again = Scram("SCRAM-SHA-256", "another-nonce")
    again.step(b"n,,n=user,r=cnonce")
    again.keys(keys_for("SCRAM-SHA-256"))
    with pytest.raises(SaslError):
        again.step(final)


@pytest.mark.parametrize("server_first", [
    b"r=other,s=AAAA,i=4096", b"r=cnonce,s=AAAA,i=4096", b"r=cnonceX,s=AAAA,i=1", b"r=cnonceX,s=AAAA,i=2147483648",
    b"r=cnonceX,s=AAAA,i=4095", b"r=cnonceX,s=A,i=4096", b"e=other-error", b"", b"r=cnonceX,i=4096"])
def test_client_refuses_a_bad_server(server_first):
    with pytest.raises(SaslError):
        ScramClient("SCRAM-SHA-256", "user", "pencil", "cnonce").final(server_first)


@pytest.mark.parametrize("final", [b"v=AAAA", b"e=invalid-proof", b"", b"v="])
def test_client_wants_the_servers_proof(final):
    server, client = Scram("SCRAM-SHA-256", NONCE), ScramClient("SCRAM-SHA-256", "user", "pencil", "cnonce")
    with pytest.raises(SaslError):
        client.verify(final)
    server.step(client.first())
    client.final(server.keys(keys_for("SCRAM-SHA-256")).data)
    with pytest.raises(SaslError):
        client.verify(final)


def test_plain():
    assert sasl.server("PLAIN", NONCE).step(None) == Challenge(b"")
    assert sasl.server("PLAIN", NONCE).step(b"root\0tim\0tanstaaftanstaaf") == CheckPassword("root", "tim", b"tanstaaftanstaaf")
    message = sasl.plain_message("tim", "p\u00e4ss")
    assert sasl.server("PLAIN", NONCE).step(message) == CheckPassword("", "tim", "p\u00e4ss".encode())
    with pytest.raises(ValueError):
        sasl.plain_message("tim", "a\0b")


@pytest.mark.parametrize("message", [
    b"", b"tim", b"\0tim", b"\0\0pw", b"\0tim\0", b"\0tim\0p\0w", b"\0tim\0p\0", b"\0\xff\0pw", b"\0\0\0"])
def test_bad_plain(message):
    with pytest.raises(SaslError) as refused:
        sasl.server("PLAIN", NONCE).step(message)
    assert refused.value.syntax


def test_login():
    mechanism = sasl.server("LOGIN", NONCE)
    assert mechanism.step(None) == Challenge(b"Username:")
    assert mechanism.step(b"tim") == Challenge(b"Password:")
    assert mechanism.step(b"pw") == CheckPassword("", "tim", b"pw")
    assert sasl.server("LOGIN", NONCE).step(b"tim") == Challenge(b"Password:")
    with pytest.raises(SaslError):
        sasl.server("LOGIN", NONCE).step(b"")


def test_passwords_and_keys_are_in_no_repr():
    assert "secret" not in repr(CheckPassword("", "tim", b"secret"))
    keys = ScramKeys(b"salt", 4096, b"storedkey", b"serverkey")
    assert "storedkey" not in repr(keys) and "serverkey" not in repr(keys)


def test_offered():
    assert sasl.offered(sasl.MECHANISMS, tls=False, binding=False) == ("SCRAM-SHA-256", "SCRAM-SHA-1")
    assert sasl.offered(sasl.MECHANISMS, tls=True, binding=False) == (
        "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    assert sasl.offered(sasl.MECHANISMS, tls=True, binding=True) == sasl.MECHANISMS
    assert sasl.offered(("PLAIN",), tls=False, binding=False, plaintext=True) == ("PLAIN",)


@pytest.mark.parametrize("text, octets", [(b"=", b""), (b"", b""), (b"AHQAcA==", b"\0t\0p")])
def test_decode_response(text, octets):
    assert sasl.decode_response(text) == octets


@pytest.mark.parametrize("text", [
    b"AHQAcA", b"AHQA cA==", b"AHQAcA==\r\n", b"====", b"A===", b"AA==AA==", b"\xff\xfe", b"!", b"A" * 12_292])
def test_response_that_is_not_base64(text):
    with pytest.raises(SaslError) as refused:
        sasl.decode_response(text)
    assert refused.value.syntax


@given(st.sampled_from(sasl.MECHANISMS), st.lists(st.binary(max_size=60), max_size=4), st.binary(max_size=3))
def test_garbage_gives_an_outcome_or_a_saslerror(name, messages, binding):
    mechanism = sasl.server(name, NONCE, binding, bool(binding))
    try:
        for message in messages:
            outcome = mechanism.step(sasl.decode_response(b64encode(message)))
            if isinstance(outcome, NeedKeys):
                mechanism.keys(keys_for("SCRAM-SHA-1"))
            assert not isinstance(outcome, Success)
    except SaslError:
        pass


@given(st.text(min_size=1, max_size=20), st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_changed_scram_message_never_succeeds(name, place, junk):
    server = Scram("SCRAM-SHA-1", NONCE)
    try:
        client = ScramClient("SCRAM-SHA-1", name, "pencil", "cnonce")
        server.step(client.first())
    except (SaslError, ValueError):
        return
    final = client.final(server.keys(keys_for("SCRAM-SHA-1")).data)
    place %= len(final)
    with pytest.raises(SaslError):
        server.step(final[:place] + junk + final[place:])


BEARER = b"n,a=alice@example.test,\x01host=mail.example.test\x01port=143\x01auth=Bearer abc.def.ghi==\x01\x01"


@pytest.mark.parametrize("mechanism, message, authzid", [
    ("OAUTHBEARER", BEARER, "alice@example.test"), ("OAUTHBEARER", b"y,,\x01auth=bearer abc.def.ghi==\x01\x01", ""),
    ("OAUTHBEARER", b"n,a=a=2Cb=3Dc,\x01auth=Bearer abc.def.ghi==\x01port=1\x01\x01", "a,b=c"),
    ("XOAUTH2", b"user=alice@example.test\x01auth=Bearer abc.def.ghi==\x01\x01", "alice@example.test")])
def test_tokens(mechanism, message, authzid):
    side = sasl.server(mechanism, NONCE)
    assert side.step(None) == Challenge(b"")
    assert side.step(message) == CheckToken(authzid, b"abc.def.ghi==")
    assert side.failed(b"{}") == Challenge(b"{}")
    with pytest.raises(SaslError) as error:
        side.step(b"\x01")
    assert not error.value.syntax, "this counts as a wrong login"


@pytest.mark.parametrize("mechanism, message", [
    ("OAUTHBEARER", b""), ("OAUTHBEARER", b"\x01"), ("OAUTHBEARER", b"n,,"), ("OAUTHBEARER", b"n,,\x01\x01"),
    ("OAUTHBEARER", b"p=tls-server-end-point,,\x01auth=Bearer x\x01\x01"), ("OAUTHBEARER", b"n,,\x01auth=Basic x\x01\x01"),
    ("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01"), ("OAUTHBEARER", BEARER[:-1]), ("OAUTHBEARER", BEARER + b"x"),
    ("OAUTHBEARER", b"n,,\x01auth=Bearer x\0y\x01\x01"), ("XOAUTH2", BEARER), ("XOAUTH2", b"user=a\x01auth=Bearer x\x01"),
    ("XOAUTH2", b"user=\xff\x01auth=Bearer x\x01\x01")])
def test_tokens_that_cannot_be_read(mechanism, message):
    with pytest.raises(SaslError) as error:
        sasl.server(mechanism, NONCE).step(message)
    assert error.value.syntax


def test_a_token_needs_tls():
    assert sasl.offered(("OAUTHBEARER", "XOAUTH2", "SCRAM-SHA-256"), tls=False, binding=False) == ("SCRAM-SHA-256",)
    assert "wonderland" not in repr(CheckToken("alice", b"wonderland"))
