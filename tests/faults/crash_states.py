"""What may be on the disk after a power cut, computed from a record of system calls: the worst that POSIX allows, for any filesystem.

    record = Record(folder, prelude)                # runs tests/faults/scenario.py under strace
    for cut in record.cuts(): for state in STATES: record.materialize(cut, state, target)

A file has what was synced, and what was written since, which may have reached the disk or not; a folder likewise has names. Unlike a
real filesystem this one never does more than it must, so a sync that is missing is missed at the first look. It needs no root.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.suite_kit import CHECKOUT

CALLS = ("openat,creat,pwrite64,write,writev,pwritev,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
         "mkdir,mkdirat,fsync,fdatasync,syncfs,lseek")
IGNORED = re.compile(r"/(log|run|keys|tls)/|-shm$")              # nobody's mail
SYNCS = ("fsync", "fdatasync", "syncfs")
STATES = ("synced only", "names without data", "data without names", "by chance")
_LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$", re.DOTALL)
_END = re.compile(r"\) += (-?\d+)")
_FD = re.compile(r"(-?\d+|AT_FDCWD)<([^>]*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class File:
    """An inode: what is surely there, and what was written since, in order."""

    synced: bytes | None = None
    content: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes]] = field(default_factory=list)        # (offset, data); (-1, b"") cannot be undone: a new length


class Model:
    """A filesystem that forgets all that it may."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, File | None] = {}         # None: a folder
        self.kept: dict[str, File | None] = {}
        self.moved: list[tuple[str, str]] = []          # folders that got another name, which is not surely kept yet
        self.position: dict[str, int] = {}              # by path: nobody here has a file open twice that is written without an offset

    def apply(self, call: str, text: str, result: int) -> None:
        """One system call that succeeded."""
        if call in ("openat", "creat", "mkdir", "mkdirat"):
            self._made(call, text)
        elif call in ("pwrite64", "write", "writev", "pwritev"):
            self._wrote(call, text, result)
        elif call == "lseek":
            self.position[_path_of(text)] = result
        elif call in ("ftruncate", "fallocate"):
            self._resized(call, text)
        elif call.startswith(("rename", "link")):
            self._named(call, *self.paths(call, text))
        elif call.startswith("unlink"):
            self.names.pop(self.paths(call, text)[0], None)
        elif call == "syncfs":
            self._sync_all()
        else:
            self._sync(_path_of(text))

    def is_folder(self, call: str, text: str) -> bool:
        """Whether a call syncs a folder."""
        return call != "syncfs" and self.names.get(_path_of(text), self) is None

    def _made(self, call: str, text: str) -> None:
        path = self.paths(call, text)[0]
        if not path.startswith(self.root) or IGNORED.search(path):
            return
        self.position[path] = 0
        if call.startswith("mkdir"):
            self.names[path] = None
        elif "O_CREAT" in text and path not in self.names:
            self.names[path] = File()
        elif "O_TRUNC" in text and self.names.get(path):
            _resize(self.names[path], 0)

    def _named(self, call: str, source: str, target: str) -> None:
        if source not in self.names:
            return
        file = self.names.pop(source) if call.startswith("rename") else self.names[source]
        if file is None:
            self.moved.append((source, target))
            _carry(self.names, source, target)
            for name in [name for name in self.names if name.startswith(f"{source}/")]:
                del self.names[name]
        if target.startswith(self.root):
            self.names[target] = file

    def _wrote(self, call: str, text: str, result: int) -> None:
        path = _path_of(text)
        file = self.names.get(path)
        if file is None:
            return
        data = b"".join(bytes.fromhex(part.replace("\\x", "")) for part in _STRING.findall(text))[:result]
        offset = _last_number(text) if call.startswith("pwrite") else self.position.get(path, 0)
        if not call.startswith("pwrite"):
            self.position[path] = offset + result
        file.since.append((offset, data))
        _write(file.content, offset, data)

    def _resized(self, call: str, text: str) -> None:
        file = self.names.get(_path_of(text))
        if file is None or "KEEP_SIZE" in text:
            return
        numbers = [int(number) for number in re.findall(r", (\d+)", text)]
        _resize(file, numbers[-1] if call == "ftruncate" else max(len(file.content), sum(numbers[-2:])))

    def _sync(self, path: str) -> None:
        file = self.names.get(path)
        if file is not None:
            file.synced, file.since = bytes(file.content), []
            return
        for source, target in self.moved:
            if os.path.dirname(target) == path:         # what is in it is kept as far as it was before
                _carry(self.kept, source, target)
        self.moved = [(source, target) for source, target in self.moved if os.path.dirname(target) != path]
        self.kept = {name: file for name, file in self.kept.items() if os.path.dirname(name) != path}
        self.kept.update({name: file for name, file in self.names.items() if os.path.dirname(name) == path})

    def _sync_all(self) -> None:
        for file in self.names.values():
            if file is not None and file.since:
                file.synced, file.since = bytes(file.content), []
        self.kept, self.moved = dict(self.names), []

    @staticmethod
    def paths(call: str, text: str) -> list[str]:
        """The one or two paths of a call, absolute."""
        found, folder = [], ""
        for match in re.finditer(rf"{_FD.pattern}|{_STRING.pattern}", text):
            if match[2] is not None:
                folder = _plain(match[2])
            elif match[3] is not None:
                path = _plain(match[3])
                found.append(os.path.normpath(os.path.join(folder, path)))
        if call.startswith("link") and found and found[0].startswith("/proc/self/fd/"):
            found[0] = _path_of(text)
        return found

    def state(self, kind: str, chance: random.Random) -> dict[str, bytes | str | None]:
        """Path -> content of what a crash may leave; None: a folder; a path: it is a second name of that file."""
        names = self.names if kind == "names without data" or kind == "by chance" and chance.random() < 0.5 else self.kept
        left: dict[str, bytes | str | None] = {}
        first: dict[int, str] = {}
        for path in sorted(names):
            parent, file = os.path.dirname(path), names[path]
            if parent != self.root and parent.startswith(self.root) and parent not in left:
                continue                # its folder has no name
            if file is None:
                left[path] = None
            elif first.setdefault(id(file), path) != path:
                left[path] = first[id(file)]
            else:
                left[path] = _content(file, kind, chance)
        return left


