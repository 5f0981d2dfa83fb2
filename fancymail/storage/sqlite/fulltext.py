"""The full-text index beside a shard: text-N.db, filled behind by fm-mailbox's own thread, asked by readers which messages may hold a word.

A trigram index (SQLite FTS5) that knows numbers of messages only: what it finds is looked at again, what is not in it is looked at anyway, so it is
never wrong, only late. It can be deleted at any time. Messages with very long texts are left out, and so are accounts with little mail: looking
through all of it is fast enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from fancymail.mail.derived import VERSION
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.sqlite.database import Step, open_database, problems, transaction
from fancymail.storage.sqlite.derived import unpack
from fancymail.storage.sqlite.shard import shard_of

STEPS = (
    Step("text", """
        CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1');
        CREATE TABLE indexed(
            mid INTEGER PRIMARY KEY,
            emailid TEXT NOT NULL           -- a number may be given again: the content tells whether it is still this message
        ) STRICT;
    """),
)
FEW = 50                        # messages of one step
LONGEST = 200_000               # characters of a text that is indexed
MOST_TRIGRAMS = 40              # of one word that are asked for
LOOKED = 500                    # rows of one step that are looked at whether their messages are still there

_NEXT = """SELECT msg.mid, msg.emailid, text.header, text.body FROM shard.msg JOIN shard.text ON text.mid = msg.mid
    WHERE msg.mid > ? AND NOT EXISTS (SELECT 1 FROM indexed WHERE indexed.mid = msg.mid AND indexed.emailid = msg.emailid)
    AND msg.account IN (SELECT account FROM shard.mailbox GROUP BY account HAVING sum(messages) >= ?) ORDER BY msg.mid LIMIT ?"""

_KEPT = "SELECT mid, EXISTS (SELECT 1 FROM shard.msg WHERE msg.mid = indexed.mid) FROM indexed WHERE mid > ? ORDER BY mid LIMIT ?"


def path_of(shard: Path) -> Path:
    """The index of a shard."""
    return shard.with_name(shard.name.replace("shard-", "text-"))


def query(words: Sequence[str]) -> str:
    """What to ask the index for texts that hold all the words; "" when it cannot help."""
    terms: dict[str, None] = {}
    for word in words:
        if "\0" not in word:
            terms.update((word[start:start + 3], None) for start in range(min(len(word) - 2, MOST_TRIGRAMS)))
    return " AND ".join('"' + term.replace('"', '""') + '"' for term in terms)


def damaged(directory: Path, shards: int) -> list[Path]:
    """The files of indexes that are gone, or that SQLite finds fault with; all of them are read."""
    paths = [path_of(directory / f"shard-{number}.db") for number in range(shards)]
    return [path for path in paths if problems(path)]


class failing:
    """`with failing():` says what SQLite cannot do as StoreFailed."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, apsw.Error):
            raise StoreFailed(f"the text index: {error}") from error


class TextIndex:
    """The indexes of all shards below `directory`. Made and used in one thread."""

    def __init__(self, directory: Path | str, shards: int, least: int) -> None:
        self.least = least          # messages that an account must have
        self.connections: list[apsw.Connection] = []
        self.after = [0] * shards   # up to this message all were looked at
        self.kept = [0] * shards    # up to this one the index was looked through for messages that are no more
        for number in range(shards):
            shard = Path(directory) / f"shard-{number}.db"
            connection = open_database(path_of(shard), STEPS, cache=4 << 20, synchronous="NORMAL")
            connection.execute("ATTACH ? AS shard", (str(shard),))
            if connection.pragma("user_version") != VERSION:        # texts are made in another way now
                self._clear(connection)
            self.connections.append(connection)

    def step(self) -> int:
        """Take in some messages, and let go of some that are no more; how many were taken in."""
        with failing():
            return sum(self._step(number) for number in range(len(self.connections)))

    def restart(self) -> None:
        """Look at all messages again whether they are in the index."""
        self.after = [0] * len(self.connections)

    def forget(self, account: str) -> None:
        """Take an account's messages in again."""
        number = shard_of(account, len(self.connections))
        connection = self.connections[number]
        sql = "SELECT mid FROM shard.msg JOIN shard.account ON account.id = msg.account WHERE account.name = ?"
        with failing():
            mids = [mid for (mid,) in connection.execute(sql, (account,))]
            with transaction(connection):
                self._delete(connection, mids)
        self.after[number] = 0

    def close(self) -> None:
        """Let go of the files."""
        for connection in self.connections:
            connection.close()

    def _step(self, number: int) -> int:
        connection = self.connections[number]
        self._let_go(number, connection)
        rows = connection.execute(_NEXT, (self.after[number], self.least, FEW)).fetchall()
        if not rows:
            return 0
        with transaction(connection):
            self._delete(connection, [row[0] for row in rows])
            for mid, emailid, header, body in rows:
                text = f"{unpack(header)}\n{unpack(body)}"
                if len(text) <= LONGEST:
                    connection.execute("INSERT INTO words(rowid, text) VALUES (?, ?)", (mid, text))
                    connection.execute("INSERT INTO indexed VALUES (?, ?)", (mid, emailid))
        self.after[number] = rows[-1][0]
        return len(rows)

    def _let_go(self, number: int, connection: apsw.Connection) -> None:
        """Go on looking through the index for messages that are no more; at its end, from its beginning."""
        rows = connection.execute(_KEPT, (self.kept[number], LOOKED)).fetchall()
        self.kept[number] = rows[-1][0] if len(rows) == LOOKED else 0
        if gone := [mid for mid, there in rows if not there]:
            with transaction(connection):
                self._delete(connection, gone)

    @staticmethod
    def _delete(connection: apsw.Connection, mids: Sequence[int]) -> None:
        for mid in mids:
            if connection.execute("DELETE FROM indexed WHERE mid = ? RETURNING 1", (mid,)).fetchone():
                connection.execute("DELETE FROM words WHERE rowid = ?", (mid,))

    @staticmethod
    def _clear(connection: apsw.Connection) -> None:
        with transaction(connection):
            connection.execute("DELETE FROM words")
            connection.execute("DELETE FROM indexed")
        connection.pragma("user_version", VERSION)
