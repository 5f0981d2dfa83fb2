"""Dates as IMAP writes them: "17-Jul-1996 02:44:25 +0000", always in UTC (RFC 9051 9, date-time).

Called by fetch for every message of a listing, so the day, which few messages don't share, is written once.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

DAY = 86_400
EPOCH = date(1970, 1, 1).toordinal()
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_TWO = [b"%02d" % number for number in range(60)]


def date_time(seconds: int) -> bytes:
    """Seconds since the epoch as a quoted date-time; years outside 1 to 9999 become the epoch."""
    day, rest = divmod(seconds, DAY)
    return b'"%b %b:%b:%b +0000"' % (_day(day), _TWO[rest // 3600], _TWO[rest // 60 % 60], _TWO[rest % 60])


@lru_cache(4096)
def _day(day: int) -> bytes:
    try:
        when = date.fromordinal(EPOCH + day)
    except (ValueError, OverflowError):
        when = date(1970, 1, 1)
    return b"%2d-%b-%04d" % (when.day, _MONTHS[when.month - 1], when.year)


def day_of(when: date) -> int:
    """A date of a search key as days since the epoch."""
    return when.toordinal() - EPOCH
