"""A cluster as a source: who moves out of it knows when nodes may have begun behind its back."""

from __future__ import annotations

import pytest

from fancymail.base.settings import Settings
from fancymail.servers.moving import cluster as module
from fancymail.servers.moving.cluster import Cluster
from fancymail.storage.migrations import DatabaseError
from fancymail.storage.postgres.moving import require_settled
from tests.cluster_kit import postgres

NOWHERE = "s3://mail?endpoint=http://127.0.0.1:1&access-key-id=x&secret-access-key=x"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEASE", 0)             # of what is kept: renewed at each word
    cluster = Cluster(postgres().schema(), NOWHERE, Settings(), "this move", tmp_path / "cache")
    yield cluster
    cluster.close()


def lapse(cluster: Cluster) -> None:
    cluster.db.rows("UPDATE moving SET until = now() - interval '1 second'")


def test_nodes_are_kept_from_starting_as_long_as_somebody_says_so(cluster):
    cluster.keep_on()                                   # nothing was kept yet: the first passes run beside nodes
    require_settled(cluster.db)
    assert cluster.keep() == []
    cluster.keep_on()
    with pytest.raises(DatabaseError, match="being moved out"):
        require_settled(cluster.db)
    cluster.left()
    cluster.keep_on()
    with pytest.raises(DatabaseError, match="moved away"):
        require_settled(cluster.db)


def test_what_lapsed_is_not_kept_on_as_if_nothing_had_been(cluster):
    cluster.keep()
    lapse(cluster)
    require_settled(cluster.db)                         # a node starts, takes mail, and ends
    with pytest.raises(DatabaseError, match="begin once more"):
        cluster.keep_on()
    with pytest.raises(DatabaseError, match="begin once more"):
        cluster.left()
    assert cluster.keep() == []                         # from the beginning, all is looked at again
    cluster.keep_on()
    cluster.left()
