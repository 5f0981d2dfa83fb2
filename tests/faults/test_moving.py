"""An installation that moves: cut off at any moment nothing is lost, and what was damaged or written wrongly on the way is never switched to."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from fancymail.core.moving import Differs
from fancymail.storage.blobs import FileBlobs
from tests.faults import leaving, moving
from tests.faults.crash_states import Model, Record, read
from tests.faults.report import tell

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.timeout(600)
@pytest.mark.parametrize("day", [moving, leaving], ids=lambda day: day.__name__.rpartition(".")[2])
def test_a_move_survives_every_cut(tmp_path, day):
    record = Record(tmp_path, words=[day.__name__, "live", tmp_path / "day"])
    assert record.ended == 0, record.said
    found = list(day.verdicts(record, tmp_path))
    wrong = [each for each in found if each[1]]
    tell(f"{len(found)} states of a move, broken {len(wrong)}", states=len(found), broken=len(wrong))
    assert len(found) > 30 and not wrong, wrong[:5]


def spoil(database: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        for statement in statements:
            connection.execute(statement)


def flip(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def large(state: Path) -> Path:
    """The file of a content."""
    with closing(FileBlobs(state / "mail/blobs")) as blobs:
        return max((path for path in blobs.root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


HARMS = {                       # what is done, and when: at first, or at a named point of the move
    "a large content is damaged where it is": ("", lambda source, target: flip(large(source))),
    "a small content is damaged where it is": ("", lambda source, target: spoil(source / "mail/shard-0.db", "UPDATE content SET octets = x'41'")),
    "a content is damaged as it is written": ("migrate.contents", lambda source, target: flip(large(target))),
    "a content vanishes after it was carried": ("migrate.queue", lambda source, target: large(target).unlink()),
    "a message vanishes before it is carried": ("", lambda source, target: spoil(
        source / "mail/shard-0.db", "DELETE FROM msg WHERE mid = (SELECT max(mid) FROM msg)")),
    "accounts are written wrongly": ("", lambda source, target: spoil(
        target / "accounts.db", "CREATE TRIGGER lie AFTER INSERT ON account BEGIN UPDATE account SET enabled = 0; END")),
    "messages are written wrongly": ("", lambda source, target: spoil(
        target / "mail/shard-0.db", "CREATE TRIGGER lie AFTER INSERT ON msg BEGIN UPDATE msg SET internaldate = 7; END")),
    "mailboxes are written wrongly": ("", lambda source, target: spoil(
        target / "mail/shard-0.db", "CREATE TRIGGER lie AFTER INSERT ON mailbox BEGIN UPDATE mailbox SET uidnext = 77; END")),
    "queues are written wrongly": ("", lambda source, target: spoil(
        target / "queues/index.db", "CREATE TRIGGER lie AFTER INSERT ON message BEGIN UPDATE message SET attempts = 9; END")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_what_it_was_is_not_switched_to(tmp_path, harm):
    source, target, left, done = tmp_path / "source", tmp_path / "target", [], []
    target.mkdir()
    moving.furnish(source)
    made = moving.folder_of(target) / "new"
    point, act = HARMS[harm]
    there = moving.FilesTarget(moving.Paths(target), moving.Settings())        # so that there is something to spoil before anything is carried
    there.close()
    with closing(moving.FilesQueue(made / "queues", moving.Settings().queue)):
        """Likewise."""
    if not point:
        act(source, made)

    def come(name: str) -> None:
        if name == point and not done:
            done.append(name)
            act(source, made)
    with moving.visited(come), pytest.raises(Differs):
        moving.move(source, target, lambda: left.append(1))
    assert not left and bool(done) == bool(point) and not (target / "mail").exists()


MOVED = r"""1 mkdir("\x2f\x64\x2f\x6e", 0700) = 0
1 openat(AT_FDCWD</>, "\x2f\x64\x2f\x6e\x2f\x61", O_RDWR|O_CREAT, 0600) = 3<\x2f\x64\x2f\x6e\x2f\x61>
1 pwrite64(3<\x2f\x64\x2f\x6e\x2f\x61>, "\x68\x69", 2, 0) = 2
1 syncfs(3</d>) = 0
1 rename("\x2f\x64\x2f\x6e", "\x2f\x64\x2f\x70") = 0
"""


def test_a_folder_takes_along_what_is_in_it(tmp_path):
    def states(calls: str) -> list[dict]:
        (tmp_path / "trace").write_text(calls)
        model = Model("/d")
        for _, call, text, result in read(tmp_path / "trace"):
            model.apply(call, text, result)
        return [model.state("synced only", None), model.state("names without data", None)]
    old, new = {"/d/n": None, "/d/n/a": b"hi"}, {"/d/p": None, "/d/p/a": b"hi"}
    assert states(MOVED) == [old, new]
    assert states(MOVED + "1 fsync(4</d>) = 0\n") == [new, new]
