"""Landlock: what a process may do with files from now on, and all threads and children that it begins (landlock(7)).

Three system calls, made through the C library, since neither Python nor glibc has them. Used by cell.py. `Rules` collects, `enforce` makes
it so for good; nothing can take it back. An older kernel knows fewer rights: those are left out, and `version` tells.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

from fancymail.servers.containment.privileges import no_new_privileges

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446     # the same numbers on every architecture
VERSION_FLAG = 1
PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (
    1 << bit for bit in range(13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV      # the rights that a rule about a single file may give
BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT, SCOPE_SIGNAL = 1, 2

OPENS = READ_FILE
READS = READ_FILE | READ_DIR
APPENDS = WRITE_FILE | MAKE_REG
FILLS = APPENDS | TRUNCATE | REMOVE_FILE
SHARES = READS | APPENDS | TRUNCATE | MAKE_DIR
KEEPS = SHARES | REMOVE_FILE | REMOVE_DIR | REFER

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32)]


def version() -> int:
    """Return the version of Landlock that this kernel has, 0 for none."""
    return max(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION_FLAG)), 0)


class Rules:
    """What stays allowed. Files that are not there are left out: they cannot be made either, unless their folder may be written."""

    def __init__(self) -> None:
        self.allowed: list[tuple[str, int]] = []

    def allow(self, path: Path | str, rights: int) -> None:
        """Allow rights on a file, or on a folder and all below it."""
        self.allowed.append((os.fspath(path), rights))

    def enforce(self, *, connect: bool) -> None:
        """Forbid everything else to this thread and what it begins. connect: TCP connections stay possible. Raises OSError."""
        known = version()
        if not known:
            raise OSError(errno.ENOSYS, "this kernel has no Landlock")
        files = (1 << (13 if known < 2 else 14 if known < 3 else 15 if known < 5 else 16)) - 1
        network = 0 if known < 4 or connect else CONNECT_TCP
        scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL if known >= 6 else 0
        ruleset = _call(CREATE_RULESET, ctypes.byref(_Ruleset(files, network, scoped)), ctypes.c_size_t(8 if known < 4 else 16 if known < 6 else 24),
                        ctypes.c_uint32(0))
        try:
            for path, rights in self.allowed:
                _add(ruleset, path, rights & files)
            no_new_privileges()
            _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        finally:
            os.close(ruleset)


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        if rights:
            _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), ctypes.byref(_Beneath(rights, descriptor)), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _call(number: int, *arguments) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result
