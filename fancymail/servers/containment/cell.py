"""Shut this process in: what its daemon declared (`reach`), what every daemon needs, and nothing else.

Called once by servers/running/daemon.py in the daemon's own process, after its doors are bound and before any thread exists (Landlock counts for
the thread that asks and for those it begins). What the kernel cannot do is left out and told; with `containment = "require"` that is an error.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import fancymail
from fancymail.base.settings import Paths, Settings
from fancymail.servers.containment import landlock, privileges, seccomp
from fancymail.servers.containment.reach import Reach, certificate_files, complete, converses_by_tcp

SYSTEM = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
          "/etc/localtime", "/etc/timezone", "/etc/ld.so.cache", "/etc/ssl", "/etc/pki/tls", "/etc/ca-certificates", "/etc/mime.types",
          "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/usr/share/locale", "/run/systemd/resolve",
          "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/dev/urandom", "/dev/null", "/dev/zero")
SHALLOW = 2                 # a certificate's folder with fewer parts than this (as /etc) holds too much else: the file alone is opened then


class Uncontained(OSError):
    """The kernel cannot do what `containment = "require"` asks for."""


def contain(name: str, instance: str, reach: Reach, settings: Settings, paths: Paths, config: Path | None) -> dict[str, object]:
    """Shut this process in; returns facts for the log. `missing` among them names what is not in force. Raises Uncontained."""
    privileges.set_name(f"fm-{instance}")      # by it other daemons know us (ipc/security.py)
    mode = settings.server.containment
    if mode == "off":
        return {"missing": "containment is off in the settings"}
    reach = complete(reach, settings, paths)
    calls = reach.calls or converses_by_tcp(settings, name)
    privileges.drop_capabilities()
    missing = [*_files(name, reach, settings, paths, config, calls or reach.answers), *_calls(calls, reach.answers)]
    if missing and mode == "require":
        raise Uncontained("; ".join(missing))
    facts: dict[str, object] = {"landlock": landlock.version(), "calls": "any" if calls else "subscribers" if reach.answers else "nobody"}
    return facts | ({"missing": "; ".join(missing)} if missing else {})


def _files(name: str, reach: Reach, settings: Settings, paths: Paths, config: Path | None, connect: bool) -> Iterator[str]:
    rules = landlock.Rules()
    for folder in (*reach.fills, *reach.shares, *reach.keeps):
        if not folder.suffix and not folder.is_dir():       # the name of a file has one; a folder that is not there yet gets no rule
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for chosen, rights in ((reach.reads, landlock.READS), (reach.opens, landlock.OPENS), (reach.fills, landlock.FILLS),
                           (reach.shares, landlock.SHARES), (reach.keeps, landlock.KEEPS)):
        for path in chosen:
            rules.allow(path, rights)
    rules.allow(paths.log.parent, landlock.APPENDS)
    for path in [*_programs(paths), *_keys(name, paths), *_settings(paths, config), *SYSTEM, *_authorities(settings),
                 *(_certificates(settings, paths) if reach.certificates else ())]:
        rules.allow(path, landlock.READS)
    rules.allow("/dev/null", landlock.WRITE_FILE)
    rules.allow(paths.keys, landlock.READ_DIR)      # names; each daemon opens its own key alone
    try:
        rules.enforce(connect=connect)
    except OSError as error:
        yield f"files ({error.strerror or error})"
        return
    if landlock.version() < 4 and not connect:
        yield "TCP connections by Landlock (this kernel's is older than version 4)"


def _calls(calls: bool, answers: bool) -> Iterator[str]:
    if not seccomp.available():
        yield "system calls (no table for this processor)"
        return
    try:
        seccomp.enforce(internet=calls or answers, datagrams=calls)
    except OSError as error:
        yield f"system calls ({error.strerror or error})"


def _programs(paths: Paths) -> Iterator[Path]:
    """Python, its libraries and our own code, which are read on; never a folder that the state lies in."""
    for place in {*fancymail.__path__, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path}:
        path = Path(os.path.realpath(place)) if place else None
        if path is not None and path != path.parent and not Path(os.path.realpath(paths.state)).is_relative_to(path):
            yield path


def _keys(name: str, paths: Paths) -> Iterator[Path]:
    yield paths.key(name)
    yield from paths.keys.glob("*.pub")
    yield paths.keys / "allow"


def _settings(paths: Paths, config: Path | None) -> Iterator[Path]:
    """The configuration as it is now; one that took its place later is lent by the supervisor (lending.py)."""
    yield config or paths.config


def _authorities(settings: Settings) -> Iterator[Path]:
    known = ssl.get_default_verify_paths()
    yield from (Path(path) for path in (known.cafile, known.capath, known.openssl_cafile, settings.smtpout.tls_authorities) if path)


def _certificates(settings: Settings, paths: Paths) -> Iterator[Path]:
    """Where certificates and their keys are: the folders too, because a renewal puts new files there."""
    for file in certificate_files(settings, paths):
        for path in (file, Path(os.path.realpath(file))):
            yield path
            if len(path.parent.parts) > SHALLOW and not paths.state.is_relative_to(path.parent):
                yield path.parent
