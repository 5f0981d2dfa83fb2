"""Nodes over a real S3, Ceph's: one mail system, while its gateway dies and comes back.

The long form (bin/test --slow) of what tests/live/test_nodes.py shows with moto; tests/contracts and tests/storage/s3 run on Ceph then, too.
"""

from __future__ import annotations

from secrets import token_hex

import pytest

from tests.ceph_kit import ceph
from tests.cluster_kit import nats, postgres
from tests.faults.ledger import Ledger
from tests.faults.load import Generator
from tests.live.suite import BOB
from tests.live.test_nodes import BURST, Node, send, settle, subjects
from tests.suite_kit import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def engines():
    return {"database": postgres().schema(), "blobs": ceph().url(f"b{token_hex(8)}"), "hints": nats().url()}


def test_nothing_is_lost_when_the_gateway_dies_under_load(engines, tmp_path):
    gateway, users, ledger = ceph(), (BOB,), Ledger(tmp_path / "ledger")
    one = Node(tmp_path, "one", engines)
    two = Node(tmp_path, "two", engines, one)
    try:
        send(one, "by way of Ceph")
        two.until_delivered(1)
        assert subjects(two) == ["by way of Ceph"]
        with Generator(ledger, one.ports["smtp"], list(users)) as load, Generator(ledger, two.ports["smtp"], list(users), seed=1):
            def goes_on(what: str) -> None:
                acked = len(ledger.acked_)
                wait_for(lambda: len(ledger.acked_) >= acked + BURST, what)

            def put_off(what: str) -> None:
                refused = load.put_off()
                wait_for(lambda: load.put_off() > refused, f"mail is put off while {what}")
            goes_on("mail is accepted")
            gateway.kill()
            put_off("the gateway is dead")
            gateway.start()
            goes_on("the gateway is back")
        settle(ledger, two, users)
    finally:
        one.down()
        two.down()
