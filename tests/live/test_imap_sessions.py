"""Several sessions of one account over real sockets: what each is told of the others, when, and that it adds up.

The scenarios are those that Gluon's own tests found worth telling; the last test is a property: a client that believes only what it is
told agrees with a fresh SELECT at the end, whatever many sessions did meanwhile.
"""

from __future__ import annotations

import random
import re
import threading
from itertools import count

import pytest

from tests.imap_kit import Believer, Wire
from tests.live.suite import ALICE
from tests.suite_kit import wait_for

_numbers = count(1)
LETTER = b"From: Bob <bob@x.test>\r\nTo: alice@example.test\r\nSubject: number %d\r\nMessage-ID: <%d@x.test>\r\n\r\ntext %d\r\n"


def letter(number: int = 0) -> bytes:
    """Return a small message."""
    return LETTER % (number, number, number)


@pytest.fixture
def sessions(suite):
    """Return a maker of logged-in sessions; all are ended after the test."""
    made: list[Wire] = []

    def make(how_many: int = 1) -> list[Wire]:
        made.extend(fresh := [suite.imap(ALICE) for _ in range(how_many)])
        return fresh
    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def box(sessions):
    """Return the name of a mailbox with three messages."""
    return make_box(sessions()[0], 3)


def make_box(wire: Wire, messages: int) -> str:
    """Create a mailbox with messages; return its name."""
    name = f"box{next(_numbers)}"
    wire.ok(f"CREATE {name}")
    for number in range(messages):
        wire.append(name, letter(number + 1))
    return name


def told(believer: Believer, condition, what: str) -> None:
    """Say NOOP until the client has been told."""
    def heard() -> bool:
        believer.ask("NOOP")
        believer.learn()
        return condition()
    wait_for(heard, what)


def both(sessions, box: str, more: str = "") -> tuple[Believer, Believer]:
    """Return two clients that have selected the mailbox."""
    first, second = (Believer(wire) for wire in sessions(2))
    first.select(box, more)
    second.select(box, more)
    return first, second


def test_a_new_message_is_told_to_the_other(sessions, box):
    first, second = both(sessions, box)
    first.append(box, letter(4))
    told(second, lambda: len(second.uids) == 4, "EXISTS 4")
    told(first, lambda: len(first.uids) == 4, "EXISTS 4 to who appended it")
    assert first.picture() == second.picture()


def test_flags_travel(sessions, box):
    first, second = both(sessions, box)
    first.ask(r"STORE 2 +FLAGS (\Flagged $Work)")
    told(second, lambda: second.flags[1] == {rb"\Flagged", b"$Work"}, "the flags")
    second.ask(r"UID STORE %d -FLAGS (\Flagged)" % second.uids[1])
    told(first, lambda: first.flags[1] == {b"$Work"}, "the flag is gone")
    assert first.picture() == second.picture()


