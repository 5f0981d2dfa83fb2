"""Reading /proc: what a server costs, those of its processes that died included."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import processes

STAT = "4711 (a (b) c) S 12 4711 4711 0 -1 4194560 100 200 0 0 31 7 500 62 20 0 3 0 1000 0 0"
ROLLUP = """55d0-7ffc ---p 00000000 00:00 0  [rollup]
Rss:               52000 kB
Pss:               14200 kB
Pss_Dirty:         11000 kB
"""
SPINNER = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPINNER!r}])\nprint('done', flush=True)\nsys.stdin.read()"


def test_a_name_with_blanks_and_brackets():
    fields = processes.parse_stat(STAT)
    assert fields[0] == "S" and fields[1] == "12"


def test_time_is_that_of_the_process_and_of_its_reaped_children():
    assert processes.ticks(processes.parse_stat(STAT)) == 31 + 7 + 500 + 62


def test_pss_is_the_line_of_that_name():
    assert processes.parse_pss(ROLLUP) == 14200


def test_no_pss_is_none():
    assert processes.parse_pss("Rss: 12 kB\n") == 0


def test_a_child_that_died_is_counted():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        assert processes.tree(parent.pid) == [parent.pid]
        assert processes.cpu_seconds(parent.pid) >= 0.28
        parent.stdin.close()


def test_a_living_child_is_counted():
    assert os.getpid() in processes.tree(os.getppid())


def test_a_process_that_is_gone_costs_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert processes.cpu_seconds(gone.pid) == 0 and processes.pss_mib(gone.pid) == 0


def test_memory_by_process_adds_up():
    each = processes.pss_by_process(os.getpid())
    assert each and abs(sum(each.values()) - processes.pss_mib(os.getpid())) < 20
