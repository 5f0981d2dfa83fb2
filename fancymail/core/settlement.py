"""What became of the recipients of one queued message, and what is still to be done.

Used by core/queue.py and core/queue_desk.py over `Entry.results`, the JSON list of the last result of each recipient (mail.results). A
recipient is settled by `delivered` or `failed`; nothing unsettles it.
"""

from __future__ import annotations

import msgspec

from fancymail.mail import results as words
from fancymail.storage.ports.queue import Entry

from .intake import Refusal

SHOWN_LIMIT = 12 << 10          # octets of results in one answer to `take`, whose frames hold 64 KiB, and 10,000 indexes of recipients
SHORT_TEXT = 100                # characters of a text where many must fit

_decode = msgspec.json.Decoder().decode


def read(results: str | bytes | list) -> list[words.RecipientResult]:
    """Read what a consumer reports. Raises Refusal with the reason."""
    try:
        return words.load(results if isinstance(results, (str, bytes)) else msgspec.json.encode(results))
    except ValueError as error:
        raise Refusal("5.5.4", str(error)) from None


def merge(entry: Entry, news: list[words.RecipientResult]) -> None:
    """Write news into the entry. Final results stay as they are: a late `deferred` must not undo a delivery."""
    if any(result.recipient >= entry.count for result in news):
        raise Refusal("5.5.4", f"the message has {entry.count} recipients")
    kept = {result.recipient: result for result in (words.load(entry.results) if entry.results else ())}
    for result in news:
        if result.recipient not in kept or kept[result.recipient].state == "deferred":
            kept[result.recipient] = result
    entry.results = words.dump(kept[number] for number in sorted(kept))


def pending(entry: Entry) -> list[int]:
    """The indexes of the recipients that have no final result yet; for a bare slot none are known."""
    if not entry.results:
        return list(range(entry.count))
    final = {result["recipient"] for result in _decode(entry.results) if result["state"] != "deferred"}
    return [number for number in range(entry.count) if number not in final]


def ending(entry: Entry) -> str:
    """How a settled message ended: `bounced` when some recipient did not get it, else `delivered`."""
    if '"failed"' not in entry.results:
        return "delivered"
    return "bounced" if any(result["state"] == "failed" for result in _decode(entry.results)) else "delivered"


def shown(entry: Entry, room: int = SHOWN_LIMIT) -> bytes:
    """Results as they fit into a frame: of a message to very many, the first of those that aren't final, with shorter texts."""
    if len(entry.results) <= room:
        return entry.results.encode() or b"[]"
    fitting: list[bytes] = []
    for result in _decode(entry.results):
        if result["state"] == "deferred":
            fitting.append(msgspec.json.encode({**result, "text": result["text"][:SHORT_TEXT]}))
            room -= len(fitting[-1]) + 1
            if room < 2:
                fitting.pop()
                break
    return b"[" + b",".join(fitting) + b"]"
