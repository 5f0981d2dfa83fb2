"""Every form of an open relay that is known: refused at RCPT, nothing goes out, honest mail still comes in.

us.test is ours, x.test is not; the server's own address is 127.0.0.1. Nobody here is logged in.
"""

from __future__ import annotations

import pytest

from tests.servers.smtpin.kit import connected, smtpin

SENDERS = ["s@x.test", "", "alice@us.test", "u@localhost", "postmaster@us.test", "s@mail.us.test", "v@x.test"]
RECIPIENTS = [
    "<v@x.test>", "<v%x.test@[127.0.0.1]>", "<v%x.test>", "<\"v%x.test\">", "<\"v@x.test\"@us.test>", "<\"v@x.test\"@[127.0.0.1]>",
    "<v@x.test@us.test>", "<v@x.test@[127.0.0.1]>", "<@[127.0.0.1]:v@x.test>", "<@us.test:v@x.test>", "<@us.test,@mail.us.test:v@x.test>",
    "<x.test!v>", "<x.test!v@us.test>", "<x.test!v@[127.0.0.1]>", "<v%x.test@us.test>", "<v%x.test@mail.us.test>", "<v@x.test.>",
    "<v@x.test >", "< v@x.test>", "<v@x.test\t>", "<v@X.TEST>", "v@x.test", "<<v@x.test>>", "<v@us.test.x.test>", "<v@xus.test>",
    "<v@us.test\x00.x.test>", "<v@[192.0.2.1]>", "<v@192.0.2.1>", "<v@127.0.0.1>", "<v@2130706433>", "<v@[IPv6:::ffff:192.0.2.1]>",
    "<v@[IPv6:::1]>", "<v@localhost>", "<v@mail.us.test>", "<\"v\"@x.test>", "<v\\@x.test@us.test>", "<v,w@us.test>", "<v@x.test,w@us.test>",
    "<v@x.test>,<bob@us.test>", "<bob@us.test> <v@x.test>", "<bob@us.test>v@x.test", "<v@x.test;bob@us.test>", "<v(bob)@x.test>",
    "<=?utf-8?q?v=40x.test?=@us.test>", "<v+x.test@us.test>", "<v@us.test%x.test>", "<\"\"@x.test>", "<v@\uff55\uff53.test>", "<v@us\u3002test>",
]


@pytest.mark.parametrize("recipient", RECIPIENTS)
async def test_no_recipient_is_relayed(tmp_path, recipient):
    async with smtpin(tmp_path, errors=10_000) as server, connected(server) as talk:
        await talk.hello()
        for extension in ("", " SMTPUTF8"):
            for sender in SENDERS:
                await talk.say(f"MAIL FROM:<{sender}>{extension}")
                reply = await talk.say(f"RCPT TO:{recipient}")
                assert reply[0] == "5", (sender, recipient, reply)
                assert (await talk.say("DATA"))[0] == "5"
                assert (await talk.say("RSET")).startswith("250")
        assert not server.queue.messages


@pytest.mark.parametrize("name", ["us.test", "mail.us.test", "localhost", "[127.0.0.1]", "127.0.0.1", "[IPv6:::1]", "x.test"])
@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
async def test_names_grant_nothing(tmp_path, verb, name):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.reply()
        assert (await talk.say(f"{verb} {name}")).startswith("250")
        for sender in SENDERS:
            await talk.say(f"MAIL FROM:<{sender}>")
            assert (await talk.say("RCPT TO:<v@x.test>")).startswith("550 5.7.1")
            await talk.say("RSET")


@pytest.mark.parametrize("form", ["RCPT TO :<v@x.test>", "RCPT <v@x.test>", "RCPT TO:<bob@us.test>\rRCPT TO:<v@x.test>",
                                  "RCPT\tTO:<v@x.test>", "RCPT TO=<v@x.test>", "RCPT TO:<bob@us.test> ORCPT=rfc822;v@x.test RELAY=yes"])
async def test_odd_forms_of_the_command(tmp_path, form):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("MAIL FROM:<s@x.test>")
        assert (await talk.say(form))[0] == "5"
        assert (await talk.say("DATA"))[0] == "5"


async def test_foreign_recipients_beside_honest_ones_get_nothing(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nRCPT TO:<v@x.test>\r\nRCPT TO:<bob%x.test@us.test>\r\nDATA\r\n")
        assert [reply[:3] for reply in await talk.replies(5)] == ["250", "250", "550", "550", "354"]
        await talk.say("To: v@x.test\r\nBcc: w@x.test\r\nApparently-To: v@x.test\r\n\r\nx\r\n.")
        assert [(queue, [one.address for one in envelope.recipients]) for queue, envelope, _ in server.queue.messages] == [
            ("incoming", ["bob@us.test"])]


async def test_lmtp_never_relays(tmp_path):
    async with smtpin(tmp_path, relay_networks=["127.0.0.0/8"]) as server, connected(server, "lmtp") as talk:
        await talk.hello("LHLO")
        await talk.say("MAIL FROM:<alice@us.test>")
        assert (await talk.say("RCPT TO:<v@x.test>")).startswith("550 5.7.1")


async def test_a_proxys_word_counts_only_from_proxies(tmp_path):
    async with smtpin(tmp_path, relay_networks=["10.0.0.0/8"]) as server, connected(server) as talk:
        talk.send("PROXY TCP4 10.0.0.1 10.0.0.2 1 25\r\nXCLIENT ADDR=10.0.0.1\r\n")
        replies = await talk.replies(3)
        assert [reply[:3] for reply in replies] == ["220", "500", "500"]
        await talk.say("EHLO c")
        await talk.say("MAIL FROM:<s@x.test>")
        assert (await talk.say("RCPT TO:<v@x.test>")).startswith("550 5.7.1")


async def test_behind_a_proxy_the_client_counts(tmp_path):
    async with smtpin(tmp_path, relay_networks=["10.0.0.0/8", "127.0.0.0/8"], proxies=["127.0.0.1"]) as server:
        for source, code in (("10.0.0.1", "250 2.1.5"), ("192.0.2.1", "550 5.7.1")):
            async with connected(server) as talk:
                talk.send(f"PROXY TCP4 {source} 10.0.0.2 1 25\r\n")
                await talk.hello()
                await talk.say("MAIL FROM:<s@x.test>")
                assert (await talk.say("RCPT TO:<v@x.test>")).startswith(code)


async def test_trusted_networks_may_relay(tmp_path):
    """The same forms can succeed: the refusals above are not those of a server that refuses everything."""
    async with smtpin(tmp_path, relay_networks=["127.0.0.0/8"]) as server, connected(server) as talk:
        await talk.hello()
        assert (await talk.bring("x", "s@x.test", "v@x.test")).startswith("250")
        assert [(queue, envelope.recipients[0].address) for queue, envelope, _ in server.queue.messages] == [("outgoing", "v@x.test")]
