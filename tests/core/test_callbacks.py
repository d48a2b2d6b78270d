"""Callbacks in the core: what is owed when a run ends, when it is tried again, and when an endpoint is left alone."""

from __future__ import annotations

import itertools
import json

import pytest

from taskservice.core.callback_events import (
    Attempted,
    Busy,
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
from taskservice.core.callbacks import DELAYS_S, PER_ENDPOINT_MAX
from taskservice.core.callbacks_apply import RESULT_BYTES_MAX, TRIES_MAX
from taskservice.core.deliveries import Delivery, DeliveryState, EndpointKey, origin_of
from taskservice.core.effects import CallbacksOwed, Effect
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import Hooks, OutcomeKind, TenantId
from world.machine import Machine, bad, function, ok

URL = "https://a.example/told?x=1"
TOLD = Hooks(callback_url=URL)
DAY_MS = 86_400_000
OWED, DELIVERED, GIVEN_UP = DeliveryState


def due(machine: Machine, limit: int = 100, busy: tuple[Busy, ...] = ()) -> list[Delivery]:
    return list(asked(machine, limit, busy).deliveries)


def asked(machine: Machine, limit: int = 100, busy: tuple[Busy, ...] = ()) -> CallbacksAnswer:
    answer = machine.ask(CallbacksAsked(machine.next_ref(), limit, busy))
    assert isinstance(answer, CallbacksAnswer)
    return answer


def answered(machine: Machine, *deliveries: Delivery, status: int = 500, message: str = "", after_ms: int = 0) -> None:
    attempts = tuple(Attempted(each.no, each.run, status, message, after_ms) for each in deliveries)
    machine.ask(CallbacksAttempted(machine.next_ref(), attempts))


def of_task(machine: Machine, id: str, tenant: TenantId = DEFAULT_TENANT) -> DeliveriesAnswer:
    answer = machine.ask(DeliveriesAsked(machine.next_ref(), tenant, id))  # type: ignore[arg-type]
    assert isinstance(answer, DeliveriesAnswer)
    return answer


def troubled(machine: Machine, tenant: TenantId | None = None) -> list:
    answer = machine.ask(EndpointsAsked(machine.next_ref(), tenant))
    assert isinstance(answer, EndpointsAnswer)
    return list(answer.endpoints)


def ended(machine: Machine, *ids: str, hooks: Hooks = TOLD, **options: object) -> None:
    """Each has run and succeeded."""
    for id in ids:
        machine.succeed(machine.run(id, hooks=hooks, **options))


def again(machine: Machine, id: str) -> DeliveriesAnswer:
    answer = machine.ask(RedeliveryAsked(machine.next_ref(), DEFAULT_TENANT, id))  # type: ignore[arg-type]
    assert isinstance(answer, DeliveriesAnswer)
    return answer


def has_owed(effects: list[Effect]) -> bool:
    return any(isinstance(effect, CallbacksOwed) for effect in effects)


def test_every_way_to_end_is_told(machine: Machine) -> None:
    ended(machine, "good")
    lease = machine.run("bad", hooks=TOLD)
    machine.report(lease.token, bad(2, OutcomeKind.NON_RETRYABLE))
    lease = machine.run("stopped", hooks=TOLD)
    machine.cancel("stopped")
    machine.report(lease.token, bad(3, OutcomeKind.CANCELLED))
    machine.submit("called-off", "late", hooks=TOLD, ttl_ms=100)
    machine.cancel("called-off")
    machine.later(100)
    machine.submit("swept", hooks=TOLD)
    machine.submit("plain")
    machine.bulk()
    machine.finish_bulk()
    assert {each.id: each.state_told.value for each in due(machine)} == {
        "good": "succeeded", "bad": "failed", "stopped": "cancelled", "called-off": "cancelled", "late": "expired",
        "swept": "cancelled",
    }  # fmt: skip


def test_nothing_is_owed_before_the_end_or_without_a_url(machine: Machine) -> None:
    ended(machine, "silent", hooks=Hooks(on_failure="app.f"))
    lease = machine.run("a", hooks=TOLD)
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.change(OperationKind.PAUSE, "a")
    machine.change(OperationKind.RESUME, "a")
    assert due(machine) == []
    assert not has_owed(machine.released)


def test_whoever_sends_is_woken_when_it_is_durable(machine: Machine) -> None:
    ended(machine, "a")
    assert has_owed(machine.released)


def test_what_is_told_is_fixed_at_the_end(machine: Machine) -> None:
    lease = machine.run("a", hooks=TOLD)
    machine.report(lease.token, ok(1, b"[42]"))
    machine.change(OperationKind.DELETE, "a")
    (delivery,) = due(machine)
    assert json.loads(delivery.task)["result"] == [42]
    assert (delivery.url, delivery.ended_ms, delivery.next_ms) == (URL, machine.now_ms, machine.now_ms)


def test_a_large_result_is_left_out(machine: Machine) -> None:
    lease = machine.run("a", hooks=TOLD)
    machine.report(lease.token, ok(1, b'"' + b"x" * RESULT_BYTES_MAX + b'"'))
    said = json.loads(due(machine)[0].task)
    assert "result" not in said
    assert said["result_bytes"] == RESULT_BYTES_MAX + 2


def test_it_is_owed_until_it_is_told_that_it_was_delivered(machine: Machine) -> None:
    ended(machine, "a")
    (first,) = due(machine)
    (same,) = due(machine)
    assert same == first, "a crash between delivery and its record delivers it twice, under the same id"
    assert same.webhook_id == first.webhook_id
    answered(machine, first, status=204)
    assert due(machine) == []
    (known,) = of_task(machine, "a").deliveries or ()
    assert (known.state, known.next_ms, [each.status for each in known.tries]) == (DELIVERED, None, [204])


def test_what_is_being_delivered_is_not_given_out_again(machine: Machine) -> None:
    ended(machine, "a", "b")
    first, second = due(machine)
    assert due(machine, busy=(Busy(first.endpoint, first.key),)) == [second]


def test_ids_name_the_run_and_nothing_that_users_say(machine: Machine) -> None:
    lease = machine.run("a.b", hooks=TOLD)
    machine.report(lease.token, bad(1, OutcomeKind.NON_RETRYABLE))
    machine.change(OperationKind.RETRY, "a.b")
    machine.succeed(machine.dispatch()[0])
    one, other = due(machine)
    assert one.webhook_id != other.webhook_id
    assert "." not in one.webhook_id
    assert (one.state_told.value, other.state_told.value) == ("failed", "succeeded")


def test_it_is_tried_for_a_day_and_then_given_up(machine: Machine) -> None:
    ended(machine, "a")
    began_ms, times = machine.now_ms, []
    while (found := due(machine)) or asked(machine).next_ms is not None:
        if not found:
            machine.now_ms = asked(machine).next_ms or 0
            continue
        times.append((machine.now_ms - began_ms) / 1000)
        answered(machine, *found, status=0, message="timed out")
    (known,) = of_task(machine, "a").deliveries or ()
    assert (known.state, known.next_ms) == (GIVEN_UP, None)
    assert len(known.tries) == len(times) == 10
    assert [each.message for each in known.tries] == ["timed out"] * 10
    assert DAY_MS / 2 < times[-1] * 1000 <= DAY_MS
    delays = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(least <= delay <= 1.1 * least for least, delay in zip(DELAYS_S, delays, strict=False))


def test_who_asks_to_be_left_alone_is(machine: Machine) -> None:
    ended(machine, "a")
    answered(machine, *due(machine), status=429, after_ms=3_600_000)
    machine.now_ms += 3_599_999
    assert due(machine) == []
    machine.now_ms += 1
    assert len(due(machine)) == 1


def test_a_redirect_is_no_delivery(machine: Machine) -> None:
    ended(machine, "a")
    answered(machine, *due(machine), status=302)
    assert (of_task(machine, "a").deliveries or ())[0].state is OWED


def test_one_endpoint_does_not_keep_others_waiting(machine: Machine) -> None:
    ended(machine, *(f"a{at}" for at in range(2 * PER_ENDPOINT_MAX)))
    ended(machine, "b", hooks=Hooks("https://b.example/"))
    found = due(machine)
    assert len(found) == PER_ENDPOINT_MAX + 1
    assert found[-1].id == "b"
    answered(machine, found[0], status=500)
    machine.now_ms += 1
    mine = [each for each in due(machine) if each.url == URL]
    assert len(mine) == 1, "one that fails is asked once at a time"
    assert len(due(machine, limit=1)) == 1


def test_an_endpoint_that_fails_for_long_is_told_nothing_more(machine: Machine) -> None:
    ended(machine, "a")
    answered(machine, *due(machine), status=500)
    machine.now_ms += int(Limits().callback_disable_s * 1000) - 1
    answered(machine, *due(machine), status=500)
    assert troubled(machine)[0].disabled_ms is None
    ended(machine, "b")
    machine.now_ms += 1
    answered(machine, *due(machine), status=500)
    (endpoint,) = troubled(machine)
    assert endpoint.disabled_ms == machine.now_ms
    assert "callback_disable_s (259200 s)" in endpoint.reason
    assert "HTTP status 500" in endpoint.reason
    machine.now_ms += 60_000
    assert due(machine) == []
    assert asked(machine).next_ms is None
    ended(machine, "c")
    assert due(machine) == []
    assert of_task(machine, "c").endpoint == endpoint
    machine.restart()
    machine.join()
    assert troubled(machine) == [endpoint]


def test_until_somebody_enables_it(machine: Machine) -> None:
    ended(machine, "a")
    answered(machine, *due(machine), status=410)
    (endpoint,) = troubled(machine)
    assert "410" in endpoint.reason
    assert endpoint.disabled_ms is not None
    ended(machine, "b")
    machine.now_ms += 10_000
    machine.released.clear()
    machine.ask(EndpointEnabled(machine.next_ref(), DEFAULT_TENANT, endpoint.origin))
    assert has_owed(machine.released)
    assert troubled(machine) == []
    assert [each.id for each in due(machine)] == ["b", "a"]


def test_a_success_makes_it_well(machine: Machine) -> None:
    ended(machine, "a", "b")
    one, other = due(machine)
    answered(machine, one, status=503)
    assert [(each.failures, each.reason) for each in troubled(machine)] == [(1, "HTTP status 503")]
    answered(machine, other, status=200)
    assert troubled(machine) == []


def test_tenants_do_not_share_an_endpoint(machine: Machine) -> None:
    acme = machine.tenant("acme")
    ended(machine, "a")
    answered(machine, *due(machine), status=410)
    machine.submit("a", tenant=acme, hooks=TOLD)
    machine.succeed(machine.dispatch()[0])
    assert [each.tenant for each in due(machine)] == ["acme"]
    assert troubled(machine, acme) == []
    assert len(troubled(machine, DEFAULT_TENANT)) == 1


def test_it_can_be_asked_for_again(machine: Machine) -> None:
    ended(machine, "a")
    (first,) = due(machine)
    answered(machine, first, status=200)
    machine.now_ms += 2 * DAY_MS
    assert len(again(machine, "a").deliveries or ()) == 1
    (second,) = due(machine)
    assert (second.webhook_id, second.state, second.owed_tries) == (first.webhook_id, OWED, 0)
    answered(machine, second, status=500)
    assert (of_task(machine, "a").deliveries or ())[0].next_ms is not None, "it is tried for a day from then on"
    assert again(machine, "nobody").deliveries is None
    machine.submit("silent")
    assert again(machine, "silent").deliveries == ()


def test_what_is_old_is_forgotten_whatever_became_of_it(machine: Machine) -> None:
    ended(machine, "a")
    answered(machine, *due(machine), status=410)
    ended(machine, "b")
    machine.now_ms += int(Limits().callback_keep_s * 1000)
    due(machine)
    assert len(of_task(machine, "a").deliveries or ()) == 1
    machine.now_ms += 1
    due(machine)
    assert (of_task(machine, "a").deliveries, of_task(machine, "b").deliveries) == ((), ())


def test_that_an_endpoint_was_in_trouble_is_forgotten_when_nothing_is_owed_to_it(machine: Machine) -> None:
    """So nobody can fill the service with hosts that answer 410."""
    ended(machine, "a")
    answered(machine, *due(machine), status=410)
    machine.now_ms += 1_000
    ended(machine, "b")
    machine.now_ms += int(Limits().callback_keep_s * 1000)
    due(machine)
    assert of_task(machine, "a").deliveries == ()
    assert len(troubled(machine)) == 1, "b is owed"
    machine.now_ms += 1_000
    due(machine)
    assert troubled(machine) == []
    assert machine.state.outbox.first_ms == {}


def test_a_task_in_another_hand_is_nobodys(machine: Machine) -> None:
    acme = machine.tenant("acme")
    ended(machine, "a")
    assert of_task(machine, "a", acme).deliveries is None


def test_what_comes_after_somebody_else_has_delivered_it_changes_nothing(machine: Machine) -> None:
    ended(machine, "a")
    (delivery,) = due(machine)
    answered(machine, delivery, status=200)
    answered(machine, delivery, status=500)
    (known,) = of_task(machine, "a").deliveries or ()
    assert (known.state, [each.status for each in known.tries]) == (DELIVERED, [200, 500])


def test_only_the_last_attempts_are_remembered(machine: Machine) -> None:
    ended(machine, "a")
    for _ in range(TRIES_MAX + 5):
        again(machine, "a")
        answered(machine, *due(machine), status=500)
    (known,) = of_task(machine, "a").deliveries or ()
    assert len(known.tries) == TRIES_MAX


def put_secret(machine: Machine, secret: bytes, *, rotate: bool, tenant: TenantId = DEFAULT_TENANT) -> SecretAnswer:
    answer = machine.ask(SecretPut(machine.next_ref(), tenant, secret, rotate))
    assert isinstance(answer, SecretAnswer)
    return answer


def test_secrets_overlap_when_they_are_rotated(machine: Machine) -> None:
    ended(machine, "a")
    assert asked(machine).secrets == {}
    assert put_secret(machine, b"one", rotate=False).taken
    assert not put_secret(machine, b"other", rotate=False).taken
    assert asked(machine).secrets == {DEFAULT_TENANT: (b"one",)}
    until_ms = put_secret(machine, b"two", rotate=True).previous_until_ms
    assert until_ms == machine.now_ms + DAY_MS
    machine.restart()
    machine.join()
    assert asked(machine).secrets == {DEFAULT_TENANT: (b"two", b"one")}
    machine.now_ms = until_ms
    assert asked(machine).secrets == {DEFAULT_TENANT: (b"two",)}


def test_nobody_has_a_secret_who_is_no_tenant(machine: Machine) -> None:
    assert not put_secret(machine, b"one", rotate=True, tenant=TenantId("nobody")).taken


def test_a_secret_is_not_in_what_is_logged(machine: Machine) -> None:
    put_secret(machine, b"the-secret", rotate=True)
    assert "the-secret" not in repr(machine.state.outbox.secrets)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example/x?y=1", "https://a.example"),
        ("http://A.example:8080?x", "http://a.example:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_looking_for_what_is_due_takes_no_time_with_what_one_endpoint_is_owed() -> None:
    machine = Machine()
    machine.register(function(concurrency=1))
    machine.join()
    machine.submit(*(f"t{at}" for at in range(200)), hooks=TOLD)
    machine.cancel(*(f"t{at}" for at in range(200)))
    limits: list[int] = []
    owed = machine.state.table.deliveries.owed

    def counted(endpoint: EndpointKey, until_ms: int, limit: int) -> list[Delivery]:
        limits.append(limit)
        return owed(endpoint, until_ms, limit)

    machine.state.table.deliveries.owed = counted  # type: ignore[method-assign]
    due(machine)
    assert limits == [PER_ENDPOINT_MAX]
    machine.state.table.deliveries.owed = owed  # type: ignore[method-assign]
    machine.close()
