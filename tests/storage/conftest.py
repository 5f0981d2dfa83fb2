"""Storage is tried with the umask that every daemon has."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def umask():
    """As run_daemon sets it."""
    before = os.umask(0o077)
    yield
    os.umask(before)
