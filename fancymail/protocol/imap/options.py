"""How one IMAP connection is served: limits, what is offered, and the capabilities that follow from it.

Made by servers/imap for each connection, read by the engine. Values only. Durations are seconds, sizes octets.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from functools import lru_cache

from fancymail.protocol.sasl import offered

from .memory import Memory

# What can be advertised behind a login; each is refused as unknown where it is not among Options.extensions.
EXTENSIONS = (
    "IDLE", "UNSELECT", "NAMESPACE", "CHILDREN", "UIDPLUS", "MOVE", "CONDSTORE", "QRESYNC", "ESEARCH", "SEARCHRES", "SORT", "SORT=DISPLAY",
    "THREAD=REFERENCES", "THREAD=ORDEREDSUBJECT", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE", "STATUS=SIZE",
    "BINARY", "MULTIAPPEND", "COMPRESS=DEFLATE", "QUOTA", "QUOTA=RES-STORAGE", "UTF8=ACCEPT", "OBJECTID",
    "SAVEDATE", "WITHIN", "PREVIEW", "REPLACE", "METADATA", "METADATA-SERVER", "ESORT", "CONTEXT=SEARCH", "CONTEXT=SORT", "PARTIAL", "NOTIFY",
    "ACL", "RIGHTS=texk", "LIST-MYRIGHTS", "LIST-METADATA", "CATENATE", "MULTISEARCH", "SEARCH=FUZZY", "INPROGRESS", "UIDONLY")
LITERAL_PLUS, LITERAL_MINUS = "LITERAL+", "LITERAL-"
MEMORIES = 8
LITERAL_MINUS_MOST = 4096                       # RFC 7888 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the engine's memory and patience."""

    line: int = 64 * 1024                       # octets of a command without its literals
    line_before_login: int = 14 * 1024          # a SASL response has up to 12,288
    literal: int = 64 * 1024                    # octets of a literal that is no message
    literal_before_login: int = 512
    command: int = 256 * 1024                   # octets of a command with its literals
    append: int = 50 * 1024 * 1024              # octets of a message (RFC 7889)
    swallow: int = 64 * 1024 * 1024             # octets of a refused non-synchronizing literal that are read on; beyond: BYE
    abuse: int = 1024 * 1024                    # octets without an end of line that end the session
    messages: int = 1000                        # of one APPEND
    depth: int = 32                             # of parentheses and search keys
    keys: int = 4096                            # search keys of one command
    items: int = 256                            # fetch items, header names, patterns, entries of one command
    errors: int = 20                            # BADs in a row
    login_failures: int = 3


@dataclass(frozen=True, slots=True)
class Options:
    """`mechanisms`: all that are configured; what is offered depends on TLS. `message_limit`: RFC 9738, 0 for none; `save_limit`: the same for
    COPY and APPEND alone."""

    banner: str = "FancyMail ready"
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    plaintext: bool = False                     # passwords are taken without TLS on this connection
    starttls: bool = True                       # there is a certificate
    extensions: frozenset[str] = frozenset(EXTENSIONS)
    literal: str = LITERAL_PLUS
    revision_2: bool = True
    message_limit: int = 0
    save_limit: int = 0
    limits: Limits = Limits()
    login_timeout: float = 60.0
    idle: float = 1860.0                        # RFC 9051 5.4: at least 30 minutes
    memories: dict[frozenset[str], Memory] = field(init=False, default_factory=dict, repr=False, compare=False)

    def extension(self, *names: str) -> bool:
        """Whether one of these is offered."""
        return not self.extensions.isdisjoint(names) or self.message_limit > 0 and "MESSAGELIMIT" in names

    def memory(self, enabled: Set[str]) -> Memory:
        """Commands that were read before by connections that have enabled the same."""
        known = frozenset(enabled)
        if known not in self.memories:
            if len(self.memories) >= MEMORIES:          # clients enable the same few; who has one of those forgotten keeps it for itself
                self.memories.clear()
            self.memories[known] = Memory()
        return self.memories[known]


@lru_cache(256)
def capabilities(options: Options, tls: bool, binding: bool, logged_in: bool, compressed: bool = False) -> bytes:
    """The words behind CAPABILITY for this moment of a connection."""
    words = ["IMAP4rev1"] + ["IMAP4rev2"] * options.revision_2 + [options.literal, "SASL-IR", "ID", "ENABLE"]
    if not logged_in:
        words += ["STARTTLS"] * (options.starttls and not tls)
        words += ["LOGINDISABLED"] * (not tls and not options.plaintext)
        words += [f"AUTH={name}" for name in offered(options.mechanisms, tls, binding, options.plaintext)]
        return " ".join(words).encode()
    words += [name for name in EXTENSIONS if name in options.extensions and not (compressed and name == "COMPRESS=DEFLATE")]
    words.append(f"APPENDLIMIT={options.limits.append}")
    if options.message_limit:
        words.append(f"MESSAGELIMIT={options.message_limit}")
    elif options.save_limit:                        # RFC 9738 4: one or the other
        words.append(f"SAVELIMIT={options.save_limit}")
    return " ".join(words).encode()
