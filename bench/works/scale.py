"""What a message costs on files, on PostgreSQL + S3, and on two nodes of them: accepting, delivering, logging in, FETCH; each engine apart.

Mail comes for two accounts at once, on two nodes one on each. The S3 is moto's mock, so its share and the rates behind it are no measure of any
real S3.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from passlib.hash import sha512_crypt

from bench.peers.site import Site
from bench.result import Result, Row
from bench.tables import number, table
from bench.turns import Bench
from bench.works.clients import ImapClient, SmtpClient
from fancymail.ipc.sync import SyncClient

MESSAGES, LOGINS, ACCOUNTS, SIZE = 800, 100, 200, 1000
SENDERS = 10                # connections that send to many accounts
USERS = ("alice@example.test", "bob@example.test")
SITES = {"one node, files": 0, "one node, PostgreSQL + S3": 1, "two nodes": 2}
ACCEPTING, DELIVERING = "auth,queue,smtpin", "auth,queue,smtpin,mailbox,imap"
STEPS = {"accept": "accepted", "deliver": "accepted and delivered, all to two accounts", "spread": "accepted and delivered, each to another account",
         "login": "login and SELECT", "fetch": "FETCH of all, where it was delivered",
         "elsewhere": "FETCH of all, on the other node"}
SHARES = ("ours", "postgres", "s3", "nats")
COUNTS = {"statements": "statements", "commits": "COMMITs", "rows": "rows written", "wal": "octets of WAL", "tables": "octets of tables",
          "puts": "PUTs", "gets": "GETs"}


def run(bench: Bench) -> list[Row]:
    messages, rows = bench.count(MESSAGES, 100), {}
    for _ in range(bench.rounds):
        for name, nodes in SITES.items():
            for only, steps in ((ACCEPTING, accepting), (DELIVERING, delivering)):
                with bench.place() as place, Site(place.server, nodes, only) as site:
                    for work, figures in steps(bench, site, messages).items():
                        row = rows.setdefault((work, name), Row(work=work, server=name, facts={"messages": messages}, rounds=[]))
                        row.rounds.append(figures)
                        bench.say(f"  {work}, {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    return list(rows.values())


def accepting(bench: Bench, site: Site, messages: int) -> dict[str, dict[str, float]]:
    send(bench, site, 50)
    return {"accept": measured(site, messages, lambda: send(bench, site, messages))}


def delivering(bench: Bench, site: Site, messages: int) -> dict[str, dict[str, float]]:
    """Everything about mailboxes, on one site, one after the other."""
    send(bench, site, 50)
    site.quiet()
    steps = {"deliver": measured(site, messages, lambda: (send(bench, site, messages), site.quiet()))}
    accounts = make_accounts(site, bench.count(ACCOUNTS, 50))
    spread(site, accounts)                          # what the first message to an account costs besides
    site.quiet()
    steps["spread"] = measured(site, len(accounts), lambda: (spread(site, accounts), site.quiet()))
    steps["login"] = measured(site, LOGINS, lambda: log_in(site, LOGINS))
    steps["fetch"] = measured(site, messages, lambda: fetch(site, USERS))
    if len(site.nodes) > 1:
        steps["elsewhere"] = measured(site, messages, lambda: fetch(site, USERS[::-1]))
    return steps


def measured(site: Site, count: int, work: Callable) -> dict[str, float]:
    """Rate, CPU microseconds and counts of one of `count` that the work does."""
    before, began = site.spent(), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - began, site.spent()
    return {"rate": count / seconds} | {
        name: (value - before[name]) / count * (1e6 if name in SHARES else 1) for name, value in after.items()}


def send(bench: Bench, site: Site, messages: int) -> None:
    """Half of the messages for each user, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        ends = [(node_of(site, place), user) for place, user in enumerate(USERS)]
        list(pool.map(lambda end: bench.load.send(end[0].port, messages // 2, 10, SIZE, recipient=end[1]), ends))


def make_accounts(site: Site, count: int) -> list[str]:
    """Accounts with little work: all have the same hash."""
    names = [f"user{place}@example.test" for place in range(count)]
    with SyncClient(site.nodes[0].doors["auth"]) as auth:
        known = sha512_crypt.using(rounds=1000).hash("nobody logs in")
        for name in names:
            auth.call("account-import", name, known)
    return names


def spread(site: Site, accounts: list[str]) -> None:
    """One message for each account, over several connections at the same time."""
    content = b"From: x@sender.test\r\nSubject: one of many\r\n\r\n" + b"An ordinary line of text.\r\n" * (SIZE // 27)

    def one(place: int) -> None:
        with contextlib.closing(SmtpClient(node_of(site, place))) as client:
            for account in accounts[place::SENDERS]:
                client.send(account, content)
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(one, range(SENDERS)))


def log_in(site: Site, count: int) -> None:
    for turn in range(count):
        with contextlib.closing(client_of(site, turn % 2, USERS[turn % 2])) as client:
            client.ask("SELECT INBOX")


def fetch(site: Site, users: tuple[str, ...]) -> None:
    """The whole INBOX of each user, at the same time; on two nodes the first user's on the first."""
    def one(place: int) -> None:
        with contextlib.closing(client_of(site, place, users[place])) as client:
            client.ask("SELECT INBOX")
            client.ask("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))


def node_of(site: Site, place: int):
    return site.nodes[place % len(site.nodes)]


def client_of(site: Site, place: int, user: str) -> ImapClient:
    node = node_of(site, place)
    return ImapClient(node, user, node.accounts[user])


def page(result: Result) -> str:
    """CPU time of each step and each share; then what the engines counted."""
    lines = [(STEPS[row.work], row) for row in sorted(result.rows, key=lambda row: (list(STEPS).index(row.work), list(SITES).index(row.server)))]
    times = [[step, row.server, number(row.median("rate")), *(_said(row, share) for share in SHARES)] for step, row in lines]
    counts = [[step, row.server, *(_said(row, name) for name in COUNTS)] for step, row in lines if "wal" in row.rounds[0]]
    return "\n\n".join((
        table(["1 kB, each message or login", "on", "a second", "CPU us: ours", "PostgreSQL", "S3 (moto)", "NATS"], times),
        table(["each message or login", "on", *COUNTS.values()], counts)))


def _said(row: Row, figure: str) -> str:
    return number(row.median(figure)) if figure in row.rounds[0] else ""
