"""One task for each nominal time, whoever dies when: at every boundary between two records, and with two dispatchers."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from taskservice.core.effects import Answer
from taskservice.core.events import Ticked
from taskservice.core.limits import Limits
from taskservice.core.records import Record, ScheduleFired, TasksAccepted
from taskservice.core.recurrence import task_id
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import ListFilter
from taskservice.journal import Fenced
from taskservice.journal.codec import decode, encode
from taskservice.journal.memory import MemoryJournal, MemoryStore
from world.machine import START_MS, Machine, function

MINUTE = 60_000
MINUTES = 8
LIMITS = Limits(schedule_catchup_max=MINUTES, due_batch_max=3)


def lived() -> Machine:
    """Schedules of all kinds, and a fresh start in between; each with eight minutes to go."""
    machine = Machine(LIMITS)
    machine.register()
    machine.join(cpus=4)
    for overlap in Overlap:
        machine.put_schedule(overlap, overlap=overlap, catch_up=CatchUp.ALL, interval_ms=MINUTE)
    machine.put_schedule("cron", cron="* * * * *", catch_up=CatchUp.ALL, ends_ms=START_MS + MINUTES * MINUTE)
    for minute in range(MINUTES):
        machine.now_ms += MINUTE
        machine.catch_up()
        if minute % 3 == 2:
            for lease in machine.dispatch():
                machine.succeed(lease)
            machine.catch_up()
    return machine


def records_of(machine: Machine) -> list[Record]:
    return [record for epoch in machine.store.epochs for body in epoch for record in decode(body)]


def with_journal(records: list[Record], now_ms: int) -> Machine:
    """The service that is started on a journal with these records."""
    store = MemoryStore()
    journal = MemoryJournal(store)
    journal.append(0, encode(tuple(records)))
    machine = Machine(LIMITS)
    machine.store, machine.now_ms = store, now_ms
    machine.restart()
    return machine


def check_times(machine: Machine) -> None:
    """Every schedule's times are all accounted for, once."""
    ids = [task.id for task in machine.state.table.listing(ListFilter(), None, 1_000)]
    assert len(ids) == len(set(ids))
    for known in machine.state.schedules.of(None):
        schedule, progress = known.schedule, known.progress
        first_ms = START_MS + MINUTE if schedule.spec.cron is None else START_MS // MINUTE * MINUTE + MINUTE
        over_ms = START_MS + MINUTES * MINUTE if progress.next_ms is None else progress.next_ms
        times = range(first_ms, over_ms, MINUTE)
        made = [each for each in times if task_id(schedule.id, each) in ids]
        assert sum(id.startswith(f"{schedule.id}@") for id in ids) == len(made) == progress.fired
        waiting = progress.waiting_ms is not None
        assert len(times) == progress.fired + progress.skipped.overlap + waiting
        if schedule.spec.overlap is Overlap.ALLOW:
            assert len(made) == len(times) == MINUTES


def test_whatever_part_of_the_journal_there_is_the_rest_follows_once() -> None:
    """A segment holds all records of a turn; this asks for more: that any number of them may be missing."""
    whole = lived()
    records, now_ms = records_of(whole), whole.now_ms
    check_times(whole)
    boundaries = 0
    first = next(at for at, record in enumerate(records) if isinstance(record, TasksAccepted))
    for length in range(first, len(records) + 1):
        machine = with_journal(records[:length], now_ms)
        machine.catch_up()
        check_times(machine)
        machine.close()
        boundaries += 1
    torn = sum(isinstance(one, TasksAccepted) and isinstance(other, ScheduleFired) for one, other in pairwise(records))
    print(f"{boundaries} boundaries, {torn} of them between tasks and what their schedules know of them")
    assert torn > 10


@pytest.mark.parametrize("durable", [False, True], ids=["decided only", "durable"])
def test_a_dispatcher_that_dies_between_decision_and_answer_has_one_successor(durable: bool) -> None:
    machine = Machine()
    machine.register()
    machine.put_schedule("s", interval_ms=MINUTE)
    machine.now_ms += MINUTE
    machine.handle(Ticked())
    if durable:
        cut = machine.shard.cut()
        assert cut is not None
        machine.journal.append(cut.number, encode(cut.records))
    machine.restart()
    machine.catch_up()
    assert list(machine.states()) == [task_id(ScheduleId("s"), START_MS + MINUTE)]
    assert machine.progress("s").fired == 1
    machine.close()


@pytest.mark.parametrize("seed", range(20))
def test_two_dispatchers_make_one_task_for_each_time(seed: int) -> None:
    """The one whose time is over goes on until it is told; nothing that it decides can be seen."""
    rng = Random(seed)
    machine = Machine()
    machine.register(function())
    machine.put_schedule("s", catch_up=CatchUp.ALL, interval_ms=MINUTE)
    zombies: list[tuple[object, MemoryJournal]] = []
    for _ in range(10):
        machine.now_ms += MINUTE
        if rng.random() < 0.5:
            zombie, journal = machine.shard, machine.journal
            machine.restart()
            zombie.handle(Ticked(), machine.now_ms + rng.choice([-10, 0, 30_000]), rng)
            cut = zombie.cut()
            if cut is not None:
                with pytest.raises(Fenced):
                    journal.append(cut.number, encode(cut.records))
            assert not [effect for effect in zombie.release() if not isinstance(effect, Answer)]
            zombies.append((zombie, journal))
        machine.catch_up()
    ids = [task.id for task in machine.state.table.listing(ListFilter(DEFAULT_TENANT), None, 100)]
    assert sorted(ids) == [task_id(ScheduleId("s"), START_MS + minute * MINUTE) for minute in range(1, 11)]
    assert machine.progress("s").fired == 10
    machine.close()
