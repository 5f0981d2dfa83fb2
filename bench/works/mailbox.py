"""What a client and the daemons ask of a mailbox, against how many messages it holds: over IMAP and the verbs of fm-mailbox, in whole suites."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench.deep import letter
from bench.figures import Series, chart
from bench.peers import ROOT, FancyMail
from bench.result import Result, Row
from bench.turns import Bench
from bench.works.clients import ImapClient, SmtpClient
from bench.works.depth import curve, depths, growth

PEERS = ()
SLOWEST = 1.5
TURNS = 60
CONFIG = """[mailbox]
shards = 1
search-index = 1000000000
"""


def run(bench: Bench) -> list[Row]:
    rows = []
    with bench.place() as place, contextlib.ExitStack() as running:
        suites = {}
        for count in depths(bench):
            folder = place.folder / str(count)
            subprocess.run([sys.executable, "-m", "bench.deep", "mailbox", str(folder / "state/mail"), "alice@example.test", str(count)],
                           check=True, cwd=ROOT)
            suites[count] = running.enter_context(FancyMail(folder, config=CONFIG))
            rows.append(Row(work="verbs", server="mailbox", facts={"depth": count}, rounds=[]))
        for _ in range(bench.rounds):
            for row, (count, suite) in zip(rows, suites.items()):
                row.rounds.append(measured(suite, count))
                bench.say(f"  mailbox of {count:,}: " + ", ".join(f"{verb} {value:.3g}" for verb, value in row.rounds[-1].items()))
    return rows


class Times:
    """Median milliseconds of what was done, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def take(self, name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        self.spent.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.spent.items()}


def measured(suite: FancyMail, count: int) -> dict[str, float]:
    """All that does not ask about every message."""
    times, client, sender, content = Times(), ImapClient(suite), SmtpClient(suite), letter(7)
    times.take("SELECT, first", lambda: client.ask("SELECT INBOX"))
    for turn in range(TURNS):
        uid = turn * (count // TURNS) + 1
        times.take("SELECT again", lambda: client.ask("SELECT INBOX"))
        times.take("STATUS", lambda: client.ask("STATUS INBOX (MESSAGES UNSEEN UIDNEXT HIGHESTMODSEQ)"))
        times.take("NOOP", lambda: client.ask("NOOP"))
        times.take("UID FETCH one (FLAGS ENVELOPE)", lambda: client.ask(f"UID FETCH {uid} (FLAGS ENVELOPE)"))
        times.take("UID FETCH one (BODY[])", lambda: client.ask(f"UID FETCH {uid} (BODY.PEEK[])"))
        times.take("FETCH the last 50 (FLAGS ENVELOPE)", lambda: client.ask(f"FETCH {count - 49}:{count} (FLAGS ENVELOPE)"))
        times.take("UID SEARCH of 100 UIDs, UNSEEN", lambda: client.ask(f"UID SEARCH UID {uid}:{uid + 99} UNSEEN"))
        times.take("UID STORE one +FLAGS", lambda: client.ask(rf"UID STORE {uid} +FLAGS (\Flagged)"))
        times.take("UID STORE one -FLAGS", lambda: client.ask(rf"UID STORE {uid} -FLAGS (\Flagged)"))
        times.take("APPEND", lambda: client.ask(b"APPEND INBOX {%d+}\r\n" % len(content) + content))
        times.take("UID COPY one to INBOX", lambda: client.ask(f"UID COPY {uid} INBOX"))
        times.take("delivery, 250 until NOOP shows it", lambda: delivered(sender, client, content))
        client.ask(r"STORE *,1 +FLAGS.SILENT (\Deleted)")
        times.take("EXPUNGE of two", lambda: client.ask("EXPUNGE"))
    client.close()
    sender.close()
    return times.medians()


def delivered(sender: SmtpClient, client: ImapClient, content: bytes) -> None:
    sender.send("alice@example.test", content)
    while b"EXISTS" not in client.ask("NOOP"):
        pass


def page(result: Result) -> str:
    return growth(result, SLOWEST)


def figures(result: Result) -> dict[str, tuple[str, str]]:
    title = "IMAP commands, against the size of the mailbox"
    shown = [verb for verb in result.rows[0].rounds[0] if not verb.startswith("SELECT, first")]
    return {"mailbox.svg": (title, chart(title, "messages in the mailbox", "milliseconds", [Series(verb, curve(result, verb)) for verb in shown]))}
