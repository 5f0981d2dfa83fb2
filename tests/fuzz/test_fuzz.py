"""Every target hears its whole corpus, cut and joined, and octets of hypothesis; `bin/test --fuzz MINUTES` goes on from there with atheris."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def survives(name: str, data: bytes) -> bool:
    """The target hears it: what it must hold it asserts itself, and an exception that it does not declare ends the test here."""
    TARGETS[name](data)
    return True


def inputs(name: str) -> list[bytes]:
    """What lies in the corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def test_every_target_has_a_corpus():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(len(inputs(name)) >= 3 for name in TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_all_its_beginnings(name):
    for data in inputs(name):
        assert survives(name, data)
        assert all(survives(name, data[:end]) for end in range(0, len(data), max(1, len(data) // 60)))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_mutations(name, data):
    """Octets replaced, taken out, doubled, and files of the corpus joined in the middle."""
    one, other = data.draw(st.sampled_from(inputs(name))), data.draw(st.sampled_from(inputs(name)))
    at, end = (data.draw(st.integers(0, len(one))) for _ in range(2))
    fixed = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b"\"", b"(" * 40, b"{9}\r\n", b"=?", b"\xff" * 9])
    noise = data.draw(st.one_of(st.binary(max_size=12), fixed))
    mutants = [one[:at] + noise + one[end:], one[:at] + other[end:], one[:at] + one[at:end] * 3 + noise, noise + one]
    assert survives(name, data.draw(st.sampled_from(mutants)))


@pytest.mark.parametrize("name", TARGETS)
@given(octets=st.binary(max_size=400))
def test_any_octets(name, octets):
    assert survives(name, octets)
