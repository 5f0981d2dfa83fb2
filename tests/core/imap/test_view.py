"""Views: whatever happens to a mailbox, a client that believes what it is told agrees with a fresh SELECT."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancymail.core.imap.opening import opening, resync, vanished_earlier
from fancymail.core.imap.ranges import compress
from fancymail.core.imap.view import NoSuchNumber, View
from fancymail.mail.imap.sequence import parse_sequence
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN

from .boxes import Box, Client


class Session:
    """A view, its client, and what the client was promised."""

    def __init__(self, image, kind: str) -> None:
        self.image, self.view = image, View(image)
        self.view.qresync = kind == "qresync"
        self.view.condstore = kind in ("condstore", "qresync")
        self.view.uidonly = kind == "uidonly"
        self.client = Client([], [], [])
        self.client.uids = [None] * self.view.count
        self.client.flags, self.client.modseqs = [None] * self.view.count, [None] * self.view.count
        self.client.learn(self.view)

    def flush(self, may_expunge: bool, uid: bool = False) -> list[bytes]:
        lines = b"".join(self.view.flush(may_expunge, uid)).splitlines(keepends=True)
        assert may_expunge or not any(b"EXPUNGE" in line or b"VANISHED" in line for line in lines)
        for line in lines:
            self.client.hear(line)
        self.client.learn(self.view)
        return lines

    def check(self) -> None:
        """The client and the view are of one mind."""
        view = self.view
        assert self.client.uids == list(view.uids[:view.count])
        assert [view.sequence(uid) for uid in self.client.uids] == list(range(1, view.count + 1))
        uids, flags, modseqs = view.state(0, view.count)
        there = set(self.image.uids)
        for told, uid, bits, modseq, known in zip(self.client.flags, uids, flags, modseqs, self.client.modseqs):
            if uid in there:
                assert told == self.image.words(bits)
                assert known == modseq or not view.condstore


def play(seed: int, sessions: int, rounds: int, log: int) -> bool:
    """Random operations by random sessions, each with one image per process (two processes), caught up now and then. True: all agree."""
    chance = random.Random(seed)
    box = Box({uid: chance.getrandbits(5) for uid in range(1, chance.randrange(2, 12))})
    images = [box.image(log), box.image(log)]
    all_sessions = [Session(images[number % 2], chance.choice(["", "", "condstore", "qresync", "uidonly"])) for number in range(sessions)]
    for _ in range(rounds):
        operation = chance.random()
        session = chance.choice(all_sessions)
        uids = [uid for uid in list(box.states) + list(session.view.uids) if chance.random() < 0.3]
        if operation < 0.3:
            box.add(*[chance.getrandbits(2) for _ in range(chance.randrange(3))])
        elif operation < 0.5:
            box.expunge(uids[:chance.randrange(4)])
        elif operation < 0.6:
            box.keywords.setdefault(f"k{chance.randrange(4)}", 32 << len(box.keywords))
        else:
            action, bits = chance.choice(["set", "add", "remove"]), chance.getrandbits(7) & (31 | sum(box.keywords.values()))
            box.store(uids, action, bits)
            if chance.random() < 0.5:
                session.view.silence(compress(sorted(set(uids))), box.modseq, action, bits)
                for uid in set(uids) & set(session.client.uids) & set(box.states):      # the client knows what it did
                    place = session.client.uids.index(uid)
                    old = images[0].bits(word.decode() for word in session.client.flags[place].split())[0]
                    new = {"set": bits, "add": old | bits, "remove": old & ~bits}[action]
                    for image in images:
                        image._keywords(dict(box.keywords))
                    session.client.flags[place] = images[0].words(new)
            else:
                session.view.mention(compress(sorted(set(uids))))
            catch_up(session.image, box, chance)
            session.flush(chance.random() < 0.3)
        if chance.random() < 0.5:
            catch_up(chance.choice(images), box, chance)
        if chance.random() < 0.7:
            session = chance.choice(all_sessions)
            session.flush(chance.random() < 0.4, chance.random() < 0.5)
            if chance.random() < 0.3:
                session.check()
    return finish(all_sessions, images, box, chance)


def catch_up(image, box, chance) -> None:
    if chance.random() < 0.1:
        image.replace(box.load())
    else:
        assert image.apply(box.changes(image.modseq))


def finish(sessions, images, box, chance) -> bool:
    fresh = View(box.image())
    for image in images:
        catch_up(image, box, chance)
    for session in sessions:
        session.flush(True)
        session.check()
        assert session.view.state(0, session.view.count) == fresh.state(0, fresh.count)
        assert not session.view.held and session.view.current
        assert session.flush(True) == []
    return all(session.client.uids == list(fresh.uids[:fresh.count]) for session in sessions)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0, 3, 20_000]))
def test_a_client_that_believes_what_it_is_told_agrees(seed, sessions, log):
    assert play(seed, sessions, 40, log)


@pytest.mark.parametrize("seed", range(3))
def test_fifty_sessions_agree(seed):
    assert play(seed, 50, 400, 20_000)


def told(view, may_expunge=True, uid=False):
    return b"".join(view.flush(may_expunge, uid)).splitlines(keepends=True)


def test_an_expunge_is_held_back_while_exists_and_flags_pass():
    box = Box({1: 0, 2: SEEN, 3: 0})
    image = box.image()
    view = View(image)
    box.expunge([2])
    box.add(FLAGGED)
    box.store([3], "add", SEEN)
    image.apply(box.changes(image.modseq))
    assert view.held
    assert told(view, may_expunge=False) == [b"* 4 EXISTS\r\n", b"* 3 FETCH (FLAGS (\\Seen))\r\n"]
    assert view.held and view.sequence(2) == 2 and list(view.state(1, 2)[1]) == [SEEN]
    assert view.gone([(0, 4)]) == [(2, 2)]
    box.add(0)
    image.apply(box.changes(image.modseq))
    assert told(view, may_expunge=False) == [b"* 5 EXISTS\r\n"]
    assert told(view) == [b"* 2 EXPUNGE\r\n"]
    assert not view.held and view.sequence(4) == 3 and told(view) == []


def test_what_came_and_went_between_two_flushes_is_not_mentioned():
    box = Box({1: 0})
    image = box.image()
    view = View(image)
    box.add(0)
    image.apply(box.changes(image.modseq))
    box.expunge([2])
    image.apply(box.changes(image.modseq))
    assert told(view) == [] and not view.held


def test_expunges_count_down_as_they_are_told():
    box = Box({uid: 0 for uid in range(1, 6)})
    image = box.image()
    view, other = View(image), View(image)
    other.qresync = True
    box.expunge([1, 2, 4])
    image.apply(box.changes(image.modseq))
    assert told(view) == [b"* 1 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n"]
    assert told(other) == [b"* VANISHED 1:2,4\r\n"]


def test_a_mailbox_that_becomes_empty_says_expunge_and_no_exists():
    box = Box({1: 0})
    image = box.image()
    view = View(image)
    box.expunge([1])
    image.apply(box.changes(image.modseq))
    assert told(view) == [b"* 1 EXPUNGE\r\n"] and view.count == 0         # "* 0 EXISTS" makes Apple Mail loop


def test_silence_does_not_hide_what_others_did():
    box = Box({1: 0, 2: 0})
    image = box.image()
    view, other = View(image), View(image)
    box.store([1], "add", FLAGGED)                      # by somebody else, seen in the same breath
    box.store([1, 2], "add", SEEN)
    view.silence([(1, 2)], box.modseq, "add", SEEN)
    image.apply(box.changes(image.modseq))
    assert told(view) == [b"* 1 FETCH (FLAGS (\\Seen \\Flagged))\r\n"]
    assert len(told(other)) == 2


def test_a_silent_store_that_changed_nothing_hides_nothing():
    """It is answered with the modseq of the mailbox, which is that of what somebody else did last."""
    box = Box({1: 0, 2: FLAGGED})
    image = box.image()
    view = View(image)
    box.store([1], "add", SEEN)
    view.silence([], box.modseq, "add", FLAGGED)
    assert image.mark([(1, 1)], box.modseq, SEEN, 0)
    assert told(view) == [b"* 1 FETCH (FLAGS (\\Seen))\r\n"]


def test_a_silent_store_still_says_the_modseq_to_who_wants_it():
    box = Box({1: 0})
    image = box.image()
    view = View(image)
    view.condstore = True
    box.store([1], "add", SEEN)
    view.silence([(1, 1)], 2, "add", SEEN)
    image.apply(box.changes(image.modseq))
    assert told(view) == [b"* 1 FETCH (MODSEQ (2))\r\n"]             # RFC 7162 3.1.3


def test_a_store_that_changed_nothing_is_answered_all_the_same():
    box = Box({4: SEEN, 9: 0})
    view = View(box.image())
    view.mention([(4, 4)])
    assert told(view, may_expunge=False, uid=True) == [b"* 1 FETCH (UID 4 FLAGS (\\Seen))\r\n"]


def test_a_new_keyword_is_announced_before_it_is_used():
    box = Box({1: 0})
    image = box.image()
    view = View(image)
    box.keywords["$Junk"] = 32
    box.store([1], "add", 32)
    image.apply(box.changes(image.modseq))
    lines = told(view)
    assert lines[0] == b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Junk)\r\n"
    assert lines[-1] == b"* 1 FETCH (FLAGS ($Junk))\r\n"
    assert image.bits(["\\Seen", "$junk", "other"]) == (33, ["other"])


def test_recent_belongs_to_the_session_that_claimed_it():
    box = Box({1: 0, 2: 0})
    image = box.image()
    view, other = View(image), View(image)
    image.claimed(2, 3)
    assert b"* 1 RECENT\r\n" in opening(view) and b"* 0 RECENT\r\n" in opening(other)
    image.claimed(3, 4)
    box.add(0)
    image.apply(box.changes(image.modseq))
    assert told(view) == [b"* 3 EXISTS\r\n", b"* 2 RECENT\r\n"] and told(other) == [b"* 3 EXISTS\r\n"]
    assert view.flag_words(2, SEEN) == b"\\Recent \\Seen" and other.flag_words(2, 0) == b""
    view.rev2 = True
    assert view.flag_words(2, SEEN) == b"\\Seen"


def test_who_only_reads_sees_what_is_recent_and_takes_it_from_nobody():
    box = Box({1: 0, 2: 0, 3: 0})
    image = box.image()
    image.mailbox = image.mailbox._replace(recent_floor=3)
    image.claimed(2, 3)
    readers, writer = [View(image, read_only=True) for _ in range(2)], View(image)
    assert [b"* 2 RECENT\r\n" in opening(reader) for reader in readers] == [True, True]
    assert b"* 1 RECENT\r\n" in opening(writer) and b"* 1 RECENT\r\n" in opening(View(image, read_only=True))


def test_what_clients_call_messages():
    view = View(Box({2: 0, 3: 0, 7: 0, 8: 0}).image())

    def spans(text, uid):
        return view.resolve(parse_sequence(text), uid)

    assert spans(b"1:*", False) == [(0, 4)] and spans(b"*", False) == [(3, 4)] and spans(b"4:2", False) == [(1, 4)]
    assert spans(b"1:5", True) == [(0, 2)] and spans(b"9:*", True) == [(3, 4)]
    assert spans(b"100", True) == [] and spans(b"2,7", True) == [(0, 1), (2, 3)]
    assert view.ranges(spans(b"1:*", True)) == [(2, 8)]
    with pytest.raises(NoSuchNumber):
        spans(b"5", False)
    with pytest.raises(NoSuchNumber):
        spans(b"2:9", False)
    empty = View(Box().image())
    assert empty.resolve(parse_sequence(b"1:*"), False) == [] == empty.resolve(parse_sequence(b"*"), True)
    with pytest.raises(NoSuchNumber):
        empty.resolve(parse_sequence(b"1"), False)
    view.saved = [(3, 7)]
    assert spans(b"$", True) == spans(b"$", False) == [(1, 3)]


def test_opening_says_the_mailbox():
    box = Box({2: SEEN, 5: 0, 6: DELETED}, {"$Junk": 32})
    lines = opening(View(box.image()))
    assert lines[:4] == [
        b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Junk)\r\n",
        b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $Junk \\*)] Kept for ever\r\n", b"* 3 EXISTS\r\n", b"* 0 RECENT\r\n"]
    codes = re.findall(rb"\* OK \[(.*?)\] ", b"".join(lines[4:]))
    assert codes == [b"UNSEEN 2", b"UIDVALIDITY 77", b"UIDNEXT 7", b"HIGHESTMODSEQ 1", b"MAILBOXID (F77)"]
    view = View(box.image(), read_only=True)
    view.rev2 = True
    lines = opening(view)
    assert b'* LIST () "/" INBOX\r\n' in lines and b"RECENT" not in b"".join(lines) and b"[UNSEEN" not in b"".join(lines)
    assert b"* OK [PERMANENTFLAGS ()] Kept for ever\r\n" in lines


def test_resync_says_what_went_and_what_changed():
    box = Box({uid: 0 for uid in range(1, 8)})
    box.expunge([2, 3])
    box.store([5], "add", SEEN)
    box.add(0)
    view = View(box.image())
    view.qresync = True
    lines = resync(view, 1, box.vanished(1))
    assert lines == [b"* VANISHED (EARLIER) 2:3\r\n", b"* 3 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (3))\r\n",
                     b"* 6 FETCH (UID 8 FLAGS () MODSEQ (4))\r\n"]
    assert resync(view, 2, box.vanished(2), parse_sequence(b"1:5")) == [b"* 3 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (3))\r\n"]
    assert resync(view, 4, None) == [b"* VANISHED (EARLIER) 2:3\r\n"]
    assert resync(view, 4, None, None, (parse_sequence(b"1,2"), parse_sequence(b"1,4"))) == []
    assert resync(view, 4, None, None, (parse_sequence(b"1,2"), parse_sequence(b"1,3"))) == [b"* VANISHED (EARLIER) 2:3\r\n"]
    assert vanished_earlier(view, [(3, 2**32 - 1)], box.vanished(1)) == [b"* VANISHED (EARLIER) 3\r\n"]
    assert vanished_earlier(view, [(1, 2**32 - 1)], None) == [b"* VANISHED (EARLIER) 2:3\r\n"]


def test_sessions_share_one_array_and_let_go_of_old_ones():
    box = Box({uid: 0 for uid in range(1, 1001)})
    image = box.image()
    views = [View(image) for _ in range(10)]
    box.expunge([5])
    image.apply(box.changes(image.modseq))
    old = views[0].uids
    assert all(view.uids is old for view in views) and image.gone
    for view in views:
        view.flush(True)
    assert all(view.uids is image.uids for view in views)
    box.expunge([6])
    image.apply(box.changes(image.modseq))
    assert list(image.gone) == [6]


def test_a_silent_store_of_more_messages_than_the_log_holds_is_silent():
    box = Box({uid: 0 for uid in range(1, 51)})
    image = box.image(log=5)
    view, other = View(image), View(image)
    box.store(range(1, 51), "add", SEEN)
    view.silence([(1, 50)], box.modseq, "add", SEEN)
    image.apply(box.changes(image.modseq))
    assert told(view) == [] and len(told(other)) == 50


def test_a_million_recent_messages_cost_no_more_than_one():
    view = View(Box({uid: 0 for uid in range(1, 4)}).image())
    view.image.claimed(2, 2**32)
    view.meet(1, 2**32 - 1)
    assert view.recent == [(2, 2**32 - 1)] and view.count_recent() == [b"* 2 RECENT\r\n"]


def test_opening_is_right_where_the_mailbox_changed_meanwhile():
    box = Box({1: SEEN, 2: SEEN, 3: 0})
    image = box.image()
    view = View(image)
    box.expunge([1])
    image.apply(box.changes(image.modseq))
    assert b"* OK [UNSEEN 3] The first unseen message\r\n" in opening(view)
