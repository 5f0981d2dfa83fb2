"""Sample messages: those of a folder `shared/corpora` beside the checkout, where there is one, and always those that the fuzzers begin with.

Used by tests/mail, tests/core/imap, tests/live and tests/oracle.
"""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
CORPORA = TESTS.parents[1] / "shared" / "corpora"
OWN = [TESTS / "fuzz" / "corpus" / kind for kind in ("mime", "report", "headers")]


def sample_files() -> list[Path]:
    """All files, those of the neighbouring folder first."""
    return [*sorted(CORPORA.rglob("*.eml")), *(path for folder in OWN for path in sorted(folder.iterdir()))]


def sample_messages() -> list[tuple[str, bytes]]:
    """All of them as (name, octets)."""
    return [(f"{path.parent.name}/{path.name}", path.read_bytes()) for path in sample_files()]
