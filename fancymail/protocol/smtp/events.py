"""What the SMTP engine tells its daemon: one value per legal thing the client did, in the order it did them.

Made by server.py, read by servers/smtpin. Those marked "decides" wait for an answer: the engine reads on once it has one.
"""

from __future__ import annotations

from typing import NamedTuple


class Hello(NamedTuple):
    """EHLO, HELO or LHLO; decides. Whatever was under way is forgotten."""

    name: str
    verb: str


class Mail(NamedTuple):
    """A transaction begins; decides. `address` is "" for the null reverse-path; `size` is 0 when it was not declared."""

    address: str
    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Rcpt(NamedTuple):
    """A forward-path; decides. `<Postmaster>` comes as "postmaster", every other with its domain."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str = ""


class DataStart(NamedTuple):
    """Content is about to come (DATA or the first BDAT); decides: a 354 lets it in."""


class Header(NamedTuple):
    """The whole header block, each line with its CRLF, without the empty line; comes once, before any Content."""

    block: bytes


class Content(NamedTuple):
    """Octets of the body, the empty line first; whole lines, dots unstuffed."""

    data: bytes


class DataEnd(NamedTuple):
    """The content is complete; decides. `octets` is its size, `eight_bit` whether any octet was over 127."""

    octets: int
    eight_bit: bool


class DataFail(NamedTuple):
    """The content broke a rule and is refused by the engine: forget it."""

    code: int
    status: str
    text: str


class AuthStart(NamedTuple):
    """A SASL exchange begins with the client's first message; decides. LOGIN comes as the PLAIN that it means."""

    mechanism: str
    response: bytes


class AuthStep(NamedTuple):
    """The client's answer to a challenge; decides."""

    response: bytes


class AuthCancel(NamedTuple):
    """The exchange is off: the client said `*`, or broke the rules."""


class StartTls(NamedTuple):
    """STARTTLS; decides."""


class Rset(NamedTuple):
    """The transaction is forgotten."""


class Quit(NamedTuple):
    """The client takes its leave."""


Event = (Hello | Mail | Rcpt | DataStart | Header | Content | DataEnd | DataFail | AuthStart | AuthStep | AuthCancel | StartTls
         | Rset | Quit)