def _carry(names: dict[str, File | None], source: str, target: str) -> None:
    """Give what is in a folder the names that it has under the folder's new one, too."""
    for name in [name for name in names if name.startswith(f"{source}/")]:
        names[target + name[len(source):]] = names[name]


def _plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode("utf-8", "surrogateescape") if "\\x" in text else text


def _path_of(text: str) -> str:
    """The path of the descriptor that a call begins with."""
    match = _FD.match(text)
    return _plain(match[2]) if match else ""


def _content(file: File, kind: str, chance: random.Random) -> bytes:
    if kind == "data without names":
        return bytes(file.content)
    content = bytearray(file.synced or b"")
    if kind == "by chance":             # any of the writes since may have arrived, in any order
        for offset, data in file.since:
            if chance.random() < 0.5:
                if offset < 0:
                    content[:] = data
                else:
                    _write(content, offset, data)
    return bytes(content)


def _resize(file: File, length: int) -> None:
    del file.content[length:]
    file.content.extend(bytes(length - len(file.content)))
    file.since.append((-1, bytes(file.content)))


def _last_number(text: str) -> int:
    return int(text.rpartition(",")[2].strip(" )"))


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data


class Record:
    """What happened in one scenario, call by call."""

    def __init__(self, folder: Path, prelude: str = "", marked: bool = False, words: Sequence = ()) -> None:
        """words: another module than tests.faults.scenario, and what it is given; it leaves files and a ledger in the same places."""
        self.folder = folder
        trace = folder / "trace"
        folder.mkdir(parents=True, exist_ok=True)
        words = ["strace", "-f", "-qq", "--seccomp-bpf", "-xx", "-y", "-s", "1000000", "-o", trace, "-e", f"trace={CALLS}", "-e", "signal=none",
                 sys.executable, "-m", *(words or ["tests.faults.scenario", folder / "day", prelude])]
        environment = os.environ | ({"FAULTS_MARKS": str(folder / "marks")} if marked else {})
        done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=400, env=environment)
        self.ended = done.returncode
        self.said = (done.stdout + done.stderr)[-2000:]
        self.root = str(folder / "day" / "disk")
        self.ledger = str(folder / "day" / "ledger")
        self.calls = list(self._placed(trace))
        trace.unlink()

    def walk(self, without: str = "", alone: bool = False) -> Iterator[tuple[list[str], Model]]:
        """After each line of the ledger, whenever a file got another folder (`moved`), and when a database has become durable (`stored`): all
        lines until now, and the filesystem as it is then. `without`: as if the syncs of one place in the code (tests/faults/marks.py) had not
        been made; `alone`: as if SQLite, or whoever is not marked, did not sync folders."""
        model, lines = Model(self.root), []
        for call, text, result, places in self.calls:
            if call == "write" and _path_of(text) == self.ledger:
                lines.append(_plain(_STRING.search(text)[1]).strip())
                yield lines, model
            elif not (call in SYNCS and (without and without in places or alone and not places and model.is_folder(call, text))):
                model.apply(call, text, result)
                if call.startswith(("rename", "link")) and len({os.path.dirname(path) for path in model.paths(call, text)}) > 1:
                    yield [*lines, f"moved {call}"], model
                elif call in ("fsync", "fdatasync") and _path_of(text).endswith("-wal"):
                    yield [*lines, f"stored {os.path.basename(_path_of(text))}"], model

    def places(self) -> set[str]:
        """The places in the code whose syncs are on record."""
        return {place for call, _, _, places in self.calls if call in SYNCS for place in places}

    def _placed(self, trace: Path) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
        """Calls with the places in the code that they were made in, which the process notes in a file as it enters and leaves them."""
        inside: dict[str, list[str]] = {}
        marks = str(self.folder / "marks")
        for thread, call, text, result in read(trace):
            if call == "write" and _path_of(text) == marks:
                word = _plain(_STRING.search(text)[1])
                if word[0] == "+":
                    inside.setdefault(thread, []).append(word[1:])
                else:
                    inside[thread].remove(word[1:])
            elif call != "write" or self.root in _path_of(text) or _path_of(text) == self.ledger:
                yield call, text, result, tuple(inside.get(thread, ()))


def read(trace: Path) -> Iterator[tuple[str, str, str, int]]:
    """The calls that succeeded, in the order in which they ended: (thread, call, what strace wrote, result)."""
    begun: dict[str, str] = {}
    with open(trace) as lines:
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            pid, resumed, rest, call, text = match.groups()
            if resumed:
                call, text = resumed, begun.pop(pid, "") + rest
            elif text.endswith("<unfinished ...>"):
                begun[pid] = text.removesuffix("<unfinished ...>")
                continue
            end = list(_END.finditer(text))
            if end and int(end[-1][1]) >= 0:
                yield pid, call, text[:end[-1].start()], int(end[-1][1])


def materialize(left: dict[str, bytes | str | None], root: str, target: Path) -> None:
    """Write a state into a folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path, content in left.items():
        place = target / os.path.relpath(path, root)
        if content is None:
            place.mkdir(mode=0o700, exist_ok=True)
        elif isinstance(content, str):
            os.link(target / os.path.relpath(content, root), place)
        else:
            place.write_bytes(content)
            place.chmod(0o600)
