"""What becomes of each recipient after an attempt, and who has to hear of it (RFC 3461, 3464, RFC 5321 6.1).

Asked by servers/smtpout/daemon.py with the outcomes of an attempt: `final` gives up what is too old, `notices` says which DSNs the sender
gets. Nobody who sent with the null reverse-path ever gets one, so a DSN never causes another. Values only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult

from .schedule import Schedule

FAILED, DELAYED, RELAYED = "failed", "delayed", "relayed"
TOLD = "[the sender was told of the delay] "          # stands before the text of a result, so that it is told only once


@dataclass(frozen=True, slots=True)
class Notice:
    """One DSN to the sender: its kind and the recipients it speaks of."""

    kind: str
    results: tuple[RecipientResult, ...]


@dataclass(slots=True)
class Attempt:
    """What one attempt brought: results by recipient, those delivered to hosts that took over no duty to notify (relayed), and
    those that found no room and were not really tried (busy)."""

    results: dict[int, RecipientResult] = field(default_factory=dict)
    relayed: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)

    def add(self, results: Iterable[RecipientResult]) -> None:
        """Take in results; a final one stays."""
        for result in results:
            known = self.results.get(result.recipient)
            if known is None or known.state == "deferred":
                self.results[result.recipient] = result

    @property
    def only_busy(self) -> bool:
        """Whether nothing but room was missing: then the message comes back soon."""
        waiting = {result.recipient for result in self.in_state("deferred")}
        return bool(waiting) and waiting <= self.busy

    @property
    def well(self) -> bool:
        """Whether everybody got it."""
        return all(result.state == "delivered" for result in self.results.values())

    def in_state(self, state: str) -> list[RecipientResult]:
        found = [result for result in self.results.values() if result.state == state]
        return found if len(found) < 2 else sorted(found, key=lambda result: result.recipient)


def give_up(attempt: Attempt, schedule: Schedule, attempts: int, age: float) -> None:
    """Turn what is still deferred into failures, once the message is too old (RFC 5321 4.5.4.1)."""
    if not schedule.expired(attempts, age):
        return
    for result in attempt.in_state("deferred"):
        if result.recipient in attempt.busy:
            continue
        text = f"given up after {days(age)}; last: {result.text.removeprefix(TOLD)}"
        attempt.results[result.recipient] = replace(result, state="failed", status="5.4.7", text=text)


def notices(envelope: Envelope, attempt: Attempt, schedule: Schedule, age: float, told: frozenset[int]) -> list[Notice]:
    """The DSNs that are due. told: recipients of whose delay the sender knows."""
    if not envelope.sender:            # RFC 5321 4.5.5: never answer the null reverse-path
        return []
    if attempt.well and not any(recipient.notify for recipient in envelope.recipients):
        return []
    late = schedule.late(age)
    wanted = (          # what was relayed first: when the sender cannot be told of the rest now, only the rest is tried again
        (RELAYED, [r for r in attempt.in_state("delivered")
                   if r.recipient in attempt.relayed and "SUCCESS" in envelope.recipients[r.recipient].notify]),
        (FAILED, [r for r in attempt.in_state("failed") if wants(envelope.recipients[r.recipient], "FAILURE")]),
        (DELAYED, [r for r in attempt.in_state("deferred")
                   if late and r.recipient not in told and wants(envelope.recipients[r.recipient], "DELAY")]))
    return [Notice(kind, tuple(results)) for kind, results in wanted if results]


def wants(recipient: Recipient, event: str) -> bool:
    """Whether the sender wants to hear of this event; who said nothing hears of failures and delays (RFC 3461 4.1)."""
    return not recipient.notify or event in recipient.notify


def mark_told(attempt: Attempt, told: Iterable[int]) -> None:
    """Write into the results that the sender knows of the delay."""
    for index in told:
        result = attempt.results.get(index)
        if result and result.state == "deferred" and not result.text.startswith(TOLD):
            attempt.results[index] = replace(result, text=TOLD + result.text)


def who_was_told(results: Sequence[dict], pending: Iterable[int]) -> frozenset[int]:
    """Read from the last results of a message of whose delay the sender knows.

    A notice of delay speaks of all who wait at that time, so if it spoke of one it spoke of all who are still pending: of a message
    to thousands the queue shows some results only, and nobody shall be told at every attempt.
    """
    return frozenset(pending) if any(str(result.get("text", "")).startswith(TOLD) for result in results) else frozenset()


def unsent(failed: Sequence[RecipientResult]) -> str:
    """The words for the log about failures that nobody can be told of (a double bounce)."""
    return "nobody to tell: " + ", ".join(f"#{result.recipient} {result.status} {result.text}" for result in failed)


def days(seconds: float) -> str:
    """A duration for people: "5 days", "4 hours"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(int(seconds), 0)} seconds"
