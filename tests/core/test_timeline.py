"""What a task has gone through: each time of waiting has a name, and what is not known says so."""

from __future__ import annotations

import pytest

from taskservice.core.operations import OperationKind
from taskservice.core.specs import FunctionPolicy, Rate, Resources
from taskservice.core.types import FunctionName, OutcomeKind, TenantId
from taskservice.core.waits import JOINED_MS, KEPT_MAX, STRETCHES_MAX, Stretch, Waits
from world.machine import START_MS, Machine, bad, function

F = FunctionName("app.f")


def stages(machine: Machine, id: str, tenant: str = "default") -> list[tuple[str, str, int | None]]:
    """What, why, and how long in milliseconds."""
    return [
        (stage.what, stage.cause, None if stage.until_ms is None else stage.until_ms - stage.from_ms)
        for stage in machine.timeline(id, TenantId(tenant)).stages
    ]


def test_a_task_that_waited_for_several_things_says_for_what_and_how_long(machine: Machine):
    """For its time, for a paused function, for room, and for those before it."""
    machine.policy(FunctionPolicy(F, paused=True))
    machine.submit("a", "b", delay_ms=1_000)
    machine.later(1_000)
    machine.dispatch()
    machine.now_ms += 3_000
    machine.policy(FunctionPolicy(F))
    (first,) = machine.dispatch()
    machine.now_ms += 5_000
    machine.succeed(first)
    machine.dispatch()
    assert stages(machine, "b") == [
        ("accepted", "", None),
        ("waited", "task.due", 1_000),
        ("due", "", None),
        ("waited", "function.paused", 3_000),
        ("waited", "pool.room", 5_000),
        ("running", "", None),
    ]
    running = machine.timeline("b").stages[-1]
    assert (running.attempt, running.runner) == (1, "r1")
    machine.now_ms += 700
    machine.succeed(machine.launches[-1].lease)
    assert (
        stages(machine, "b")[-2:] == [("running", "", 700), ("succeeded", "", None)]
        or machine.task("b").started_ms == 0
    )


def test_a_wait_that_lasts_has_no_end(machine: Machine):
    machine.policy(FunctionPolicy(F, paused=True))
    machine.submit("a")
    machine.dispatch()
    machine.now_ms += 9_000
    assert stages(machine, "a") == [("accepted", "", None), ("waited", "function.paused", None)]


def test_of_two_closed_gates_it_is_the_first_that_is_met(machine: Machine):
    """The tenant's rate, and behind it the function's pause, which was there all the while."""
    slow = machine.tenant("slow", rate=Rate(0.5, 1))
    machine.submit("a", tenant=slow)
    machine.succeed(machine.dispatch()[0])
    machine.policy(FunctionPolicy(F, paused=True))
    machine.submit("b", tenant=slow)
    machine.dispatch()
    machine.now_ms += 2_000
    machine.dispatch()
    machine.now_ms += 4_000
    machine.policy(FunctionPolicy(F))
    machine.dispatch()
    waited = [stage for stage in stages(machine, "b", "slow") if stage[0] == "waited"]
    assert waited == [("waited", "tenant.rate", 2_000), ("waited", "function.paused", 4_000)]


def test_after_a_restart_what_was_waited_for_before_is_unknown(machine: Machine):
    machine.policy(FunctionPolicy(F, paused=True))
    machine.submit("a")
    machine.dispatch()
    machine.now_ms += 3_000
    machine.restart()
    machine.join("r2")
    machine.dispatch()
    machine.now_ms += 1_000
    answer = machine.timeline("a")
    assert answer.known_since_ms == START_MS + 3_000
    assert stages(machine, "a") == [
        ("accepted", "", None), ("waited", "unknown", 3_000), ("waited", "function.paused", None),
    ]  # fmt: skip


def test_while_the_journal_is_behind_that_is_what_all_wait_for(machine: Machine):
    machine.submit("a")
    machine.shard.hold_back(machine.now_ms)
    machine.now_ms += 6_000
    machine.dispatch()
    assert ("waited", "journal.behind", 6_000) in stages(machine, "a")


