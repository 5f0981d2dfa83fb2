"""The parts of docs/performance.md: name -> module with `run(bench) -> rows`, `page(result) -> markdown`, and `figures(result)` for a curve."""

from bench.works import connections, delivery, idle, ipc, latency, mailbox, memory, others, queue, relay, scale, sizes, smtp, start
from bench.works import imap, imaplarge, pop3, pymap

PARTS = {"smtp": smtp, "sizes": sizes, "connections": connections, "others": others, "delivery": delivery, "latency": latency, "relay": relay,
         "pop3": pop3, "imap": imap, "imaplarge": imaplarge, "pymap": pymap, "memory": memory, "idle": idle, "ipc": ipc, "queue": queue,
         "mailbox": mailbox, "start": start, "scale": scale}
