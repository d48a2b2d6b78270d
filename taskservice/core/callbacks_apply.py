"""What the records of callbacks make true, and what the end of a run does: the part of `apply` that is theirs."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from taskservice.core import callback_records as r
from taskservice.core.deliveries import Delivery, DeliveryKey, DeliveryState, renewed
from taskservice.core.effects import CallbacksOwed, Held
from taskservice.core.notes import note_endpoint, note_secret
from taskservice.core.outcome import task_json
from taskservice.core.state import State
from taskservice.core.types import Task, TaskNo

RESULT_BYTES_MAX = 16 * 1024
"""A larger result is not told: who gets callbacks should not have to read much, and can ask for it."""
TRIES_MAX = 30
"""Attempts that are remembered of a delivery, the last ones."""


def owe(state: State, nos: Sequence[TaskNo]) -> list[Held]:
    """Runs of these tasks, which something follows, have ended: who wanted to be told of it is owed that."""
    if not nos:
        return []
    owed = [_owed(task) for task in state.table.load(nos) if task.hooks is not None and task.hooks.callback_url]
    return _put(state, owed)


def _owed(task: Task) -> Delivery:
    assert task.hooks is not None
    ended_ms = task.ended_ms or 0
    return Delivery(
        no=task.no,
        run=task.run,
        tenant=task.tenant,
        id=task.id,
        url=task.hooks.callback_url,
        state_told=task.state,
        ended_ms=ended_ms,
        task=task_json(task, RESULT_BYTES_MAX),
        next_ms=ended_ms,
        owed_ms=ended_ms,
    )


def tried(state: State, record: r.DeliveriesTried) -> list[Held]:
    """These were tried."""
    known = {one.key: one for one in state.table.deliveries.get([DeliveryKey(row.no, row.run) for row in record.rows])}
    for row in record.rows:
        before = known[DeliveryKey(row.no, row.run)]
        known[before.key] = replace(
            before,
            state=row.state,
            next_ms=row.next_ms,
            tries=(*before.tries, row.attempt)[-TRIES_MAX:],
            owed_tries=before.owed_tries + 1,
        )
    after = list(known.values())
    state.table.deliveries.put(after)
    state.outbox.look_again(state.table, dict.fromkeys(one.endpoint for one in after))
    return []


def renew(state: State, record: r.DeliveryRenewed) -> list[Held]:
    """It is owed again."""
    (before,) = state.table.deliveries.get([DeliveryKey(record.no, record.run)])
    return _put(state, [renewed(before, record.at_ms)])


def forgotten(state: State, record: r.DeliveriesForgotten) -> list[Held]:
    """These are not known any more."""
    owed = [one for one in state.table.deliveries.get(record.keys) if one.state is DeliveryState.OWED]
    state.table.deliveries.drop(record.keys)
    state.outbox.look_again(state.table, dict.fromkeys(one.endpoint for one in owed))
    return []


def endpoint_set(state: State, record: r.EndpointSet) -> list[Held]:
    """The endpoint is like that; if it is well again, it can be told what it is owed."""
    note_endpoint(state.table, record.endpoint)
    state.outbox.set(record.endpoint)
    return [(state.segment, CallbacksOwed())]


def secret_set(state: State, record: r.SecretSet) -> list[Held]:
    """The tenant's callbacks are signed with this."""
    note_secret(state.table, record.secret)
    state.outbox.secrets[record.secret.tenant] = record.secret
    return []


def _put(state: State, owed: Sequence[Delivery]) -> list[Held]:
    if not owed:
        return []
    state.table.deliveries.put(owed)
    state.outbox.look_again(state.table, dict.fromkeys(one.endpoint for one in owed))
    return [(state.segment, CallbacksOwed())]
