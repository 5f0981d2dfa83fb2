"""Where accounts, mail and queues are kept: in files of this machine, or in engines that several nodes share (docs/scale.md)."""

from __future__ import annotations

from typing import Annotated

from .section import Section, say


class Storage(Section):
    """What keeps accounts, mailboxes and queues. As it is: SQLite and files below the state folder. With `database` this is one node of several."""

    database: Annotated[str, say(
        "A PostgreSQL database, as postgresql://user:password@host:port/name; empty: files. Needs `blobs`, and `pip install fancymail[cluster]`.",
        pattern=r"^(postgres(ql)?://.+)?$")] = ""
    blobs: Annotated[str, say(
        "The bucket of contents, as s3://bucket/prefix?endpoint=https://host&region=name; keys also from the environment (AWS_ACCESS_KEY_ID ...).",
        pattern=r"^(s3://.+)?$")] = ""
    hints: Annotated[str, say(
        "A NATS server by which nodes tell each other what is new, as nats://host:port; empty: they find out within ipc.poll-interval.",
        pattern=r"^((nats|tls)://.+)?$")] = ""
    node: Annotated[str, say("The name of this node, different from all others; empty: server.hostname.", pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    lease: Annotated[float, say("Seconds without a sign of life after which other nodes take over what waits in this node's queues.", ge=1)] = 15.0
    connections: Annotated[int, say("Connections to the database, of each daemon that has any.", ge=2, le=200)] = 8
    prepared: Annotated[bool, say("Use prepared statements; not through a pooler that hands a connection to others after each transaction.")] = True
    small: Annotated[int, say("Octets up to which a delivered content is kept in the database instead of the bucket.", ge=0, le=65_536)] = 0
    cache: Annotated[int, say("Octets of contents that this node keeps as files, so that it need not fetch them again.", ge=0)] = 1 << 30

    def __post_init__(self) -> None:
        if bool(self.database) != bool(self.blobs):
            raise ValueError("database and blobs belong together")
