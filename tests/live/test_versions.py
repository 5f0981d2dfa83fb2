"""A node of the version before beside one of this, on one database: real code of both, mail in both directions, and each outlives the other.

The version before is the newest tag that this one came from, taken out of git; where there is no git, or not so much of its history, the tests
say so and are skipped.
"""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from fancymail import __version__
from fancymail.storage.postgres.schema import STEPS
from tests.cluster_kit import bucket, database, nats, postgres
from tests.faults.ledger import Ledger
from tests.faults.load import Generator
from tests.live.suite import ALICE, BOB, POSTMASTER
from tests.live.test_nodes import BURST, Node, send, settle, subjects
from tests.suite_kit import CHECKOUT, wait_for

pytestmark = pytest.mark.timeout(240)

BEFORE = "cdd52b1b41232b4ec0f3a7d472b6d533c1a56a55"         # what v0.1.0 is, for those who have the history without its tags


def git(*words: str) -> bytes | None:
    """What git says; None when it cannot."""
    try:
        done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, timeout=60)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The code of the version before, in a folder of its own."""
    newest = git("describe", "--tags", "--abbrev=0", "--match=v*", f"--exclude=v{__version__}", "HEAD")
    name = newest.decode().strip() if newest else BEFORE
    packed = git("archive", "--format=tar", name, "fancymail")
    if packed is None:
        pytest.skip("the version before is not in this copy's git history (git fetch --tags --unshallow)")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))         # Python 3.11.4
    return folder


@pytest.fixture(scope="module")
def engines():
    return {"database": postgres().schema(), "blobs": bucket(), "hints": nats().url()}


@pytest.fixture(scope="module")
def nodes(before, engines, tmp_path_factory):
    """The old one first, so that the new one finds its database as it was made then."""
    folder = tmp_path_factory.mktemp("nodes")

    class Old(Node):
        prefix = ["env", f"--chdir={before}", f"PYTHONPATH={before}"]

    running = [Old(folder, "old", engines)]
    try:
        running.append(Node(folder, "new", engines, running[0]))
        yield running
    finally:
        for node in running:
            node.down()


def test_both_are_what_they_are_said_to_be(nodes, engines):
    """Without this the rest could pass with twice the same code: each node says its version to the database and to its clients."""
    with database(dsn=engines["database"]) as db:
        versions = dict(db.rows("SELECT name, version FROM node"))
        assert db.one("SELECT count(*) FROM migration")[0] == len(STEPS)
    assert versions["new"] == __version__ != versions["old"]
    for node, version in zip(nodes, (versions["old"], __version__)):
        with node.imap() as wire:
            assert f'"version" "{version}"'.encode() in wire.ok("ID NIL").untagged[0]


def test_mail_goes_both_ways(nodes):
    old, new = nodes
    for sender, receiver, user in ((old, new, ALICE), (new, old, BOB)):
        with receiver.imap(user) as wire:
            wire.select("INBOX")
            wire.idle()
            send(sender, f"to {user}", to=user)
            while b" EXISTS" not in wire.response():
                pass
        assert subjects(old, user) == subjects(new, user) == [f"to {user}"]
    with new.imap() as here, old.imap() as there:
        here.select("INBOX")
        there.select("INBOX")
        here.ok(r"STORE 1 +FLAGS (\Flagged $Forwarded)")
        here.ok("CREATE Later")
        there.ok("NOOP")
        assert b"$Forwarded" in there.ok("FETCH 1 FLAGS").of("FETCH")[0]
        there.ok("COPY 1 Later")
        assert here.ok("STATUS Later (MESSAGES)").untagged[0].endswith(b"(MESSAGES 1)")


def test_each_takes_over_from_the_other_under_load(nodes, tmp_path):
    ledger, users = Ledger(tmp_path / "ledger"), (POSTMASTER,)
    old, new = nodes
    with Generator(ledger, old.ports["smtp"], list(users), threads=2), Generator(ledger, new.ports["smtp"], list(users), threads=2, seed=1):
        def goes_on(what: str) -> None:
            acked = len(ledger.acked_)
            wait_for(lambda: len(ledger.acked_) >= acked + BURST, what)
        goes_on("mail is accepted")
        old.die()
        goes_on("the new one goes on alone")
        old.up()
        new.die()
        goes_on("the old one goes on alone")
    settle(ledger, old, users)
    new.up()


def test_the_old_one_starts_again_beside_the_new_one(nodes):
    """On a database that has steps which it does not know: they are additive."""
    old, new = nodes
    old.down()
    old.up()
    send(old, "again")
    wait_for(lambda: subjects(new)[-1:] == ["again"], "it delivers")
