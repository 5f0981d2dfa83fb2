"""Fixtures for the words of the field: samples of real mail, and a counter that shows that work grows with size only."""

import sys

import pytest

from tests.samples_kit import sample_messages


@pytest.fixture
def samples():
    """All sample messages as (name, octets)."""
    return sample_messages()


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
