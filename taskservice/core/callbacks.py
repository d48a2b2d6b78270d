"""What becomes of callbacks: which are to be sent now, when one is tried again, and when an endpoint is left alone.

At least once: what was delivered is owed until the shard has been told, and is sent again, under the same id, if that gets lost.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from msgspec.structs import replace

from taskservice.core.callback_events import (
    Attempted,
    CallbacksAnswer,
    CallbacksAsked,
    CallbacksAttempted,
    DeliveriesAnswer,
    DeliveriesAsked,
    EndpointEnabled,
    EndpointsAnswer,
    EndpointsAsked,
    RedeliveryAsked,
    SecretAnswer,
    SecretPut,
)
from taskservice.core.callback_records import (
    DeliveriesForgotten,
    DeliveriesTried,
    DeliveryRenewed,
    EndpointSet,
    SecretSet,
    TriedRow,
)
from taskservice.core.decision import Decision
from taskservice.core.deliveries import (
    Delivery,
    DeliveryKey,
    DeliveryState,
    Endpoint,
    EndpointKey,
    SigningSecret,
    Try,
    renewed,
)
from taskservice.core.effects import DoneAnswer
from taskservice.core.limits import Limits
from taskservice.core.state import State
from taskservice.core.types import TaskId, TaskNo, TenantId

DELAYS_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800)
"""After the first attempt, the second, ...; the last one again and again."""
JITTER_RATIO = 0.1
"""A delay is longer by up to so much, so that what failed together is not tried together."""
PER_ENDPOINT_MAX = 8
"""Deliveries to one endpoint at a time; one, while it fails: slow ones must not keep the others waiting."""
FORGOTTEN_AT_ONCE_MAX = 100
EVER_MS = 2**62
MESSAGE_CHARS_MAX = 200
GONE = 410
"""The HTTP status of who does not want to be told any more."""


def is_success(status: int) -> bool:
    """Whether an HTTP status says that it was delivered. A redirect does not: it is not followed."""
    return 200 <= status <= 299


def asked(state: State, event: CallbacksAsked, now_ms: int, rng: Random) -> Decision:
    """What can be delivered now: some to each endpoint that is due, those first that wait for the longest. What is old is forgotten."""
    busy = {each.key for each in event.busy}
    taken = Counter(each.endpoint for each in event.busy)
    found: list[Delivery] = []
    for key in state.outbox.due(now_ms):
        most = 1 if key in state.outbox.troubled else PER_ENDPOINT_MAX
        wanted = min(most - taken[key], event.limit - len(found))
        if wanted > 0:
            owed = state.table.deliveries.owed(key, now_ms, wanted + taken[key])
            found += [one for one in owed if one.key not in busy][:wanted]
        if len(found) >= event.limit:
            break
    tenants = {one.tenant: state.outbox.secrets.get(one.tenant) for one in found}
    secrets = {tenant: secret.signing(now_ms) for tenant, secret in tenants.items() if secret is not None}
    answer = CallbacksAnswer(tuple(found), secrets, state.outbox.next_ms(now_ms))
    return Decision(_forget(state, now_ms), answer)


def _forget(state: State, now_ms: int) -> tuple[DeliveriesForgotten | EndpointSet, ...]:
    """What is old is known no longer; nor that an endpoint was in trouble, when nothing else is owed to it."""
    before_ms = now_ms - int(state.limits.callback_keep_s * 1000)
    old = tuple(state.table.deliveries.old(before_ms, FORGOTTEN_AT_ONCE_MAX))
    if not old:
        return ()
    keys = dict.fromkeys(one.endpoint for one in state.table.deliveries.get(old))
    well = [key for key in keys if _is_over(state, key, frozenset(old), before_ms)]
    return (DeliveriesForgotten(now_ms, old), *(EndpointSet(now_ms, Endpoint(*key)) for key in well))


def _is_over(state: State, key: EndpointKey, going: frozenset[DeliveryKey], before_ms: int) -> bool:
    """Whether the endpoint was in trouble before then, and nothing is owed to it but what is going."""
    endpoint = state.outbox.troubled.get(key)
    if endpoint is None or (endpoint.failing_ms or 0) >= before_ms:
        return False
    return all(one.key in going for one in state.table.deliveries.owed(key, EVER_MS, len(going) + 1))


def attempted(state: State, event: CallbacksAttempted, now_ms: int, rng: Random) -> Decision:
    """Each is delivered, owed with another time, or given up; and the endpoints are as well as they seem by that."""
    keys = [DeliveryKey(each.no, each.run) for each in event.attempts]
    known = {one.key: one for one in state.table.deliveries.get(keys)}
    rows: list[TriedRow] = []
    endpoints: dict[EndpointKey, Endpoint] = {}
    for key, attempt in zip(keys, event.attempts, strict=True):
        delivery = known.get(key)
        if delivery is None:
            continue
        rows.append(_row(delivery, attempt, state.limits, now_ms, rng))
        before = endpoints.get(delivery.endpoint) or state.outbox.endpoint(delivery.endpoint)
        endpoints[delivery.endpoint] = _after(before, attempt, state.limits, now_ms)
    changed = [each for key, each in endpoints.items() if each != state.outbox.endpoint(key)]
    records = tuple(EndpointSet(now_ms, each) for each in changed)
    return Decision((DeliveriesTried(now_ms, tuple(rows)), *records) if rows else (), DoneAnswer())


def _row(delivery: Delivery, attempt: Attempted, limits: Limits, now_ms: int, rng: Random) -> TriedRow:
    tried = Try(now_ms, attempt.status, attempt.message[:MESSAGE_CHARS_MAX])
    if is_success(attempt.status):
        return TriedRow(*delivery.key, tried, DeliveryState.DELIVERED, None)
    if delivery.state is not DeliveryState.OWED:  # it was, until somebody else had delivered it
        return TriedRow(*delivery.key, tried, delivery.state, None)
    delay_s = DELAYS_S[min(delivery.owed_tries, len(DELAYS_S) - 1)]
    delay_ms = max(int(1000 * delay_s * (1 + JITTER_RATIO * rng.random())), attempt.retry_after_ms)
    last_ms = delivery.owed_ms + int(limits.callback_retry_s * 1000)
    if now_ms + delay_ms > last_ms:
        return TriedRow(*delivery.key, tried, DeliveryState.GIVEN_UP, None)
    return TriedRow(*delivery.key, tried, DeliveryState.OWED, now_ms + delay_ms)


def _after(before: Endpoint, attempt: Attempted, limits: Limits, now_ms: int) -> Endpoint:
    """The endpoint after an attempt. One that is disabled stays so, until somebody enables it."""
    if before.disabled_ms is not None:
        return before
    if is_success(attempt.status):
        return Endpoint(*before.key)
    reason = f"HTTP status {attempt.status}" if attempt.status else attempt.message[:MESSAGE_CHARS_MAX]
    failing_ms = now_ms if before.failing_ms is None else before.failing_ms
    after = replace(before, failures=before.failures + 1, failing_ms=failing_ms, reason=reason)
    if attempt.status == GONE:
        return replace(after, disabled_ms=now_ms, reason="it has answered that it is gone (HTTP status 410)")
    if now_ms - failing_ms >= int(limits.callback_disable_s * 1000):
        why = f"it has failed {after.failures} times in a row, for callback_disable_s ({limits.callback_disable_s:g} s)"
        return replace(after, disabled_ms=now_ms, reason=f"{why}; last: {reason}")
    return after


def deliveries(state: State, event: DeliveriesAsked) -> DeliveriesAnswer:
    """Those of the task."""
    no = _no_of(state, event.tenant, event.id)
    if no is None:
        return DeliveriesAnswer(None)
    return _shown(state, tuple(state.table.deliveries.of_task(no)))


def again(state: State, event: RedeliveryAsked, now_ms: int, rng: Random) -> Decision:
    """The last of the task's deliveries is owed, as if its run had ended now. Without one nothing happens."""
    no = _no_of(state, event.tenant, event.id)
    if no is None:
        return Decision(answer=DeliveriesAnswer(None))
    known = state.table.deliveries.of_task(no)
    if not known:
        return Decision(answer=DeliveriesAnswer(()))
    known[-1] = renewed(known[-1], now_ms)
    return Decision((DeliveryRenewed(now_ms, *known[-1].key),), _shown(state, tuple(known)))


