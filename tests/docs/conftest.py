"""The ZeroMQ binding of Node.js, from npm, installed once per machine into the pytest cache."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def node_with_zeromq(pytestconfig, tmp_path_factory):
    """Return an environment in which node finds `zeromq`; skips where node or npm's registry is missing."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    cache = getattr(pytestconfig, "cache", None)            # none with -p no:cacheprovider
    folder = cache.mkdir("node-zeromq") if cache else tmp_path_factory.mktemp("node-zeromq")
    if not (folder / "node_modules/zeromq").is_dir():
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "zeromq@6"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        except subprocess.TimeoutExpired:
            pytest.skip("npm took too long to install zeromq")
        if done.returncode:
            pytest.skip(f"npm cannot install zeromq: {done.stderr[-300:]}")
    return os.environ | {"NODE_PATH": str(folder / "node_modules")}
