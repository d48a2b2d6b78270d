"""A state made of its table alone. That it equals what lives is checked at every commit of every test (`world.machine`)."""

from __future__ import annotations

from taskservice.core.check import check
from taskservice.core.events import FunctionsRegistered
from taskservice.core.limits import Limits
from taskservice.core.restore import commit, restore
from taskservice.core.shard import DEFAULT_TENANT, Shard
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.types import Leaf, Priority
from taskservice.journal.store.memory import MemoryTable
from world.durable import check_same
from world.machine import Machine, function


def test_an_empty_table_makes_a_new_shard() -> None:
    state = restore(MemoryTable(), Limits())
    check_same(state, State(MemoryTable(), Limits()))
    Shard(state).open(Mark("log", "writer", 1, -1), 5)
    assert DEFAULT_TENANT in state.tenants


def test_tenants_and_functions_come_back_in_their_order(machine: Machine) -> None:
    """Lists that users see must not change their order by a restart."""
    for name in ("zeta", "acme", "mid"):
        machine.tenant(name)
        machine.register(function(f"{name}.f"))
    machine.tenant("acme", weight=2.0)
    restored = restore(machine.state.table, machine.limits)
    assert list(restored.tenants) == [DEFAULT_TENANT, "zeta", "acme", "mid"]
    assert list(restored.functions) == ["app.f", "zeta.f", "acme.f", "mid.f"]
    assert restored.tenants[machine.tenant("acme", weight=2.0)].weight == 2.0


def test_of_a_deep_queue_as_much_is_read_as_one_lease_may_take(machine: Machine) -> None:
    machine.submit(*(f"t{number}" for number in range(40)), payload=b'"1234"')
    limits = Limits(lease_tasks_max=7)
    restored = restore(machine.state.table, limits)
    queue = restored.queue(Leaf(DEFAULT_TENANT, function().name, Priority.NORMAL))
    assert (queue.count, queue.payload_bytes, len(queue.head), queue.complete) == (40, 240, 7, False)
    check(restored)
    queue.remove([entry.no for entry in queue.first(7, 0)], 42, restored.table, 0)
    assert queue.head, "the rest is read when it is wanted"


def test_a_commit_holds_what_its_segment_says_and_no_later_one(machine: Machine) -> None:
    """Though the segment waits to be cut, and later records have been applied."""
    before = machine.state.table.mark
    assert before is not None
    for id in ("a", "b"):
        machine.handle(FunctionsRegistered(0, (function(id),)))
        machine.shard._close()
        kept = machine.state.table.copy()
        machine.handle(FunctionsRegistered(0, (function(f"after {id}"),)))
        assert id in restore(kept, machine.limits).functions
        assert kept.mark == before._replace(segment=before.segment + (1 if id == "a" else 2))
        assert f"after {id}" not in restore(kept, machine.limits).functions


def test_numbers_are_those_of_the_commit(machine: Machine) -> None:
    machine.run("a")
    machine.submit("b")
    table = machine.state.table
    commit(machine.state, Mark("log", "writer", 7, 3))
    restored = restore(table, machine.limits)
    assert (restored.next_no, restored.next_lease, restored.epoch) == (3, 2, 1)
    assert table.mark == Mark("log", "writer", 7, 3)
