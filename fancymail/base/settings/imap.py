"""What fm-imap listens on, how users log in there, how much it bears from one client, and what it keeps in memory."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section, check_networks, say

Address = Annotated[str, say("host:port, [v6]:port, *:port (all addresses) or unix:/path (below the state folder if relative).")]
Network = Annotated[str, say("An address or a network, as 192.0.2.0/24 or 2001:db8::/32.", pattern=r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")]
Mechanism = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]


class Imap(Section):
    """Mail for programs that leave it on the server (IMAP)."""

    listen_imap: Annotated[tuple[Address, ...], say("Where clients read mail, with STARTTLS (port 143).")] = ("*:143",)
    listen_imaps: Annotated[tuple[Address, ...], say("Where clients read mail, in TLS from the start (port 993).")] = ("*:993",)
    proxies: Annotated[tuple[Network, ...], say("Balancers whose connections begin with a PROXY header (version 1 or 2).")] = ()
    banner: Annotated[str, say("What stands in the greeting.", pattern=r"^[ -~]{1,100}$")] = "FancyMail IMAP ready"
    processes: Annotated[int, say("Processes that share the connections.", ge=1, le=64)] = 2

    mechanisms: Annotated[tuple[Mechanism, ...], say(
        "SASL mechanisms that are offered; OAUTHBEARER and XOAUTH2 only where auth.oauth names an issuer.")] = (
        "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    plaintext_login: Annotated[Literal["loopback", "never", "always"], say(
        "Where passwords are taken without TLS: from our own host, nowhere, or (for closed networks) everywhere.")] = "loopback"
    login_failures: Annotated[int, say("Failed logins that end a session.", ge=1)] = 3
    login_timeout: Annotated[float, say("Seconds in which a client has to log in, from its connection on.", ge=1)] = 120.0
    idle: Annotated[float, say("Seconds of silence that end a session; RFC 9051 asks for 1800 at least.", ge=1)] = 1800.0
    errors: Annotated[int, say("Refused commands in a row that end a session.", ge=3)] = 20
    compress: Annotated[bool, say("Offer COMPRESS=DEFLATE; each session that uses it costs some 60 KiB.")] = True

    append_limit: Annotated[int, say("Octets of a message that clients may store.", ge=1 << 16)] = 64 << 20
    message_limit: Annotated[int, say(
        "Messages that one command works on, those of the highest UIDs if it names more (MESSAGELIMIT; RFC 9738 asks for 1000 at least); "
        "0: all. Most clients do not know of it: keep it above what anybody has in one mailbox.", ge=0)] = 1_000_000
    limit_saving_only: Annotated[bool, say(
        "Have that limit for COPY and APPEND alone, which are refused beyond it (SAVELIMIT); all else works on whole mailboxes.")] = False
    push: Annotated[float, say("Seconds by which news are gathered before a waiting client is told.", ge=0, le=5)] = 0.01
    images: Annotated[float, say("Seconds that a mailbox stays in memory, and its news are listened to, after its last session.", ge=0)] = 60.0

    connections: Annotated[int, say("Sessions at the same time, in each process.", ge=1)] = 10_000
    connections_per_address: Annotated[int, say(
        "Sessions of one address (/64 for IPv6) at the same time, in each process; our own host has no such limit.", ge=1)] = 100
    drain: Annotated[float, say("Seconds that sessions get to end at a stop.", ge=0)] = 8.0

    def __post_init__(self) -> None:
        check_networks("proxies", self.proxies)
