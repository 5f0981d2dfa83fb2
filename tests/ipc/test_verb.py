"""Declarations of verbs, and reading their parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.ipc.message import IpcError
from fancymail.ipc.verb import Caller, Count, Flag, Json, Number, Octets, QueueName, Raw, Seconds, Text, Word, verb, verbs_of


class Example:
    @verb(callers="smtpin queue", aliases="other", name="account-add")
    def account_add(self, queue: QueueName, count: Count = 1, *names: Word, caller: Caller) -> None:
        """Add."""

    @verb(operator=False)
    def kinds(self, a: Number, b: Octets, c: Seconds, d: Flag, e: Json, f: Raw, g: Text = "") -> None:
        """Take one of each."""


class Extended(Example):
    @verb(callers="*")
    def kinds(self, a: Number) -> None:
        """Take less."""


def test_a_declaration_tells_everything():
    spec = verbs_of(Example)["account-add"]
    assert spec.usage() == "account-add: queue ; [count] ; names..."
    assert spec.aliases == ("other",)
    assert spec.wants_caller == "caller"
    assert [spec.allows(role) for role in ("smtpin", "queue", "pop3", "operator", "")] == [True, True, False, True, False]
    assert not verbs_of(Example)["kinds"].allows("operator")


def test_a_subclass_declares_anew():
    spec = verbs_of(Extended)["kinds"]
    assert spec.usage() == "kinds: a"
    assert spec.allows("anybody")


def test_values_are_read():
    assert verbs_of(Example)["kinds"].read([b"1", b"0", b"0.5", b"1", b'[1]', b"\xff"]) == [1, 0, 0.5, True, [1], b"\xff"]
    assert verbs_of(Example)["account-add"].read([b"incoming", b"3", b"a", b"b"]) == ["incoming", 3, "a", "b"]


@pytest.mark.parametrize("frames, name", [
    ([], "queue"), ([b"In"], "queue"), ([b"../x"], "queue"), ([b"q", b"0"], "count"), ([b"q", b"10001"], "count"), ([b"q", b"-1"], "count"),
    ([b"q", b"1 "], "count"), ([b"q", b"1_0"], "count"), ([b"q", "٣".encode()], "count"), ([b"q", b"1" * 5000], "count"),
    ([b"q", b"1", b"a b"], "names"), ([b"q", b"1", b""], "names"), ([b"\xff"], "queue"),
])
def test_what_cannot_be_read_is_named(frames, name):
    with pytest.raises(IpcError) as caught:
        verbs_of(Example)["account-add"].read(frames)
    assert caught.value.status == "5.5.4"
    assert name in caught.value.text


@pytest.mark.parametrize("position, frame", [(0, b"0"), (0, b"4294967296"), (1, b"-1"), (2, b"nan"), (2, b"1e9"), (2, b"-1"), (3, b"2"), (3, b"yes"),
                                             (4, b"{"), (4, b"\xff"),
                                             (4, b"[" * 60_000), (4, b'{"a":' * 10_000)])
def test_each_kind_refuses_what_it_is_not(position, frame):
    frames = [b"1", b"0", b"0.5", b"1", b"[1]", b"x"]
    frames[position] = frame
    with pytest.raises(IpcError):
        verbs_of(Example)["kinds"].read(frames)


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_any_frames_are_values_or_an_error(frames):
    for spec in verbs_of(Example).values():
        try:
            spec.read(frames)
        except IpcError as error:
            assert error.status == "5.5.4"


def test_a_verb_needs_a_sentence_and_kinds():
    class Silent:
        @verb
        def x(self):
            pass

    class Untyped:
        @verb
        def x(self, a: str):
            """Say."""
    for owner in (Silent, Untyped):
        with pytest.raises(TypeError):
            verbs_of(owner)
