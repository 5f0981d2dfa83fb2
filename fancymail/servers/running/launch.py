"""From a daemon's name to the running daemon: what bin/fm-NAME and the supervisor start.

A daemon lives in servers/NAME; its class is the one whose `name` is NAME that the package shows. Nothing else knows where daemons are.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from fancymail.base.settings import Paths, Settings, SettingsError, load_settings
from fancymail.ipc.security import KeyRing
from fancymail.servers.containment import standing
from fancymail.servers.containment.owners import Owners
from fancymail.servers.containment.reach import complete
from fancymail.servers.running import sockets
from fancymail.servers.running.daemon import Daemon, run_daemon

DAEMONS = ("auth", "queue", "mailbox", "smtpout", "smtpin", "pop3", "imap")     # in the order in which they are started


def daemon_of(instance: str) -> str:
    """Return which daemon a process is one of: imap of imap-2."""
    return re.sub(r"-[0-9]+$", "", instance)


def instances(settings: Settings, names: Iterable[str]) -> list[str]:
    """Return the processes of some daemons: one each, but as many as `processes` in its section says: imap, imap-2 ..."""
    counts = [(name, getattr(getattr(settings, name, None), "processes", 1)) for name in names]
    return [name if number == 1 else f"{name}-{number}" for name, count in counts for number in range(1, count + 1)]


def daemon_class(name: str) -> type[Daemon]:
    """Import a daemon. Raises LookupError when there is none of this name."""
    name = daemon_of(name)
    if name not in DAEMONS:
        raise LookupError(f"there is no daemon {name!r}; there are {', '.join(DAEMONS)}")
    module = importlib.import_module(f"fancymail.servers.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Daemon) and value.name == name:
            return value
    raise LookupError(f"{module.__name__} holds no daemon named {name}")


def own_users(settings: Settings, paths: Paths, lent: bool) -> tuple[Owners | None, str]:
    """Return the users that all daemons of a state folder become, or None and why not (containment/standing.py)."""
    if settings.server.own_users == "auto" and os.geteuid():
        return None, "not started as root"              # nobody asked, and all daemons' modules are much to read
    reaches = {name: complete(daemon_class(name).reach(settings, paths), settings, paths) for name in DAEMONS}
    return standing.owners(settings, paths, reaches, lent)


def listeners_of(settings: Settings, name: str) -> list[str]:
    """Return the addresses a daemon listens on: the options of its section that are called listen or listen_something."""
    section = getattr(settings, name, None)
    if section is None:
        return []
    names = [option for option in section.__struct_fields__ if option == "listen" or option.startswith("listen_")]
    values = [getattr(section, option) for option in names]
    return [address for value in values for address in ([value] if isinstance(value, str) else value) if address]


def launch(name: str, arguments: list[str] | None = None) -> None:
    """Run one daemon in the foreground, as bin/fm-NAME does; ends the process with a clear word when it cannot start."""
    parser = argparse.ArgumentParser(prog=f"fm-{name}", description=(daemon_class(name).__doc__ or "").strip())
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("FANCYMAIL_STATE", "state")), metavar="DIR",
                        help="the state folder (default: $FANCYMAIL_STATE, or ./state)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: STATE/fancymail.toml)")
    parser.add_argument("--quiet", action="store_true", help="write to the log file only")
    chosen = parser.parse_args(arguments)
    sockets.adopt_systemd()
    try:
        settings = load_settings(chosen.config, chosen.state)
        for address in listeners_of(settings, name):        # while we still may
            if not sockets.known(address):
                sockets.adopt(address, sockets.bind(address, chosen.state))
        paths = Paths(chosen.state)
        paths.create()
        KeyRing(paths.keys).create()
        owners, _ = own_users(settings, paths, lent=False)
        run_daemon(daemon_class(name), chosen.state, config=chosen.config, console=not chosen.quiet, owners=owners)
    except (SettingsError, OSError, ValueError, LookupError) as error:
        sys.exit(f"fm-{name}: {error}")
