"""bin/_bootstrap.py: what it says and does when something is missing, without installing anything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (CHECKOUT / "bin").iterdir() if path.is_file() and not path.name.startswith("_"))


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The module with an environment of the test's own."""
    monkeypatch.setenv("FANCYMAIL_VENV", str(tmp_path / "venv"))
    spec = importlib.util.spec_from_file_location("_bootstrap_under_test", CHECKOUT / "bin" / "_bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(bootstrap, tmp_path):
    """An environment whose Python notes how it was called; its pip fails or not as the file `fails` says."""
    bin = tmp_path / "venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/calls\necho Collecting something\n[ ! -e {tmp_path}/fails ]\n")
    (bin / "python").chmod(0o755)
    return bootstrap


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_executable_and_short(script):
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK) and lines[0] == "#!/usr/bin/env python3"
    assert len(lines) <= 4 or script.name in ("test", "bench")


def test_there_is_a_launcher_for_every_daemon():
    from fancymail.servers.running.launch import DAEMONS
    assert {script.name for script in SCRIPTS} == {"bench", "fancymail", "fmctl", "test", *(f"fm-{name}" for name in DAEMONS)}


def test_it_installs_once(made, tmp_path):
    made.prepare()
    made.prepare()
    assert len([call for call in calls(tmp_path) if "pip install" in call]) == 1


def test_the_test_extra_is_enough_for_everything(made, tmp_path):
    made.prepare("test")
    made.prepare("")
    assert [call for call in calls(tmp_path) if "pip install" in call][0].endswith(f"-e {CHECKOUT}[test]")
    assert len(calls(tmp_path)) == 2       # is pip there; install


def test_more_than_the_tests_is_installed_when_asked_for_and_enough_for_them(made, tmp_path):
    for extra in ("test", "test,fuzz", "test", ""):
        made.prepare(extra)
    installed = [call.rpartition("[")[2] for call in calls(tmp_path) if "pip install" in call]
    assert installed == ["test]", "test,fuzz]"]


def test_a_changed_setup_installs_again(made, tmp_path, monkeypatch):
    made.prepare()
    monkeypatch.setattr(made, "_wanted", lambda: "something else")
    made.prepare()
    assert len([call for call in calls(tmp_path) if "pip install" in call]) == 2


def test_a_failed_installation_is_shown_and_tried_again(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(made, "_make", lambda: None)
    (tmp_path / "fails").touch()
    with pytest.raises(SystemExit):
        made.prepare()
    assert "pip could not install:\n  Collecting something" in capsys.readouterr().err
    (tmp_path / "fails").unlink()
    made.prepare()
    assert len(calls(tmp_path)) == 2


def test_without_venv_the_package_is_named(bootstrap, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit):
        bootstrap.prepare()
    assert "apt install python3-venv" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(bootstrap, tmp_path, capsys):
    (tmp_path / "venv").write_text("a file is here")
    with pytest.raises(SystemExit):
        bootstrap.prepare()
    assert "FANCYMAIL_VENV" in capsys.readouterr().err


def test_an_old_python_is_told_so(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit):
        bootstrap.enter("script")
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


def test_a_python_that_is_not_its_own_does_not_loop(made, monkeypatch, capsys):
    monkeypatch.setenv(made.ATTEMPT, "1")
    with pytest.raises(SystemExit):
        made.enter("script")
    assert "does not belong to it" in capsys.readouterr().err


def test_it_works_through_a_link_from_elsewhere(tmp_path):
    """In the environment that runs these tests, where there is nothing to install."""
    if not any(Path(sys.prefix).glob("fancymail-test*.stamp")):
        pytest.skip("these tests do not run in an environment that bin/test made")
    link = tmp_path / "fm"
    link.symlink_to(CHECKOUT / "bin" / "fmctl")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"FANCYMAIL_VENV": sys.prefix}
    done = subprocess.run([link, "--version"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0 and done.stdout.startswith("fmctl, version"), done.stderr
