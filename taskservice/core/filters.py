"""What a `ListFilter` lets through."""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core.types import TERMINAL_STATES, Leaf, ListFilter, Task


def passes(task: Task, wanted: ListFilter) -> bool:
    """Whether the task, as it is now, is wanted."""
    return (
        touches(task.leaf, wanted)
        and (not wanted.states or task.state in wanted.states)
        and (wanted.tag is None or wanted.tag in task.tags)
        and (wanted.created_after_ms is None or wanted.created_after_ms <= task.created_ms)
        and (wanted.created_before_ms is None or task.created_ms < wanted.created_before_ms)
    )


def touches(leaf: Leaf, wanted: ListFilter) -> bool:
    """Whether tasks of the leaf may be wanted."""
    return (
        (wanted.tenant is None or leaf.tenant == wanted.tenant)
        and (wanted.function is None or leaf.function == wanted.function)
        and (wanted.priority is None or leaf.priority == wanted.priority)
    )


def meets(one: ListFilter, other: ListFilter) -> bool:
    """Whether some leaf may have tasks that both want."""
    pairs = ((one.tenant, other.tenant), (one.function, other.function), (one.priority, other.priority))
    return all(mine is None or yours is None or mine == yours for mine, yours in pairs)


def by_place(wanted: ListFilter) -> bool:
    """Whether leaf and state alone say if a task is wanted: then the counters know how many are."""
    return (wanted.tag, wanted.created_after_ms, wanted.created_before_ms) == (None, None, None)


def ended_only(wanted: ListFilter) -> ListFilter:
    """The same filter, for tasks that have ended."""
    return replace(wanted, states=tuple(state for state in wanted.states if state in TERMINAL_STATES))
