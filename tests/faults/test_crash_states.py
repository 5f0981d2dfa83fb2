"""Every state that POSIX lets a power cut leave, after every promise of a recorded day: all of them keep what was promised.

The record is made by strace, so it needs no root; a missing sync is missed at the first look (tests/faults/mutation.py shows that).
"""

from __future__ import annotations

import shutil

import pytest

from tests.faults.crash_states import Model, Record, materialize, read
from tests.faults.judge import verdicts
from tests.faults.report import tell

# The engine has other ways for other kernels and for long logs; each is told to take them here, as far as it has them.
WAYS = {
    "as it is": "",
    "each file by itself": """
import importlib
for name in ("spool", "sync", "blobs"):
    try:
        module = importlib.import_module(f"fancymail.storage.{name}")
    except ImportError:
        continue
    module._kernel, module._SYNCFS = lambda: (5, 4), False
""",
    "log begun anew often": "import fancymail.storage.sqlite.queue as queue; queue.CROWDED = 20",
}

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", [pytest.param(way, marks=[] if way == "as it is" else pytest.mark.slow) for way in WAYS])
def test_every_promise_survives_every_cut(tmp_path, way):
    record = Record(tmp_path / "record", WAYS[way])
    assert record.ended == 0, record.said
    found = dict(verdicts(record))
    tell(f"{len(found)} states, broken {sum(map(bool, found.values()))}", states=len(found), broken=sum(map(bool, found.values())))
    assert len(found) > 40
    assert not any(found.values()), [(where, broken) for where, broken in found.items() if broken][:5]


def states(calls: str, tmp_path) -> dict[str, dict[str, bytes | str | None]]:
    (tmp_path / "trace").write_text(calls)
    model = Model("/d")
    for _, call, text, result in read(tmp_path / "trace"):
        model.apply(call, text, result)
    return {kind: model.state(kind, None) for kind in ("synced only", "names without data", "data without names")}


WRITTEN = r"""1 openat(AT_FDCWD</>, "\x2f\x64\x2f\x61", O_RDWR|O_CREAT, 0600) = 3<\x2f\x64\x2f\x61>
1 pwrite64(3<\x2f\x64\x2f\x61>, "\x68\x69", 2, 0) = 2
"""


def test_what_was_not_synced_is_gone(tmp_path):
    assert states(WRITTEN, tmp_path) == {"synced only": {}, "names without data": {"/d/a": b""}, "data without names": {}}


def test_a_file_needs_its_folder(tmp_path):
    found = states(WRITTEN + "1 fsync(3</d/a>) = 0\n", tmp_path)
    assert found["synced only"] == {} and found["names without data"] == {"/d/a": b"hi"}
    assert states(WRITTEN + "1 fsync(3</d/a>) = 0\n1 fsync(4</d>) = 0\n", tmp_path)["synced only"] == {"/d/a": b"hi"}


def test_a_folder_without_its_file_is_a_name_for_nothing(tmp_path):
    assert states(WRITTEN + "1 fsync(4</d>) = 0\n", tmp_path)["synced only"] == {"/d/a": b""}


def test_a_rename_is_undone(tmp_path):
    renamed = WRITTEN + "1 syncfs(4</d>) = 0\n" + r'1 rename("\x2f\x64\x2f\x61", "\x2f\x64\x2f\x62") = 0' + "\n"
    found = states(renamed, tmp_path)
    assert found["synced only"] == {"/d/a": b"hi"} and found["names without data"] == {"/d/b": b"hi"}
    assert states(renamed + "1 fsync(4</d>) = 0\n", tmp_path)["synced only"] == {"/d/b": b"hi"}


def test_two_names_are_one_file(tmp_path):
    linked = WRITTEN + r'1 link("\x2f\x64\x2f\x61", "\x2f\x64\x2f\x62") = 0' + "\n1 syncfs(4</d>) = 0\n"
    found = states(linked, tmp_path)["synced only"]
    assert found == {"/d/a": b"hi", "/d/b": "/d/a"}
    materialize(found, "/d", tmp_path / "target")
    assert (tmp_path / "target" / "a").samefile(tmp_path / "target" / "b")


def test_a_sync_counts_when_it_ended(tmp_path):
    begun = WRITTEN + "2 syncfs(4</d> <unfinished ...>\n" + WRITTEN.replace("68", "6f").splitlines()[1] + "\n"
    assert states(begun, tmp_path)["synced only"] == {}
    assert states(begun + "2 <... syncfs resumed>) = -1 EIO (Input/output error)\n", tmp_path)["synced only"] == {}
    assert states(begun + "2 <... syncfs resumed>) = 0\n", tmp_path)["synced only"] == {"/d/a": b"oi"}
