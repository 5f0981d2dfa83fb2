"""A disk that remembers in which order it was written and flushed: a plugin that nbdkit loads (tests/faults/journal.py), with Debian's Python.

    nbdkit python recorder.py image=IMAGE journal=JOURNAL

Each write is in the journal before it is in the image and before it is answered, so the length of the journal is a moment of the disk's
life. A journal is records of HEAD: `W`, offset, length and the octets, or `F`. It imports nothing of ours.
"""

import os
import struct

import nbdkit

API_VERSION = 2
HEAD = struct.Struct("<cQQ")
FILES = {}


def config(key, value):
    FILES[key] = value


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS      # one order that all agree on


def open(readonly):
    return os.open(FILES["image"], os.O_RDWR), os.open(FILES["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def get_size(disk):
    return os.fstat(disk[0]).st_size


def pread(disk, buffer, offset, flags):
    buffer[:] = os.pread(disk[0], len(buffer), offset)


def pwrite(disk, buffer, offset, flags):
    record = HEAD.pack(b"W", offset, len(buffer)) + bytes(buffer)
    if os.write(disk[1], record) != len(record) or os.pwrite(disk[0], buffer, offset) != len(buffer):
        raise OSError("a short write")


def can_flush(disk):
    return True


def can_fua(disk):
    return nbdkit.FUA_EMULATE           # a write that has to be on the disk is a write and a flush


def flush(disk, flags):
    os.write(disk[1], HEAD.pack(b"F", 0, 0))


def close(disk):
    for descriptor in disk:
        os.close(descriptor)
