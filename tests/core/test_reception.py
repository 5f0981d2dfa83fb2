"""Who may relay, and who may send as whom."""

from __future__ import annotations

import itertools

import pytest

from fancymail.core import reception
from fancymail.core.reception import Client, Refusal, Route

STRANGER = Client("transfer")
USER = Client("submission", "alice@us.test")
NEIGHBOUR = Client("transfer", "", True)


@pytest.mark.parametrize("mode, account, trusted",
                         list(itertools.product(("transfer", "submission", "lmtp"), ("", "alice@us.test"), (False, True))))
def test_relaying_needs_a_login_or_a_trusted_network(mode, account, trusted):
    client = Client(mode, account, trusted)
    verdict = reception.judge_unresolved(client, "v@x.test", "5.1.2", "not ours")
    if mode != "lmtp" and (account or trusted):
        assert verdict == [Route("remote", "v@x.test")]
    else:
        assert isinstance(verdict, Refusal) and verdict.code == 550 and verdict.status == "5.7.1"


@pytest.mark.parametrize("client", [STRANGER, USER, NEIGHBOUR, Client("lmtp")])
@pytest.mark.parametrize("status, code, told", [("5.1.1", 550, "5.1.1"), ("5.2.1", 550, "5.2.1"), ("4.4.1", 451, "4.4.3"), ("4.3.0", 451, "4.4.3"),
                                                ("", 451, "4.4.3"), ("nonsense", 451, "4.4.3")])
def test_only_a_clear_no_is_a_no(client, status, code, told):
    verdict = reception.judge_unresolved(client, "bob@us.test", status, "why")
    assert (verdict.code, verdict.status) == (code, told)


def test_routes():
    assert reception.read_routes([b"local:bob@us.test", b"remote:v@x.test"]) == [Route("local", "bob@us.test"), Route("remote", "v@x.test")]
    assert reception.read_routes([b"", b"local:", b"elsewhere:x", b"bob@us.test"]) == []


def test_null_sender():
    assert reception.judge_null_sender(STRANGER, False) is None
    assert reception.judge_null_sender(USER, True) is None
    assert reception.judge_null_sender(USER, False).code == 550


@pytest.mark.parametrize("status, code", [("5.7.1", 553), ("5.1.1", 553), ("4.4.1", 451), ("", 451)])
def test_ownership(status, code):
    assert reception.judge_ownership(status, reception.NOT_YOUR_SENDER).code == code
