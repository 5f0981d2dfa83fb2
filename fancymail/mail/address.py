"""Mail addresses as SMTP speaks them: Path, Mailbox, local part (RFC 5321 4.1.2, RFC 6531 3.3).

Called by the SMTP engines, auth, mailbox, smtpout and DSN building. Every parser here is one regular expression without
backtracking over at most 256 octets, and either gives an Address or raises AddressError with the reason.
Never re-reads a local part: "%", "!" and "@" inside it are only characters, so no form of it can become a relay.
Never folds by NFKC or full case folding: two users that look alike stay two users.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .domain import DomainError, kind, parse_domain, unicode_domain

LOCAL_LIMIT = 64                     # RFC 5321 4.5.3.1.1
MAILBOX_LIMIT = 254                  # RFC 5321 4.5.3.1.3 less the brackets
PATH_LIMIT = 256

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
# Not "*+" behind these groups: Python 3.11.2 does not go back to before a round that failed, and "a." would be a dot-string.
_DOT_STRING = re.compile(rf"{_ATOM}++(?:\.{_ATOM}++)*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*+)"')
_PLAIN = re.compile(rb"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]++(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]++)*)"
                    rb"@([A-Za-z0-9.-]+)>")
_PATH = re.compile(rb'<(?:"(?:[^"\\]|\\.)*+"|[^"<>])*+>', re.DOTALL)
_NEEDS_QUOTES = "the local part has a character that needs quotes"
_FORBIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"))


class AddressError(ValueError):
    """Not an address. `reason` is for the reply, `code` and `status` fit SMTP (501 5.1.3, 553 5.6.7 for characters)."""

    def __init__(self, reason: str, code: int = 501, status: str = "5.1.3") -> None:
        super().__init__(reason)
        self.reason, self.code, self.status = reason, code, status


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox. `local` is the unquoted local part as given; `domain` is canonical (mail.domain), "" for none.

    Address("", "") is the null reverse-path, Address("postmaster", "") the bare postmaster of RFC 5321 4.5.1.
    Equality is exact; accounts are found by `key`.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        """The address in SMTP form without brackets: quoted where it must be; "" for the null path."""
        if not self.domain:
            return self.local
        return f"{quote(self.local)}@{self.domain}"

    @property
    def key(self) -> str:
        """What accounts are compared by: the address with `local_key` for its local part."""
        return f"{quote(self.local_key)}@{self.domain}" if self.domain else self.local_key

    @property
    def local_key(self) -> str:
        """The local part in normal form C with ASCII letters in lower case, and nothing else changed."""
        return local_key(self.local)

    @property
    def null(self) -> bool:
        """True for "<>"."""
        return not self.local and not self.domain

    @property
    def ascii(self) -> bool:
        """True if it can be sent without SMTPUTF8 (the domain always can: it is kept in A-labels)."""
        return self.local.isascii()

    @property
    def kind(self) -> str:
        """What the domain is: "domain", "ipv4", "ipv6" (address literals) or ""."""
        return kind(self.domain)

    @property
    def display(self) -> str:
        """The address for human eyes, with U-labels."""
        return f"{quote(self.local)}@{unicode_domain(self.domain)}" if self.domain else self.local


NULL = Address("", "")
POSTMASTER = Address("postmaster", "")


def parse_path(data: bytes | str, smtputf8: bool = False, local_limit: int = LOCAL_LIMIT) -> Address:
    """Parse "<path>": a mailbox, "<>" or "<postmaster>". Source routes are refused (RFC 5321 4.1.1.3 allows it)."""
    raw = data if isinstance(data, bytes) else _encode(data)
    match = _PLAIN.fullmatch(raw) if len(raw) <= PATH_LIMIT else None
    if match is not None and len(match[1]) <= local_limit:     # nearly all of them
        return Address(match[1].decode(), _domain(match[2].decode()))
    if raw == b"<>":
        return NULL
    if not (raw.startswith(b"<") and raw.endswith(b">")):
        raise AddressError("the address must stand in angle brackets")
    if len(raw) > PATH_LIMIT:
        raise AddressError("the path is longer than 256 octets")
    if raw.startswith(b"<@"):
        raise AddressError("source routes are not accepted")
    if raw[1:-1].lower() == b"postmaster":                 # RFC 5321 4.5.1
        return POSTMASTER
    return parse_mailbox(raw[1:-1], smtputf8, local_limit)


def parse_reverse_path(data: bytes | str, smtputf8: bool = False) -> Address:
    """Parse the path of MAIL. Its local part may be long: bounce addresses of lists carry a whole address in it."""
    address = parse_path(data, smtputf8, MAILBOX_LIMIT)
    if not address.domain and address.local:
        raise AddressError("the sender's address needs a domain", 501, "5.1.7")
    return address


def parse_forward_path(data: bytes | str, smtputf8: bool = False) -> Address:
    """Parse the path of RCPT: never null."""
    address = parse_path(data, smtputf8)
    if address.null:
        raise AddressError("the null path is no recipient")
    return address


def parse_mailbox(data: bytes | str, smtputf8: bool = True, local_limit: int = MAILBOX_LIMIT) -> Address:
    """Parse "local@domain" without brackets, as the Envelope carries it."""
    raw = data if isinstance(data, bytes) else _encode(data)
    if len(raw) > MAILBOX_LIMIT:
        raise AddressError(f"the address is longer than {MAILBOX_LIMIT} octets")
    text = _decode(raw, smtputf8)
    local, end = _local(text)
    if text[end:end + 1] != "@":
        raise AddressError("the address needs a domain" if end == len(text) else _NEEDS_QUOTES)
    if len(raw[:len(text[:end].encode())]) > local_limit:
        raise AddressError(f"the local part is longer than {local_limit} octets")
    return Address(local, _domain(text[end + 1:]))


def path_end(line: bytes, start: int = 0) -> int:
    """Return the offset behind the path that begins at `start`, or -1; quoted local parts may contain ">" and spaces."""
    match = _PATH.match(line, start)
    return match.end() if match else -1


def quote(local: str) -> str:
    """Return a local part as it stands in SMTP: a dot-string where possible, else a quoted string."""
    if _DOT_STRING.fullmatch(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def local_key(local: str) -> str:
    """Fold a local part for account look-up: NFC, then ASCII lower case only."""
    if local.isascii():
        return local.lower()
    return "".join(c.lower() if c.isascii() else c for c in unicodedata.normalize("NFC", local))


def detail(local: str, separator: str = "+") -> tuple[str, str]:
    """Split "user+tag" at the first separator into (user, tag); a local part that begins with it has no tag."""
    if not separator:
        return local, ""
    user, _, tag = local.partition(separator)
    return (user, tag) if user else (local, "")


def check_characters(text: str) -> None:
    """Refuse what would make an address look like another one, or hide in it (RFC 6532 3.1, RFC 5198)."""
    for char in text:
        if char.isascii():
            if not " " <= char <= "~":
                raise AddressError("the address has a control character")
        elif unicodedata.category(char) in _FORBIDDEN:
            raise AddressError(f"the address has a character that no address may have: U+{ord(char):04X}", 553, "5.6.7")
        elif unicodedata.normalize("NFC", char).isascii():     # the Kelvin sign is a K in every normal form
            raise AddressError(f"the address has a character that reads as another: U+{ord(char):04X}", 553, "5.6.7")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:                             # lone surrogates
        raise AddressError("the address is not valid UTF-8", 553, "5.6.7") from None


def _decode(raw: bytes, smtputf8: bool) -> str:
    """Octets to checked text. The strict decoder refuses overlong forms and surrogates."""
    if not raw.isascii() and not smtputf8:
        raise AddressError("the address needs SMTPUTF8", 553, "5.6.7")     # RFC 6531 3.5
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise AddressError("the address is not valid UTF-8", 553, "5.6.7") from None
    check_characters(text)
    return text


def _local(text: str) -> tuple[str, int]:
    """Parse the local part at the beginning of `text`; return it unquoted, and the offset behind it."""
    if text.startswith('"'):
        match = _QUOTED.match(text)
        if match is None:
            raise AddressError("the quoted local part is not closed")
        return re.sub(r"\\(.)", r"\1", match[1]), match.end()
    match = _DOT_STRING.match(text)
    if match is None:
        raise AddressError("the local part is empty" if text[:1] in ("", "@") else _NEEDS_QUOTES)
    return match[0], match.end()


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except DomainError as error:
        raise AddressError(str(error)) from None
