"""What follows from tasks that were changed on request, or whose time is over: the part of `apply` that is the same for
those that are named and for the steps of operations on all that pass a filter.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskservice.core.effects import Ended, Held, ValuesDropped
from taskservice.core.state import State
from taskservice.core.table import Changed
from taskservice.core.types import TaskState


def follow(state: State, found: Iterable[Changed], end: TaskState | None, refill_max: int | None = None) -> list[Held]:
    """Queues and counts are as the table is after these changes. `end`: the state in which all of the tasks are now, if it
    is one of the last; `refill_max`: how much of a queue is read whose head has been changed away, if not as much as fits."""
    effects: list[Held] = []
    for changed in found:
        leaf = changed.leaf
        state.unfinished[leaf.tenant] = state.unfinished.get(leaf.tenant, 0) + changed.unfinished
        if changed.left:
            state.queue(leaf).remove(changed.left, changed.left_bytes, state.table, state.segment, refill_max)
            state.emptied(leaf)
        if changed.entered:
            state.queue(leaf).add_all(changed.entered, changed.entered_bytes, state.segment)
        effects += drop_values(state, changed.values)
    ended = tuple((changed.leaf.tenant, id) for changed in found for id in changed.ids)
    if end is not None and ended:
        effects.append((state.segment, Ended(end, ended)))
    return effects


def drop_values(state: State, keys: tuple[str, ...]) -> list[Held]:
    """Nothing refers to the values of these keys any more: for records that take tasks or results away."""
    if not keys:
        return []
    state.table.drop_references(keys)
    return [(state.segment, ValuesDropped(keys))]
