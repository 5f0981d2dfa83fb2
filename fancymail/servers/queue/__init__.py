"""fm-queue: keeps accepted mail until every recipient is settled. `daemon` has the verbs, `operating` those of the operator, `waiting` the consumers
that wait for messages; the rules are core/queue.py.
"""

from .daemon import QueueServer

__all__ = ["QueueServer"]
