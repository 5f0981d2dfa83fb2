"""Nodes of ours on the engines of a cluster, or one on files, as bench/works/scale.py measures them: all that each has spent, apart.

PostgreSQL runs with its durable defaults on the filesystem that is measured, and counts its statements (pg_stat_statements). The S3 is moto's: a mock
in Python, slower by far than any real one, whose requests count and whose times do not. Not for comparing databases.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.peers.fancymail import FancyMail
from bench.peers.peer import wait_until
from bench.processes import cpu_seconds
from bench.room import reachable
from tests.cluster_kit import S3, Nats, Postgres, answers

COUNTED = {"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "256MB", "max_wal_size": "4GB"}
SPENT = """SELECT (SELECT sum(calls) FROM pg_stat_statements WHERE query !~* '^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)'),
    (SELECT sum(calls) FROM pg_stat_statements WHERE query ILIKE 'COMMIT%'),
    (SELECT sum(rows) FROM pg_stat_statements WHERE query ~* '^(INSERT|UPDATE|DELETE|WITH)'), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'),
    (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE relkind = 'r' AND nspname = 'public')"""
COUNTS = ("statements", "commits", "rows", "wal", "tables")


class CountedS3(S3):
    """moto, whose log of requests is kept."""

    def start(self) -> None:
        with open(self.folder / "requests.log", "wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        answers(self.port, self.process)

    def requests(self, method: str) -> int:
        """How many of a kind were made. Some of its lines are coloured."""
        return len(re.findall(rf'["m]{method} /'.encode(), (self.folder / "requests.log").read_bytes()))


class Site:
    """`nodes`: how many, 0 for one on files; `only`: as FancyMail."""

    def __init__(self, folder: Path, nodes: int, only: str = "") -> None:
        self.folder, self.count, self.only = folder, nodes, only
        self.stack, self.nodes, self.engines = ExitStack(), [], {}

    def __enter__(self) -> Site:
        self.folder.mkdir(parents=True, exist_ok=True)
        reachable(self.folder)
        try:
            options = self._engines() if self.count else ""
            for number in range(max(self.count, 1)):
                self.nodes.append(self._node(f"n{number}", options))
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exc) -> None:
        self.stack.close()

    def _engines(self) -> str:
        self.engines = {"postgres": Postgres(self.folder / "postgres", COUNTED), "s3": CountedS3(self.folder), "nats": Nats(self.folder)}
        for engine in self.engines.values():
            engine.start()
            self.stack.callback(engine.kill)
        self.engines["postgres"].sql("CREATE SCHEMA counting; CREATE EXTENSION pg_stat_statements SCHEMA counting")
        return (f'[storage]\ndatabase = "{self.engines["postgres"].dsn()}"\nblobs = "{self.engines["s3"].url("contents")}"\n'
                f'hints = "{self.engines["nats"].url()}"\n')

    def _node(self, name: str, options: str) -> FancyMail:
        node = FancyMail(self.folder / name, self.only, options and f'{options}node = "{name}"\n')
        if self.nodes:                      # the accounts and passwords of the first
            node.state.mkdir(mode=0o700, parents=True)
            shutil.copy(self.nodes[0].state / "demo.json", node.state)
        return self.stack.enter_context(node)

    def spent(self) -> dict[str, float]:
        """CPU seconds of ours and of each engine, and what the engines have counted, since they began."""
        found = {"ours": cpu_seconds(*(root for node in self.nodes for root in node.roots))}
        found |= {name: cpu_seconds(engine.process.pid) for name, engine in self.engines.items()}
        if self.engines:
            database, objects = self.engines["postgres"], self.engines["s3"]
            said = database.sql(f"SET search_path = public, counting; {SPENT}").strip().splitlines()[-1].split("|")
            found |= {name: float(value or 0) for name, value in zip(COUNTS, said)}
            found |= {"puts": objects.requests("PUT"), "gets": objects.requests("GET")}
        return found

    def quiet(self) -> None:
        """Wait until nothing waits in any queue."""
        for node in self.nodes:
            wait_until(lambda node=node: node.waiting() == 0)
