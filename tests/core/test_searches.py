"""What is leased from behind tasks that bulk operations want: soon, and without looking at any of them again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from core.test_bulk import names
from helpers.counting import calls_of
from taskservice.core import bulk
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.stretches import Reach
from taskservice.core.table import QueueKey, TaskTable
from taskservice.core.types import Leaf, ListFilter, TaskNo, TaskState
from world.machine import Machine, function

WANTED = (("job", "1"),)
HEAD, LEASE = 10, 5


class Watched:
    """A table that remembers which tasks one had to look at."""

    def __init__(self, table: TaskTable) -> None:
        self._table = table
        self.looks: list[TaskNo] = []
        self.read = 0
        """Tasks of queues that were read behind their heads."""

    def passing(self, nos: Sequence[TaskNo], wanted: ListFilter) -> list[TaskNo]:
        self.looks += nos
        return self._table.passing(nos, wanted)

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        keys = self._table.next_queued(leaf, after, limit)
        self.read += len(keys)
        return keys

    def __getattr__(self, name: str) -> object:
        return getattr(self._table, name)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A step is of one task, and a head of few."""
    machine = Machine(Limits(operation_batch_max=1, head_tasks_max=HEAD, lease_tasks_max=LEASE))
    machine.register(function(), function("app.a"))
    machine.join()
    yield machine
    machine.close()


def watched(machine: Machine) -> Watched:
    table = machine.state.table = Watched(machine.state.table)  # type: ignore[assignment]
    return table


def leased(machine: Machine) -> list[str]:
    return [task.id for lease in machine.dispatch() for task in lease.tasks]


def test_an_unwanted_task_behind_500_wanted_ones_is_leased_at_once() -> None:
    """One looked at the first 256 only, so it waited until the operation had come through."""
    machine = Machine()
    machine.register()
    machine.join()
    machine.submit(*(f"wanted{n}" for n in range(500)), tags=WANTED)
    machine.submit("free")
    machine.bulk(tag=WANTED[0])
    assert leased(machine) == ["free"]
    machine.close()


def test_so_is_one_that_is_too_young_for_a_filter_by_age(machine: Machine) -> None:
    machine.submit(*names("old", HEAD - 1))
    machine.now_ms += 10
    machine.submit("young")
    machine.bulk(created_before_ms=machine.now_ms)
    assert leased(machine) == ["young"]


def test_behind_several_heads_of_them_it_waits_for_so_many_rounds_and_not_for_the_operation(machine: Machine) -> None:
    """The operation is still in another leaf, where it has much to do."""
    machine.submit(*names("other", 50), tags=WANTED, function="app.a")
    machine.submit(*names("wanted", 3 * HEAD), tags=WANTED)
    machine.submit("free")
    operation = machine.bulk(tag=WANTED[0])
    rounds = 0
    while "free" not in leased(machine):
        machine.step()
        rounds += 1
    assert rounds <= (50 + 3 * HEAD) / HEAD
    now = machine.operation(operation.id)
    assert now is not None
    assert now.done_with(machine.task("free").leaf) == 0


def test_the_only_leaf_is_searched_as_well(machine: Machine) -> None:
    machine.submit(*names("wanted", 5 * HEAD), tags=WANTED)
    machine.submit("free")
    machine.bulk(tag=WANTED[0])
    rounds = 1
    while "free" not in leased(machine):
        machine.step()
        rounds += 1
    assert rounds <= 5 + 1


def test_a_round_looks_at_two_heads_of_tasks_and_no_task_is_looked_at_a_third_time(machine: Machine) -> None:
    machine.submit(*names("other", 40), tags=WANTED, function="app.a")
    machine.submit(*names("wanted", 60), tags=WANTED)
    machine.bulk(tag=WANTED[0])
    table = watched(machine)
    before = 0
    while machine.shard.operating:
        assert leased(machine) == []
        assert len(table.looks) - before <= 2 * (HEAD + LEASE)
        before = len(table.looks)
        machine.step()
    assert max(Counter(table.looks).values()) <= 2
    assert set(table.looks) <= set(range(1, 101))


