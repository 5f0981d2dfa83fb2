"""Every attack ends with a canary (canary.py): a test of this folder without one is not even collected, and fails when none sang.

What only reads tables or sources, or takes a protection away, is marked `still`: nothing is alive there that somebody honest could ask.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers_kit
from tests.attacks import canary

HERE = Path(__file__).parent
PASSED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    bare = [item.nodeid for item in items if HERE in item.path.parents and "canaries" not in item.fixturenames]
    if bare:
        raise pytest.UsageError(f"attacks without a canary: {', '.join(bare)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "call":
        item.stash[PASSED] = call.excinfo is None
    return (yield)


@pytest.fixture(autouse=True)
def canaries(request):
    """Who sang in this test, and for whom they did."""
    canary.sung.clear()
    canary.covered.clear()
    servers_kit.farewells.append(canary.before_end)
    yield canary.sung
    servers_kit.farewells.remove(canary.before_end)
    if request.node.stash.get(PASSED, False) and not request.node.get_closest_marker("still"):
        assert canary.sung, "no canary sang after this attack"
