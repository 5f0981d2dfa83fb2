"""The demo: a state folder with keys, certificates, a configuration, the domain example.test and three accounts.

Used by `fancymail up --demo`. Everything listens on loopback only. The passwords are random and kept in STATE/demo.json
(0600), so that a second start prints the same ones. A state folder with a configuration of its own is never touched.
"""

from __future__ import annotations

import json
import os
import secrets
import string
import tomllib
from pathlib import Path

from fancymail.base.settings import Paths, SettingsError
from fancymail.base.settings.reference import toml
from fancymail.cli import certificates
from fancymail.ipc.message import IpcError
from fancymail.ipc.sync import SyncClient

DOMAIN = "example.test"
HOSTNAME = "mail.example.test"
USERS = ("alice", "bob", "postmaster")
NAMES = [HOSTNAME, "localhost", DOMAIN, "127.0.0.1", "::1"]
PORT_BASE = 20_000
HIGHEST_BASE = 65_535 - 5_269          # the highest usual port (XMPP between servers) must still fit
PATIENCE = 30.0                        # seconds for one verb of auth: the first password hashes may have to wait
MARK = "# Written by `fancymail up --demo` at every start; put your own options into a file and give it with --config."
PORTS = {                              # section -> option -> (what it is called in --json, its usual port)
    "smtpin": {"listen-smtp": ("smtp", 25), "listen-submission": ("submission", 587), "listen-submissions": ("submissions", 465),
               "listen-lmtp": ("lmtp", 24)},
    "pop3": {"listen-pop3": ("pop3", 110), "listen-pop3s": ("pop3s", 995)},
    "imap": {"listen-imap": ("imap", 143), "listen-imaps": ("imaps", 993)},
}


def prepare(paths: Paths, port_base: int, overrides: Path | None) -> None:
    """Make everything that must be there before the daemons start. Raises SettingsError and OSError."""
    paths.create()
    _write_configuration(paths.config, port_base, overrides)
    certificates.ensure(paths.ca, paths.certificate, paths.private_key, NAMES)
    passwords(paths)


def passwords(paths: Paths) -> dict[str, str]:
    """Return address -> password of the demo's accounts; made at the first call."""
    try:
        return json.loads(paths.demo.read_text())["accounts"]
    except FileNotFoundError:
        accounts = {f"{user}@{DOMAIN}": _password() for user in USERS}
    descriptor = os.open(paths.demo, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        json.dump({"accounts": accounts}, file, indent=1)
    return accounts


def _password() -> str:
    """95 random bits of letters and digits, which need no quoting anywhere."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))


def make_accounts(auth: SyncClient, accounts: dict[str, str]) -> None:
    """Have fm-auth know the domain and the accounts; what it knows already stays as it is. Raises IpcError."""
    if DOMAIN.encode() not in auth.call("domain-list", timeout=PATIENCE):
        auth.call("domain-add", DOMAIN, timeout=PATIENCE)
    for address, password in accounts.items():
        if not _is_there(auth, address):
            auth.call("account-add", address, password, timeout=PATIENCE)


def _is_there(auth: SyncClient, address: str) -> bool:
    try:
        auth.call("verify", address, timeout=PATIENCE)
    except IpcError as error:
        if error.temporary:
            raise
        return False
    return True


def _write_configuration(file: Path, port_base: int, overrides: Path | None) -> None:
    if file.exists() and not file.read_text(errors="replace").startswith(MARK):
        raise SettingsError([f"{file}: is a configuration of your own; the demo needs a state folder for itself (--state)"])
    tables = _tables(port_base)
    if overrides is not None:
        tables = _merge(tables, _read(overrides))
    lines = [MARK]
    for section, options in tables.items():
        lines += ["", f"[{section}]", *(f"{key} = {toml(value)}" for key, value in options.items())]
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)


def _tables(port_base: int) -> dict:
    tables: dict = {"server": {"hostname": HOSTNAME, "default-domain": DOMAIN}}
    for section, options in PORTS.items():
        tables[section] = {option: [f"127.0.0.1:{port_base + usual}"] for option, (_, usual) in options.items()}
    return tables


def _read(file: Path) -> dict:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"{file}: {error}"]) from None


def _merge(below: dict, above: dict) -> dict:
    """Put the options of `above` over those of `below`, table by table."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
