"""Line ends: whole and split at every octet, the result is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.lineends import LineEnds


def mended(chunks) -> bytes:
    ends = LineEnds()
    return b"".join([*map(ends.feed, chunks), ends.end()])


@pytest.mark.parametrize("before, after", [
    (b"", b""), (b"a\r\nb\r\n", b"a\r\nb\r\n"), (b"a\nb\n", b"a\r\nb\r\n"), (b"a\rb\r", b"a\r\nb\r\n"), (b"\r\r\n\n", b"\r\n\r\n\r\n"),
    (b"no end", b"no end"),
    (b"\n\r", b"\r\n\r\n")])
def test_line_ends(before, after):
    assert mended([before]) == after
    for place in range(len(before)):
        assert mended([before[:place], before[place:]]) == after
    assert mended(bytes([octet]) for octet in before) == after


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"\r", b"\n", b"\r\n", b"", b"a\rb", b"\n\r"])))
def test_no_lone_line_end_is_left(chunks):
    result = mended(chunks)
    assert result.replace(b"\r\n", b"").translate(None, b"\r\n") == result.replace(b"\r\n", b"")
    assert mended([result]) == result == mended([b"".join(chunks)])
