"""Mail in, through and out, beside Postfix, in one run: messages/s, and the CPU time of all of a server's processes per message.

    python -m bench.smtp [--messages 2000] [--connections 10] [--size 1000] [--rounds 3] [--work accept,session,mailbox,relay]

The load is Postfix's own smtp-source, the sink its smtp-sink, so both servers get the same from the same program; servers take turns
(A B A B ...), each in a fresh folder of one filesystem, with every 250 durable. What is measured:

    accept    many messages per connection, into the queue (Postfix holds them, ours has no consumer)
    session   one message per connection, into the queue
    mailbox   accepted and delivered to a local mailbox (Postfix: Maildir)
    relay     accepted and sent on to smtp-sink

The table has the median of the rounds, and the spread of the ratio of CPU times. Needs root, Postfix, and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.peers import FancyMail, Postfix, free_port, wait_for_port
from bench.processes import cpu_seconds, pss_mib

RECIPIENT = {"relay": "someone@elsewhere.test"}
OURS_RELAY = """[smtpin]
relay-networks = ["127.0.0.0/8"]
[smtpout]
private-networks = true
[smtpout.transports."*"]
host = "127.0.0.1"
port = {port}
tls = "never"
"""


def load(port: int, work: str, messages: int, connections: int, size: int) -> None:
    """Send the messages."""
    command = ["smtp-source", "-s", str(connections), "-m", str(messages), "-l", str(size), "-f", "x@sender.test",
               "-t", RECIPIENT.get(work, "alice@example.test")]
    subprocess.run([*command, *([] if work == "session" else ["-d"]), f"127.0.0.1:{port}"], check=True, timeout=300)


def wait_until(condition, seconds: float = 300.0) -> None:
    """Return when the condition holds; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not finish")
        time.sleep(0.02)


@contextlib.contextmanager
def sink():
    """Run smtp-sink; yields its port."""
    port = free_port()
    process = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{port}", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


def postfix(folder: Path, work: str, relay_port: int):
    """Return a Postfix for this work, and what tells how many messages are done."""
    server = Postfix(folder, mode={"mailbox": "mailbox", "relay": "relay"}.get(work, "hold"), relay_port=relay_port)
    queues = [folder / "queue" / name for name in ("incoming", "active", "deferred", "maildrop")]

    def waiting() -> int:
        return sum(1 for queue in queues for path in queue.rglob("*") if path.is_file())
    return server, {"mailbox": lambda total: server.delivered() >= total, "relay": lambda total: waiting() == 0}.get(work)


def fancymail(folder: Path, work: str, relay_port: int):
    """Return our suite for this work, and what tells how many messages are done."""
    only = {"mailbox": "auth,queue,smtpin,mailbox", "relay": "auth,queue,smtpin,smtpout"}.get(work, "auth,queue,smtpin")
    server = FancyMail(folder, only=only, config=OURS_RELAY.format(port=relay_port) if work == "relay" else "")
    return server, {"mailbox": lambda total: server.listed() >= total, "relay": lambda total: server.waiting() == 0}.get(work)


def measure(make, work: str, args, relay_port: int) -> tuple[float, float, float]:
    """Return (messages/s, CPU microseconds per message, idle PSS in MiB) of one server."""
    with tempfile.TemporaryDirectory(prefix="fancymail-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server, done = make(folder / "server", work, relay_port)
        with server:
            idle = pss_mib(*server.roots)
            load(server.port, work, args.connections * 5, args.connections, args.size)      # warm
            if done:
                wait_until(lambda: done(args.connections * 5))
            cpu, start = cpu_seconds(*server.roots), time.perf_counter()
            load(server.port, work, args.messages, args.connections, args.size)
            if done:
                wait_until(lambda: done(args.messages + args.connections * 5))
            seconds = time.perf_counter() - start
            return args.messages / seconds, (cpu_seconds(*server.roots) - cpu) / args.messages * 1e6, idle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("messages", 2000), ("connections", 10), ("size", 1000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--work", default="accept,session,mailbox,relay")
    args = parser.parse_args()
    if not shutil.which("smtp-source"):
        parser.error("smtp-source is missing: apt-get install postfix")
    print("| work | Postfix messages/s | FancyMail messages/s | Postfix CPU us/message | FancyMail CPU us/message | CPU ratio (spread) |")
    print("|---|---|---|---|---|---|")
    with sink() as relay_port:
        for work in args.work.split(","):
            rows = [(measure(postfix, work, args, relay_port), measure(fancymail, work, args, relay_port)) for _ in range(args.rounds)]
            theirs, ours = ([statistics.median(row[side][part] for row in rows) for part in range(3)] for side in (0, 1))
            ratios = sorted(row[0][1] / row[1][1] for row in rows)
            print(f"| {work} | {theirs[0]:,.0f} | {ours[0]:,.0f} | {theirs[1]:,.0f} | {ours[1]:,.0f} | {statistics.median(ratios):.1f}"
                  f" ({ratios[0]:.1f}-{ratios[-1]:.1f}) |", flush=True)
    print(f"\nidle memory (PSS): Postfix {theirs[2]:.0f} MiB, FancyMail {ours[2]:.0f} MiB (the daemons of the last line)")


if __name__ == "__main__":
    main()
