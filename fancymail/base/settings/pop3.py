"""What fm-pop3 listens on, how users log in there, and how much it bears from one client."""

from __future__ import annotations

from typing import Annotated, Literal

from .auth import Mechanism
from .section import Section, check_networks, say

Address = Annotated[str, say("host:port, [v6]:port, *:port (all addresses) or unix:/path (below the state folder if relative).")]
Network = Annotated[str, say("An address or a network, as 192.0.2.0/24 or 2001:db8::/32.", pattern=r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")]


class Pop3(Section):
    """Mail for programs that fetch it (POP3)."""

    listen_pop3: Annotated[tuple[Address, ...], say("Where clients fetch mail, with STLS (port 110).")] = ("*:110",)
    listen_pop3s: Annotated[tuple[Address, ...], say("Where clients fetch mail, in TLS from the start (port 995).")] = ("*:995",)
    proxies: Annotated[tuple[Network, ...], say("Balancers whose connections begin with a PROXY header (version 1 or 2).")] = ()
    banner: Annotated[str, say("What stands in the greeting.", pattern=r"^[ -~]{1,100}$")] = "FancyMail POP3 ready"

    mechanisms: Annotated[tuple[Mechanism, ...], say(
        "SASL mechanisms that are offered; OAUTHBEARER and XOAUTH2 only where auth.oauth names an issuer.")] = (
        "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    plaintext_login: Annotated[Literal["loopback", "never", "always"], say(
        "Where passwords are taken without TLS: from our own host, nowhere, or (for closed networks) everywhere.")] = "loopback"
    login_failures: Annotated[int, say("Failed logins that end a session.", ge=1)] = 3
    login_delay: Annotated[int, say("Seconds between two logins to a maildrop, enforced and announced; 0: any number.", ge=0, le=86400)] = 0
    errors: Annotated[int, say("Refused commands in a row that end a session.", ge=3)] = 50

    idle: Annotated[float, say("Seconds of silence that end a session; RFC 1939 asks for 600 at least.", ge=1)] = 600.0
    login_timeout: Annotated[float, say("Seconds in which a client has to log in, from its connection on.", ge=1)] = 120.0
    connections: Annotated[int, say("Sessions at the same time.", ge=1)] = 10_000
    connections_per_address: Annotated[int, say(
        "Sessions of one address (/64 for IPv6) at the same time; our own host has no such limit.", ge=1)] = 50
    drain: Annotated[float, say("Seconds that sessions get to end at a stop.", ge=0)] = 8.0
    lock: Annotated[float, say("Seconds for which a maildrop stays taken when this daemon dies in the middle of a session.", ge=10)] = 60.0
    snapshots: Annotated[int, say("Messages of mailboxes whose listings are kept for the next login.", ge=0)] = 500_000

    def __post_init__(self) -> None:
        check_networks("proxies", self.proxies)
