"""Metrics: numbers by name, and the page that Prometheus reads."""

import re

import pytest

from fancymail.base.metrics import BUCKETS, Metrics, Timing, labelled

LINE = re.compile(r'[a-zA-Z_][a-zA-Z0-9_]*\{([a-z]+="([^"\\]|\\.)*",?)+\} (NaN|-?[0-9.e+-]+)')


@pytest.fixture
def metrics():
    found = Metrics("queue")
    found.counters["accepted"] += 2
    found.counters[labelled("refused", reason='a"b\n')] += 1
    found.counters[labelled("refused", reason="relay")] += 3
    found.gauges["waiting"] = lambda: 7
    found.gauges["broken"] = lambda: 1 / 0
    found.observe("push_seconds", 0.002)
    found.observe("push_seconds", 99)
    return found


def test_every_line_is_prometheus(metrics):
    for line in metrics.text().splitlines():
        assert line.startswith("# TYPE fancymail_") or LINE.fullmatch(line), line


def test_counters_and_gauges(metrics):
    text = metrics.text()
    assert 'fancymail_accepted_total{daemon="queue"} 2\n' in text
    assert 'fancymail_refused_total{daemon="queue",reason="relay"} 3\n' in text
    assert 'fancymail_waiting{daemon="queue"} 7\n' in text
    assert 'fancymail_broken{daemon="queue"} NaN\n' in text
    assert text.count("# TYPE fancymail_refused_total counter") == 1


def test_timings_add_up(metrics):
    text = metrics.text()
    assert 'fancymail_push_seconds_bucket{daemon="queue",le="0.001"} 0\n' in text
    assert 'fancymail_push_seconds_bucket{daemon="queue",le="0.0025"} 1\n' in text
    assert 'fancymail_push_seconds_bucket{daemon="queue",le="+Inf"} 2\n' in text
    assert 'fancymail_push_seconds_count{daemon="queue"} 2\n' in text


def test_values_for_stats(metrics):
    values = metrics.values()
    assert (values["accepted"], values["waiting"], values["push_seconds_count"]) == (2, 7, 2)
    assert values["push_seconds_p50"] == 0.0025 and values["push_seconds_p99"] == float("inf")
    assert values["resident_octets"] > 1_000_000


def test_a_timing_without_durations():
    assert Timing().quantile(0.5) == 0.0 and len(Timing().counts) == len(BUCKETS) + 1
