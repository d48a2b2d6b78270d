"""What the records of triggers make true: the part of `apply` that is theirs."""

from __future__ import annotations

from taskservice.core.effects import Effect
from taskservice.core.notes import forget_trigger, note_trigger
from taskservice.core.state import State
from taskservice.core.trigger_records import TriggerRemoved, TriggerSet


def was_set(state: State, record: TriggerSet) -> list[tuple[int, Effect]]:
    """There is such a trigger."""
    note_trigger(state.table, record.trigger)
    state.triggers.put(record.trigger)
    return []


def removed(state: State, record: TriggerRemoved) -> list[tuple[int, Effect]]:
    """There is no such trigger."""
    forget_trigger(state.table, record.key)
    state.triggers.remove(record.key)
    return []
