"""The rules of the queue, over a real spool folder and an index in memory, with a clock that we turn."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from fancymail.base.settings.queue import Queue, QueueOptions
from fancymail.core.intake import Refusal
from fancymail.core.queue import QueueManager
from fancymail.core.settlement import pending
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult, dump
from fancymail.storage.memory.queue import MemoryQueueIndex
from fancymail.storage.ports.queue import IndexFailed, State
from fancymail.storage.slots import write_slot
from fancymail.storage.spool import DiskSpool

OPTIONS = Queue(queues={"incoming": QueueOptions(lease=100, longest_defer=1000), "outgoing": QueueOptions()}, free_octets=0, free_files=0)


class Clock:
    """Monotonic and wall time, turned by hand."""

    def __init__(self):
        self.now, self.wall_offset = 1000.0, 1_700_000_000.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now + self.wall_offset


class House:
    """A queue with everything that belongs to it; `restart()` forgets what is only in memory."""

    def __init__(self, folder, options=OPTIONS, **spool):
        self.clock, self.alerts, self.notes = Clock(), [], []
        self.index = MemoryQueueIndex()
        self.folder, self.options = folder, options
        self.spool = DiskSpool(folder, options.queues, **spool)
        self.thread, self.readers = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.restart()

    def restart(self):
        self.queue = QueueManager(self.index, self.spool, self.options, self.thread, self.readers, alert=self.alerts.append,
                                  note=lambda event, **fields: self.notes.append((event, fields)),
                                  monotonic=self.clock.monotonic, wall=self.clock.wall)
        self.queue.open()

    def written(self, queue="incoming", recipients=1, content=b"Subject: hi\r\n\r\nhello\r\n"):
        path, = self.queue.slot(queue)
        write_slot(path, Envelope("a" * 26, "alice@example.test", [Recipient(f"r{n}@example.test") for n in range(recipients)]), content)
        return path

    async def pushed(self, *args, **kwargs):
        path = self.written(*args, **kwargs)
        await self.queue.push(os.path.basename(os.path.dirname(path)), path)
        return path

    def take(self, count=1, queue="incoming", **kwargs):
        return [self.queue.path(entry) for entry in self.queue.take(queue, count, "mailbox", **kwargs)]

    def state(self, path):
        entry = self.index.find(os.path.basename(path))
        return entry.state if entry else None

    def later(self, seconds):
        self.clock.now += seconds
        return self.queue.tick()

    def close(self):
        self.thread.shutdown()
        self.readers.shutdown()
        self.spool.close()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    yield house
    house.close()


def failing(slots):
    """A sync on a broken disk."""
    raise OSError(errno.EIO, "Input/output error")


def refusal(status):
    return pytest.raises(Refusal, match=None) if status is None else _Refused(status)


class _Refused:
    def __init__(self, status):
        self.status = status

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert isinstance(error, Refusal) and error.status == self.status, f"wanted {self.status}, got {error!r}"
        self.text = error.text
        return True


# -- in ----------------------------------------------------------------------------------------------------------------


async def test_a_pushed_message_is_taken_once_and_ends_with_done(house):
    path = await house.pushed()
    assert house.alerts == ["incoming"] and house.queue.total("incoming", State.READY) == (1, 22)
    assert house.take() == [path] and house.take() == []
    house.queue.done("incoming", path)
    assert not os.path.exists(path) and house.state(path) is None
    assert house.queue.total("incoming", State.LEASED) == (0, 0) and len(house.queue.leases) == 0
    house.queue.done("incoming", path)


async def test_the_log_follows_a_message_by_its_one_id(house):
    path = await house.pushed()
    slot = os.path.basename(path)
    house.queue.drop("incoming", [slot])
    assert [(event, facts["id"], facts["slot"]) for event, facts in house.notes] == [("queued", "a" * 26, slot), ("dropped", "a" * 26, slot)]


async def test_slots_have_ids_of_their_own(house):
    paths = house.queue.slot("incoming", 200)
    assert len(set(paths)) == 200 and all(house.queue.id_of("incoming", path) for path in paths)


async def test_pushes_of_one_turn_share_a_sync(house):
    import asyncio
    paths = [house.written() for _ in range(20)]
    await asyncio.gather(*(house.queue.push("incoming", path) for path in paths))
    assert house.queue.intake.commit.batches == 1 and house.alerts == ["incoming"]
    assert sorted(house.take(50)) == sorted(paths)


async def test_push_may_be_repeated(house):
    import asyncio
    path = house.written()
    await asyncio.gather(*(house.queue.push("incoming", path, path) for _ in range(3)))
    house.restart()
    await house.queue.push("incoming", path)
    assert house.take(9) == [path]
    await house.queue.push("incoming", path)
    house.queue.done("incoming", path)
    await house.queue.push("incoming", path)        # its answer was lost, its message is delivered by now
    assert house.take() == []


async def test_only_our_own_names_are_pushed(house, tmp_path):
    path = house.written()
    other = tmp_path / "other"
    other.write_bytes(b"secret")
    id = os.path.basename(path)
    for bad in (str(other), f"{tmp_path}/queues/incoming/../incoming/{id}", f"{tmp_path}/queues/outgoing/{id}", "../" + id,
                path + "\n", path + "/", f"//{path}", id.upper(), "", "/", f"incoming/{id}", f"{tmp_path}/queues/incoming/index.db"):
        with refusal("5.5.4"):
            await house.queue.push("incoming", bad)
    with refusal("5.5.4"):
        await house.queue.push("nonesuch", path)
    with refusal("5.5.4"):
        await house.queue.push("dead", path)
    assert house.index.totals() == {}


async def test_what_is_no_whole_slot_is_refused(house, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    cases = {"cut": lambda path: open(path, "r+b").truncate(70), "empty": lambda path: open(path, "wb").close(),
             "gone": os.unlink, "link": lambda path: (os.unlink(path), os.symlink(secret, path)),
             "hard": lambda path: os.link(path, tmp_path / "second"), "fifo": lambda path: (os.unlink(path), os.mkfifo(path)),
             "folder": lambda path: (os.unlink(path), os.mkdir(path))}
    for name, harm in cases.items():
        path = house.written()
        harm(path)
        with refusal("4.3.0" if name == "gone" else "5.6.0"):
            await house.queue.push("incoming", path)
    assert house.index.totals() == {} and house.alerts == []


async def test_one_bad_slot_does_not_cost_its_neighbours(house):
    good, bad = house.written(), house.queue.slot("incoming")[0]
    with refusal("4.3.0"):
        await house.queue.push("incoming", bad, good)
    assert house.take(9) == [good]


async def test_what_is_being_synced_is_not_handed_out(house, monkeypatch):
    import asyncio
    import threading
    gate = threading.Event()
    sync = house.spool.sync
    monkeypatch.setattr(house.spool, "sync", lambda slots: (slots or gate.wait(), sync(slots)))        # slots are durable, rows not yet
    path = house.written()
    push = asyncio.ensure_future(house.queue.push("incoming", path))
    while not house.index.find(os.path.basename(path)):
        await asyncio.sleep(0)
    assert house.take() == [] and not push.done()
    gate.set()
    await push
    assert house.take() == [path]


async def test_a_failed_sync_burns_its_slots(house, monkeypatch):
    first, second = house.written(), house.written()

    def failing(slots):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(house.spool, "sync", failing)
    monkeypatch.setattr(house.index, "copy_back", lambda: failing(()))
    with refusal("4.3.0"):
        await house.queue.push("incoming", first)
    assert not os.path.exists(first) and house.take() == [] and house.index.totals() == {}
    with refusal("4.3.0"):
        house.queue.slot("incoming")            # nothing is given while nothing can be kept
    monkeypatch.undo()
    with refusal("4.3.0"):
        await house.queue.push("incoming", first)
    house.queue.tick()
    await house.queue.intake.commit.idle()
    await house.queue.push("incoming", second)
    assert house.take(9) == [second]


async def test_a_full_disk_gives_no_slots(house, monkeypatch):
    house.queue.options = house.queue.intake.options = Queue(queues=OPTIONS.queues, free_octets=1000, free_files=10)
    monkeypatch.setattr(house.spool, "room", lambda: (999, 1000))
    with refusal("4.3.1"):
        house.queue.slot("incoming")
    monkeypatch.setattr(house.spool, "room", lambda: (10_000, 9))
    with refusal("4.3.1"):
        house.queue.slot("incoming")
    monkeypatch.setattr(house.spool, "room", lambda: (10_000, 10))
    assert house.queue.slot("incoming")


# -- a client that knows only the reference ------------------------------------------------------------------------------------


async def test_any_octets_may_be_pushed_and_removing_the_file_settles(house):
    path, = house.queue.slot("incoming")
    with open(path, "wb") as file:
        file.write(b"any octets at all")
    await house.queue.push("incoming", path)
    assert house.take(popped=True) == [path]
    os.unlink(path)
    second = await house.pushed()
    assert house.take(popped=True) == [second]          # the next touch notices
    assert house.state(path) is None and house.queue.counters["removed"] == 1


async def test_a_removed_file_is_noticed_when_the_lease_ends(house):
    path = await house.pushed()
    house.take()
    os.unlink(path)
    house.later(101)
    assert house.state(path) is None and house.take() == []


async def test_a_removed_file_is_noticed_after_a_restart(house):
    path = await house.pushed()
    house.take()
    house.restart()
    os.unlink(path)
    house.later(OPTIONS.restart_grace + 1)
    assert house.state(path) is None


async def test_a_file_removed_before_it_is_popped_is_passed_over(house):
    first, second = await house.pushed(), await house.pushed()
    os.unlink(first)
    assert house.take() == [second] and house.queue.total("incoming", State.READY) == (0, 0)


# -- out -------------------------------------------------------------------------------------------------------------------


async def test_the_lease_of_a_dead_consumer_ends(house):
    path = await house.pushed()
    house.take()
    house.later(99)
    assert house.take() == []
    house.later(2)
    assert house.take() == [path] and house.index.find(os.path.basename(path)).attempts == 2


async def test_what_a_consumer_held_is_ready_when_it_begins_anew(house):
    paths = [await house.pushed() for _ in range(3)]
    assert house.take(2) == paths[:2]
    assert house.queue.resume("incoming", "smtpout") == 0 and house.queue.resume("outgoing", "mailbox") == 0
    assert house.queue.resume("incoming", "mailbox") == 2 and house.alerts[-1] == "incoming"
    assert sorted(house.take(9)) == sorted(paths) and house.index.find(os.path.basename(paths[0])).deaths == 0


async def test_when_all_died_nobody_waits_for_the_grace_to_end(house):
    path = await house.pushed()
    house.take()
    house.restart()
    assert house.take() == [] and house.queue.resume("incoming", "mailbox") == 1
    assert house.take() == [path] and house.index.find(os.path.basename(path)).deaths == 0


async def test_deferring_is_no_death(house):
    path = await house.pushed()
    for _ in range(5):
        assert house.take() == [path]
        house.queue.defer("incoming", path, 10, "greylisted")
        house.later(11)
    assert house.index.find(os.path.basename(path)).attempts == 5 and house.state(path) is State.DEFERRED


async def test_a_deferred_message_comes_back_when_it_is_due(house):
    path = await house.pushed()
    house.take()
    house.queue.defer("incoming", path, 60)
    house.alerts.clear()
    assert house.queue.tick() == pytest.approx(15.0) and house.take() == []
    assert house.later(59) == pytest.approx(1.0) and house.alerts == []
    house.later(1)
    assert house.alerts == ["incoming"] and house.take() == [path]


async def test_no_message_is_deferred_beyond_the_limit(house):
    path = await house.pushed()
    house.take()
    house.queue.defer("incoming", path, 1e9)
    assert house.index.find(os.path.basename(path)).due == house.clock.wall() + 1000


async def test_a_clock_set_back_defers_nothing_for_years(house):
    path = await house.pushed()
    house.take()
    house.queue.defer("incoming", path, 60)
    house.clock.wall_offset -= 10 * 365 * 86400
    house.later(1)
    house.later(1001)
    assert house.take() == [path]


async def test_deferred_and_new_mail_share(house):
    paths = [await house.pushed() for _ in range(4)]
    for path in house.take(4):
        house.queue.defer("incoming", path, 1)
    new = [await house.pushed() for _ in range(4)]
    house.later(2)
    taken = house.take(4)
    assert len(set(taken) & set(new)) == 2 and len(set(taken) & set(paths)) == 2
    one_by_one = {house.take()[0] in new for _ in range(2)}
    assert one_by_one == {True, False}
    assert len(house.take(9)) == 2


async def test_done_after_the_lease_is_still_done(house):
    path = await house.pushed()
    house.take()
    house.later(101)
    house.queue.done("incoming", path)
    assert house.state(path) is None and house.take() == []


async def test_defer_after_the_lease_is_ignored(house):
    path = await house.pushed()
    house.take()
    house.later(101)
    house.queue.defer("incoming", path, 500)
    assert house.state(path) is State.READY


async def test_a_lease_is_renewed(house):
    path = await house.pushed()
    house.take()
    house.later(90)
    assert house.queue.renew("incoming", path, 50, "mailbox") == 50
    house.later(20)
    assert house.take() == []
    house.later(40)
    assert house.queue.renew("incoming", path, 0, "mailbox") == 100     # it fell back and nobody took it
    assert house.take() == [] and house.state(path) is State.LEASED
    with refusal("4.5.0"):
        house.queue.renew("incoming", path, 50, "smtpout")
    house.queue.done("incoming", path)
    with refusal("5.5.0"):
        house.queue.renew("incoming", path, 50, "mailbox")


async def test_consumers_outlive_the_queue(house):
    path, other = await house.pushed(), await house.pushed()
    assert len(house.take(2)) == 2
    house.restart()
    assert house.take() == []
    house.queue.renew("incoming", path, 100, "mailbox")
    house.later(11)
    assert house.take() == [other] and house.index.find(os.path.basename(other)).deaths == 0
    house.queue.done("incoming", path)


# -- results ---------------------------------------------------------------------------------------------------------------


def results(**states):
    kinds = {"delivered": "2.0.0", "failed": "5.1.1", "deferred": "4.4.1"}
    return dump(RecipientResult(int(number[1:]), state, kinds[state], "said so", "mx.example.test") for number, state in states.items())


async def test_recipients_are_settled_one_by_one(house):
    path = await house.pushed(recipients=3)
    entry, = house.queue.take("incoming", 1, "smtpout")
    assert house.queue.told(entry).pending == [0, 1, 2]
    assert await house.queue.result("incoming", path, results(r0="delivered", r1="deferred")) is False
    house.queue.defer("incoming", path, 10)
    house.restart()
    house.later(11)
    entry, = house.queue.take("incoming", 1, "smtpout")
    assert house.queue.told(entry).pending == [1, 2] and house.queue.told(entry).attempts == 2
    assert await house.queue.result("incoming", path, results(r1="failed", r2="delivered")) is True
    assert house.state(path) is None and not os.path.exists(path)
    assert await house.queue.result("incoming", path, results(r1="failed")) is True


async def test_what_take_tells_fits_into_a_frame(house):
    path = await house.pushed(recipients=2000)
    for first in range(0, 2000, 500):
        many = dump(RecipientResult(n, "failed" if n % 2 else "deferred", "5.0.0" if n % 2 else "4.0.0", "x" * 900)
                    for n in range(first, first + 500))
        await house.queue.result("incoming", path, many)
    entry, = house.queue.take("incoming", 1, "smtpout")
    told = house.queue.told(entry)
    assert len(told.pending) == 1000 and len(bytes(told.results)) < 32_000
    small = await house.pushed(recipients=2)
    await house.queue.result("incoming", small, results(r0="deferred"))
    entry, = house.queue.take("incoming", 1, "smtpout")
    assert msgspec.json.decode(house.queue.told(entry).results)[0]["text"] == "said so"


async def test_a_final_result_is_never_undone(house):
    path = await house.pushed(recipients=2)
    house.take()
    await house.queue.result("incoming", path, results(r0="delivered"))
    await house.queue.result("incoming", path, results(r0="deferred"))
    assert pending(house.index.find(os.path.basename(path))) == [1]


async def test_senseless_results_are_refused(house):
    path = await house.pushed(recipients=2)
    for bad in ("", "{}", "[1]", '[{"recipient": 2, "state": "delivered", "status": "2.0.0"}]', '[{"recipient": 0, "state": "gone"}]', [{}]):
        with refusal("5.5.4"):
            await house.queue.result("incoming", path, bad)
    with refusal("5.5.0"):
        await house.queue.result("incoming", "a" * 26, "[]")
    assert pending(house.index.find(os.path.basename(path))) == [0, 1]


async def test_a_result_is_durable_before_it_is_answered(house, monkeypatch):
    path = await house.pushed(recipients=2)
    monkeypatch.setattr(house.spool, "sync", failing)
    with refusal("4.3.0"):
        await house.queue.result("incoming", path, results(r0="delivered"))
    assert house.index.find(os.path.basename(path)) is not None


# -- files go round --------------------------------------------------------------------------------------------------------


async def test_an_old_file_is_reused_only_after_its_end_is_durable(house):
    path = await house.pushed()
    inode = os.stat(path).st_ino
    house.take()
    house.queue.done("incoming", path)
    fresh, = house.queue.slot("incoming", reuse=True)
    assert not os.path.exists(fresh)
    house.queue.tick()
    await house.queue.intake.commit.idle()
    reused, = house.queue.slot("incoming", reuse=True)
    assert os.stat(reused).st_ino == inode and os.path.basename(reused) != os.path.basename(path)
    with refusal("5.6.0"):
        await house.queue.push("incoming", reused)          # it was never written: the old message is not in it
    write_slot(reused, Envelope("b" * 26, "", [Recipient("x@example.test")]), b"new")
    await house.queue.push("incoming", reused)
    assert house.take() == [reused]


async def test_strangers_get_no_used_files(house):
    path = await house.pushed()
    house.queue.done("incoming", path)
    house.queue.tick()
    await house.queue.intake.commit.idle()
    assert not any(os.path.exists(path) for path in house.queue.slot("incoming", 5))


async def test_a_file_that_the_store_shares_is_not_reused(house, tmp_path):
    path = await house.pushed()
    os.link(path, tmp_path / "blob")
    house.take()
    house.queue.done("incoming", path)
    house.queue.tick()
    await house.queue.intake.commit.idle()
    assert not os.path.exists(path) and not any(os.path.exists(path) for path in house.queue.slot("incoming", 5, reuse=True))


def refused_by_the_disk(*_):
    raise IndexFailed("index.db: disk I/O error")


@pytest.mark.parametrize("end", [lambda house, path: house.queue.defer("incoming", path, 5.0), lambda house, path: house.queue.tick()],
                         ids=["defer", "expiry"])
async def test_a_disk_that_refuses_the_end_of_a_lease_keeps_no_message_back(house, monkeypatch, end):
    path = await house.pushed()
    assert house.take() == [path]
    monkeypatch.setattr(house.index, "save", refused_by_the_disk)
    monkeypatch.setattr(house.index, "remove", refused_by_the_disk)
    house.clock.now += OPTIONS.queues["incoming"].lease + 1
    with pytest.raises(IndexFailed):
        end(house, path)
    monkeypatch.undo()
    for _ in range(3):
        house.clock.now += 31
        house.queue.tick()
    assert house.take() == [path]


async def test_a_message_that_is_done_is_done_whatever_the_disk_says_of_its_row(house, monkeypatch):
    path = await house.pushed()
    house.take()
    monkeypatch.setattr(house.index, "remove", refused_by_the_disk)
    with pytest.raises(IndexFailed):
        house.queue.done("incoming", path)
    monkeypatch.undo()
    for _ in range(3):
        house.clock.now += OPTIONS.queues["incoming"].lease + 31
        house.queue.tick()
    assert house.take() == [] and house.index.find(os.path.basename(path)) is None      # its file had gone first, and that settles it
