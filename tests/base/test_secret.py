"""A Secret shows nothing by accident."""

import pickle

import msgspec
import pytest

from fancymail.base.secret import Secret


def test_it_hides_and_reveals():
    secret = Secret("hunter2")
    assert str(secret) == repr(secret) == f"{secret}" == "***" and secret.reveal() == "hunter2"


def test_it_compares_only_with_its_kind():
    assert Secret("a") == Secret("a") != Secret("b") and Secret("a") != "a"
    assert not Secret("") and Secret("a") and len({Secret("a"), Secret("a")}) == 1


def test_it_does_not_travel():
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret("a"))
