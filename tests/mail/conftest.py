"""Fixtures for the words of the field: samples of real mail, and a counter that shows that work grows with size only."""

import sys
from pathlib import Path

import pytest

CORPORA = Path(__file__).parents[2] / ".." / "shared" / "corpora"


@pytest.fixture
def samples():
    """All sample messages as (name, octets); skips where the corpora are missing."""
    files = sorted(CORPORA.glob("**/*.eml"))
    if not files:
        pytest.skip("the sample messages of ../shared/corpora are missing")
    return [(str(path.relative_to(CORPORA)), path.read_bytes()) for path in files]


@pytest.fixture
def steps():
    """Return a function that calls another one and returns how many lines of Python it took."""
    def count(function, *args):
        lines = 0

        def trace(frame, event, arg):
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            function(*args)
        finally:
            sys.settrace(before)
        return lines
    return count
