"""What a daemon tells the C library's allocator: blocks that were freed are the system's again, whichever thread had them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HASHES = """
import ctypes, os, sys, threading
from fancymail.servers.running.allocator import give_back_from
if "told" in sys.argv:
    give_back_from(1 << 20)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def work():
    for _ in range(3):
        block = libc.malloc(19 << 20)
        libc.memset(block, 1, 19 << 20)
        libc.free(block)
    told.set()
    end.wait()

before, end, threads = resident(), threading.Event(), []
for _ in range(2):
    told = threading.Event()
    threads.append(threading.Thread(target=work))
    threads[-1].start()
    told.wait()
print(resident() - before)
end.set()
"""


def kept(*words: str) -> int:
    """Octets that two threads keep after three blocks of 19 MiB each."""
    return int(subprocess.run([sys.executable, "-c", HASHES, *words], check=True, capture_output=True, text=True).stdout)


def test_large_blocks_are_given_back():
    assert kept("told") < 4 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is a habit of glibc")
def test_they_would_have_been_kept():
    assert kept() > 19 << 20


HEAP = """
import ctypes, os, sys
from fancymail.servers.running.allocator import give_back
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before, blocks = resident(), [libc.malloc(60_000) for _ in range(400)]
for block in blocks:
    libc.memset(block, 1, 60_000)
for block in blocks[:-1]:
    libc.free(block)
if "told" in sys.argv:
    give_back()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is a habit of glibc")
def test_pages_below_what_is_in_use_are_given_back():
    untold, told = (int(subprocess.run([sys.executable, "-c", HEAP, *words], check=True, capture_output=True, text=True).stdout)
                    for words in ((), ("told",)))
    assert untold > 20 << 20 and told < 4 << 20
