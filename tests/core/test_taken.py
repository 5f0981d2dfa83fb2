"""What the queue tells of a message comes out as it went in, also when an older queue tells less."""

from __future__ import annotations

import msgspec

from fancymail.core import taken


def test_what_is_told_is_read():
    told = taken.Taken("i", 2, [0, 3], 1.5, 10, msgspec.Raw(b'[{"recipient":0,"text":"later"}]'))
    found = taken.read(taken.write(told))
    assert (found.id, found.attempts, found.pending, found.first, found.size) == ("i", 2, [0, 3], 1.5, 10)
    assert found.last == [{"recipient": 0, "text": "later"}]


def test_nothing_was_tried_yet():
    assert taken.read(b'{"id":"i","attempts":1,"pending":[0],"first":1,"size":5,"results":[]}').last == []
    assert taken.read(b'{"id":"i","attempts":1,"pending":[0],"first":1}').last == []
