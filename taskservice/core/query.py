"""What people ask to see. Answers wait, like all others, until what they show is durable."""

from __future__ import annotations

from taskservice.core.cancelling import cancelling
from taskservice.core.effects import (
    CatalogAnswer,
    ReferencesAnswer,
    RunnerStatus,
    StatusAnswer,
    TaskAnswer,
    TasksAnswer,
)
from taskservice.core.events import ReferencesAsked, StatusAsked, TaskAsked, TasksListed
from taskservice.core.runner import Runner
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, FunctionName, TaskState


def task(state: State, event: TaskAsked) -> TaskAnswer:
    """The task as it is now, or where it is in history, or neither."""
    here = state.table.find(event.tenant, [event.id]).get(event.id)
    if here is not None:
        return TaskAnswer(here, cancelling=bool(cancelling(state, [here])))
    return TaskAnswer(None, state.table.past.find(event.tenant, [event.id]).get(event.id))


def listing(state: State, event: TasksListed) -> TasksAnswer:
    """A page, and where the next one begins. By number: so a task that leaves for history between two pages is in one
    of them, and in no other."""
    wanted, limit = event.filter, event.limit
    here = state.table.listing(wanted, event.before_no, limit + 1)
    oldest_no = here[-1].no if len(here) > limit else None
    past = state.table.past.listing(wanted, event.before_no, limit + 1, oldest_no)
    nos = sorted([task.no for task in here] + [task.no for task in past], reverse=True)
    more = len(nos) > limit
    last_no = nos[limit - 1] if more else None
    if last_no is not None:
        here = [task for task in here if task.no >= last_no]
        past = [task for task in past if task.no >= last_no]
    return TasksAnswer(tuple(here), last_no, tuple(past), cancelling(state, here))


def status(state: State, event: StatusAsked) -> StatusAnswer:
    """Counts by state and by function, and the runners."""
    counts = {task_state.value: 0 for task_state in TaskState}
    functions: dict[FunctionName, dict[str, int]] = {}
    for (leaf, task_state), count in state.table.counts(event.tenant).items():
        counts[task_state.value] += count
        if count and task_state not in TERMINAL_STATES:
            by_state = functions.setdefault(leaf.function, {})
            by_state[task_state.value] = by_state.get(task_state.value, 0) + count
    runners = tuple(_runner(runner) for runner in state.pool.runners.values())
    return StatusAnswer(state.epoch, counts, functions, runners, state.deadlines.of(event.tenant))


def _runner(runner: Runner) -> RunnerStatus:
    cpus = runner.capacity.get("CPU", 0) / 1000
    used = min(cpus, runner.used.get("CPU", 0) / 1000)
    return RunnerStatus(runner.id, runner.node, cpus, used, len(runner.leases), runner.draining)


def references(state: State, event: ReferencesAsked) -> ReferencesAnswer:
    """Which of the keys are referred to."""
    return ReferencesAnswer(tuple(state.table.references(event.keys)))


def catalog(state: State) -> CatalogAnswer:
    """Tenants, keys, functions and policies."""
    return CatalogAnswer(
        state.catalog_version,
        tuple(state.tenants.values()),
        tuple(state.keys.values()),
        tuple(state.functions.values()),
        tuple(state.policies.values()),
    )