def test_a_long_queue_does_not_keep_others_from_being_looked_at(machine: Machine) -> None:
    """Where all the looks of a round were one sum, it took all of them in every round until its end."""
    machine.submit(*names("long", 20 * HEAD), tags=WANTED, function="app.a")
    machine.bulk(tag=WANTED[0])
    assert leased(machine) == []
    machine.submit(*names("short", 3), tags=WANTED)
    machine.submit("free")
    machine.bulk(OperationKind.PAUSE, tag=WANTED[0])
    rounds = 1
    while "free" not in leased(machine):
        machine.step()
        rounds += 1
    assert rounds <= 2


def test_expired_tasks_behind_the_head_are_read_a_few_at_a_time(machine: Machine) -> None:
    machine.submit(*names("wanted", HEAD), tags=WANTED)
    machine.bulk(tag=WANTED[0])
    machine.submit(*names("late", 50), ttl_ms=1_000)
    machine.now_ms += 1_000
    table = watched(machine)
    for number in range(1, 4):
        assert machine.shard.dispatch(machine.now_ms) == 0
        assert table.read <= number * (HEAD + LEASE)


def test_a_queue_of_which_all_is_held_is_not_walked_through_again() -> None:
    machine = Machine()
    machine.register()
    machine.join()
    machine.submit(*(f"wanted{n}" for n in range(1_000)), tags=WANTED)
    machine.bulk(tag=WANTED[0])
    first, second = (calls_of(lambda: machine.shard.dispatch(machine.now_ms)) for _ in range(2))
    assert second < 400 < first
    machine.submit("new")
    assert leased(machine) == ["new"]
    machine.close()


def test_a_queue_that_was_empty_in_between_is_looked_at_anew(machine: Machine) -> None:
    """Its changes are counted from zero again, and might come to what they were when all of the other was held."""
    machine.submit("unwanted", delay_ms=1_000)
    machine.submit("wanted", tags=WANTED)
    machine.submit(*names("other", 30), tags=WANTED, function="app.a")
    machine.bulk(tag=WANTED[0])
    leaf = machine.task("wanted").leaf
    assert leased(machine) == []
    changes = machine.state.queues[leaf].changes
    machine.change(OperationKind.CANCEL, "wanted")
    machine.later(1_000)
    assert machine.state.queues[leaf].changes == changes
    assert leased(machine) == ["unwanted"]


def test_what_comes_back_after_an_operation_has_passed_it_is_not_held_by_it(machine: Machine) -> None:
    machine.submit("wanted", "next", tags=WANTED)
    machine.bulk(OperationKind.PAUSE, tag=WANTED[0])
    assert leased(machine) == []
    machine.step()
    assert machine.task("wanted").state is TaskState.PAUSED
    machine.change(OperationKind.RESUME, "wanted")
    assert leased(machine) == ["wanted"]


def test_when_no_operation_is_under_way_nothing_is_remembered(machine: Machine) -> None:
    machine.submit(*names("wanted", 5), tags=WANTED)
    machine.bulk(tag=WANTED[0])
    machine.dispatch()
    assert machine.state.searches._by_leaf
    machine.finish_bulk()
    machine.dispatch()
    assert not machine.state.searches._by_leaf


class Noted(Leaf):
    """A leaf that counts how often it is compared."""

    compared = 0
    __hash__ = Leaf.__hash__

    def __eq__(self, other: object) -> bool:
        Noted.compared += 1
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


class Counted(Watched):
    """A table whose leaves do."""

    def counts(self, tenant: str | None = None) -> dict[tuple[Leaf, TaskState], int]:
        return {(Noted(*leaf), state): count for (leaf, state), count in self._table.counts(tenant).items()}

    def reach(self, leaf: Leaf, *rest: object) -> Reach:
        return self._table.reach(Leaf(*leaf), *rest)


@pytest.mark.parametrize("leaves", [20, 80])
def test_a_turn_of_an_operation_compares_each_leaf_a_few_times(leaves: int) -> None:
    """It went through all places of all leaves for each of them."""
    machine = Machine()
    machine.register(*(function(f"app.f{n}") for n in range(leaves)))
    for n in range(leaves):
        machine.submit(f"queued{n}", function=f"app.f{n}")
        machine.submit(f"scheduled{n}", function=f"app.f{n}", delay_ms=1_000)
    machine.bulk()
    machine.state.table = Counted(machine.state.table)  # type: ignore[assignment]
    Noted.compared = 0
    decision = bulk.go_on(machine.state, machine.now_ms)
    assert len(decision.records) == leaves
    assert 0 < Noted.compared <= 30 * leaves
