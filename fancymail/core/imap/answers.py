"""What SEARCH and SORT say of what they found: the old list, or an ESEARCH with just what the client asked to be returned (RFC 4731, 5267, 9394).

Called by servers/imap with places in order: ascending for SEARCH, sorted for SORT. It also keeps the result as `$` where SAVE asks for it (RFC 5182).
It finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from fancymail.core.imap.view import View, set_text
from fancymail.mail.imap.search import Return
from fancymail.mail.imap.strings import mailbox_name
from fancymail.mail.uidset import compress


def listed(view: View, word: bytes, places: Sequence[int], uid: bool, modseq: bool = False) -> bytes:
    """`* SEARCH 2 5` and `* SORT 5 2`. `modseq`: the client asked for one (RFC 7162 3.1.5)."""
    numbers = _numbers(view, places, uid)
    text = b" %d" * len(numbers) % tuple(numbers)
    if modseq and places:
        text += b" (MODSEQ %d)" % _modseq(view, places)
    return b"* %b%b\r\n" % (word, text)


def esearch(view: View, places: Sequence[int], returns: Return, tag: bytes, uid: bool, modseq: bool = False, where: bytes = b"",
            scores: Sequence[int] = ()) -> bytes:
    """`* ESEARCH (TAG "a") UID MIN 2 COUNT 5`; nothing where only SAVE was asked for. `where`: of mailbox_tag, for RFC 7377; scores: of
    search.relevancy, for RELEVANCY."""
    options = returns.options
    if options == {"SAVE"} and returns.partial is None:
        return b""                                      # RFC 5182 2.1
    numbers = _numbers(view, places, uid)
    told: list[int] = []                                # places whose modseq counts (RFC 4731 3.2)
    results = []
    if numbers and "MIN" in options:
        results.append(b" MIN %d" % numbers[0])
        told.append(places[0])
    if numbers and "MAX" in options:
        results.append(b" MAX %d" % numbers[-1])
        told.append(places[-1])
    if numbers and "ALL" in options:
        results.append(b" ALL %b" % ordered_set(numbers))
        told = list(places)
    if "COUNT" in options:
        results.append(b" COUNT %d" % len(numbers))
        told = list(places)
    if returns.partial is not None:
        low, high = window(returns.partial, len(numbers))
        results.append(b" PARTIAL (%d:%d %b)" % (*returns.partial, ordered_set(numbers[low:high]) or b"NIL"))
        told = list(places) if "ALL" in options or "COUNT" in options else [*told, *places[low:high]]
    if scores and "RELEVANCY" in options:               # RFC 6203 4: in the order of the results
        results.append(b" RELEVANCY (%b)" % b" ".join([b"%d" % score for score in scores]))
    if modseq and told:
        results.append(b" MODSEQ %d" % _modseq(view, told))
    return b'* ESEARCH (TAG "%b"%b)%b%b\r\n' % (tag, where, b" UID" if uid else b"", b"".join(results))


def mailbox_tag(name: str, uidvalidity: int, utf8: bool) -> bytes:
    """Where an ESEARCH of several mailboxes found it (RFC 7377 2.1)."""
    return b" MAILBOX %b UIDVALIDITY %d" % (mailbox_name(name, utf8), uidvalidity)


def save(view: View, places: Sequence[int], returns: Return) -> None:
    """Keep the result as `$`, or as much of it as RFC 5182 2.1 says: with MIN and MAX alone, only these."""
    kept = list(places)
    if not returns.options & {"ALL", "COUNT"}:
        low, high = window(returns.partial, len(kept)) if returns.partial else (0, 0)
        ends = [kept[end] for end, option in ((0, "MIN"), (-1, "MAX")) if kept and option in returns.options]
        if returns.partial or returns.options & {"MIN", "MAX"}:
            kept = sorted({*ends, *kept[low:high]})
    view.saved = compress(sorted([view.uids[place] for place in kept]))


def window(partial: tuple[int, int], count: int) -> tuple[int, int]:
    """Which of `count` results PARTIAL n:m names, from the end if negative (RFC 9394 3.1)."""
    first, last = sorted(partial)
    if last < 0:
        first, last = count + 1 + first, count + 1 + last
    return max(0, min(first - 1, count)), max(0, min(last, count))


def ordered_set(numbers: Sequence[int]) -> bytes:
    """Numbers as a set that keeps their order: a run that goes up by ones is a range."""
    starts = [place for place in range(len(numbers)) if not place or numbers[place] != numbers[place - 1] + 1]
    return set_text([(numbers[start], numbers[end - 1]) for start, end in zip(starts, [*starts[1:], len(numbers)])])


def _numbers(view: View, places: Sequence[int], uid: bool) -> list[int]:
    if uid:
        uids = view.uids
        return [uids[place] for place in places]
    return [place + 1 for place in places]


def _modseq(view: View, places: Sequence[int]) -> int:
    modseqs = view.state(0, view.count)[2]
    return max([modseqs[place] for place in places])
