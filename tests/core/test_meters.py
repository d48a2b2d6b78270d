"""What is counted as things happen: by whom, up to how many, and at what cost."""

from __future__ import annotations

from random import Random

import msgspec

from helpers.counting import calls_of
from taskservice.core import events as e
from taskservice.core.histogram import Histogram
from taskservice.core.limits import Limits
from taskservice.core.meters import REST_OWNER
from taskservice.core.metrics import STEP_MAX, ShardMetrics, gather
from taskservice.core.shard import Shard
from taskservice.core.specs import Bundle, FunctionSpec, Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.types import FunctionName, NewTask, TaskId, TaskState, TenantId
from taskservice.journal.store.memory import MemoryTable


def shard_of(tenants: int, functions: int = 1, owners_max: int = 500) -> Shard:
    shard = Shard(State(MemoryTable(), Limits(metrics_owners_max=owners_max)))
    shard.open(Mark("log", "nonce", 1, -1), 1_000)
    specs = tuple(FunctionSpec(FunctionName(f"app.f{n}"), Bundle("m", "a", "/"), b"{}") for n in range(functions))
    shard.handle(e.FunctionsRegistered(0, specs), 1_000, Random(1))
    for n in range(tenants):
        shard.handle(e.TenantPut(0, Tenant(TenantId(f"t{n}"))), 1_000, Random(1))
    return shard


def submit(shard: Shard, tenant: str, count: int, now_ms: int, function: str = "app.f0", **fields) -> None:
    tasks = tuple(
        NewTask(TaskId(f"{tenant}-{now_ms}-{n}"), FunctionName(function), b"1", **fields) for n in range(count)
    )
    shard.handle(e.Submitted(1, TenantId(tenant), tasks), now_ms, Random(1))


def told(shard: Shard, now_ms: int = 1_000) -> tuple[ShardMetrics, int]:
    """The answer, and the number of steps before it."""
    steps, count = gather(shard.state, now_ms), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_values_are_counted_up_to_their_bound():
    one, other = Histogram((0.1, 1), 1_000), Histogram((0.1, 1), 1_000)
    values = [-5, 0, 99, 100, 101, 1_000, 1_001]
    one.observe_all(values)
    one.observe_all([])
    for value in values:
        other.observe(max(0, value))
    assert one.data() == other.data()
    assert one.data().counts == (4, 2, 1)
    assert one.data().total == 2.301


def test_values_that_are_alike_are_counted_without_a_look_at_each():
    few, many = Histogram((1, 2)), Histogram((1, 2))
    assert calls_of(lambda: few.observe_all([1] * 10)) == calls_of(lambda: many.observe_all([1] * 1_000))


def test_who_comes_above_the_bound_is_summed():
    shard = shard_of(tenants=4, owners_max=2)
    for n in range(4):
        submit(shard, f"t{n}", n + 1, 1_000)
    submit(shard, "t0", 10, 2_000)
    answer, _ = told(shard, 5_000)
    shown = {(each.tenant, each.function): (each.accepted, each.tasks[TaskState.QUEUED]) for each in answer.owners}
    assert shown == {("t0", "app.f0"): (11, 11), ("t1", "app.f0"): (2, 2), REST_OWNER: (7, 7)}
    assert {each.tenant: each.oldest_s for each in answer.owners} == {"t0": 4, "t1": 4, "_other": 4}


def test_the_answer_is_the_same_at_the_other_end_of_a_line():
    shard = shard_of(tenants=2)
    submit(shard, "t0", 3, 1_000)
    answer, _ = told(shard)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=ShardMetrics) == answer


def test_functions_that_nobody_knows_make_no_series():
    shard = shard_of(tenants=1)
    for n in range(100):
        submit(shard, "t0", 1, 1_000 + n, function=f"made.up{n}")
    answer, _ = told(shard)
    assert [(each.tenant, each.refused) for each in answer.owners] == [("_other", {"unknown_function": 100})]


def test_what_was_there_before_the_epoch_is_depth_and_no_count():
    shard = shard_of(tenants=1)
    submit(shard, "t0", 3, 1_000)
    shard.open(Mark("log", "nonce", 2, -1), 2_000)
    answer, _ = told(shard)
    (owner,) = [each for each in answer.owners if each.tenant == "t0"]
    assert (owner.accepted, owner.tasks[TaskState.QUEUED]) == (0, 3)


def test_the_count_is_made_in_steps_and_looks_at_no_task():
    shard = shard_of(tenants=3)
    for now_ms in range(1_000, 4_000, 1_000):
        submit(shard, "t0", 1, now_ms)
    few = calls_of(lambda: told(shard))
    for now_ms in range(4_000, 8_000, 1_000):
        submit(shard, "t1", 1_000, now_ms)
        submit(shard, "t0", 1_000, now_ms)
    assert calls_of(lambda: told(shard)) < few + 60
    assert told(shard)[1] == 0


def test_many_queues_are_looked_at_in_several_steps():
    shard = shard_of(tenants=1)
    spec = FunctionSpec(FunctionName("app.keyed"), Bundle("m", "a", "/"), b"{}", key_max_running=1)
    shard.handle(e.FunctionsRegistered(0, (spec,)), 1_000, Random(1))
    tasks = tuple(NewTask(TaskId(str(n)), spec.name, b"1", key=str(n)) for n in range(STEP_MAX + 1))
    shard.handle(e.Submitted(1, TenantId("t0"), tasks), 1_000, Random(1))
    answer, steps = told(shard)
    assert (answer.queues, steps) == (STEP_MAX + 1, 1)
