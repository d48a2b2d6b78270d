"""What an event leads to. Chooses, and changes nothing: the shard may still be refused the append.

One function per kind of event, tied to it in one table.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar, cast

from msgspec.structs import replace

from taskservice.core import bulk, callbacks, deploys, history, operate, query, schedule_requests, trigger_requests
from taskservice.core import callback_events as ce
from taskservice.core import events as e
from taskservice.core import trigger_events as te
from taskservice.core.admit import admit
from taskservice.core.backlog import BacklogAsked
from taskservice.core.decision import Decision
from taskservice.core.demanded import backlog
from taskservice.core.deploying import AppDeployed, AppsAsked, RolloutAsked
from taskservice.core.effects import DoneAnswer, Ordered
from taskservice.core.follow_up import follow_ups
from taskservice.core.insight import TimelineAsked, UsageAsked, WhyAsked
from taskservice.core.records import FunctionsSet, KeySet, PolicySet, TenantSet
from taskservice.core.report import lost, report
from taskservice.core.specs import policy_key
from taskservice.core.state import State
from taskservice.core.ticks import tick
from taskservice.core.timeline import timeline
from taskservice.core.usage import usage
from taskservice.core.why import why

E = TypeVar("E", bound=e.Event)
Decider = Callable[[State, E, int, Random], Decision]


def decide(state: State, event: e.Event, now_ms: int, rng: Random) -> Decision:
    """The records that `event` calls for, and the answer to whoever caused it."""
    decision = _DECIDE[type(event)](state, event, now_ms, rng)
    following = follow_ups(state, decision.records, now_ms)
    return decision if following is None else replace(decision, records=(*decision.records, following))


def _functions(state: State, event: e.FunctionsRegistered, now_ms: int, rng: Random) -> Decision:
    changed = tuple(f for f in event.functions if state.functions.get(f.name) != f)
    return Decision((FunctionsSet(now_ms, changed),) if changed else (), DoneAnswer())


def _tenant(state: State, event: e.TenantPut, now_ms: int, rng: Random) -> Decision:
    if state.tenants.get(event.tenant.id) == event.tenant:
        return Decision(answer=DoneAnswer())
    return Decision((TenantSet(now_ms, event.tenant),), DoneAnswer())


def _key(state: State, event: e.KeyPut, now_ms: int, rng: Random) -> Decision:
    if state.keys.get(event.key.id) == event.key:
        return Decision(answer=DoneAnswer())
    return Decision((KeySet(now_ms, event.key),), DoneAnswer())


def _policy(state: State, event: e.PolicyPut, now_ms: int, rng: Random) -> Decision:
    if state.policies.get(policy_key(event.policy)) == event.policy:
        return Decision(answer=DoneAnswer())
    return Decision((PolicySet(now_ms, event.policy),), DoneAnswer())


def _joined(state: State, event: e.RunnerJoined, now_ms: int, rng: Random) -> Decision:
    """What its leases were told before, perhaps by a dispatcher that is no more, they are told again."""
    held = [state.leases.get(each.token) for each in event.held]
    orders = [order for lease in held if lease is not None for order in lease.orders]
    return Decision(effects=tuple(Ordered(event.runner, order) for order in orders))


def _runner_lost(state: State, event: e.RunnerLost, now_ms: int, rng: Random) -> Decision:
    message = f"runner {event.runner} was lost"
    return Decision(
        tuple(
            record
            for lease in state.leases.values()
            if lease.runner == event.runner
            for record in lost(state, lease, message, now_ms, rng)
        )
    )


def _runners_settled(state: State, event: e.RunnersSettled, now_ms: int, rng: Random) -> Decision:
    message = "no runner that outlived the restart holds its lease"
    return Decision(
        tuple(
            record
            for lease in state.leases.values()
            if not state.pool.holds(lease.token)
            for record in lost(state, lease, message, now_ms, rng)
        )
    )


def _nothing(state: State, event: e.Event, now_ms: int, rng: Random) -> Decision:
    return Decision()


def _for(kind: type[E], how: Decider[E]) -> tuple[type, Callable[[State, e.Event, int, Random], Decision]]:
    """Ties an event type to the function for it, so that the two cannot disagree."""
    return kind, cast("Callable[[State, e.Event, int, Random], Decision]", how)


_DECIDE = dict(
    [
        _for(e.Submitted, lambda state, event, now_ms, rng: admit(state, event, now_ms)),
        _for(e.ChangeAsked, lambda state, event, now_ms, rng: operate.change(state, event, now_ms)),
        _for(e.BulkAsked, bulk.begin),
        _for(e.OperationAsked, lambda state, event, now_ms, rng: Decision(answer=bulk.find(state, event))),
        _for(e.TaskAsked, lambda state, event, now_ms, rng: Decision(answer=query.task(state, event))),
        _for(e.TasksListed, lambda state, event, now_ms, rng: Decision(answer=query.listing(state, event))),
        _for(e.StatusAsked, lambda state, event, now_ms, rng: Decision(answer=query.status(state, event))),
        _for(e.SchedulePut, lambda state, event, now_ms, rng: schedule_requests.put(state, event, now_ms)),
        _for(e.ScheduleRemoveAsked, lambda state, event, now_ms, rng: schedule_requests.remove(state, event, now_ms)),
        _for(e.ScheduleAsked, lambda state, event, now_ms, rng: Decision(answer=schedule_requests.find(state, event))),
        _for(
            e.SchedulesListed,
            lambda state, event, now_ms, rng: Decision(answer=schedule_requests.listing(state, event)),
        ),
        _for(te.TriggerPut, trigger_requests.decide),
        _for(te.TriggerRemoveAsked, trigger_requests.decide),
        _for(te.TriggerAsked, trigger_requests.decide),
        _for(te.TriggersListed, trigger_requests.decide),
        _for(te.TriggersMet, trigger_requests.decide),
        _for(e.CatalogAsked, lambda state, event, now_ms, rng: Decision(answer=query.catalog(state))),
        _for(e.ReferencesAsked, lambda state, event, now_ms, rng: Decision(answer=query.references(state, event))),
        _for(e.FunctionsRegistered, _functions),
        _for(e.TenantPut, _tenant),
        _for(e.KeyPut, _key),
        _for(e.PolicyPut, _policy),
        _for(e.RunnerJoined, _joined),
        _for(e.RunnerDraining, _nothing),
        _for(e.RunnerLost, _runner_lost),
        _for(e.RunnersSettled, _runners_settled),
        _for(e.RunnerReported, report),
        _for(e.Ticked, lambda state, event, now_ms, rng: tick(state, now_ms)),
        _for(e.EndedAsked, lambda state, event, now_ms, rng: history.ended(state, event, now_ms)),
        _for(e.FileWritten, lambda state, event, now_ms, rng: history.archive(state, event, now_ms)),
        _for(e.UnfinishedAsked, lambda state, event, now_ms, rng: history.unfinished(state)),
        _for(e.ForgetAsked, lambda state, event, now_ms, rng: history.forget(state, event, now_ms)),
        _for(e.DropAsked, lambda state, event, now_ms, rng: history.droppable(state, event, now_ms)),
        _for(e.OldFileRead, lambda state, event, now_ms, rng: history.drop(state, event, now_ms)),
        _for(e.StrangersAsked, lambda state, event, now_ms, rng: history.strangers(state, event)),
        _for(WhyAsked, lambda state, event, now_ms, rng: Decision(answer=why(state, event, now_ms))),
        _for(TimelineAsked, lambda state, event, now_ms, rng: Decision(answer=timeline(state, event, now_ms))),
        _for(UsageAsked, lambda state, event, now_ms, rng: Decision(answer=usage(state, event, now_ms))),
        _for(ce.CallbacksAsked, callbacks.asked),
        _for(ce.CallbacksAttempted, callbacks.attempted),
        _for(ce.DeliveriesAsked, lambda state, event, now_ms, rng: Decision(answer=callbacks.deliveries(state, event))),
        _for(ce.RedeliveryAsked, callbacks.again),
        _for(ce.EndpointsAsked, lambda state, event, now_ms, rng: Decision(answer=callbacks.endpoints(state, event))),
        _for(ce.EndpointEnabled, callbacks.enable),
        _for(ce.SecretPut, callbacks.put_secret),
        _for(BacklogAsked, lambda state, event, now_ms, rng: Decision(answer=backlog(state, now_ms), near=True)),
        _for(AppDeployed, lambda state, event, now_ms, rng: deploys.deploy(state, event, now_ms)),
        _for(RolloutAsked, lambda state, event, now_ms, rng: deploys.move(state, event, now_ms)),
        _for(AppsAsked, lambda state, event, now_ms, rng: Decision(answer=deploys.listing(state, event))),
        _for(e.OperationTurn, lambda state, event, now_ms, rng: bulk.go_on(state, now_ms)),
    ]
)
