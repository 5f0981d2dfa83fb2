"""A text that no log line, traceback, repr or metrics page may show.

Settings use it for passwords and keys; only the code that needs the value says `.reveal()`. It compares in constant
time, and it is never equal to a plain string, so that it cannot be confused with one.
"""

from __future__ import annotations

import hmac

HIDDEN = "***"


class Secret:
    """One secret text; `Secret("")` is false, as an unset option is."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself, for the one place that has to say it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __reduce__(self):
        raise TypeError("a Secret does not travel")
