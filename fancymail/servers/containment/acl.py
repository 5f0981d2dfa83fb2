"""Access lists of files and folders (acl(5)): who besides the owner may do what, by number of user.

Used by owners.py, as root. A list is an extended attribute that the kernel reads; Python has no words for it, so the few octets are packed
here. What a folder has as its *default* list every file that is made in it gets, whatever the umask, with no more than the file was
made with for its group: so files that daemons share are made with 0660. Never follows a link: everything goes through descriptors.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

READ, WRITE, SEARCH = 4, 2, 1
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
VERSION = struct.pack("<I", 2)
ENTRY = struct.Struct("<HHI")               # kind, rights, whose
OWNER, USER, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY = 0xFFFFFFFF                         # stands where a kind is nobody in particular


def allow(descriptor: int, users: Mapping[int, int]) -> None:
    """Give users these rights on an open file or folder; those of its owner and of others stay, its group has none any more."""
    mode = os.fstat(descriptor).st_mode
    os.setxattr(descriptor, ACCESS, packed(mode >> 6 & 7, users, mode & 7))


def inherit(folder: int, users: Mapping[int, int]) -> None:
    """Give users these rights on all that will be made in an open folder."""
    os.setxattr(folder, DEFAULT, packed(7, users, 0))


def inherited(folder: int) -> bytes:
    """The list that `inherit` left; empty when there is none."""
    try:
        return os.getxattr(folder, DEFAULT)
    except OSError:
        return b""


def packed(owner: int, users: Mapping[int, int], others: int) -> bytes:
    """A list as the kernel keeps it, its entries in the one order that it takes."""
    mask = 0
    for rights in users.values():
        mask |= rights
    entries = [(OWNER, owner, NOBODY), *((USER, rights, user) for user, rights in sorted(users.items())), (GROUP, 0, NOBODY),
               (MASK, mask, NOBODY), (OTHERS, others, NOBODY)]
    return VERSION + b"".join(ENTRY.pack(*entry) for entry in entries)
