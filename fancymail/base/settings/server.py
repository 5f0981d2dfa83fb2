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
    user: Annotated[str, say(
        "The account that the daemons become when the suite is started as root; empty: they stay who they are.")] = ""
    group: Annotated[str, say("The group that goes with `user`; empty: the account's own group.")] = ""
    containment: Annotated[Literal["on", "require", "off"], say(
        "Shut each daemon in what it needs (Landlock, seccomp): on: as far as the kernel can; require: do not start without; "
        "off: for debuggers and kernels that know better. Told by the log; takes effect at a restart.")] = "on"
    start_timeout: Annotated[float, say("Seconds in which every daemon has to answer its first ping.", gt=0)] = 30.0
    stop_timeout: Annotated[float, say("Seconds a daemon gets to finish its work at a stop before it is killed.", gt=0)] = 20.0
