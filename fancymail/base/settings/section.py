"""The base of every settings section: a frozen struct whose fields carry their own sentence.

    class Pop3(Section):
        "POP3 for mail clients."
        idle: Annotated[int, say("Seconds of silence after which a session is closed.", ge=1)] = 600

The sentence goes into etc/fancymail.toml and into error messages; unknown keys are refused.
"""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """One table of fancymail.toml. Keys are spelled with hyphens there, with underscores here."""


def say(sentence: str, **bounds) -> msgspec.Meta:
    """Describe an option in one sentence; `bounds` are msgspec.Meta's (ge, le, min_length, pattern ...)."""
    return msgspec.Meta(description=sentence, **bounds)
