"""Notes in a file where in the code a sync begins and ends, for the record of system calls (tests/faults/crash_states.py).

Called by code that mutants.install_marks has altered, in whatever thread: the record tells threads apart.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable


@functools.cache
def _file(process: int) -> int:
    return os.open(os.environ["FAULTS_MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def noted(name: str, function: Callable) -> Callable:
    """The function, with a note before and one behind."""
    def run(*given):
        file = _file(os.getpid())
        os.write(file, f"+{name}".encode())
        try:
            return function(*given)
        finally:
            os.write(file, f"-{name}".encode())
    return run
