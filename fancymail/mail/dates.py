"""Dates of messages: read tolerantly, written exactly (RFC 5322 3.3 and 4.3).

Called by mailbox (sort keys), trace and DSN building. Reading looks at 128 characters with one expression and gives None for what
is no date. Never asks a clock: times are seconds since the epoch, passed in.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_ZONES = {"ut": 0, "utc": 0, "gmt": 0, "z": 0, "edt": -240, "est": -300, "cdt": -300, "cst": -360, "mdt": -360, "mst": -420,
          "pdt": -420, "pst": -480, "bst": 60, "cet": 60, "cest": 120, "met": 60, "mest": 120, "jst": 540}
LIMIT = 128                          # characters that are looked at

_EPOCH = date(1970, 1, 1).toordinal()
_END = (date(9999, 12, 31).toordinal() + 1 - _EPOCH) * 86_400

_TIME = r"([0-9]{1,2})[:.]([0-9]{2})(?:[:.]([0-9]{2}))?(?:\.[0-9]{1,9})?"
_ZONE = r"(?:\s*(?:(?:GMT|UTC?)?([+-])([0-9]{2}):?([0-9]{2})|([A-Za-z]{1,5})))?"
_USUAL = re.compile(rf"\s*(?:[A-Za-z]{{3,9}}[,.]?\s*)?([0-9]{{1,2}})[\s-]+([A-Za-z]{{3}})[a-z]{{0,6}}\.?[\s,-]+([0-9]{{2,4}})[\s,]+"
                    rf"{_TIME}{_ZONE}(?![0-9])", re.ASCII)
_ASCTIME = re.compile(rf"\s*(?:[A-Za-z]{{3,9}},?\s+)?([A-Za-z]{{3}})[a-z]{{0,6}}\s+([0-9]{{1,2}}),?\s+{_TIME}{_ZONE}\s+([0-9]{{4}})"
                      r"(?![0-9])", re.ASCII)
_ISO = re.compile(rf"\s*([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})[T\s]+{_TIME}{_ZONE}(?![0-9])", re.ASCII)
_COMMENT = re.compile(r"\([^()]*+\)")


def parse_date(value: str | bytes) -> float | None:
    """Return the time that a Date field names in seconds since the epoch, or None. Years 1900 to 9999."""
    text = value[:LIMIT].decode("ascii", "replace") if isinstance(value, bytes) else value[:LIMIT]
    text = _COMMENT.sub(" ", text)
    if match := _USUAL.match(text):
        day, month, year, *rest = match.groups()
        return _seconds(year, _NUMBER.get(month.lower(), 0), day, rest)
    if match := _ASCTIME.match(text):
        month, day, *rest, year = match.groups()
        return _seconds(year, _NUMBER.get(month.lower(), 0), day, rest)
    if match := _ISO.match(text):
        year, number, day, *rest = match.groups()
        return _seconds(year, int(number), day, rest)
    return None


def _seconds(year: str, month: int, day: str, rest: list[str]) -> float | None:
    """Put the parts together; None if there is no such day or time."""
    hour, minute, second, sign, zone_hours, zone_minutes, zone_name = rest
    if sign:
        offset = int(zone_hours) * 60 + int(zone_minutes)
        offset = -offset if sign == "-" else offset
    else:
        offset = _ZONES.get((zone_name or "").lower(), 0)     # RFC 5322 4.3: unknown names say nothing
    year, hour, minute, second = _year(year), int(hour), int(minute), int(second or 0)
    if not 1900 <= year <= 9999 or hour > 23 or minute > 59 or second > 60 or abs(offset) >= 1440:
        return None
    try:
        days = date(year, month, int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    moment = ((days * 24 + hour) * 60 + minute - offset) * 60 + min(second, 59)
    return float(moment) if moment < _END else None


def _year(text: str) -> int:
    """RFC 5322 4.3: two digits are 1950 to 2049, three digits count from 1900."""
    year = int(text)
    if len(text) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(text) == 3 else year


def format_date(seconds: float, offset: int = 0) -> str:
    """Write a Date: "Tue, 01 Jul 2003 10:52:37 +0200"; `offset` is minutes east of Greenwich. Out of range: the epoch."""
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc) + timedelta(minutes=offset)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, timezone.utc) + timedelta(minutes=offset)
    sign, minutes = ("-", -offset) if offset < 0 else ("+", offset)
    return (f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year:04d} "
            f"{moment:%H:%M:%S} {sign}{minutes // 60:02d}{minutes % 60:02d}")
