"""What SELECT and EXAMINE say before their OK: the mailbox as it is, and to a client that knew it before, what became of it (RFC 7162).

Called by servers/imap with a fresh View. Says what the view shows, so nothing is between the opening and the first flush. It asks no storage: what
vanished since a modseq is handed in.
"""

from __future__ import annotations

from itertools import islice

from fancymail.core.imap.ranges import common, without
from fancymail.core.imap.view import View, set_text
from fancymail.mail.imap.sequence import SequenceSet
from fancymail.mail.imap.strings import mailbox_name
from fancymail.mail.mailbox import DELIMITER, SEEN
from fancymail.mail.uidset import LARGEST, Ranges, compress

FACTS = (b"* OK [UIDVALIDITY %d] UIDs are valid\r\n* OK [UIDNEXT %d] The next UID, at least\r\n* OK [HIGHESTMODSEQ %d] Nothing changed after it\r\n"
         b"* OK [MAILBOXID (%b)] Whatever its name is\r\n")


def opening(view: View) -> list[bytes]:
    """The untagged responses of SELECT (RFC 9051 6.3.2; RFC 3501 6.3.1 for who has not enabled IMAP4rev2)."""
    box = view.image.mailbox
    lines = [*view.flag_lines(), b"* %d EXISTS\r\n" % view.count]
    if view.rev2:
        lines.append(b"* LIST () \"%b\" %b\r\n" % (DELIMITER.encode(), mailbox_name(box.name, True)))
    else:
        view.meet(1, view.last)
        lines += view.count_recent() or [b"* 0 RECENT\r\n"]
        if box.unseen and (unseen := next((place for place, flags in enumerate(islice(view.whole()[1], view.count), 1) if not flags & SEEN), 0)):
            lines.append(b"* OK [UNSEEN %d] The first unseen message\r\n" % unseen)
    lines.append(FACTS % (box.uidvalidity, max(box.uidnext, view.last + 1), max(1, view.image.modseq), box.objectid.encode()))
    return lines


def resync(view: View, modseq: int, vanished: Ranges | None, known: SequenceSet | None = None,
           match: tuple[SequenceSet, SequenceSet] | None = None) -> list[bytes]:
    """What a QRESYNC client does not know yet (RFC 7162 3.2.5.2): UIDs gone and flags changed since `modseq`.

    vanished: since then; None when that is too long ago to know, and then all that isn't there is said to be gone, above what `match` shows
    to agree."""
    shown = compress(view.uids[:view.count])
    largest = view.last
    asked = known.resolve(largest) if known else [(1, max(largest, view.image.mailbox.uidnext - 1, 1))]
    if vanished is None:
        vanished = without([(_agreed(view, match) + 1, LARGEST)], shown)
        asked = common(asked, [(1, max(largest, view.image.mailbox.uidnext - 1, 1))])
    gone = without(common(vanished, asked), shown)
    lines = [b"* VANISHED (EARLIER) %b\r\n" % set_text(gone)] if gone else []
    for low, high in view.places(asked):
        for place, uid, flags, last in zip(range(low, high), *view.state(low, high)):
            if last > modseq:
                lines.append(_state(view, place + 1, uid, flags, last))
    return lines


def vanished_earlier(view: View, asked: Ranges, vanished: Ranges | None) -> list[bytes]:
    """UID FETCH ... (CHANGEDSINCE n VANISHED): which of those asked for went since (RFC 7162 3.2.6); None: all that are not shown."""
    shown = compress(view.uids[:view.count])
    limit = [(1, max(view.last, view.image.mailbox.uidnext - 1, 1))]
    gone = without(common(asked, limit if vanished is None else vanished), shown)
    return [b"* VANISHED (EARLIER) %b\r\n" % set_text(gone)] if gone else []


def _state(view: View, number: int, uid: int, flags: int, modseq: int) -> bytes:
    words = view.flag_words(uid, flags)
    if view.uidonly:
        return b"* %d UIDFETCH (FLAGS (%b) MODSEQ (%d))\r\n" % (uid, words, modseq)
    return b"* %d FETCH (UID %d FLAGS (%b) MODSEQ (%d))\r\n" % (number, uid, words, modseq)


def _agreed(view: View, match: tuple[SequenceSet, SequenceSet] | None) -> int:
    """The highest UID of which number and UID still agree with what the client has: up to it, nothing vanished (RFC 7162 3.2.5.2)."""
    if match is None:
        return 0
    numbers, uids = (_listed(each) for each in match)
    agreed = 0
    for number, uid in zip(numbers, uids):
        if number > view.count or view.uids[number - 1] != uid:
            break
        agreed = uid
    return agreed


def _listed(sequence: SequenceSet, most: int = 10_000) -> list[int]:
    """The numbers of a set one by one, as few as are of use."""
    numbers: list[int] = []
    for first, last in sequence.ranges:
        numbers += range(first, min(last, first + most) + 1)
        if len(numbers) > most:
            break
    return numbers
