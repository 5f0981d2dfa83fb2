"""Counters, gauges and timings of a daemon, as a plain dict and as Prometheus text.

    metrics = Metrics("queue")
    metrics.counters["accepted"] += 1
    metrics.counters[labelled("refused", reason="relay")] += 1
    metrics.gauges["waiting"] = lambda: len(heap)         # asked when someone looks
    metrics.observe("push_seconds", 0.0021)
    print(metrics.text())

Counting is one dict update, so hot paths may. Names are given where the counting is done; nothing is sent anywhere.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Number = int | float


def labelled(name: str, **labels: str) -> str:
    """Return the key of a counter or gauge with labels: `refused{reason="relay"}`."""
    inside = ",".join(f'{key}="{_escape(str(value))}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


class Timing:
    """Durations in seconds, counted in BUCKETS."""

    __slots__ = ("counts", "total", "count")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self.count += 1

    def quantile(self, part: float) -> float:
        """Return the upper bound of the bucket that holds `part` (0..1) of all durations; 0.0 before the first."""
        wanted, seen = part * self.count, 0
        for bound, number in zip(BUCKETS, self.counts):
            seen += number
            if seen >= wanted:
                return bound if self.count else 0.0
        return float("inf")


class Metrics:
    """What one daemon counts. `daemon` becomes the label of every line."""

    def __init__(self, daemon: str) -> None:
        self.daemon = daemon
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.gauges: dict[str, Number | Callable[[], Number]] = {}
        self.timings: dict[str, Timing] = {}
        self.started = time.time()

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration under `name`, which ends in _seconds."""
        timing = self.timings.get(name)
        if timing is None:
            timing = self.timings[name] = Timing()
        timing.add(seconds)

    def values(self) -> dict[str, Number]:
        """Return every number by its name, for `stats`: counters, gauges, and of timings the count and two quantiles."""
        found: dict[str, Number] = dict(self.counters)
        found |= {name: _ask(gauge) for name, gauge in self.gauges.items()}
        for name, timing in self.timings.items():
            found |= {f"{name}_count": timing.count, f"{name}_p50": timing.quantile(0.5), f"{name}_p99": timing.quantile(0.99)}
        found |= {"uptime_seconds": round(time.time() - self.started, 3), "resident_octets": _resident()}
        return found

    def text(self) -> str:
        """Return all of it in the Prometheus text format."""
        lines: list[str] = []
        self._family(lines, "counter", {_suffixed(key): value for key, value in self.counters.items()})
        gauges = {name: _ask(gauge) for name, gauge in self.gauges.items()}
        gauges |= {"start_time_seconds": self.started, "resident_octets": _resident()}
        self._family(lines, "gauge", gauges)
        for name, timing in sorted(self.timings.items()):
            self._histogram(lines, name, timing)
        return "\n".join(lines) + "\n"

    def _family(self, lines: list[str], kind: str, values: dict[str, Number]) -> None:
        seen = ""
        for key in sorted(values, key=_split):
            name, labels = _split(key)
            if name != seen:
                lines.append(f"# TYPE fancymail_{name} {kind}")
                seen = name
            lines.append(f"fancymail_{name}{{{self._labels(labels)}}} {_number(values[key])}")

    def _histogram(self, lines: list[str], key: str, timing: Timing) -> None:
        name, labels = _split(key)
        lines.append(f"# TYPE fancymail_{name} histogram")
        total = 0
        for bound, number in zip((*BUCKETS, float("inf")), timing.counts):
            total += number
            edge = "+Inf" if bound == float("inf") else repr(bound)
            lines.append(f'fancymail_{name}_bucket{{{self._labels(labels)},le="{edge}"}} {total}')
        lines.append(f"fancymail_{name}_sum{{{self._labels(labels)}}} {_number(timing.total)}")
        lines.append(f"fancymail_{name}_count{{{self._labels(labels)}}} {timing.count}")

    def _labels(self, labels: str) -> str:
        own = f'daemon="{_escape(self.daemon)}"'
        return f"{own},{labels}" if labels else own


def _split(key: str) -> tuple[str, str]:
    """Split a key into a name that Prometheus accepts and its labels."""
    name, _, labels = key.partition("{")
    return re.sub(r"[^a-zA-Z0-9_]", "_", name), labels.removesuffix("}")


def _suffixed(key: str) -> str:
    name, brace, labels = key.partition("{")
    return f"{name.removesuffix('_total')}_total{brace}{labels}"


def _ask(gauge: Number | Callable[[], Number]) -> Number:
    """A gauge that fails must not take the whole page with it."""
    try:
        return gauge() if callable(gauge) else gauge
    except Exception:
        return float("nan")


def _number(value: Number) -> str:
    return "NaN" if value != value else str(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident() -> int:
    """Octets of memory that the process holds."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
