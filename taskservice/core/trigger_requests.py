"""What people ask of triggers: to set, remove, show and list them, and which of them events may match."""

from __future__ import annotations

from heapq import nsmallest
from random import Random

from taskservice.core.decision import Decision
from taskservice.core.state import State
from taskservice.core.trigger_events import (
    TriggerAnswer,
    TriggerAsked,
    TriggerEvent,
    TriggerPut,
    TriggerRefusal,
    TriggerRemoveAsked,
    TriggersAnswer,
    TriggersListed,
    TriggersMet,
)
from taskservice.core.trigger_records import TriggerRemoved, TriggerSet
from taskservice.core.triggers import Trigger, TriggerKey


def decide(state: State, event: TriggerEvent, now_ms: int, rng: Random) -> Decision:
    """What comes of what was asked."""
    match event:
        case TriggerPut():
            return _put(state, event, now_ms)
        case TriggerRemoveAsked():
            return _remove(state, event, now_ms)
        case TriggerAsked():
            known = state.triggers.find(TriggerKey(event.tenant, event.id))
            return Decision(answer=_not_found(event.id) if known is None else TriggerAnswer(known))
        case TriggersListed():
            return Decision(answer=_listing(state, event))
        case TriggersMet():
            return Decision(answer=TriggersAnswer(tuple(state.triggers.for_types(event.tenant, event.types))))


def _put(state: State, event: TriggerPut, now_ms: int) -> Decision:
    """The trigger is as it is wanted, or refused. One that is wanted twice is there once."""
    known = state.triggers.find(TriggerKey(event.tenant, event.id))
    if known is not None and known.spec == event.spec:
        return Decision(answer=TriggerAnswer(known, known=True))
    refused = _refusal(state, event, known)
    if refused is not None:
        return Decision(answer=refused)
    trigger = Trigger(event.id, event.tenant, event.spec, now_ms)
    return Decision((TriggerSet(now_ms, trigger),), TriggerAnswer(trigger))


def _refusal(state: State, event: TriggerPut, known: Trigger | None) -> TriggerAnswer | None:
    if event.tenant not in state.tenants:
        message = f"there is no tenant {event.tenant!r}; an admin makes tenants"
        return TriggerAnswer(None, TriggerRefusal.UNKNOWN_TENANT, message)
    if event.spec.function not in state.functions:
        message = f"there is no function {event.spec.function!r}; deploy it, or name another"
        return TriggerAnswer(None, TriggerRefusal.UNKNOWN_FUNCTION, message)
    if known is not None:
        message = f"there is another trigger {event.id!r}; remove it first, or choose another id"
        return TriggerAnswer(known, TriggerRefusal.EXISTS, message)
    most = state.limits.triggers_max
    if len(state.triggers.by_tenant.get(event.tenant, {})) >= most:
        message = f"tenant {event.tenant!r} has as many triggers as it may (triggers_max {most}): remove one first"
        return TriggerAnswer(None, TriggerRefusal.MAX, message, most)
    return None


def _remove(state: State, event: TriggerRemoveAsked, now_ms: int) -> Decision:
    """There is no such trigger any more; the answer shows it as it was."""
    key = TriggerKey(event.tenant, event.id)
    known = state.triggers.find(key)
    if known is None:
        return Decision(answer=_not_found(event.id))
    return Decision((TriggerRemoved(now_ms, *key),), TriggerAnswer(known))


def _not_found(id: str) -> TriggerAnswer:
    return TriggerAnswer(None, TriggerRefusal.NOT_FOUND, f"there is no trigger {id!r}")


def _listing(state: State, event: TriggersListed) -> TriggersAnswer:
    """A page of triggers, by tenant and id."""
    after = event.after
    wanted = (each for each in state.triggers.of(event.tenant) if after is None or each.key > after)
    page = nsmallest(event.limit + 1, wanted, key=lambda each: each.key)
    return TriggersAnswer(tuple(page[: event.limit]), more=len(page) > event.limit)
