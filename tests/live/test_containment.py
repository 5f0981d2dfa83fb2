"""The daemons of a real suite are shut in: all their threads, no core files, and a replaced configuration is read all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fancymail.servers.containment import landlock, seccomp
from fancymail.servers.running.launch import DAEMONS

pytestmark = [pytest.mark.live, pytest.mark.skipif(landlock.version() < 6 or not seccomp.available(), reason="this kernel cannot do all of it")]


def test_every_thread_of_every_daemon(suite):
    for name in DAEMONS:
        for status in Path(f"/proc/{suite.pid(name)}/task").glob("*/status"):
            facts = dict(line.split(":\t") for line in status.read_text().splitlines() if ":\t" in line)
            assert facts["Seccomp"] == "2" and facts["NoNewPrivs"] == "1" and int(facts["CapEff"], 16) & ~0b1010 == 0, status
        limits = Path(f"/proc/{suite.pid(name)}/limits").read_text()
        assert any(line.split()[:6] == ["Max", "core", "file", "size", "0", "0"] for line in limits.splitlines())


def test_a_configuration_that_took_the_place_of_the_old_one_is_read(suite):
    new = suite.state / "new.toml"
    new.write_text(suite.state.joinpath("fancymail.toml").read_text() + "\n[queue]\nlease-that-is-none = 1\n")
    kept = suite.state.joinpath("fancymail.toml").read_text()
    os.replace(new, suite.state / "fancymail.toml")
    try:
        said = suite.fmctl("send", "queue", "reload", check=False)
        assert "lease-that-is-none" in said.stdout + said.stderr         # it was read: its mistake is named
    finally:
        new.write_text(kept)
        os.replace(new, suite.state / "fancymail.toml")
    assert suite.fmctl("send", "queue", "reload").returncode == 0