def endpoints(state: State, event: EndpointsAsked) -> EndpointsAnswer:
    """Those in trouble."""
    found = state.outbox.troubled.values()
    return EndpointsAnswer(tuple(each for each in found if event.tenant in (None, each.tenant)))


def enable(state: State, event: EndpointEnabled, now_ms: int, rng: Random) -> Decision:
    """All is well with the endpoint, as far as we know."""
    now = Endpoint(event.tenant, event.origin)
    records = () if state.outbox.endpoint(now.key) == now else (EndpointSet(now_ms, now),)
    return Decision(records, EndpointsAnswer((now,)))


def put_secret(state: State, event: SecretPut, now_ms: int, rng: Random) -> Decision:
    """The tenant has this secret; the one before signs as well for a while."""
    before = state.outbox.secrets.get(event.tenant)
    if event.tenant not in state.tenants or (before is not None and not event.rotate):
        return Decision(answer=SecretAnswer(taken=False))
    secret = SigningSecret(event.tenant, event.secret, now_ms)
    if before is not None:
        until_ms = now_ms + int(state.limits.callback_secret_overlap_s * 1000)
        secret = replace(secret, previous_whsec=before.whsec, previous_until_ms=until_ms)
    return Decision((SecretSet(now_ms, secret),), SecretAnswer(True, secret.previous_until_ms))


def _shown(state: State, known: tuple[Delivery, ...]) -> DeliveriesAnswer:
    return DeliveriesAnswer(known, state.outbox.endpoint(known[-1].endpoint) if known else None)


def _no_of(state: State, tenant: TenantId, id: TaskId) -> TaskNo | None:
    here = state.table.find(tenant, [id]).get(id) or state.table.past.find(tenant, [id]).get(id)
    return None if here is None else here.no
