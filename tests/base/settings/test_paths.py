"""The state folder: its names, and its sockets when the path is too long for one."""

import os
import stat

import pytest

from fancymail.base.settings import Paths, run_directory


def test_endpoints_lie_in_run(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    paths = Paths("/srv/mail")
    assert paths.endpoints("queue") == ("ipc:///srv/mail/run/queue.ipc", "ipc:///srv/mail/run/queue.curve.ipc")
    assert paths.lock("queue").name == "queue.lock"


def test_created_folders_are_private(tmp_path):
    paths = Paths(tmp_path / "state")
    paths.create()
    for folder in (paths.keys, paths.run, paths.tls, paths.queues, paths.blobs, paths.log.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A state folder whose own run/ would be too long, and a temporary directory of the test."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/t")
    os.makedirs("/tmp/t", exist_ok=True)
    state = tmp_path / ("d" * 90)
    state.mkdir()
    yield state
    run = state / "run"
    if run.is_symlink():
        os.rmdir(os.readlink(run))


def test_a_long_path_gets_a_short_private_folder(deep, monkeypatch):
    paths = Paths(deep)
    paths.create()
    operator, curve = paths.endpoints("smtpout")
    assert len(os.fsencode(curve.removeprefix("ipc://"))) <= 100
    assert stat.S_IMODE(paths.run.stat().st_mode) == 0o700
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/somewhere/else")
    assert Paths(deep).endpoints("smtpout") == (operator, curve), "another TMPDIR finds the same folder"


def test_a_folder_that_others_may_enter_is_refused(deep):
    folder = run_directory(deep)
    folder.chmod(0o755)
    with pytest.raises(PermissionError):
        run_directory(deep)
    folder.chmod(0o700)


def test_a_link_in_place_of_the_folder_is_refused(deep, tmp_path):
    folder = run_directory(deep)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        run_directory(deep)
    folder.unlink()
    folder.mkdir(mode=0o700)


def test_a_cleaned_temporary_directory_is_made_again(deep):
    run_directory(deep).rmdir()
    assert run_directory(deep).is_dir()
