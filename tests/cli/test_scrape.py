"""One Prometheus page out of many: each family once, its lines together."""

from fancymail.base.metrics import Metrics
from fancymail.cli.scrape import merge


def test_families_are_put_together():
    pages = []
    for name in ("auth", "queue"):
        metrics = Metrics(name)
        metrics.counters["asked"] += 1
        metrics.observe("push_seconds", 0.1)
        pages.append(metrics.text())
    lines = merge(pages).splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types)) and "fancymail_push_seconds" in types
    owner = ""
    for line in lines:
        if line.startswith("# TYPE"):
            owner = line.split()[2]
        assert line.startswith("# TYPE") or line.startswith(owner), line
    assert sum(line.startswith("fancymail_asked_total") for line in lines) == 2


def test_a_line_without_its_type_is_dropped():
    assert merge(["fancymail_x{} 1\n"]) == ""
