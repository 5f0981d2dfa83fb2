"""THREAD: which messages answer which (RFC 5256 3 ORDEREDSUBJECT and REFERENCES), from hashes and subjects that were computed at delivery.

Called by servers/imap with what search found. Nodes are numbers in flat lists, and nothing recurses: a thread may be as deep as the mailbox is long.
It reads four columns once and says the answer; threads are never stored.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable

from fancymail.core.imap.search import Places, no_turn
from fancymail.core.imap.sort import columns_of
from fancymail.core.imap.view import View
from fancymail.storage.ports.reader import BoxReader

CLIMB = 1_000                       # ancestors looked at for a loop; a link that needs more is not made

Tree = tuple[int, list]             # place of a message or -1, and what answers it: (place, [...]) each


async def thread(view: View, box: BoxReader, algorithm: str, places: Places, uid: bool, turn: Callable[[], Awaitable[None]] = no_turn) -> bytes:
    """Return the `* THREAD` answer for the messages at these places; that of a whole mailbox is kept with its image. Raises MailboxGone."""
    if not view.current or len(places) < view.count:
        return await _answer(view, box, algorithm, places, uid, turn)
    orders, key, uids, count = view.image.orders, ("THREAD", algorithm, uid), view.uids, view.count
    answer = orders.answer(key, uids, count)
    if answer is None:
        answer = await _answer(view, box, algorithm, places, uid, turn)
        orders.keep_answer(key, uids, count, answer)
    return answer


async def _answer(view: View, box: BoxReader, algorithm: str, places: Places, uid: bool, turn: Callable[[], Awaitable[None]]) -> bytes:
    names = ("sent", "subject_key") + (("reply", "references") if algorithm == "REFERENCES" else ())
    values = await columns_of(view, box, names, places, turn)
    if algorithm == "REFERENCES":
        trees = _by_references(places, values["references"], values["sent"], values["subject_key"], values["reply"])
    else:
        trees = _by_subject(places, values["sent"], values["subject_key"])
    await turn()
    numbers = view.uids if uid else range(1, view.count + 1)
    text = b"".join([_text(tree, numbers) for tree in trees])
    return b"* THREAD %b\r\n" % text if text else b"* THREAD\r\n"


def _by_subject(places: Places, sent: dict[int, int], subjects: dict[int, str]) -> list[Tree]:
    """ORDEREDSUBJECT: the first message of a subject, and all others as answers to it."""
    threads: dict[str, Tree] = {}
    for place in sorted(places, key=lambda place: (sent[place], place)):
        if subjects[place] in threads:
            threads[subjects[place]][1].append((place, []))
        else:
            threads[subjects[place]] = (place, [])
    return list(threads.values())           # in the order of their first messages


def _by_references(places: Places, references: dict[int, bytes], sent: dict[int, int], subjects: dict[int, str],
                   replies: dict[int, int]) -> list[Tree]:
    """REFERENCES, step by step."""
    links = _Links()
    for place in places:                                                # step 1
        own, *ancestors = struct.unpack(f"<{len(references[place]) // 8}q", references[place])
        links.add(place, own, ancestors)
    roots = _sorted(_pruned(links), sent)                               # steps 2, 3 and 4
    return _sorted(_gathered(roots, subjects, replies), sent)           # steps 5 and 6


class _Links:
    """Nodes by message id: `parents` of each, -1 for none; `messages`: its place, -1 where only its id is known."""

    def __init__(self) -> None:
        self.nodes: dict[int, int] = {}
        self.parents: list[int] = []
        self.messages: list[int] = []
        self.answers: list[int] = []                    # how many

    def add(self, place: int, own: int, ancestors: Iterable[int]) -> None:
        """Take one message."""
        before = -1
        for id in ancestors:                            # 1 A: link those ids that have no parent yet
            node = self._node(id)
            if before >= 0 and self.parents[node] < 0 and not self._loops(before, node):
                self._link(before, node)
            before = node
        node = self.nodes.get(own, -1) if own else -1
        if node < 0 or self.messages[node] >= 0:        # no id, or one that another message has: it stands for itself
            node = self._new() if not own or node >= 0 else self._node(own)
        self.messages[node] = place
        if before == node or before >= 0 and self._loops(before, node):
            return
        if self.parents[node] >= 0:                     # 1 B: what the message itself says counts more
            self.answers[self.parents[node]] -= 1
            self.parents[node] = -1
        if before >= 0:
            self._link(before, node)

    def _link(self, parent: int, node: int) -> None:
        self.parents[node] = parent
        self.answers[parent] += 1

    def _loops(self, parent: int, node: int) -> bool:
        """Would `parent` become its own ancestor?"""
        if parent == node:
            return True
        if not self.answers[node]:                      # nothing is below it: mostly so, as answers come later
            return False
        for _ in range(CLIMB):
            parent = self.parents[parent]
            if parent < 0:
                return False
            if parent == node:
                return True
        return True

    def _node(self, id: int) -> int:
        node = self.nodes.get(id, -1)
        if node < 0:
            node = self.nodes[id] = self._new()
        return node

    def _new(self) -> int:
        self.parents.append(-1)
        self.messages.append(-1)
        self.answers.append(0)
        return len(self.parents) - 1


def _pruned(links: _Links) -> list[Tree]:
    """Steps 2 and 3: the trees, without ids that no message has; at the top one stays that holds several together."""
    trees: list[Tree] = [(place, []) for place in links.messages]
    roots: list[int] = []
    for node in _deepest_first(links.parents):
        place, below = trees[node]
        parent = links.parents[node]
        if parent < 0:
            roots.append(node)
        elif place >= 0:
            trees[parent][1].append(trees[node])
        else:
            trees[parent][1].extend(below)
    kept: list[Tree] = []
    for node in sorted(roots):
        place, below = trees[node]
        if place >= 0 or len(below) > 1:
            kept.append(trees[node])
        else:
            kept += below
    return kept


def _deepest_first(parents: list[int]) -> list[int]:
    """All nodes, each before its parent."""
    order = [node for node, parent in enumerate(parents) if parent < 0]
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        if parent >= 0:
            below.setdefault(parent, []).append(node)
    for node in order:                                  # grows as it goes
        order += below.get(node, ())
    return order[::-1]


def _gathered(roots: list[Tree], subjects: dict[int, str], replies: dict[int, int]) -> list[Tree]:
    """Step 5: threads of one subject become one."""
    table: dict[str, int] = {}
    for index, root in enumerate(roots):
        first = _first(root)
        subject = subjects[first]
        if not subject:
            continue
        known = table.get(subject)
        if known is None or root[0] < 0 <= roots[known][0] or replies[_first(roots[known])] and not replies[first]:
            table[subject] = index
    merged: list[Tree | None] = list(roots)
    for index, root in enumerate(roots):
        first = _first(root)
        known = table.get(subjects[first], index)
        if known == index:
            continue
        other = merged[known]
        merged[index] = None
        if other[0] < 0 and root[0] < 0:
            other[1].extend(root[1])
        elif other[0] < 0 or replies[first] and not replies[_first(other)]:
            other[1].append(root)
        else:
            merged[known] = (-1, [other, root])
    return [tree for tree in merged if tree is not None]


def _first(tree: Tree) -> int:
    """The message that stands for a tree: its own, or its first answer."""
    while tree[0] < 0:
        tree = tree[1][0]
    return tree[0]


def _sorted(trees: list[Tree], sent: dict[int, int]) -> list[Tree]:
    """Order siblings by the time they were sent, at all depths; what is below first, as a missing message has the time of its first answer."""
    every, queue = [], list(trees)
    for tree in queue:                                  # grows as it goes
        every.append(tree)
        queue += tree[1]

    def moment(tree: Tree) -> tuple[int, int]:
        place = _first(tree)
        return sent[place], place

    for _, below in reversed(every):
        if len(below) > 1:
            below.sort(key=moment)
    return sorted(trees, key=moment)


def _text(tree: Tree, numbers) -> bytes:
    """A tree as RFC 5256 5 writes it: (2 (4 6)(8))."""
    out: list[bytes] = []
    stack: list[Tree | bytes] = [b")", tree, b"("]
    while stack:
        item = stack.pop()
        if isinstance(item, bytes):
            out.append(item)
            continue
        place, below = item
        if place >= 0:
            out.append(b"%d" % numbers[place])
        if len(below) == 1:
            stack.append(below[0])
            out.append(b" ")
        elif below:
            if place >= 0:
                out.append(b" ")
            for each in reversed(below):
                stack += (b")", each, b"(")
    return b"".join(out)
