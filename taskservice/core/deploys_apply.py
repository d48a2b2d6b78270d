"""What records of versions make true."""

from __future__ import annotations

from taskservice.core.deploying import RolloutSet, VersionAdded, VersionsForgotten
from taskservice.core.effects import Held
from taskservice.core.notes import forget_version, note_rollout, note_version
from taskservice.core.state import State


def added(state: State, record: VersionAdded) -> list[Held]:
    state.apps.add(record.version)
    note_version(state.table, record.version)
    return []


def rolled(state: State, record: RolloutSet) -> list[Held]:
    state.apps.roll(record.rollout)
    note_rollout(state.table, record.rollout)
    return []


def forgotten(state: State, record: VersionsForgotten) -> list[Held]:
    state.apps.forget(record.app, record.numbers)
    for number in record.numbers:
        forget_version(state.table, record.app, number)
    return []
