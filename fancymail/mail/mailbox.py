"""Words about mailboxes: flags as bits, special uses, and which names are names.

Used by storage, core and fm-mailbox. A mailbox name is NFC Unicode with "/" between its levels; INBOX is the one name without case.
Names never become paths: storage knows mailboxes by number.
"""

from __future__ import annotations

import re
import unicodedata

# RFC 9051 2.3.2: the system flags. \Recent is not here: it belongs to a session, never to a message.
SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
SYSTEM_FLAGS = {"\\Seen": SEEN, "\\Answered": ANSWERED, "\\Flagged": FLAGGED, "\\Deleted": DELETED, "\\Draft": DRAFT}
SYSTEM_BITS = 31
FIRST_KEYWORD_BIT, KEYWORDS = 5, 56        # keywords take bits 5 to 60 of a signed 64-bit integer

INBOX = "INBOX"
DELIMITER = "/"
SPECIAL_USES = ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash", "\\Flagged", "\\All", "\\Important")     # RFC 6154 2, RFC 8457
LONGEST_NAME = 1000                        # octets of UTF-8
DEEPEST_NAME = 32                          # levels

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff%*]")     # RFC 9051 5.1: wildcards and controls only make trouble


class BadName(ValueError):
    """A mailbox name that may not be; the text says why, for people."""


def normal_name(name: str) -> str:
    """The one spelling of a mailbox name; raises BadName."""
    name = unicodedata.normalize("NFC", name)      # twins of one name would be two mailboxes that look alike
    if _FORBIDDEN.search(name):
        raise BadName("a mailbox name has no control characters and no % or *")
    levels = name.split(DELIMITER)
    if not all(levels):
        raise BadName("a mailbox name has no empty level")
    if any(level in (".", "..") for level in levels):
        raise BadName("a level of a mailbox name is not . or ..")
    if len(levels) > DEEPEST_NAME or len(name.encode()) > LONGEST_NAME:
        raise BadName(f"a mailbox name has at most {DEEPEST_NAME} levels and {LONGEST_NAME} octets")
    if levels[0].upper() == INBOX:                 # RFC 9051 5.1: INBOX is case-insensitive
        levels[0] = INBOX
    return DELIMITER.join(levels)


def parent(name: str) -> str:
    """The name one level up; "" at the top."""
    return name.rpartition(DELIMITER)[0]
