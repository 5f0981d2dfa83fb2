"""What the whole suite shares: its name, its default domain, which daemons run and as whom."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section, say


class Server(Section):
    """The suite as a whole."""

    hostname: Annotated[str, say(
        "The name this server gives in greetings, Received fields and message ids; empty: the machine's full name.",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*)?$")] = ""
    default_domain: Annotated[str, say(
        "The domain of a user name that comes without one; empty: the hostname without its first label.",
        pattern=r"^[^\s@]*$")] = ""
    daemons: Annotated[tuple[str, ...], say(
        "The daemons that `fancymail up` starts when --only does not say otherwise.")] = (
        "auth", "queue", "mailbox", "smtpout", "smtpin", "pop3", "imap")
    own_users: Annotated[Literal["auto", "require", "off"], say(
        "Each daemon becomes a user of its own when the suite is started as root: auto: where that can be; require: do not start elsewhere; "
        "off: they stay root. Told by the log; takes effect at a restart.")] = "auto"
    uid_base: Annotated[int, say(
        "The first of the numbers that these users have, in the order auth, queue, mailbox, smtpout, smtpin, pop3, imap; "
        "accounts named fancymail-auth and so on go before. Suites that share a machine take different ones.", ge=1000, le=2**31)] = 60720
    user: Annotated[str, say(
        "The one account that all become instead when the suite is started as root, the supervisor too; empty: own-users counts.")] = ""
    group: Annotated[str, say("The group that goes with `user`; empty: the account's own group.")] = ""
    containment: Annotated[Literal["on", "require", "off"], say(
        "Shut each daemon in what it needs (Landlock, seccomp): on: as far as the kernel can; require: do not start without; "
        "off: for debuggers and kernels that know better. Told by the log; takes effect at a restart.")] = "on"
    start_timeout: Annotated[float, say("Seconds in which every daemon has to answer its first ping.", gt=0)] = 30.0
    stop_timeout: Annotated[float, say("Seconds a daemon gets to finish its work at a stop before it is killed.", gt=0)] = 20.0
