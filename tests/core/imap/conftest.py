"""Sample messages for the tests of IMAP's core."""

from pathlib import Path

import pytest

CORPORA = Path(__file__).parents[3] / ".." / "shared" / "corpora"


@pytest.fixture(scope="session")
def samples():
    """All sample messages as (name, octets); skips where the corpora are missing."""
    files = sorted(CORPORA.glob("**/*.eml"))
    if not files:
        pytest.skip("the sample messages of ../shared/corpora are missing")
    return [(str(path.relative_to(CORPORA)), path.read_bytes()) for path in files]
