"""Many values in few parameters: none lost, none split, each parameter as large as it may be and no larger."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fancymail.ipc.packing import pack


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=60)), st.integers(10, 100))
def test_all_come_out_in_order_and_parameters_are_small(values, room):
    items = [json.dumps(value).encode() for value in values]
    frames = pack(items, room)
    assert [value for frame in frames for value in json.loads(frame)] == values
    assert all(len(frame) <= room or len(json.loads(frame)) == 1 for frame in frames)
    assert all(len(first) + len(second) > room for first, second in zip(frames, frames[1:]))


def test_nothing_is_no_parameter_and_little_is_one():
    assert pack([]) == [] and pack([b"1", b"[2]"]) == [b"[1,[2]]"]
    assert [len(json.loads(frame)) for frame in pack([b"1" * 100] * 1000)] == [594, 406]
