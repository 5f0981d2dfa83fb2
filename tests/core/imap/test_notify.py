"""NOTIFY: what is told of mailboxes that are not selected, and which ones a filter names."""

from __future__ import annotations

from fancymail.core.imap.notify import SERVER, Annotated, Changed, Known, Renamed, Watch, covers, sources
from fancymail.mail.imap.filters import EventGroup, Mailboxes
from fancymail.storage.ports.mailboxes import Mailbox


def box(number: int, name: str, modseq: int = 5, uidnext: int = 10, messages: int = 9, unseen: int = 3, use: str = "") -> Mailbox:
    return Mailbox(number, name, 77, uidnext, modseq, 0, use, 1, f"F{number}", messages, unseen, 0, 0, 1, 0)


def known(*boxes: Mailbox, subscribed=(), shared=()) -> Known:
    return Known({each.id: (each.name, each) for each in boxes}, frozenset(subscribed), frozenset(shared))


def watch(kind: str, *events: str, names=(), condstore=False) -> Watch:
    return Watch([EventGroup(Mailboxes(kind, names), events)], condstore)


INBOX, WORK, SUB = box(1, "INBOX"), box(2, "Work"), box(3, "Work/Sub")
ALL = known(INBOX, WORK, SUB, subscribed=("Work",))


def test_filters():
    for filter_, expected in (
            (Mailboxes("personal"), [1, 2, 3]), (Mailboxes("inboxes"), [1, 2, 3]), (Mailboxes("subscribed"), [2]),
            (Mailboxes("mailboxes", ("INBOX", "x")), [1]),
            (Mailboxes("subtree", ("Work",)), [2, 3]), (Mailboxes("subtree-one", ("Work",)), [2, 3]), (Mailboxes("subtree", ("Wo",)), [])):
        assert [key for key, (name, _) in ALL.boxes.items() if covers(filter_, name, ALL)] == expected
    deep = known(WORK, SUB, box(4, "Work/Sub/Deep"))
    assert sources([Mailboxes("subtree-one", ("Work",))], deep) == [2, 3] and sources([Mailboxes("subtree", ("Work",))], deep) == [2, 3, 4]
    assert not covers(Mailboxes("personal"), "Other Users/bob/x", known(shared=("Other Users/bob/x",)))


def test_sources_of_a_search():
    assert sources([], ALL, 2) == [2] and sources([Mailboxes("selected"), Mailboxes("mailboxes", ("INBOX",))], ALL, 3) == [1, 3]
    assert sources([Mailboxes("personal"), Mailboxes("subscribed")], ALL) == [1, 2, 3] and sources([], ALL) == []


def test_messages_come_go_and_change():
    all_events = watch("personal", "messagenew", "messageexpunge", "flagchange")
    come = known(INBOX, box(2, "Work", 6, 11, 10, 4), SUB)
    assert all_events.differences(ALL, come) == [Changed("Work", come.boxes[2][1], ("MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN"))]
    gone = known(INBOX, box(2, "Work", 6, 10, 8, 3), SUB)
    assert [each.name for each in all_events.differences(ALL, gone)] == ["Work"]
    both = known(INBOX, box(2, "Work", 7, 11, 9, 4), SUB)
    assert watch("personal", "messageexpunge").differences(ALL, both)[0].name == "Work"
    marked = known(INBOX, box(2, "Work", 6, 10, 9, 2), SUB)
    assert all_events.differences(ALL, marked)[0].items == ("UIDVALIDITY", "UNSEEN")
    assert watch("personal", "messagenew").differences(ALL, marked) == [] == all_events.differences(ALL, ALL)
    with_modseq = watch("personal", "messagenew", "messageexpunge", "flagchange", condstore=True)
    assert with_modseq.differences(ALL, marked)[0].items == ("UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ")


def test_the_selected_mailbox_is_told_elsewhere_and_others_only_if_they_are_named():
    come = known(INBOX, box(2, "Work", 6, 11, 10, 4), box(3, "Work/Sub", 6, 11, 10, 4), subscribed=("Work",))
    assert [each.name for each in watch("personal", "messagenew").differences(ALL, come, selected=2)] == ["Work/Sub"]
    assert [each.name for each in watch("subscribed", "messagenew").differences(ALL, come)] == ["Work"]
    assert watch("mailboxes", "messagenew", names=("INBOX",)).differences(ALL, come) == []


def test_the_first_group_counts():
    two = Watch([EventGroup(Mailboxes("mailboxes", ("Work",)), ()), EventGroup(Mailboxes("personal"), ("messagenew",))])
    come = known(box(1, "INBOX", 6, 11, 10, 4), box(2, "Work", 6, 11, 10, 4), SUB)
    assert [each.name for each in two.differences(ALL, come)] == ["INBOX"]


def test_names():
    names = watch("personal", "mailboxname")
    made = known(INBOX, WORK, SUB, box(4, "New"))
    assert names.differences(ALL, made) == [Renamed("New", ("\\HasNoChildren",))]
    assert names.differences(made, ALL) == [Renamed("New", ("\\NonExistent",))]
    moved = known(INBOX, box(2, "Play"), SUB)
    assert names.differences(ALL, moved) == [Renamed("Play", ("\\HasNoChildren",), "Work")]
    assert watch("mailboxes", "mailboxname", names=("Work",)).differences(ALL, moved) == [Renamed("Play", ("\\HasNoChildren",), "Work")]
    assert watch("personal", "messagenew").differences(ALL, known(INBOX, WORK, SUB, box(4, "New", messages=2)))[0].name == "New"


def test_subscriptions():
    changed = known(INBOX, WORK, SUB, subscribed=("INBOX",))
    assert watch("personal", "subscriptionchange").differences(ALL, changed) == [
        Renamed("INBOX", ("\\HasNoChildren", "\\Subscribed")), Renamed("Work", ("\\HasChildren",))]


def test_metadata_is_told_of_by_entry():
    def entries(inbox, server):
        return ALL._replace(metadata={1: inbox, SERVER: server})
    before, after = entries({"/shared/comment": 1, "/private/comment": 2}, {}), entries({"/shared/comment": 3}, {"/shared/admin": 4})
    both = watch("personal", "mailboxmetadatachange", "servermetadatachange")
    assert both.annotated(ALL) == [1, 2, 3, SERVER] and watch("mailboxes", "mailboxmetadatachange", names=("Work",)).annotated(ALL) == [2]
    assert both.differences(before, after) == [Annotated("INBOX", ("/private/comment", "/shared/comment")), Annotated("", ("/shared/admin",))]
    assert both.differences(after, after) == both.differences(ALL, after) == []


def test_status_at_once():
    assert [each.name for each in watch("personal", "flagchange").first(ALL, selected=1)] == ["Work", "Work/Sub"]
    assert watch("personal", "mailboxname").first(ALL) == []


def test_what_may_be_pushed_of_the_selected_mailbox():
    events = ("messagenew", "messageexpunge")
    assert watch("selected", *events).at_once and watch("selected", *events).expunges
    assert watch("selected-delayed", *events).at_once and not watch("selected-delayed", *events).expunges
    assert not watch("personal", *events).at_once and not watch("selected").at_once