def test_a_bulk_operation_that_holds_a_task_is_named(machine: Machine):
    machine.submit("a", tags=(("x", "y"),))
    machine.submit("b", tags=(("x", "z"),), priority=None)
    machine.bulk(OperationKind.PAUSE, tag=("x", "y"))
    machine.bulk(OperationKind.PAUSE, tag=("x", "z"))
    machine.dispatch()
    machine.now_ms += 2_000
    assert ("waited", "operation", None) in stages(machine, "a")


@pytest.mark.parametrize("kind", [OutcomeKind.THROTTLED, OutcomeKind.HANDLER_ERROR])
def test_a_task_that_is_tried_again_says_after_what_and_until_when(machine: Machine, kind: OutcomeKind):
    lease = machine.run("a")
    machine.now_ms += 500
    machine.report(lease.token, bad(lease.tasks[0].no, kind, retry_after_ms=8_000))
    last = machine.timeline("a").stages[-1]
    assert (last.until_ms, last.cause) == (
        machine.task("a").due_ms, "throttled" if kind is OutcomeKind.THROTTLED else "task.retrying",
    )  # fmt: skip
    machine.later(60_000)
    machine.dispatch()
    told = machine.timeline("a").stages
    assert [(stage.what, stage.cause) for stage in told][:3] == [
        ("accepted", ""), ("waited", "unknown"), ("due", f"retry: {kind.value}"),
    ]  # fmt: skip
    assert kind.value in told[1].message


def test_a_task_that_was_lost_says_so_in_its_old_place(machine: Machine):
    machine.run("a")
    machine.now_ms += 500
    machine.lose("r1")
    machine.later(0)
    machine.join("r2")
    machine.dispatch()
    assert [(what, cause) for what, cause, _ in stages(machine, "a")][:2] == [("accepted", ""), ("due", "retry: lost")]


def test_a_dead_letter_says_why_and_a_rerun_that_it_ran_before(machine: Machine):
    lease = machine.run("a")
    machine.now_ms += 500
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    assert stages(machine, "a") == [("accepted", "", None), ("running", "", 500), ("failed", "non_retryable", None)]
    machine.now_ms += 1_000
    machine.change(OperationKind.RETRY, "a")
    assert stages(machine, "a")[:3] == [("accepted", "", None), ("waited", "unknown", 1_500), ("rerun", "", None)]


def test_what_ended_before_its_time_did_not_wait_longer_than_that(machine: Machine):
    machine.submit("a", delay_ms=60_000)
    machine.now_ms += 1_000
    machine.cancel("a")
    assert stages(machine, "a") == [("accepted", "", None), ("waited", "task.due", 1_000), ("cancelled", "", None)]


def test_a_task_that_there_is_not_has_no_stages(machine: Machine):
    assert machine.timeline("none").stages == ()


def test_no_memory_is_kept_of_a_task_and_little_of_a_queue(machine: Machine):
    """Ten thousand tasks of one queue are one thing that waits."""
    machine.register(function(resources=Resources(cpu_m=4_000)))
    for n in range(5):
        machine.submit(*(f"{n}-{m}" for m in range(1_000)))
    machine.dispatch()
    waits = machine.state.turns.tree.waits
    assert len(waits._kept) <= 2


def test_stretches_are_bounded_and_what_is_forgotten_is_unknown():
    waits = Waits(0)
    for n in range(STRETCHES_MAX + 3):
        waits.closed("a", f"gate{n}", 10_000 * n)
        waits.opened("a", 10_000 * n + 5_000)
    assert len(waits.of("a")) == STRETCHES_MAX
    assert waits.known_since_ms("a") == 25_000
    assert waits.known_since_ms("b") == 0
    for n in range(KEPT_MAX):
        waits.closed(n, "gate", 10**6)
    assert waits.of("a") == ()
    assert waits.known_since_ms("a") == 10_000 * (STRETCHES_MAX + 2) + 5_000


def test_a_gate_that_flickers_is_one_stretch():
    waits = Waits(0)
    for n in range(1_000):
        waits.closed("a", "rate", 10 * n)
        waits.opened("a", 10 * n + 5)
        waits.closed("a", "window", 10 * n + 5)
        waits.opened("a", 10 * n + 10)
    assert waits.of("a") == (Stretch("rate", 0, 9_995), Stretch("window", 5, 10_000))
    waits.closed("a", "rate", 9_995 + JOINED_MS)
    assert len(waits.of("a")) == 3
