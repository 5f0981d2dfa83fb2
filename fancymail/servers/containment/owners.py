"""Each daemon its own user: what of a state folder it reaches is then asked by the oldest rule of all, too, and kept where Landlock is not.

For a suite that was started as root. `Owners` turns what the daemons declared (`reach`) into access lists (acl.py): `prepare` writes them once,
in the parent; `become` is said in each daemon's process, when its doors are bound, and gives up root for good. The folders stay root's.
Users are the accounts `fancymail-NAME` where the machine has them, else numbers from `server.uid-base` on: no account has to be made.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fancymail.base.settings import Paths, Settings
from fancymail.servers.containment import acl, privileges
from fancymail.servers.containment.acl import READ, SEARCH, WRITE
from fancymail.servers.containment.reach import Reach, certificate_files

KINDS = {                   # of a Reach: rights on the folders, rights on the files in them
    "reads": (READ | SEARCH, READ), "opens": (SEARCH, READ), "fills": (WRITE | SEARCH, WRITE), "shares": (READ | SEARCH, READ | WRITE),
    "keeps": (READ | WRITE | SEARCH, READ | WRITE)}
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = FILE | os.O_DIRECTORY


class User(NamedTuple):
    """Whom a daemon becomes."""

    uid: int
    gid: int


class Rights(NamedTuple):
    """Of one folder: what each user may do with itself, with files in it, and with all that will be made in it."""

    itself: dict[int, int]
    files: dict[int, int]
    new: dict[int, int]


def users_of(settings: Settings, roles: Iterator[str]) -> dict[str, User]:
    """Whom each daemon becomes. Raises LookupError when a number is somebody's."""
    return {role: _user(role, settings.server.uid_base + number) for number, role in enumerate(roles)}


def _user(role: str, number: int) -> User:
    try:
        account = pwd.getpwnam(f"fancymail-{role}")
        return User(account.pw_uid, account.pw_gid)
    except KeyError:
        pass
    try:
        raise LookupError(f"server.uid-base: {number}, which fm-{role} would have, is {pwd.getpwuid(number).pw_name}'s")
    except KeyError:
        return User(number, number)


