"""The peers' Debian packages, unpacked into a folder of their own: nothing is installed, no service of the machine is touched.

    packages = Packages(folder); packages.root("postfix") -> Path with usr/ and etc/ as the package has them

What a package depends on and the machine has not is unpacked beside it. Maintainer scripts never run: room.py gives a peer the accounts
and folders that they would make. Needs apt-get with package lists, once; afterwards no network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PEERS = {"postfix": ("postfix",), "dovecot": ("dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd"), "opensmtpd": ("opensmtpd",),
         "exim": ("exim4-daemon-light", "exim4-base"), "chasquid": ("chasquid",), "cyrus": ("cyrus-imapd", "cyrus-common", "sasl2-bin")}
# The accounts that the packages' scripts would make; numbers of our own, so that they are the same everywhere.
ACCOUNTS = {"benchmail": 64100, "postfix": 64101, "postdrop": 64102, "dovecot": 64103, "dovenull": 64104, "opensmtpd": 64105, "opensmtpq": 64106,
            "Debian-exim": 64107, "cyrus": 64108}


class PackagesMissing(RuntimeError):
    """A peer's packages cannot be had."""


class Packages:
    """A folder with one subfolder per peer."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def root(self, peer: str) -> Path:
        """Return the folder of an unpacked peer; fetches and unpacks at the first call. Raises PackagesMissing."""
        root = self.folder / peer
        if not (root / "versions").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            debs = self._download(peer, wanted(_simulation(PEERS[peer]), PEERS[peer]))
            for deb in debs:
                subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
            _merge_usr(root)
            _write_accounts(root / "etc")
            (root / "versions").write_text("".join(sorted(f"{deb.name.split('_')[0]} {_version(deb)}\n" for deb in debs)))
        return root

    def versions(self, peer: str) -> dict[str, str]:
        """Return package -> version of an unpacked peer."""
        return dict(line.split() for line in (self.root(peer) / "versions").read_text().splitlines())

    def _download(self, peer: str, names: list[str]) -> list[Path]:
        debs = self.folder / "debs" / peer
        debs.mkdir(parents=True, exist_ok=True)
        run = subprocess.run(["apt-get", "download", "-q", *names], cwd=debs, capture_output=True, text=True)
        if run.returncode != 0:
            raise PackagesMissing(f"apt-get download {' '.join(names)} failed: {run.stderr.strip()}")
        return sorted(debs.glob("*.deb"))


def wanted(simulation: str, names: tuple[str, ...]) -> list[str]:
    """Return what to download: the packages themselves, and what `apt-get install --simulate` would bring beside them."""
    return list(dict.fromkeys([*names, *re.findall(r"^Inst (\S+)", simulation, re.M)]))


def _simulation(names: tuple[str, ...]) -> str:
    run = subprocess.run(["apt-get", "install", "--simulate", "--no-install-recommends", *names], capture_output=True, text=True)
    return run.stdout


def _version(deb: Path) -> str:
    return deb.name.split("_")[1].replace("%3a", ":")


def _merge_usr(root: Path) -> None:
    """/lib, /bin and /sbin are links into /usr on today's Debian; packages may still say the old names."""
    for name in ("bin", "lib", "sbin"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)


def _write_accounts(etc: Path) -> None:
    """Write passwd and group: the machine's, and those of the peers; and a resolver that refuses at once instead of waiting."""
    etc.mkdir(exist_ok=True)
    for name, form in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin"), ("group", "{0}:x:{1}:")):
        kept = [line for line in Path("/etc", name).read_text().splitlines() if line.partition(":")[0] not in ACCOUNTS]
        (etc / name).write_text("\n".join([*kept, *(form.format(*account) for account in ACCOUNTS.items())]) + "\n")
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n")
