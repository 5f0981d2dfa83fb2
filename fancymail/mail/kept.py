"""Tables of what was worked out before, bounded in octets: whoever asks for what, a process keeps no more than was allowed.

    @kept(1 << 20)
    def plan(items): ...                    # plan(items) is looked up; what is missing is made, weighed and kept

    words = Kept(256 << 10)                 # a dict for `put`, which forgets all before it would hold too much

Used where clients choose the questions: commands, lists of items, names, flags. A question is weighed when it is new and never when it is known.
Values are shared by all who ask, so they are not to be changed. What is larger than an eighth of its table is not kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from sys import getsizeof
from typing import Any

ENTRY = 104                         # octets of a place in a dict, about
_TABLES: list[Kept] = []            # those of modules, which live as long as the process


class Kept(dict):
    """At most `most` octets of keys and values. `octets`: what is held now."""

    __slots__ = ("most", "octets", "_make")

    def __init__(self, most: int, make: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.most, self.octets, self._make = most, 0, make

    def __missing__(self, key: Hashable) -> Any:
        if self._make is None:
            raise KeyError(key)
        value = self._make(key)
        self.put(key, value)
        return value

    def put(self, key: Hashable, value: Any, weight: int = 0) -> None:
        """Keep it; `weight`: octets, if they are not to be found out. A key that is there already stays as it is."""
        weight = ENTRY + (weight or weigh((key, value)))
        if weight > self.most >> 3 or key in self:
            return
        if self.octets + weight > self.most:
            self.clear()
        self[key] = value
        self.octets += weight

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self.octets = 0


def kept(most: int) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Decorate a function of one hashable value: its answers are kept, up to so many octets."""
    def decorate(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        table = Kept(most, make)
        _TABLES.append(table)
        return table.__getitem__
    return decorate


def octets_kept() -> int:
    """What all tables of modules hold in this process."""
    return sum(table.octets for table in _TABLES)


def most_kept() -> int:
    """What they can hold."""
    return sum(table.most for table in _TABLES)


def weigh(value: Any) -> int:
    """Octets of a value and of all that it is made of: tuples, sets, dicts and dataclasses are looked into."""
    total, heap = 0, [value]
    while heap:
        one = heap.pop()
        if isinstance(one, type):
            continue
        total += getsizeof(one)
        if isinstance(one, (tuple, list, frozenset, set)):
            heap += one
        elif isinstance(one, dict):
            heap += one.keys()
            heap += one.values()
        elif is_dataclass(one):
            heap += [getattr(one, field.name) for field in fields(one)]
    return total
