"""What fm-smtpin listens on, whom it trusts, and how much it takes from one client."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section, check_networks, say

Address = Annotated[str, say("host:port, [v6]:port, *:port (all addresses) or unix:/path (below the state folder if relative).")]
Network = Annotated[str, say("An address or a network, as 192.0.2.0/24 or 2001:db8::/32.", pattern=r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")]
Mechanism = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]


class SmtpIn(Section):
    """Mail that comes in: from other servers (transfer), from users (submission), from programs beside us (LMTP)."""

    listen_smtp: Annotated[tuple[Address, ...], say("Where other servers bring mail (SMTP, port 25).")] = ("*:25",)
    listen_submission: Annotated[tuple[Address, ...], say("Where users bring mail, with STARTTLS (port 587).")] = ("*:587",)
    listen_submissions: Annotated[tuple[Address, ...], say("Where users bring mail, in TLS from the start (port 465).")] = ("*:465",)
    listen_lmtp: Annotated[tuple[Address, ...], say("Where programs beside us bring mail for local users (LMTP).")] = ("unix:run/lmtp.sock",)
    lmtp_mode: Annotated[int, say("Permissions of LMTP's unix socket; the default lets in the daemons' own group.", ge=0, le=0o777)] = 0o660
    proxies: Annotated[tuple[Network, ...], say("Balancers whose connections begin with a PROXY header (version 1 or 2).")] = ()
    relay_networks: Annotated[tuple[Network, ...], say(
        "Clients that may send to any domain on port 25 without a login, by the address they connect from; best none.")] = ()
    banner: Annotated[str, say("What stands behind the server's name in its greeting.", pattern=r"^[ -~]{1,100}$")] = "FancyMail"

    mechanisms: Annotated[tuple[Mechanism, ...], say("SASL mechanisms that are offered to users.")] = (
        "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
    auth_without_tls: Annotated[bool, say("Let users log in without TLS; for tests and closed networks only.")] = False
    auth_on_smtp: Annotated[bool, say("Offer logins on port 25 too.")] = False
    null_sender: Annotated[bool, say("Let users submit with the null sender `<>` (RFC 8098 receipts); their From is checked all the same.")] = False
    login_failures: Annotated[int, say("Failed logins that end a session.", ge=1)] = 3

    message_size: Annotated[int, say("Octets that a message may have.", ge=65536)] = 50 * 1024 * 1024
    header_size: Annotated[int, say("Octets that the header of a message may have.", ge=1024, le=262144)] = 262144
    header_fields: Annotated[int, say("Fields that the header of a message may have.", ge=50, le=1000)] = 1000
    line_length: Annotated[int, say("Octets of the longest line that is taken; lines are never folded.", ge=998)] = 1024 * 1024
    recipients: Annotated[int, say("Recipients that a message may have.", ge=100)] = 1000
    messages: Annotated[int, say("Messages that a session may bring; 0: any number.", ge=0)] = 1000
    hops: Annotated[int, say("Received fields with which a message counts as looping.", ge=10)] = 50
    errors: Annotated[int, say("Refused commands that end a session.", ge=1)] = 50
    junk: Annotated[int, say("Commands in a row that bring no mail and end a session.", ge=10)] = 100
    strict_pipelining: Annotated[bool, say(
        "Refuse strangers that send ahead of a reply they must wait for (RFC 2920): spam programs do.")] = True

    connections: Annotated[int, say("Sessions at the same time.", ge=1)] = 10_000
    connections_per_address: Annotated[int, say("Sessions of one address (/64 for IPv6) at the same time; our own host has no such limit.",
                                                ge=1)] = 50
    greet_delay: Annotated[float, say("Seconds of silence before the greeting; who speaks first is refused. 0: none.", ge=0, le=60)] = 0.0
    hello_timeout: Annotated[float, say("Seconds from the greeting to the first hello.", gt=0)] = 30.0
    command_timeout: Annotated[float, say("Seconds to the next command (RFC 5321 asks for 300).", gt=0)] = 300.0
    auth_timeout: Annotated[float, say("Seconds for each step of a login.", gt=0)] = 60.0
    content_timeout: Annotated[float, say("Seconds for the whole content of a message.", gt=0)] = 1200.0
    drain: Annotated[float, say("Seconds that sessions get to end at a stop.", ge=0)] = 8.0

    slots_ahead: Annotated[int, say("Slot files of each queue that are asked for ahead of need.", ge=1, le=512)] = 128
    verdict_lifetime: Annotated[float, say("Seconds for which it is remembered that a recipient exists.", ge=0, le=3600)] = 60.0
    refusal_lifetime: Annotated[float, say("Seconds for which it is remembered that a recipient doesn't exist.", ge=0, le=60)] = 5.0

    def __post_init__(self) -> None:
        check_networks("proxies", self.proxies)
        check_networks("relay-networks", self.relay_networks)
