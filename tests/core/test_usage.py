"""Who has how much: shares of the last minutes beside what is due by weights, and how limits stand."""

from __future__ import annotations

import pytest

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota, Rate
from taskservice.core.spent import MINUTE_MS, MINUTES, Spent
from taskservice.core.types import FunctionName, Leaf, Priority, TenantId
from world.machine import Machine, function

LEAF = Leaf(TenantId("acme"), FunctionName("app.f"), Priority.NORMAL)


def test_shares_are_what_was_used_beside_what_is_due(machine: Machine):
    """Two tenants with weights 3 and 1, each with more work than there is room for."""
    rich, poor = machine.tenant("rich", weight=3.0), machine.tenant("poor")
    for tenant in (rich, poor):
        machine.submit(*(f"{tenant}{n}" for n in range(60)), tenant=tenant)
    ended = 0
    for _ in range(40):
        for lease in machine.dispatch():
            machine.now_ms += 100
            ended += len(lease.tasks)
            machine.succeed(lease, duration_us=100_000)
    uses = {one.name: one for one in machine.usage().tenants}
    assert (uses["rich"].due_ratio, uses["poor"].due_ratio, uses["default"].due_ratio) == (0.75, 0.25, None)
    assert uses["rich"].used_ratio == pytest.approx(0.75, abs=0.06)
    assert uses["rich"].used_s + uses["poor"].used_s == pytest.approx(0.1 * ended, rel=0.1)


def test_classes_share_by_their_weights(machine: Machine):
    machine.policy(ClassPolicy(Priority.LOW, weight=4.0))
    machine.submit("a", priority=Priority.NORMAL)
    machine.submit("b", priority=Priority.LOW)
    uses = {one.name: one for one in machine.usage().classes}
    assert (uses["normal"].due_ratio, uses["low"].due_ratio, uses["batch"].due_ratio) == (0.5, 0.5, None)


def test_what_was_used_longer_ago_is_forgotten():
    spent = Spent()
    for minute in range(20):
        spent.add(LEAF, 1.0, minute * MINUTE_MS)
    assert spent.total(19 * MINUTE_MS) == {(Priority.NORMAL, "acme"): MINUTES + 1}
    assert spent.total(40 * MINUTE_MS) == {}
    spent.add(LEAF, -5.0, 41 * MINUTE_MS)
    assert spent.total(41 * MINUTE_MS) == {(Priority.NORMAL, "acme"): 0.0}


def test_limits_say_how_much_of_them_is_taken(machine: Machine):
    acme = machine.tenant("acme", rate=Rate(1.0, 5), running_max=2, quota=Quota(maximum=(("CPU", 3000),)))
    machine.register(function(max_running=4, downstream="pay"))
    machine.policy(DownstreamPolicy("pay", frozen=3))
    machine.policy(FunctionPolicy(FunctionName("app.f"), paused=True))
    machine.policy(FunctionPolicy(FunctionName("app.f"), paused=False))
    machine.submit("a", "b", tenant=acme)
    machine.dispatch()
    usage = machine.usage(acme)
    (own,), (used,), (window,) = usage.tenants, usage.functions, usage.windows
    assert [(gate.gate, gate.used, gate.limit) for gate in own.gates] == [
        ("tenant.rate", 1, 5),
        ("tenant.running_max", 1, 2),
    ]
    assert (own.running, own.unfinished, own.holds) == (1, 2, (("CPU", 1000),))
    assert (used.counts, used.running, used.mean_s) == ({"queued": 1, "running": 1}, 1, None)
    assert [(gate.gate, gate.used, gate.limit) for gate in used.gates] == [("function.max_running", 1, 4)]
    assert (window.name, window.limit, window.in_flight, window.frozen, window.functions) == (
        "pay",
        3,
        1,
        3,
        ("app.f",),
    )
    assert [change.why for change in window.changes] == ["new", "frozen"]


def test_a_tenant_sees_nothing_of_others(machine: Machine):
    machine.register(function(), function("app.g", downstream="pay"))
    other = machine.tenant("other")
    machine.submit("a", tenant=other, function="app.g")
    machine.dispatch()
    usage = machine.usage(TenantId("default"))
    assert ([one.name for one in usage.tenants], usage.functions, usage.windows, usage.classes) == (
        ["default"],
        (),
        (),
        (),
    )


def test_freezing_what_is_not_frozen_is_no_change(machine: Machine):
    """A ceiling alone used to be told as a thaw."""
    machine.register(function(downstream="pay"))
    machine.submit("a")
    machine.dispatch()
    machine.policy(DownstreamPolicy("pay", ceiling=5))
    (window,) = machine.usage().windows
    assert ([change.why for change in window.changes], window.ceiling) == (["new"], 5)


def test_an_operator_bounds_what_a_function_calls_before_it_was_ever_throttled(machine: Machine):
    """Under the function's own name: it has a window from then on."""
    machine.join("r2", cpus=50)
    machine.submit(*(f"t{n}" for n in range(20)))
    machine.policy(DownstreamPolicy("app.f", frozen=4))
    assert sum(len(lease.tasks) for lease in machine.dispatch()) == 4
