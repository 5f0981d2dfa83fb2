"""Whether the mail of a state folder is where its configuration says, or under way. Asked by every daemon and by `fancymail up` at their start.

Apart from its neighbours, since daemons load it: it opens no engine.
"""

from __future__ import annotations

from pathlib import Path

from fancymail.base.settings import Paths


def folder_of(state: Path) -> Path:
    """Where a move keeps what it needs."""
    return state / "moving"


def require_settled(paths: Paths, clustered: bool) -> None:
    """Raise ValueError, in words for the operator, where daemons may not run on the files of a state folder."""
    folder = folder_of(paths.state)
    if (folder / "left").exists() and not clustered:
        raise ValueError(f"the mail of {paths.state} has been moved to a cluster: set storage.database and storage.blobs in its configuration")
    if any((folder / mark).exists() for mark in ("placing", "aside")):
        raise ValueError(f"mail is being moved from or into {paths.state}: let `fancymail migrate` come to its end first")
