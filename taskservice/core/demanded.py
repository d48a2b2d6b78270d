"""What waits for machines, and what they would be good for. A look that changes nothing.

It takes time that grows with the tenants and functions that have work, and with the leases: not with tasks, nor with keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from taskservice.core import lease
from taskservice.core.backlog import BacklogAnswer, Cap, RunnerUse, Work
from taskservice.core.fair.line import Line
from taskservice.core.fair.tree import path_of
from taskservice.core.flow.bucket import Bucket
from taskservice.core.flow.off_peak import NAME as OFF_PEAK
from taskservice.core.flow.quota import QuotaGate
from taskservice.core.flow.running import AtMost
from taskservice.core.looking import asked
from taskservice.core.runner import Runner
from taskservice.core.state import State
from taskservice.core.types import PRESSED_LANES, RETRY_LANES, FunctionName, Leaf

RETRIES = "function.retries"


def backlog(state: State, now_ms: int) -> BacklogAnswer:
    """What waits and runs by tenant and function, what bounds it, and what the runners have."""
    caps: dict[Line, int] = {}
    groups = dict.fromkeys([*state.stock.groups, *state.turns.usage.places])
    ages_s = _ages(state, now_ms)
    works = tuple(_work(state, leaf, caps, ages_s, now_ms) for leaf in groups if leaf.function in state.functions)
    runners = tuple(_runner(runner, now_ms) for runner in state.pool.runners.values())
    found = tuple(_cap(state, line, now_ms) for line in caps)
    return BacklogAnswer(works, found, runners, state.turns.gates.off_peak.hours.is_open(now_ms))


def _ages(state: State, now_ms: int) -> dict[FunctionName, float]:
    """For how many seconds the oldest lease of each function runs of which no attempt has ended yet."""
    oldest: dict[FunctionName, int] = {}
    for runner in state.pool.runners.values():
        for token, occupied in runner.leases.items():
            held = state.leases.get(token)
            if held is not None and not _known(state, held.leaf.function):
                name = held.leaf.function
                oldest[name] = min(oldest.get(name, now_ms), occupied.started_ms)
    return {name: (now_ms - started_ms) / 1000 for name, started_ms in oldest.items()}


def _known(state: State, name: FunctionName) -> bool:
    speed = state.speeds.get(name)
    return speed is not None and speed.mean_us is not None


def _work(state: State, leaf: Leaf, caps: dict[Line, int], ages_s: Mapping[FunctionName, float], now_ms: int) -> Work:
    function, speed = state.functions[leaf.function], state.speeds.get(leaf.function)
    demand = state.turns.demand_of(leaf)
    stock = state.stock.groups.get(leaf)
    held = tuple(_held(state, leaf, 0 if stock is None else stock.tasks, now_ms))
    own = tuple(caps.setdefault(line, len(caps)) for line in _lines(state, leaf)) if stock is not None else ()
    return Work(
        leaf.tenant,
        leaf.function,
        f"{leaf.priority}/{leaf.tenant}/{leaf.function}/{leaf.lane}/{leaf.memory_bytes}",
        demand.need,
        demand.labels,
        (0 if stock is None else stock.tasks) - sum(tasks for _, tasks in held),
        held,
        max(lease.attempt_s(speed, function), 2 * ages_s.get(leaf.function, 0.0) / function.concurrency),
        _known(state, leaf.function),
        function.concurrency,
        state.turns.usage.places.get(leaf, 0),
        None if stock is None or function.key_max_running is None else function.key_max_running * stock.queues,
        _fills(state, leaf, now_ms),
        own,
    )


def _held(state: State, leaf: Leaf, tasks: int, now_ms: int) -> Iterator[tuple[str, int]]:
    """Tasks that a gate of their lane keeps back: no machine is started for work that waits for a good time."""
    if _fills(state, leaf, now_ms):
        if tasks:
            yield OFF_PEAK, tasks
    elif leaf.lane in RETRY_LANES.values():
        budget = state.turns.gates.downstreams.known_budget(leaf.function)
        more = 0 if budget is None else tasks - asked(budget).room(now_ms)
        if more > 0:
            yield RETRIES, more


def _fills(state: State, leaf: Leaf, now_ms: int) -> bool:
    """Whether it waits for off-peak hours, and until then makes do with an idle pool. Where none are set it would wait for ever for a
    pool that is as large as its work wants it to be: it counts as any other."""
    hours = state.turns.gates.off_peak.hours
    return leaf.lane in PRESSED_LANES and bool(hours) and not hours.is_open(now_ms)


def _lines(state: State, leaf: Leaf) -> Iterator[Line]:
    """The lines before the gates of its function, and then of its tenant."""
    path = path_of(leaf)
    for depth in (3, 2):
        node = state.turns.tree.find(path[:depth])
        if node is not None:
            yield from node.lines


def _cap(state: State, line: Line, now_ms: int) -> Cap:
    """What the gate lets run, as it stands."""
    gate, of = line.gate, line.of
    if isinstance(gate, Bucket):
        return Cap(line.name, of, per_s=gate.limit.per_s)
    if isinstance(gate, QuotaGate):
        return Cap(line.name, of, amounts=tuple(sorted(gate.maximum.items())))
    if isinstance(gate, AtMost):
        return Cap(line.name, of, tasks_max=gate.most)
    return Cap(line.name, of, tasks_max=asked(gate).reason(now_ms).limit)


def _runner(runner: Runner, now_ms: int) -> RunnerUse:
    ends = (one.expected_end_ms(now_ms) for one in runner.leases.values())
    return RunnerUse(
        runner.id,
        runner.node,
        tuple(sorted(runner.capacity.items())),
        tuple(sorted(runner.labels.items())),
        runner.draining,
        len(runner.leases),
        max(ends, default=now_ms) - now_ms,
    )
