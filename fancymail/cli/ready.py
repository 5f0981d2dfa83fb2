"""Wait until every daemon answers, and say what listens where.

Run by `fancymail up` in a forked child of the supervisor (which itself must never have a ZeroMQ context), and by `status`.
`report` is what `--json` prints; `show` is the same for people.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from fancymail.base.settings import Paths, Settings
from fancymail.cli.terminal import console, table
from fancymail.ipc.message import IpcError
from fancymail.ipc.sync import SyncClient
from fancymail.servers.running.sockets import split, unix_path

PING_AGAIN = 2.0      # seconds after which a ping is said again: the daemon may have been restarted over it
READY_AGAIN = 0.01    # seconds between two looks at a daemon that answers and is not ready
LAST_LOOK = 0.5       # seconds that each daemon gets even if another one used up all the time
CHECKOUT = Path(__file__).parents[2]


def wait(paths: Paths, names: list[str], seconds: float) -> list[str]:
    """Ask every daemon through its operator's door until it is ready; return the names that were not within `seconds`.

    A door opens before the daemon behind it is through with its start, and that may still fail: so a ping is not enough.
    """
    deadline = time.monotonic() + seconds
    return [name for name in names if not _is_ready(paths, name, max(deadline, time.monotonic() + LAST_LOOK))]


def _is_ready(paths: Paths, name: str, deadline: float) -> bool:
    with SyncClient(paths.endpoints(name)[0], name=name) as client:
        while (left := deadline - time.monotonic()) > 0:
            try:
                if msgspec.json.decode(client.call("stats", timeout=min(left, PING_AGAIN))[0])["ready"]:
                    return True
            except IpcError:
                continue
            time.sleep(min(left, READY_AGAIN))
    return False


def ports(settings: Settings, names: list[str]) -> dict[str, int | str]:
    """Return what listens: service -> port, or the path of a unix socket. The first address of each option counts."""
    found: dict[str, int | str] = {}
    for section in names:
        for option, addresses in _listeners(settings, section).items():
            for address in addresses:
                path = unix_path(address)
                found.setdefault(_service(section, option), split(address)[1] if path is None else path)
    return found


def _listeners(settings: Settings, name: str) -> dict[str, list[str]]:
    section = getattr(settings, name, None)
    options = section.__struct_fields__ if section is not None else ()
    found = {option: getattr(section, option) for option in options if option == "listen" or option.startswith("listen_")}
    return {option: [value] if isinstance(value, str) else list(value) for option, value in found.items() if value}


def _service(section: str, option: str) -> str:
    return option.removeprefix("listen").lstrip("_") or section


def report(paths: Paths, settings: Settings, names: list[str], accounts: dict[str, str]) -> dict:
    """Return what scripts want to know of a suite that is ready."""
    return {"ready": True, "state": str(paths.state), "ports": ports(settings, names), "accounts": accounts,
            "ipc": {name: paths.endpoints(name)[0] for name in names}, "ca": str(paths.ca)}


def show(facts: dict, settings: Settings, out) -> None:
    """Print a report for people: what listens, who may log in, how to try it, how to stop it."""
    screen = console(out)
    rows = [(service, where) for service, where in _places(settings, list(facts["ipc"]))]
    title = f"{settings.server.hostname} is ready ({facts['state']})"
    table(screen, title, ("service", "listens at") if rows else ("daemon",), rows or [(name,) for name in facts["ipc"]])
    if facts["accounts"]:
        table(screen, "", ("account", "password"), list(facts["accounts"].items()))
        screen.print("Try it:", highlight=False)
        for line in _hints(facts):
            screen.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    screen.print(f"Stop it: Ctrl-C, or {_command('fancymail')} down{_state_option(facts)}", highlight=False, soft_wrap=True)


def _places(settings: Settings, names: list[str]) -> list[tuple[str, str]]:
    return [(_service(name, option), address) for name in names
            for option, addresses in _listeners(settings, name).items() for address in addresses]


def _hints(facts: dict) -> list[str]:
    """Three lines that work when pasted."""
    (user, password), other = next(iter(facts["accounts"].items())), list(facts["accounts"])[1]
    listening, lines = facts["ports"], []
    if "submission" in listening:
        lines.append(f"swaks --server 127.0.0.1:{listening['submission']} -tls --auth-user {user} --auth-password {password}"
                     f" --from {user} --to {other}")
    if "imaps" in listening:
        secret = facts["accounts"][other]
        lines.append(f"curl --cacert {facts['ca']} -u {other}:{secret} 'imaps://localhost:{listening['imaps']}/INBOX;MAILINDEX=1'")
    elif "pop3s" in listening:
        secret = facts["accounts"][other]
        lines.append(f"curl --cacert {facts['ca']} -u {other}:{secret} pop3s://localhost:{listening['pop3s']}/1")
    lines.append(f"{_command('fmctl')}{_state_option(facts)} shell queue")
    return lines


def _state_option(facts: dict) -> str:
    """Nothing, where the commands would find the state folder by themselves."""
    return "" if Path(facts["state"]) == Path.cwd() / "state" else f" --state {facts['state']}"


def _command(name: str) -> str:
    """The command as this shell can call it."""
    full = CHECKOUT / "bin" / name
    try:
        return str(full.relative_to(Path.cwd()))
    except ValueError:
        return str(full)


def running(paths: Paths) -> dict | None:
    """Return what the supervisor wrote about itself, None when there is nothing to read."""
    try:
        return msgspec.json.decode(paths.supervisor.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
