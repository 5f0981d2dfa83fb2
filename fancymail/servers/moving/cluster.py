"""One side of a move: a cluster, by the addresses of its database and its bucket.

Used by servers/moving/move.py. Imports the cluster's libraries, which an installation on files need not have.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import inf
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from fancymail.base.settings import Settings
from fancymail.servers.moving.queues import ClusterQueue
from fancymail.storage.postgres.database import Database
from fancymail.storage.postgres.moving import ARRIVED, LEASE, PostgresDirectory, PostgresMark, PostgresMoving
from fancymail.storage.s3.blobs import S3Blobs
from fancymail.storage.s3.cache import CacheFiles
from fancymail.storage.s3.objects import Objects
from fancymail.storage.waiting import Waiter

CONNECTIONS = 3
CACHE = 256 << 20               # octets of contents that lie on our disk on their way


def peer(database: str, blobs: str) -> str:
    """Where both lie, without what is secret."""
    base, bucket = urlsplit(database), urlsplit(blobs)
    endpoint = dict(parse_qsl(bucket.query)).get("endpoint", "")
    return f"{base.hostname or ''}:{base.port or 5432}{base.path}?{base.query} {bucket.netloc}{bucket.path} {endpoint}"


class Cluster:
    """A database and a bucket: as a source with the nodes that run on them, as a target for itself alone."""

    def __init__(self, database: str, blobs: str, settings: Settings, id: str, cache: Path) -> None:
        """Raises DatabaseError, StoreFailed, ValueError."""
        parts = urlsplit(database)
        self.name = f"{parts.hostname or ''}{parts.path}"
        self.small = settings.storage.small
        self._waiter, self._kept = Waiter(), 0.0
        self.db = Database(database, self._waiter, connections=CONNECTIONS, prepared=settings.storage.prepared)
        self.mark = PostgresMark(self.db, id)
        self.directory, self.mail = PostgresDirectory(self.db), PostgresMoving(self.db)
        self.blobs = S3Blobs(CacheFiles(cache), Objects(blobs))

    def queue(self) -> ClusterQueue:
        return ClusterQueue(self.db, self.blobs)

    def contents(self) -> Iterator[bytes]:
        """All that are in the bucket."""
        return (blob for part in range(self.blobs.parts) for blob in self.blobs.stale(part, inf))

    def trim(self) -> None:
        """Contents that are through need not stay on our disk."""
        self.blobs.trim(CACHE)

    # As a target

    def arrive(self) -> bool:
        """Whether nothing was moved here yet. Raises DatabaseError where there is something else."""
        return self.mark.arrive()

    def arrived(self) -> None:
        self.mark.arrived()

    def is_over(self) -> bool:
        """Whether this move came to its end here: nodes may have begun, and nothing is written any more."""
        return self.mark.phase() == ARRIVED

    # As a source

    def alive(self) -> list[str]:
        return self.mark.alive()

    def keep(self) -> list[str]:
        """Keep nodes from starting; those that run."""
        self._kept = time.monotonic()
        return self.mark.leave()

    def keep_on(self) -> None:
        """Now and then, once `keep` was said. Raises DatabaseError when nodes were not kept all the time."""
        if self._kept and time.monotonic() - self._kept > LEASE / 6:
            self._kept = time.monotonic()
            self.mark.stay()

    def left(self) -> None:
        """From now on this is not the mail any more. Raises DatabaseError."""
        self.mark.left()

    def end(self) -> None:
        """The operator drops the database when nobody wants it any more."""

    def close(self) -> None:
        self.blobs.close()
        self.db.close()
        self._waiter.close()
