"""Whatever bulk operations are under way: what is leased is what a look at every queued task would say, and nothing waits for ever."""

from __future__ import annotations

from random import Random

import pytest

from taskservice.core.bulk import leasable, wanted_by
from taskservice.core.changes import is_over
from taskservice.core.filters import by_place
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.queues import LeafQueue
from taskservice.core.types import TaskNo, TaskState
from world.machine import Machine, function

STEPS = 120
FUNCTIONS = ("app.f", "app.g")
TAGS = ((), (("a", "1"),), (("b", "1"),), (("a", "1"), ("b", "1")))
KINDS = (OperationKind.CANCEL, OperationKind.PAUSE, OperationKind.DELETE)
SMALL = Limits(operation_batch_max=2, head_tasks_max=8, lease_tasks_max=3, operations_max=3)
LARGE = Limits(operation_batch_max=2, operations_max=3)


class World:
    """A machine to which anything happens, from a seed. Nothing that was leased comes back."""

    def __init__(self, seed: int, limits: Limits) -> None:
        self.rng = Random(seed)
        self.machine = Machine(limits)
        self.machine.register(*(function(name) for name in FUNCTIONS))
        self.machine.join()
        self.ids: list[str] = []

    def happens(self) -> None:
        rng, machine = self.rng, self.machine
        match rng.randrange(10):
            case 0 | 1 | 2:
                options = rng.choice(({}, {"ttl_ms": rng.randrange(1, 200)}))
                ids = [f"t{len(self.ids) + at}" for at in range(rng.randrange(1, 12))]
                self.ids += ids
                machine.submit(*ids, function=rng.choice(FUNCTIONS), tags=rng.choice(TAGS), **options)
            case 3:
                self.operate()
            case 4 | 5:
                machine.step()
            case 6:
                machine.now_ms += rng.randrange(20)
            case 7:
                machine.change(rng.choice((*KINDS, OperationKind.RESUME)), *self.some_ids())
            case _:
                for lease in machine.dispatch():
                    machine.succeed(lease)

    def some_ids(self) -> list[str]:
        return self.rng.sample(self.ids, min(len(self.ids), 3))

    def operate(self) -> None:
        rng, machine = self.rng, self.machine
        if len(machine.state.operations.under_way) >= machine.limits.operations_max:
            return
        since_ms = machine.now_ms - rng.randrange(30)
        wanted = rng.choice(
            (
                {"tag": ("a", "1")},
                {"tag": ("b", "1")},
                {"created_after_ms": since_ms},
                {"created_before_ms": since_ms},
                {"states": (TaskState.QUEUED,)},
            )
        )
        where = rng.choice(({}, {"function": rng.choice(FUNCTIONS)}))
        machine.bulk(rng.choice(KINDS), **wanted, **where)

    def free(self, queue: LeafQueue) -> list[TaskNo]:
        """The queued tasks that may be leased, by a look at each of them."""
        state = self.machine.state
        keys = state.table.next_queued(queue.leaf, None, 10**6)
        tasks = state.table.load([key.no for key in keys])
        return [
            task.no
            for task in tasks
            if wanted_by(state, task) is None and not is_over(task.expires_ms, self.machine.now_ms)
        ]

    def leasable(self, queue: LeafQueue, size: int) -> list[TaskNo]:
        state = self.machine.state
        state.searches.begin(state.limits, operating=bool(state.operations.under_way))
        return list(leasable(state, queue, size, self.machine.now_ms))


@pytest.mark.parametrize("seed", range(12))
def test_with_all_in_the_head_it_is_exactly_what_is_free(seed: int) -> None:
    world = World(seed, LARGE)
    for _ in range(STEPS):
        world.happens()
        for queue in world.machine.state.queues.values():
            free, size = world.free(queue), world.rng.randrange(1, 20)
            assert world.leasable(queue, size) == free[:size]
    world.machine.close()


@pytest.mark.parametrize("seed", range(12))
def test_with_small_heads_nothing_that_is_held_is_leased_and_nothing_that_is_free_waits_for_ever(seed: int) -> None:
    """However the operations stand still: one leaf after the other, `lease_tasks_max` at a time, until there is nothing free."""
    world = World(seed, SMALL)
    for _ in range(STEPS):
        world.happens()
        for queue in world.machine.state.queues.values():
            assert set(world.leasable(queue, 3)) <= set(world.free(queue))
    machine = world.machine
    rounds = sum(queue.count for queue in machine.state.queues.values()) + 1
    for _ in range(rounds):
        for lease in machine.dispatch():
            machine.succeed(lease)
    places_held = any(by_place(each.filter) for each in machine.state.operations.under_way.values())
    left = [no for queue in machine.state.queues.values() for no in world.free(queue)]
    assert not left or places_held or came_back(world, left)
    machine.close()


def came_back(world: World, nos: list[TaskNo]) -> bool:
    """Whether all these were resumed behind the head after one had looked there: they wait until they are in it."""
    heads = {entry.no for queue in world.machine.state.queues.values() for entry in queue.head}
    return not heads.intersection(nos)
