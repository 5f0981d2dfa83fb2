"""What became of one recipient: the value that daemons settle messages with.

Made by mailbox and smtpout, carried as JSON in `result: queue ; path ; results-json`, kept by queue, read by DSN building.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from .status import kind, safe_text, valid

STATES = ("delivered", "failed", "deferred")
TEXT_LIMIT = 1000                    # characters of `text` that travel and are kept
LIMIT = 10_000                       # results in one request
PART = 48 * 1024                     # octets of one parameter of it: a frame of the conversation holds 64 KiB

_KEYS = {"recipient", "state", "status", "text", "remote"}
_quoted = json.encoder.encode_basestring_ascii
_KIND = {"delivered": "success", "failed": "persistent", "deferred": "transient"}


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """The outcome for the recipient with this index in the Envelope."""

    recipient: int
    state: str                       # delivered, failed or deferred
    status: str = "2.0.0"            # RFC 3463; of the class that fits the state
    text: str = ""                   # in one line, printable: the reply of the remote host, or our reason
    remote: str = ""                 # name of the remote host, "" if none was asked

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError("a result is delivered, failed or deferred")
        if not isinstance(self.recipient, int) or isinstance(self.recipient, bool) or not 0 <= self.recipient < LIMIT:
            raise ValueError("the recipient of a result is its index in the envelope")
        if not valid(self.status) or kind(self.status) != _KIND[self.state]:
            raise ValueError(f"the status {safe_text(self.status, 40)} does not fit a recipient that is {self.state}")
        object.__setattr__(self, "text", safe_text(self.text, TEXT_LIMIT))
        object.__setattr__(self, "remote", safe_text(self.remote, 255))


def dump(results: Iterable[RecipientResult]) -> str:
    """Write results as the JSON of the `result` verb."""
    return f"[{','.join(map(_dump, results))}]"


def dump_parts(results: Iterable[RecipientResult], size: int = PART) -> list[str]:
    """Write results as parameters of the `result` verb, each of at most `size` octets or one result."""
    parts: list[list[str]] = []
    room = 0
    for result in results:
        one = _dump(result)
        if not parts or len(one) + 1 > room:
            parts.append([])
            room = size - 2
        parts[-1].append(one)
        room -= len(one) + 1
    return [f"[{','.join(part)}]" for part in parts]


def _dump(result: RecipientResult) -> str:
    # State and status were checked: nothing in them has to be escaped.
    return (f'{{"recipient":{result.recipient},"state":"{result.state}","status":"{result.status}",'
            f'"text":{_quoted(result.text)},"remote":{_quoted(result.remote)}}}')


def load(text: str | bytes) -> list[RecipientResult]:
    """Read the JSON of the `result` verb; raise ValueError with the reason. Unknown keys are refused."""
    try:
        items = json.loads(text if isinstance(text, str) else str(text, "utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("results must be JSON") from None
    if not isinstance(items, list) or len(items) > LIMIT:
        raise ValueError(f"results must be a list of at most {LIMIT}")
    return [_result(item) for item in items]


def _result(item: object) -> RecipientResult:
    if not isinstance(item, dict):
        raise ValueError("a result must be an object")
    if not item.keys() <= _KEYS:
        raise ValueError(f"a result has no {safe_text(min(item.keys() - _KEYS), 40)}")
    if "recipient" not in item or "state" not in item:
        raise ValueError("a result needs recipient and state")
    for key, value in item.items():
        if key != "recipient" and not isinstance(value, str):
            raise ValueError(f"{key} of a result must be text")
    return RecipientResult(**item)
