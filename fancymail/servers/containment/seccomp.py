"""seccomp: system calls that no daemon ever makes are refused from now on, to this process and all its threads (seccomp(2)).

A list of what is forbidden, not of what is allowed: Python, OpenSSL, SQLite, ZeroMQ and libuv change what they call with every version, and
systemd's units (etc/systemd) hold an allow-list for who wants both. The filter is a few lines of classic BPF, made here. Used by cell.py.
Processors other than x86-64 and ARM64 have no table and so no filter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

from fancymail.servers.containment.privileges import no_new_privileges

SET_MODE_FILTER, TSYNC = 1, 1
ALLOW, REFUSE = 0x7FFF0000, 0x00050000                      # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16             # offsets in struct seccomp_data; arguments have 8 octets each
X32 = 0x40000000                                            # x86-64 has a second set of numbers from here on

CLONE_THREAD = 0x00010000
PR_SET_NAME, PR_SET_MM, PR_SET_PTRACER = 15, 35, 0x59616D61

# number on x86-64, number on ARM64 (0: it has none)
FORBIDDEN = {
    # other programs and processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, 0), "vfork": (58, 0), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    # who we are
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setgroups": (116, 159), "setfsuid": (122, 151), "setfsgid": (123, 152), "capset": (126, 91), "unshare": (272, 97), "setns": (308, 268),
    "personality": (135, 92),
    # files by other ways than their names, or that are no files
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "mknod": (133, 0), "mknodat": (259, 33), "symlink": (88, 0),
    "symlinkat": (266, 36), "chown": (92, 0), "fchown": (93, 55), "lchown": (94, 0), "fchownat": (260, 54), "chroot": (161, 51),
    "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
    # the kernel's own doors, from which many a hole was dug
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "syslog": (103, 116),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "iopl": (172, 0),
    "ioperm": (173, 0), "modify_ldt": (154, 0), "vhangup": (153, 58)}
LOOKED_AT = {"clone": (56, 220), "clone3": (435, 435), "socket": (41, 198), "kill": (62, 129), "tgkill": (234, 131), "prctl": (157, 167),
             "prlimit64": (302, 261), "seccomp": (317, 277)}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}      # column of the tables, AUDIT_ARCH

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def available() -> bool:
    """Whether there is a table for this machine."""
    return platform.machine() in MACHINES


def enforce(*, internet: bool, datagrams: bool) -> None:
    """Refuse what no daemon does, with EPERM. internet: whether new TCP sockets may be made; datagrams: and UDP ones. Raises OSError."""
    column, architecture = MACHINES[platform.machine()]
    code = _program(column, architecture, internet, datagrams)
    no_new_privileges()
    program = _Program(len(code) // 8, code)
    if _libc.syscall(ctypes.c_long(LOOKED_AT["seccomp"][column]), SET_MODE_FILTER, TSYNC, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def _program(column: int, architecture: int, internet: bool, datagrams: bool) -> bytes:
    numbers = {name: row[column] for name, row in {**FORBIDDEN, **LOOKED_AT}.items()}
    refuse = _do(RETURN, REFUSE | errno.EPERM)
    code = _load(ARCHITECTURE) + _unless(architecture, refuse) + _load(NUMBER) + _if_at_least(X32, refuse)
    for name in FORBIDDEN:
        if numbers[name]:
            code += _if(numbers[name], refuse)
    # glibc begins threads with clone3, whose flags no filter can see, and falls back to clone when there is none
    code += _if(numbers["clone3"], _do(RETURN, REFUSE | errno.ENOSYS))
    code += _if(numbers["clone"], _load(FIRST_ARGUMENT) + _do(AND, CLONE_THREAD) + _if(0, refuse) + _do(RETURN, ALLOW))
    own = _load(FIRST_ARGUMENT) + _unless(os.getpid(), refuse) + _do(RETURN, ALLOW)
    code += _if(numbers["kill"], own) + _if(numbers["tgkill"], own)
    code += _if(numbers["prlimit64"], _load(FIRST_ARGUMENT) + _if(0, _do(RETURN, ALLOW)) + _unless(os.getpid(), refuse) + _do(RETURN, ALLOW))
    code += _if(numbers["prctl"], _load(FIRST_ARGUMENT) + b"".join(_if(option, refuse) for option in (PR_SET_NAME, PR_SET_MM, PR_SET_PTRACER))
                + _do(RETURN, ALLOW))
    code += _if(numbers["socket"], _sockets(internet, datagrams, refuse))
    return code + _do(RETURN, ALLOW)


def _sockets(internet: bool, datagrams: bool, refuse: bytes) -> bytes:
    """Unix sockets always; the internet's where they are needed, and netlink for who looks for hosts."""
    allow = _do(RETURN, ALLOW)
    code = _load(FIRST_ARGUMENT) + _if(socket.AF_UNIX, allow)
    if not internet:
        return code + refuse
    if datagrams:
        return code + b"".join(_if(family, allow) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)) + refuse
    streams = _load(FIRST_ARGUMENT + 8) + _do(AND, 0xF) + _if(socket.SOCK_STREAM, allow) + refuse
    return code + _if(socket.AF_INET, streams) + _if(socket.AF_INET6, streams) + refuse


def _do(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, then, otherwise, value)


def _load(offset: int) -> bytes:
    return _do(LOAD, offset)


def _if(value: int, code: bytes) -> bytes:
    """Run `code`, which returns at its end, when the loaded value is this one."""
    return _do(JUMP_EQUAL, value, 0, len(code) // 8) + code


def _unless(value: int, code: bytes) -> bytes:
    return _do(JUMP_EQUAL, value, len(code) // 8, 0) + code


def _if_at_least(value: int, code: bytes) -> bytes:
    return _do(JUMP_AT_LEAST, value, 0, len(code) // 8) + code
