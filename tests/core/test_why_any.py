"""Why a task waits, in any world: what is named closed is what keeps it, and what is said of its turn comes true."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from msgspec.structs import replace

from taskservice.core.events import TenantPut
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota, Rate, Resources, RetryPolicy
from taskservice.core.state import State
from taskservice.core.types import FunctionName, OutcomeKind, Priority, TaskState, TenantId
from world.machine import Machine, bad, function, ok


class Any:
    """A world made from a seed: tenants, functions with gates of all kinds, runners of two sizes, tasks in every state."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.machine = machine = Machine()
        sizes = (1000, 2000) if rng.random() < 0.5 else (1000,)
        machine.register(*(self._function(f"app.f{n}", rng.choice(sizes)) for n in range(3)))
        self.tenants = [self._tenant(f"t{n}") for n in range(3)]
        for n in range(rng.randint(1, 2)):
            machine.join(f"r{n}", cpus=rng.choice((2, 4, 8)))
        if rng.random() < 0.3:
            machine.policy(FunctionPolicy(FunctionName("app.f0"), paused=True))
        if rng.random() < 0.3:
            machine.policy(ClassPolicy(Priority.LOW, quota=Quota(maximum=(("CPU", 2000),))))
        self.count = 0

    def _function(self, name: str, cpu_m: int):
        rng = self.rng
        return function(
            name,
            resources=Resources(cpu_m=cpu_m),
            max_running=rng.choice((None, None, 2)),
            rate=rng.choice((None, None, Rate(rng.choice((0.5, 5.0)), 2))),
            downstream=rng.choice(("", "", "pay")),
            key="k",
            key_max_running=rng.choice((None, 1)),
            retry=RetryPolicy(max_attempts=5, base_ms=100, max_ms=500, jitter=False),
        )

    def _tenant(self, name: str) -> TenantId:
        rng = self.rng
        quota = rng.choice((Quota(), Quota(), Quota(maximum=(("CPU", 3000),)), Quota(reserved=(("CPU", 2000),))))
        rate = rng.choice((None, None, Rate(3.0, 3)))
        return self.machine.tenant(
            name, weight=rng.choice((1.0, 3.0)), running_max=rng.choice((None, 3)), rate=rate, quota=quota
        )

    def step(self) -> None:
        """Something has happened, and scheduling has done what it could."""
        rng, machine = self.rng, self.machine
        for _ in range(rng.randint(0, 3)):
            ids = [f"x{self.count + n}" for n in range(rng.randint(1, 4))]
            self.count += len(ids)
            machine.submit(
                *ids,
                tenant=rng.choice(self.tenants),
                function=f"app.f{rng.randrange(3)}",
                key=rng.choice(("", "a", "b")),
                priority=rng.choice((Priority.NORMAL, Priority.NORMAL, Priority.LOW)),
                delay_ms=rng.choice((0, 0, 0, 700)),
            )
        for launch in machine.launches:
            held = machine.state.leases.get(launch.lease.token)
            if held is not None and rng.random() < 0.3:
                self.end(launch.lease, rng.random() < 0.8)
        machine.later(rng.choice((0, 1, 50, 400, 1_500)))
        machine.dispatch()

    def end(self, lease: LeaseSpec, well: bool = True) -> None:
        kind = OutcomeKind.HANDLER_ERROR if self.rng.random() < 0.7 else OutcomeKind.THROTTLED
        outcomes = [ok(task.no, duration_us=300_000) if well else bad(task.no, kind) for task in lease.tasks]
        runner = next(launch.runner for launch in self.machine.launches if launch.lease.token == lease.token)
        self.machine.report(lease.token, *outcomes, runner=runner)

    def queued(self) -> list[tuple[TenantId, str]]:
        return [(tenant, id) for tenant in self.tenants for id in self._ids(tenant)]

    def _ids(self, tenant: TenantId) -> list[str]:
        heads = [queue for leaf, queue in self.machine.state.queues.items() if leaf.tenant == tenant]
        return [
            task.id for queue in heads for task in self.machine.state.table.load([entry.no for entry in queue.head])
        ]