class Owners:
    """The users of all daemons of one state folder, and their rights. `reaches`: what each daemon declared, by role."""

    def __init__(self, settings: Settings, paths: Paths, reaches: Mapping[str, Reach], users: Mapping[str, User]) -> None:
        self.settings, self.paths, self.reaches, self.users = settings, paths, reaches, users
        self.folders = self._plan()

    # -- in the parent -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders and write all lists; what lies in them already gets its own the first time, which may take a while. Raises OSError."""
        for folder, rights in self.folders.items():
            descriptor = self._open(folder)
            try:
                self._give(descriptor, folder, rights)
            finally:
                os.close(descriptor)
        self._give_files(self.paths.keys.rglob("*.pub"), {user.uid: READ for user in self.users.values()})
        self._give_files([self.paths.log], {user.uid: WRITE for user in self.users.values()})
        fronts = {self.users[role].uid: READ for role, reach in self.reaches.items() if reach.certificates}
        self._give_files(certificate_files(self.settings, self.paths), fronts)

    def _plan(self) -> dict[Path, Rights]:
        """Every folder that anybody declared, those above it, and what all daemons share; outer ones first."""
        paths, everybody = self.paths, {user.uid: SEARCH for user in self.users.values()}
        readers = {user: READ | SEARCH for user in everybody}
        operators = {uid: SEARCH for uid in self.settings.ipc.operators}
        plan = {
            paths.state: Rights(everybody | operators, {}, {}), paths.run: Rights(everybody | operators, {}, {}),
            **dict.fromkeys((paths.keys, paths.keys / "allow"), Rights(readers, {}, dict.fromkeys(everybody, READ))),
            paths.log.parent: Rights(dict.fromkeys(everybody, WRITE | SEARCH), {}, dict.fromkeys(everybody, WRITE)),
            paths.tls: Rights(everybody, {}, {})}
        declared = {folder for reach in self.reaches.values() for _, folder in _folders(reach) if folder.is_relative_to(paths.state)}
        above = {parent for folder in declared for parent in folder.parents if parent.is_relative_to(paths.state) and parent != paths.state}
        return plan | {folder: self._rights(folder, declared) for folder in sorted(declared | above)}

    def _rights(self, folder: Path, declared: set[Path]) -> Rights:
        """For each daemon the nearest folder that it declared counts."""
        itself, files, new = {}, {}, {}
        for role, reach in self.reaches.items():
            uid = self.users[role].uid
            own, content = _nearest(reach, folder)
            if not own and any(below.is_relative_to(folder) for _, below in _folders(reach)):
                own = SEARCH
            if folder == self.paths.queues / self.settings.mailbox.queue:       # its files become contents of mailboxes by a link
                content |= _nearest(reach, self.paths.blobs)[1]
            for rights, table in ((own, itself), (content, files), (content | own & SEARCH, new)):
                if rights:
                    table[uid] = rights
        return Rights(itself, files, new)

    def _open(self, folder: Path) -> int:
        """Open a folder, made if need be. Only what lies in STATE itself, which no daemon can write, may be a link."""
        if folder in (self.paths.state, self.paths.run):
            return os.open(folder, FOLDER & ~os.O_NOFOLLOW)
        top, *below = folder.relative_to(self.paths.state).parts
        (self.paths.state / top).mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.paths.state / top, FOLDER & ~os.O_NOFOLLOW)
        for part in below:
            try:
                os.mkdir(part, 0o700, dir_fd=descriptor)
            except FileExistsError:
                pass
            outer, descriptor = descriptor, os.open(part, FOLDER, dir_fd=descriptor)
            os.close(outer)
        return descriptor

    def _give(self, descriptor: int, folder: Path, rights: Rights) -> None:
        acl.allow(descriptor, rights.itself)
        if folder == self.paths.log.parent:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | stat.S_ISVTX)       # made by all, removed by none
        if rights.new and acl.inherited(descriptor) != acl.packed(7, rights.new, 0):
            self._give_below(descriptor, folder, rights)
            acl.inherit(descriptor, rights.new)                # last: who is interrupted begins again

    def _give_below(self, descriptor: int, folder: Path, rights: Rights) -> None:
        for place, folders, files, inner in os.fwalk(".", dir_fd=descriptor):
            folders[:] = [name for name in folders if folder / place / name not in self.folders]
            for name, flags, given in [*((name, FILE, rights.files) for name in files), *((name, FOLDER, rights.itself) for name in folders)]:
                try:
                    below = os.open(name, flags, dir_fd=inner)
                except OSError:
                    continue                                    # a link, a socket: nobody's business
                try:
                    if flags == FOLDER or stat.S_ISREG(os.fstat(below).st_mode):
                        acl.allow(below, given)
                    if flags == FOLDER:
                        acl.inherit(below, rights.new)
                finally:
                    os.close(below)

    def _give_files(self, files, rights: Mapping[int, int]) -> None:
        """Give rights on single files of ours; those elsewhere are somebody else's to give."""
        for file in files:
            if file.is_relative_to(self.paths.state):
                try:
                    descriptor = os.open(file, FILE)
                except OSError:
                    continue                                    # not there (yet), or a link to elsewhere
                try:
                    acl.allow(descriptor, rights)
                finally:
                    os.close(descriptor)

    # -- in a daemon's process ---------------------------------------------------------------------------------------------

    def become(self, role: str, instance: str) -> None:
        """Take what is this daemon's own, open its door to the others, and be root no more. Raises OSError."""
        user, reach, (operators, daemons) = self.users[role], self.reaches[role], self.paths.endpoints(instance)
        key = self.paths.key(role)
        os.chown(key, user.uid, user.gid)
        os.chmod(key, 0o400)
        self._give_files((file for file in (*reach.opens, *reach.reads) if file.suffix), {user.uid: READ})
        self._give_files((file for file in reach.keeps if file.suffix), {user.uid: READ | WRITE})
        os.chmod(daemons.removeprefix("ipc://"), 0o666)         # who comes in is asked for a key
        if self.settings.ipc.operators:
            os.setxattr(operators.removeprefix("ipc://"), acl.ACCESS, acl.packed(7, dict.fromkeys(self.settings.ipc.operators, READ | WRITE), 0))
        privileges.become(user.uid, user.gid)


def _folders(reach: Reach) -> Iterator[tuple[str, Path]]:
    """The folders of a declaration, each with its kind; the name of a file has a suffix."""
    for kind in KINDS:
        for path in getattr(reach, kind):
            if not path.suffix:
                yield kind, path


def _nearest(reach: Reach, folder: Path) -> tuple[int, int]:
    """What a declaration gives on a folder and on the files in it: of the nearest one that it names, all kinds together."""
    for place in (folder, *folder.parents):
        kinds = [kind for kind, path in _folders(reach) if path == place]
        if kinds:
            own = content = 0
            for kind in kinds:
                own, content = own | KINDS[kind][0], content | KINDS[kind][1]
            return own, content
    return 0, 0
