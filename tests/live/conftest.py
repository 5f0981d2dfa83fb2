"""Live tests drive real daemons with clients that we did not write; one suite serves a whole test module."""

from __future__ import annotations

import shutil

import pytest

from tests.live.suite import Suite


def pytest_collection_modifyitems(items):
    for item in items:
        if "/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with Suite(tmp_path_factory.mktemp("live") / "state") as running:
        yield running


def needs(program: str):
    """Skip a test, with a clear word, where a foreign program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")
