"""The base of every settings section: a frozen struct whose fields carry their own sentence.

    class Pop3(Section):
        "POP3 for mail clients."
        idle: Annotated[int, say("Seconds of silence after which a session is closed.", ge=1)] = 600

The sentence goes into etc/fancymail.toml and into error messages; unknown keys are refused.
"""

from __future__ import annotations

import ipaddress

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """One table of fancymail.toml. Keys are spelled with hyphens there, with underscores here."""


def say(sentence: str, **bounds) -> msgspec.Meta:
    """Describe an option in one sentence; `bounds` are msgspec.Meta's (ge, le, min_length, pattern ...)."""
    return msgspec.Meta(description=sentence, **bounds)


def check_networks(option: str, networks: tuple[str, ...]) -> None:
    """Raise ValueError when one of them is none; its host's own octets do not matter (10.0.0.1/8)."""
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{option}: {network} is no network") from None