def test_expunges_travel_and_numbers_are_each_session_s_own(sessions, box):
    first, second = both(sessions, box)
    kept = second.uids[1:]
    first.ask(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    assert first.ask("EXPUNGE").numbers("EXPUNGE") == [1]
    answer = second.ask("FETCH 2:3 (UID)", expunges=False)         # for this session nothing has moved yet
    assert len(answer.of("FETCH")) >= 2 and second.uids[1:] == kept
    told(second, lambda: len(second.uids) == 2, "EXPUNGE 1")
    assert second.uids == first.uids == kept


def test_an_expunged_message_is_readable_where_it_is_still_seen(sessions, box):
    first, second = both(sessions, box)
    first.ask(r"STORE 2 +FLAGS.SILENT (\Deleted)")
    first.ask("EXPUNGE")
    answer = second.ask("FETCH 2 (UID BODY.PEEK[TEXT])", expunges=False)
    if answer.status == "OK":                           # Dovecot may refuse, RFC 2180 4.1 allows both; what comes has to be the right one
        assert any(b"text 2" in response for response in answer.of("FETCH"))
    told(second, lambda: len(second.uids) == 2, "EXPUNGE 2")
    assert b"text 3" in second.ask("FETCH 2 BODY.PEEK[TEXT]").of("FETCH")[-1]


def test_flags_of_an_expunged_message_hurt_nobody(sessions, box):
    first, second = both(sessions, box)
    first.ask(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    first.ask("EXPUNGE")
    answer = second.ask(r"STORE 1:3 +FLAGS (\Answered)", expunges=False)
    assert answer.status in ("OK", "NO")
    told(second, lambda: len(second.uids) == 2, "EXPUNGE 1")
    told(first, lambda: first.flags == [{rb"\Answered"}] * 2, "the flags of the others")


def test_copying_an_expunged_message_copies_nothing_or_says_no(sessions, box):
    first, second = both(sessions, box)
    target = make_box(first.wire, 0)
    first.ask(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    first.ask("EXPUNGE")
    answer = second.ask(f"COPY 1:2 {target}")
    count = int(first.wire.ok(f"STATUS {target} (MESSAGES)").of("STATUS")[0].split()[-1].strip(b")("))
    assert (answer.status, count) in {("NO", 0), ("OK", 1), ("OK", 2)}


def test_delete_and_add_again_is_a_new_message(sessions, box):
    first, second = both(sessions, box)
    gone = first.uids[2]
    first.ask(r"STORE 3 +FLAGS.SILENT (\Deleted)")
    first.ask("EXPUNGE")
    first.append(box, letter(3))
    told(second, lambda: len(second.uids) == 3 and second.uids[2] != gone, "EXPUNGE 3 and EXISTS 3")
    assert second.uids[2] > gone


def test_status_tells_the_truth_while_a_view_does_not_know_it_yet(sessions, box):
    first, second = both(sessions, box)
    other, = sessions()
    other.append(box, letter(4))
    wait_for(lambda: b"MESSAGES 4" in other.ok(f"STATUS {box} (MESSAGES UIDNEXT UNSEEN)").of("STATUS")[0], "STATUS with 4")
    second.ask("FETCH 1:* (UID FLAGS)", expunges=False)            # may or may not have heard; what it hears has to fit
    told(second, lambda: len(second.uids) == 4, "EXISTS 4")
    assert second.uids[3] > second.uids[2]


def test_a_deleted_flag_stays_with_its_mailbox(sessions, box):
    wire, = sessions()
    target = make_box(wire, 0)
    wire.select(box)
    wire.ok(f"COPY 1 {target}")
    wire.ok(r"STORE 1 +FLAGS (\Deleted)")
    wire.select(target)
    assert rb"\Deleted" not in wire.ok("FETCH 1 FLAGS").of("FETCH")[0]
    wire.select(box)
    wire.ok(f"COPY 1 {target}")
    wire.select(target)
    assert rb"\Deleted" in wire.ok("FETCH 2 FLAGS").of("FETCH")[0]      # RFC 9051 6.4.7: flags are copied


def test_select_while_another_session_appends(sessions):
    writer, reader = sessions(2)
    box = make_box(writer, 0)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(60):
                writer.append(box, letter(number))
        except BaseException as error:      # told in the test's own thread
            failures.append(error)
    thread = threading.Thread(target=write)
    thread.start()
    believer = Believer(reader)
    seen = 0
    while thread.is_alive():
        believer.select(box)
        assert len(believer.uids) >= seen
        seen = len(believer.uids)
        assert believer.uids == sorted(set(believer.uids))
    thread.join()
    assert not failures
    told(believer, lambda: len(believer.uids) == 60, "all of them")
    assert believer.uids == sorted(set(believer.uids))


def test_two_fetches_at_once(sessions, box):
    wire, = sessions()
    wire.select(box)
    first, second = wire.start("FETCH 1:3 (FLAGS UID)"), wire.start("FETCH 1:3 BODY.PEEK[]")
    answers = [response for tag in (first, second) for response in wire.finish(tag).of("FETCH")]     # the server may answer both in one go
    for number in (1, 2, 3):
        mine = [response for response in answers if response.startswith(b"* %d " % number)]
        assert any(b"FLAGS" in response for response in mine) and any(b"text %d" % number in response for response in mine)


def test_move_back_and_forth(sessions, box):
    first, second = both(sessions, box)
    target = make_box(first.wire, 0)
    for _ in range(3):
        assert sorted(first.ask(f"MOVE 1:3 {target}").numbers("EXPUNGE")) in ([1, 1, 1], [1, 2, 3])
        told(second, lambda: not second.uids, "three EXPUNGE")
        first.select(target)
        assert len(first.uids) == 3
        first.ask(f"UID MOVE 1:* {box}")
        assert first.uids == []
        told(second, lambda: len(second.uids) == 3, "three again")
        first.select(box)
    assert [b"text %d" % (number + 1) in response for number, response in enumerate(first.ask("FETCH 1:3 BODY.PEEK[TEXT]").of("FETCH"))] == [True] * 3


@pytest.mark.parametrize("numbers, expected", [("*", [3]), ("3:1", [1, 2, 3]), ("*:2", [2, 3]), ("1:*", [1, 2, 3]), ("2,1,2", [1, 2])])
def test_sequence_sets(sessions, box, numbers, expected):
    wire, = sessions()
    wire.select(box, "EXAMINE")
    assert wire.ok(f"FETCH {numbers} UID").numbers("FETCH") == expected


def test_uid_sets_beyond_the_end_name_the_last_message_with_a_star_only(sessions, box):
    wire, = sessions()
    wire.select(box, "EXAMINE")
    assert wire.ok("UID FETCH 999:* UID").numbers("FETCH") == [3]       # RFC 9051 9: 999:* is *:999
    assert wire.ok("UID FETCH 999 UID").numbers("FETCH") == []
    assert wire.ask("FETCH 4 UID").status in ("BAD", "NO")


def test_sequence_sets_in_an_empty_mailbox(sessions):
    wire, = sessions()
    wire.select(make_box(wire, 0))
    assert wire.ask("UID FETCH 1:* FLAGS").status == "OK"
    answer = wire.ask("FETCH 1:* FLAGS")
    assert answer.status in ("OK", "BAD", "NO") and not answer.of("FETCH")
    assert wire.ok("SEARCH ALL").numbers("SEARCH") == []


def test_idle_is_told_at_once_of_everything(sessions, box):
    first, second = both(sessions, box)
    tag = second.wire.idle()
    first.append(box, letter(4))
    second.hear([response := second.wire.response()])
    assert response == b"* 4 EXISTS"
    first.ask("NOOP")
    first.ask(r"STORE 1 +FLAGS (\Deleted)")
    seen: list[bytes] = []
    while not any(b"FETCH" in response for response in seen):
        seen.append(second.wire.response())
    assert b"* 1 FETCH" in seen[-1] and rb"\Deleted" in seen[-1]
    first.ask("EXPUNGE")
    while b"* 1 EXPUNGE" not in seen:
        seen.append(second.wire.response())
    second.hear([*seen, *second.wire.done(tag).untagged])
    second.learn()
    assert len(second.uids) == 3


def test_the_selected_mailbox_is_removed_by_another_session(sessions, box):
    first, second = sessions(2)
    first.select(box)
    second.ok(f"DELETE {box}")
    said: list[bytes] = []

    def over() -> bool:
        try:
            answer = first.ask("NOOP")
            said.extend(answer.untagged)
            return answer.status == "NO" or any(b"CLOSED" in response for response in answer.untagged)
        except (EOFError, ConnectionError):
            return True
    wait_for(over, "BYE, or no mailbox selected any more")
    assert second.ask(f"STATUS {box} (MESSAGES)").status == "NO"


def test_a_renamed_mailbox_goes_on_under_its_view(sessions, box):
    first, second = sessions(2)
    believer = Believer(first)
    believer.select(box)
    second.ok(f"RENAME {box} {box}-renamed")
    second.append(f"{box}-renamed", letter(4))
    told(believer, lambda: len(believer.uids) == 4, "what came after the renaming")
    assert b"text 4" in first.ok("FETCH 4 BODY.PEEK[TEXT]").of("FETCH")[0]


def test_close_expunges_without_a_word_and_unselect_does_not(sessions, box):
    first, second = both(sessions, box)
    first.ask(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    first.wire.ok("UNSELECT")
    first.select(box)
    assert len(first.uids) == 3
    assert not first.wire.ok("CLOSE").of("EXPUNGE")
    told(second, lambda: len(second.uids) == 2, "EXPUNGE 1")


def test_examine_changes_nothing(sessions, box):
    wire, = sessions()
    assert wire.select(box, "EXAMINE").code() == "READ-ONLY"
    wire.ok("FETCH 1 BODY[TEXT]")
    assert wire.ask(r"STORE 1 +FLAGS (\Seen)").status == "NO"
    assert wire.ask("EXPUNGE").status == "NO"
    assert rb"\Seen" not in wire.ok("FETCH 1 FLAGS").of("FETCH")[-1]


def test_reading_a_body_marks_it_and_tells_both(sessions, box):
    first, second = both(sessions, box)
    first.ask("FETCH 2 BODY[TEXT]", expunges=False)
    assert rb"\Seen" in first.flags[1]
    told(second, lambda: rb"\Seen" in second.flags[1], "\\Seen")


def test_a_store_that_came_too_late_is_refused_with_condstore(sessions, box):
    first, second = both(sessions, box)
    modseq = int(re.search(rb"MODSEQ \((\d+)\)", first.ask("FETCH 3 (MODSEQ)").of("FETCH")[0])[1])
    second.ask(r"STORE 2 +FLAGS (\Flagged)")
    answer = first.ask(rf"UID STORE {first.uids[0]}:{first.uids[2]} (UNCHANGEDSINCE {modseq}) +FLAGS (\Answered)")
    assert answer.code() == f"MODIFIED {first.uids[1]}"
    told(second, lambda: rb"\Answered" in second.flags[0] and rb"\Answered" not in second.flags[1], "only two are answered")


def test_qresync_says_what_vanished_meanwhile(sessions, box):
    first, second = sessions(2)
    first.ok("ENABLE QRESYNC")
    answer = first.select(box)
    facts = b" ".join(answer.untagged).decode()
    validity, modseq = (facts.partition(f"[{word} ")[2].partition("]")[0] for word in ("UIDVALIDITY", "HIGHESTMODSEQ"))
    first.ok("UNSELECT")
    uids = second.select(box) and second.ok("UID SEARCH ALL").numbers("SEARCH")
    second.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    second.ok(r"STORE 3 +FLAGS.SILENT (\Answered)")
    second.ok("EXPUNGE")
    answer = first.select(box, more=f" (QRESYNC ({validity} {modseq}))")
    assert f"* VANISHED (EARLIER) {uids[0]}".encode() in answer.untagged
    changed = answer.of("FETCH")
    assert len(changed) == 1 and f"UID {uids[2]}".encode() in changed[0] and rb"\Answered" in changed[0]


# -- the property ----------------------------------------------------------------------------------------------------------

FLAGS = [rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft", b"$Junk", b"$Work"]


class Walker:
    """One session that does random things, believing what it is told."""

    def __init__(self, wire: Wire, boxes: list[str], seed: int, told: dict[tuple[str, int], object]) -> None:
        self.believer, self.boxes, self.random = Believer(wire), boxes, random.Random(seed)
        self.told = told                    # who was told first of a message, of all walkers: it is \Recent there and nowhere else
        if self.random.random() < 0.3:
            wire.ok("ENABLE QRESYNC")
        self.enter()

    def enter(self) -> None:
        """Select one of the mailboxes."""
        self.box, self.selection = self.random.choice(self.boxes), object()
        self.believer.select(self.box, self.random.choice(["", " (CONDSTORE)"]))

    def step(self) -> None:
        """Do one thing."""
        self.random.choice([self.append, self.store, self.store, self.store, self.expunge, self.fetch, self.search, self.copy, self.move,
                            self.noop, self.noop, self.idle, self.again])()
        self.believer.learn()
        for uid in self.believer.recent:
            assert self.told.setdefault((self.box, uid), self.selection) is self.selection, f"UID {uid} of {self.box} is recent in two sessions"

    def some(self) -> list[int]:
        """Return some places of messages."""
        places = range(len(self.believer.uids))
        return sorted(self.random.sample(places, min(len(places), self.random.randint(1, 4))))

    def named(self, places: list[int]) -> tuple[str, str]:
        """Return these messages by number or by UID: the command's prefix and the set."""
        if self.random.random() < 0.5:
            return "UID ", ",".join(str(self.believer.uids[place]) for place in places)
        return "", ",".join(str(place + 1) for place in places)

    def append(self) -> None:
        flags = self.random.sample(FLAGS, self.random.randint(0, 2))
        self.believer.append(self.random.choice(self.boxes), letter(self.random.randrange(1000)), b" ".join(flags).decode())

    def store(self) -> None:
        if not (places := self.some()):
            return
        prefix, numbers = self.named(places)
        how, flags = self.random.choice(["+", "-", ""]), frozenset(self.random.sample(FLAGS, self.random.randint(1, 3)))
        silent = self.random.random() < 0.5
        answer = self.believer.wire.ask(f"{prefix}STORE {numbers} {how}FLAGS{'.SILENT' * silent} ({b' '.join(flags).decode()})")
        assert answer.status in ("OK", "NO"), answer
        if silent and answer.status == "OK":       # before what others did is heard: that comes later, and wins
            for place in places:
                self.believer.silently(place, how, flags)
        self.believer.hear(answer.untagged, expunges=bool(prefix))

    def expunge(self) -> None:
        if self.random.random() < 0.5 and (places := self.some()):
            self.believer.ask("UID EXPUNGE " + ",".join(str(self.believer.uids[place]) for place in places))
        else:
            self.believer.ask("EXPUNGE")

    def fetch(self) -> None:
        if places := self.some():
            prefix, numbers = self.named(places)
            self.believer.ask(f"{prefix}FETCH {numbers} (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", expunges=bool(prefix))

    def search(self) -> None:
        found = self.believer.ask("SEARCH ALL", expunges=False).numbers("SEARCH")
        assert all(1 <= number <= len(self.believer.uids) for number in found)

    def copy(self) -> None:
        if places := self.some():
            prefix, numbers = self.named(places)
            self.believer.ask(f"{prefix}COPY {numbers} {self.random.choice(self.boxes)}")

    def move(self) -> None:
        if places := self.some():
            prefix, numbers = self.named(places)
            self.believer.ask(f"{prefix}MOVE {numbers} {self.random.choice(self.boxes)}")

    def noop(self) -> None:
        self.believer.ask("NOOP")

    def idle(self) -> None:
        self.believer.hear(self.believer.wire.done(self.believer.wire.idle()).untagged)

    def again(self) -> None:
        if self.random.random() < 0.3:
            self.enter()


def truth(wire: Wire, box: str) -> list[tuple[int, list[bytes]]]:
    """Return what a fresh SELECT shows."""
    fresh = Believer(wire)
    fresh.select(box)
    return fresh.picture()


def agree(walker: Walker, wire: Wire) -> None:
    """The walker's belief becomes the truth, by NOOP alone."""
    def same() -> bool:
        walker.noop()
        walker.believer.learn()
        return walker.believer.picture() == truth(wire, walker.box)
    try:
        wait_for(same, "agreement")
    except AssertionError as error:
        raise AssertionError(f"{walker.believer.picture()}\nis not\n{truth(wire, walker.box)}") from error


@pytest.mark.parametrize("seed", [1, 2])
def test_one_after_the_other_sessions_agree_with_a_fresh_select(sessions, seed):
    first, = sessions()
    boxes = [make_box(first, 5), make_box(first, 2)]
    told: dict[tuple[str, int], object] = {}
    walkers = [Walker(wire, boxes, seed * 100 + number, told) for number, wire in enumerate(sessions(6))]
    chooser = random.Random(seed)
    for _ in range(150):
        chooser.choice(walkers).step()
    assert told, "nobody was told of a recent message"
    for walker in walkers:
        agree(walker, first)


@pytest.mark.parametrize("how_many, steps", [(8, 25), (50, 10), pytest.param(50, 60, marks=pytest.mark.slow)])
def test_at_the_same_time_sessions_agree_with_a_fresh_select(sessions, how_many, steps):
    first, = sessions()
    boxes = [make_box(first, 8), make_box(first, 3)]
    told: dict[tuple[str, int], object] = {}
    walkers = [Walker(wire, boxes, 1000 + number, told) for number, wire in enumerate(sessions(how_many))]
    failures: list[BaseException] = []

    def walk(walker: Walker) -> None:
        try:
            for _ in range(steps):
                walker.step()
        except BaseException as error:      # told in the test's own thread
            failures.append(error)
    threads = [threading.Thread(target=walk, args=(walker,)) for walker in walkers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert told, "nobody was told of a recent message"
    for walker in walkers:
        agree(walker, first)
