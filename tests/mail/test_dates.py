"""Dates of messages: read tolerantly, written exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.dates import format_date, parse_date

MOMENT = 1057049557.0                # Tue, 01 Jul 2003 08:52:37 UTC


@pytest.mark.parametrize("text", [
    "Tue, 1 Jul 2003 10:52:37 +0200", "Tue, 01 Jul 2003 08:52:37 GMT", "1 Jul 2003 08:52:37 -0000", "Tue, 1 Jul 03 08:52:37 UT",
    "tue, 1 jul 2003 04:52:37 EDT", "Tue, 1 Jul 2003 10:52:37 +0200 (CEST)", "Tue,  1   Jul 2003   10:52:37   +0200",
    "Tue Jul  1 08:52:37 2003", "Tue Jul  1 10:52:37 CEST 2003", "2003-07-01T08:52:37Z", "2003-07-01 10:52:37 +02:00",
    "Tuesday, 1 July 2003 08:52:37 +0000", "1-Jul-2003 08:52:37 +0000", "Tue, 1 Jul 103 08:52:37 +0000", "Tue, 1 Jul 2003 08:52:37",
    "Tue, 1 Jul 2003 08:52:37 GMT+0000", "(c) Tue, 1 Jul 2003 (c) 08:52:37 +0000", "Tue, 1 Jul 2003 08:52:37 XYZ",
])
def test_dates_as_they_come(text):
    assert parse_date(text) == MOMENT
    assert parse_date(text.encode()) == MOMENT


def test_missing_seconds_and_leap_seconds():
    assert parse_date("1 Jul 2003 08:52 +0000") == MOMENT - 37
    assert parse_date("31 Dec 1998 23:59:60 +0000") == 915148799.0


@pytest.mark.parametrize("text", [
    "", "now", "Feb 31", "31 Feb 2003 10:00:00 +0000", "1 Jul 99999 00:00:00 +0000", "1 Jul 2003 25:00:00 +0000", "0 Jul 2003 10:00 +0000",
    "1 Foo 2003 10:00:00 +0000", "1 Jul 1899 10:00:00 +0000", "1 Jul 2003 10:00:00 +9900", "1 Jul 2003", "x" * 1_048_576,
    "1 Jul 2003 10:61:00 +0000", "1 Jul 2003 10:00:61 +0000", "2003-13-01T00:00:00Z", "1 Jul ٢٠٠٣ 10:00:00", " " * 1_048_576, "1" * 1_048_576,
])
def test_what_is_no_date(text):
    assert parse_date(text) is None
    assert parse_date(text.encode()) is None


def test_zones_are_applied_and_years_of_two_digits():
    assert parse_date("1 Jan 70 00:00:00 +0000") == 0
    assert parse_date("1 Jan 1970 00:00:00 -0130") == 5400
    assert parse_date("1 Jan 49 00:00:00 +0000") == 2493072000


def test_writing():
    assert format_date(MOMENT, 120) == "Tue, 01 Jul 2003 10:52:37 +0200"
    assert format_date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"
    assert format_date(MOMENT, -90) == "Tue, 01 Jul 2003 07:22:37 -0130"
    assert format_date(1e30) == format_date(0)
    assert format_date(float("nan")) == format_date(0)


@given(st.integers(-2_000_000_000, 200_000_000_000), st.integers(-839, 839))
def test_what_is_written_is_read_back(seconds, offset):
    assert parse_date(format_date(seconds, offset)) == seconds


@given(st.one_of(st.text(max_size=60), st.text("0123456789: +-JulTue,()T", max_size=50), st.binary(max_size=60)))
def test_anything_is_a_time_or_none(text):
    moment = parse_date(text)
    assert moment is None or isinstance(moment, float)
