"""How fm-smtpout finds the next hop, how hard it tries, and what it never does."""

from __future__ import annotations

from typing import Annotated, Literal

from ..secret import Secret
from .section import Section, say

DomainName = Annotated[str, say("A domain, `.domain` for all below it, or `*` for all that have no own entry.",
                                pattern=r"^(\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*)$")]
HostPort = Annotated[str, say("An address, with `:port` or `[v6]:port` when it isn't the usual one.", min_length=2)]


class Transport(Section):
    """The way to some domains."""

    host: Annotated[str, say("The host that takes their mail (a smarthost); empty: whoever their MX records name.", pattern=r"^[^\s]*$")] = ""
    port: Annotated[int, say("Its port; 587 or 465 for a smarthost with a login.", ge=1, le=65535)] = 25
    tls: Annotated[Literal["may", "require", "verify", "implicit", "never"], say(
        "may: encrypt when offered; require: defer without encryption; verify: and only with a certificate in the host's name; "
        "implicit: verify, TLS from the first octet; never: plain text.")] = "may"
    user: Annotated[str, say("The account there; empty: no login.")] = ""
    password: Annotated[Secret, say("Its password.")] = Secret()
    auth_in_clear: Annotated[bool, say("Show the password even without TLS; for closed networks only.")] = False


class SmtpOut(Section):
    """Mail that goes out."""

    transports: Annotated[dict[DomainName, Transport], say("Own ways by recipient domain; the closest entry counts.")] = {}
    port: Annotated[int, say("The port of hosts found by MX; anything but 25 is for tests.", ge=1, le=65535)] = 25
    tls: Annotated[Literal["may", "require", "verify", "never"], say(
        "TLS towards hosts found by MX; see `tls` of a transport.")] = "may"
    tls_authorities: Annotated[str, say("PEM file with the certificate authorities that `verify` trusts; empty: the system's.")] = ""
    nameservers: Annotated[tuple[HostPort, ...], say("Name servers, asked in this order; empty: those of /etc/resolv.conf.")] = ()
    dns_timeout: Annotated[float, say("Seconds after which a lookup counts as failed.", gt=0, le=120)] = 12.0
    own_names: Annotated[tuple[str, ...], say("Further names of this server, to which mail never goes out.")] = ()
    own_addresses: Annotated[tuple[str, ...], say("Further addresses of this server (behind NAT), to which mail never goes out.")] = ()
    private_networks: Annotated[bool, say("Deliver to private, loopback and reserved addresses that MX or A records lead to.")] = False
    address_literals: Annotated[bool, say("Deliver to user@[192.0.2.1].")] = False
    families: Annotated[Literal["both", "ipv4", "ipv6"], say("Which addresses of a host are tried.")] = "both"

    messages: Annotated[int, say("Messages under way at the same time.", ge=1, le=10_000)] = 500
    connections: Annotated[int, say("Connections at the same time.", ge=1)] = 300
    connections_per_host: Annotated[int, say("Connections to one address at the same time; it begins with 2 and grows with success.",
                                             ge=1)] = 20
    destinations: Annotated[int, say("Destinations of one message that are tried at the same time.", ge=1)] = 10
    waiting_per_host: Annotated[int, say(
        "Messages that may wait for a connection to an address that takes nothing, once others need the room; the rest come back later.",
        ge=0)] = 20
    waiting_time: Annotated[float, say("Seconds that a message waits for a connection before it is tried later.", gt=0)] = 60.0
    messages_per_connection: Annotated[int, say("Messages after which a connection is closed.", ge=1)] = 100
    messages_per_minute: Annotated[int, say("Messages a minute to one destination; 0: any number.", ge=0)] = 0
    recipients: Annotated[int, say("Recipients of one transaction.", ge=1, le=1000)] = 100
    idle: Annotated[float, say("Seconds that a connection is kept for the next message.", ge=0)] = 10.0
    hosts: Annotated[int, say("Addresses of a destination that are tried in one attempt.", ge=1, le=50)] = 10
    attempt_time: Annotated[float, say("Seconds after which no further host is tried in one attempt.", gt=0)] = 300.0

    connect_timeout: Annotated[float, say("Seconds for a connection.", gt=0)] = 30.0
    command_timeout: Annotated[float, say("Seconds for the greeting and for each reply (RFC 5321 asks for 300).", gt=0)] = 300.0
    content_timeout: Annotated[float, say("Seconds in which a piece of the content must be taken (RFC 5321 asks for 180).", gt=0)] = 180.0
    final_timeout: Annotated[float, say("Seconds for the reply to the content (RFC 5321 asks for 600).", gt=0)] = 600.0

    retry_first: Annotated[float, say("Seconds to the second attempt; each further wait is twice as long.", ge=1)] = 300.0
    retry_longest: Annotated[float, say("Seconds of the longest wait.", ge=1)] = 14400.0
    delay_notice: Annotated[float, say("Seconds after which a sender is told that a message still waits; 0: never.", ge=0)] = 14400.0
    expire: Annotated[float, say("Seconds after which a message is given up.", ge=60)] = 432000.0
    least_attempts: Annotated[int, say("Attempts that must have been made before a message is given up.", ge=1)] = 5
    dead_host: Annotated[float, say("Seconds for which a host that does not answer is left alone; doubled up to an hour.", ge=0)] = 60.0
    hops: Annotated[int, say("Received fields with which a message counts as looping.", ge=10)] = 50
