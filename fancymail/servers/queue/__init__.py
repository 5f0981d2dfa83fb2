"""fm-queue: keeps accepted mail until every recipient is settled. `daemon` has the verbs; the rules are core/queue.py."""

from .daemon import QueueServer

__all__ = ["QueueServer"]