def volatile(state: State) -> object:
    """All that is learnt, in bytes: whoever asks changes none of it."""
    tree, gates = state.turns.tree, state.turns.gates

    def node(one) -> object:
        tags = (
            one.virtual,
            one.latest,
            one.start,
            one.finish,
            tuple(one.numbers.items()),
            tuple(one.ready.items()),
            one.order,
        )
        line = None if one.parked is None else one.parked.name
        return tags, line, one.ticket is not None, [node(child) for child in one.children.values()]

    windows = {name: pickle.dumps(window) for name, window in gates.downstreams.windows.items()} if gates else {}
    buckets = {name: bucket._full_at for name, bucket in gates.buckets.items()}
    pool = {id: (dict(one.used), one.reserved_for) for id, one in state.pool.runners.items()}
    return node(tree.root), windows, buckets, pool, sorted(gates._maxima, key=str), len(gates._lines)


@pytest.mark.parametrize("seed", range(3))
def test_asking_changes_nothing(seed: int):
    world = Any(seed)
    for _ in range(15):
        world.step()
    before = volatile(world.machine.state)
    for tenant, id in world.queued():
        world.machine.why(id, tenant)
        world.machine.timeline(id, tenant)
        world.machine.usage(tenant)
    world.machine.usage()
    assert volatile(world.machine.state) == before
    world.machine.close()


def open_gate(machine: Machine, gate: str, tenant: TenantId, id: str, number: int) -> bool:
    """That gate alone is open to the task, and nothing is leased yet; False if nobody can open it."""
    task = machine.task(id, tenant)
    spec, owner = machine.state.functions[task.function], machine.state.tenants[tenant]
    policy = machine.state.policies.get(("function", spec.name), FunctionPolicy(spec.name))
    if gate.startswith("pool."):
        machine.join(f"opened{number}", cpus=50)
    elif gate.startswith("tenant."):
        field, nothing = {"rate": ("rate", None), "running_max": ("running_max", None), "maximum": ("quota", Quota())}[
            gate[7:]
        ]
        machine.ask(TenantPut(machine.next_ref(), replace(owner, **{field: nothing})))
    elif gate == "function.paused":
        machine.policy(replace(policy, paused=False))
    elif gate in ("function.rate", "function.max_running"):
        machine.register(replace(spec, **{gate[9:]: None}))
    elif gate == "key.max_running":
        machine.register(replace(spec, key_max_running=None))
    elif gate == "class.maximum":
        machine.policy(ClassPolicy(task.priority))
    elif gate == "downstream.window":
        machine.policy(DownstreamPolicy(spec.downstream or spec.name, frozen=100_000))
    else:
        return False
    return True


@pytest.mark.parametrize("seed", range(12))
def test_what_is_named_closed_is_what_keeps_the_task(seed: int):
    """Each task that waits after scheduling has a reason. One gate after the other is opened, the first first: what was named behind
    it is named now; and when nothing is, the task is leased."""
    world = Any(seed)
    machine = world.machine
    for _ in range(15):
        world.step()
    opened = 0
    for number, (tenant, id) in enumerate(world.queued()[:6]):
        if machine.task(id, tenant).state is not TaskState.QUEUED:
            continue
        closed = machine.closed(id, tenant)
        assert closed
        while closed and open_gate(machine, closed[0], tenant, id, 100 * number + opened):
            opened += 1
            rest = machine.closed(id, tenant)
            gates = [gate for gate in closed[1:] if gate != "turn"]
            assert [gate for gate in rest if gate != "turn"] == gates, (closed, rest)
            closed = rest
        machine.dispatch()
        if not closed:
            assert machine.task(id, tenant).state is TaskState.RUNNING
    assert opened or not world.queued()
    machine.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_task_whose_turn_it_is_is_leased_when_a_slot_frees(seed: int):
    """No task is told that it is its turn that then sees another one go."""
    world = Any(seed)
    machine = world.machine
    for number in range(15):
        world.step()
        turns = [(tenant, id) for tenant, id in world.queued() if machine.closed(id, tenant) == ["pool.room"]]
        for tenant, id in turns[:1]:
            machine.join(f"more{number}", cpus=2)
            started = [task.id for lease in machine.dispatch() for task in lease.tasks]
            assert started[:1] == [id], (started, id, tenant)
    machine.close()


@pytest.mark.parametrize("seed", [36, 44, 121])
def test_a_task_is_not_told_that_it_is_its_turn_while_one_is_let_go_before_it(seed: int):
    """Another task stood in the line of a gate that had opened since, and went first; or it was the next behind one that met another
    closed gate."""
    world = Any(seed)
    for number in range(20):
        world.step()
        turns = [each for each in world.queued() if world.machine.closed(each[1], each[0]) == ["pool.room"]]
        for _, id in turns[:1]:
            world.machine.join(f"more{number}", cpus=2)
            assert [task.id for lease in world.machine.dispatch() for task in lease.tasks][:1] == [id]
    world.machine.close()
