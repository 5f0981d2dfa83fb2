"""Which contents may go, when several nodes bring them in and let them go at the same time.

Contents are objects by their hash; rows of `msg` and `message` name them. Whoever writes such a row says so before, in the same transaction
(`keep_alive`). What nothing names any more is `garbage`, a day later `doomed`, and only SETTLE seconds after that, when every transaction that did
not see it doomed has long ended and still nothing names it, `gone`: then the object is removed. Used by the engines of this package.
"""

from __future__ import annotations

from collections.abc import Iterable

from fancymail.storage.ports.mailboxes import StoreFailed

from .database import Database

SETTLE = 600                    # seconds between doom and end; no transaction of ours lasts that long
GOING = 300                     # seconds that the removal of an object may take
SLICE = 1000
UNNAMED = "NOT EXISTS (SELECT 1 FROM msg WHERE msg.blob = {0}.blob AND msg.octets IS NULL) " \
    "AND NOT EXISTS (SELECT 1 FROM message WHERE message.sha256 = {0}.blob)"


def keep_alive(db: Database, blobs: Iterable[bytes]) -> None:
    """Within the transaction that names these contents. Raises StoreFailed when one is being removed at this moment: bring it in again, later."""
    blobs = list(set(blobs))
    if db.rows("WITH saved AS (DELETE FROM doomed WHERE blob = ANY($1) AND gone IS NULL RETURNING blob) "
               "SELECT 1 FROM doomed WHERE blob = ANY($1) AND blob NOT IN (SELECT blob FROM saved)", blobs):
        raise StoreFailed("a content is being removed; it has to be brought in again")


def throw_away(db: Database, blobs: Iterable[bytes], now: int) -> None:
    """These may be named by nothing any more."""
    db.rows("INSERT INTO garbage SELECT DISTINCT blob, $2::bigint FROM unnest($1::bytea[]) AS each(blob) "
            "ON CONFLICT (blob) DO UPDATE SET since = excluded.since", list(blobs), now)


def collect(db: Database, now: int, grace: int, settle: int) -> list[bytes]:
    """Go on with what is to go; the contents whose time has come: remove their objects at once."""
    db.rows(f"""WITH due AS (DELETE FROM garbage WHERE blob IN (SELECT blob FROM garbage WHERE since <= $1 ORDER BY since LIMIT {SLICE})
        RETURNING blob)
        INSERT INTO doomed SELECT blob, $2::bigint FROM due WHERE {UNNAMED.format("due")} ON CONFLICT DO NOTHING""", now - grace, now)
    db.rows("DELETE FROM doomed WHERE gone <= $1", now - GOING)
    db.rows(f"DELETE FROM doomed WHERE gone IS NULL AND at <= $1 AND NOT ({UNNAMED.format('doomed')})", now - settle)
    return [blob for blob, in db.rows(f"""UPDATE doomed SET gone = $2 WHERE blob IN (SELECT blob FROM doomed WHERE gone IS NULL AND at <= $1
        LIMIT {SLICE} FOR UPDATE SKIP LOCKED) AND gone IS NULL AND {UNNAMED.format("doomed")} RETURNING blob""", now - settle, now)]
