"""GET /metrics: who may look, what is shown, and that watching costs no series of its own for strangers' requests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from taskservice.core.effects import ItemAnswer, ItemStatus, Refusal
from taskservice.core.types import OutcomeKind, TaskId
from taskservice.errors import BackOffError

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def seen(service: Service, owner: str = "metrics") -> dict[str, float]:
    """All samples: `name{label=value,...}` without the prefix of all names."""
    response = await service.client(owner).get("/metrics")
    assert response.status_code == 200, response.text
    return samples(text_string_to_metric_families(response.text))


def samples(families) -> dict[str, float]:
    return {
        f"{sample.name.removeprefix('taskservice_')}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
        for family in families
        for sample in family.samples
    }


ECHO = "function=media.echo,tenant=acme"


async def test_what_happened_to_tasks_is_counted_by_tenant_and_function(service: Service):
    await service.submit("a")
    await service.submit("b")
    await service.client().post("/v1/tasks", json={"id": "a", "function": "media.echo"})
    await service.client().post("/v1/tasks", json={"id": "a", "function": "media.echo", "payload": {"other": 1}})
    await service.client().post("/v1/tasks/b/cancel")
    service.now_ms[0] += 2_000
    await service.succeed("a")
    await service.submit("c")
    await service.fail("c")
    await service.submit("d")
    service.now_ms[0] += 3_000
    found = await seen(service)
    assert found["submits_total{function=media.echo,status=accepted,tenant=acme}"] == 4
    assert found["submits_total{function=media.echo,status=duplicate,tenant=acme}"] == 1
    assert found["submit_refusals_total{function=media.echo,reason=conflict,tenant=acme}"] == 1
    assert found["attempts_total{function=media.echo,outcome=succeeded,tenant=acme}"] == 1
    assert found["attempts_total{function=media.echo,outcome=non_retryable,tenant=acme}"] == 1
    assert found["tasks_ended_total{function=media.echo,state=cancelled,tenant=acme}"] == 1
    assert found["tasks_ended_total{function=media.echo,state=failed,tenant=acme}"] == 1
    assert found["dead_letters_total{function=media.echo,reason=non_retryable,tenant=acme}"] == 1
    assert [
        found[f"tasks{{function=media.echo,state={state},tenant=acme}}"]
        for state in ("queued", "succeeded", "failed", "paused")
    ] == [
        1,
        1,
        1,
        0,
    ]
    assert found[f"oldest_queued_seconds{{{ECHO}}}"] == pytest.approx(3, abs=0.01)
    assert found["queue_wait_seconds_bucket{function=media.echo,le=1.0,tenant=acme}"] == 1
    assert found["queue_wait_seconds_bucket{function=media.echo,le=5.0,tenant=acme}"] == 2
    assert found[f"run_seconds_count{{{ECHO}}}"] == 2
    assert found[f"run_seconds_sum{{{ECHO}}}"] == pytest.approx(0.003)


async def test_the_service_itself_is_measured(service: Service):
    await service.submit("a")
    await service.start("a")
    await service.client().get("/v1/tasks/a")
    found = await seen(service)
    assert found["dispatcher_up{}"] == found["epoch{}"] == 1
    assert found["leases{node=node-1,runner=runner-0}"] == 1
    assert found["runner_used{node=node-1,resource=CPU,runner=runner-0}"] == 1
    assert found["commit_seconds_count{}"] > 0
    assert found["segment_bytes_sum{}"] > 0
    assert found["turn_seconds_count{}"] > 0
    assert found["http_request_seconds_count{method=GET,route=/v1/tasks/{id},status=200}"] == 1


@pytest.mark.parametrize(
    ("owner", "status"), [("metrics", 200), ("admin", 200), ("user", 403), ("read", 403), (None, 401)]
)
async def test_only_a_key_for_it_sees_all_tenants(service: Service, owner: str | None, status: int):
    assert (await service.client(owner).get("/metrics")).status_code == status


async def test_a_key_for_metrics_sees_no_task(service: Service):
    await service.submit("a")
    assert (await service.client("metrics").get("/v1/tasks/a")).status_code == 403


async def test_an_operator_can_open_it_to_this_machine(service: Service):
    gateway = service.app.state.gateway
    service.app.state.gateway = replace(gateway, settings=replace(service.settings, metrics_open=True))
    assert (await service.client(None).get("/metrics")).status_code == 200
    through_a_proxy = {"x-forwarded-for": "203.0.113.9"}
    assert (await service.client(None).get("/metrics", headers=through_a_proxy)).status_code == 401
    elsewhere = httpx.ASGITransport(service.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://gateway") as client:
        assert (await client.get("/metrics")).status_code == 401


async def test_a_dispatcher_that_is_away_is_shown_as_that(service: Service):
    service.dispatcher.failure = BackOffError("away", retry_after_s=1)
    refused = await service.client().get("/v1/tasks/a")
    assert refused.status_code == 503
    found = await seen(service)
    assert found["dispatcher_up{}"] == 0
    assert found["http_refusals_total{code=service_unavailable,limit=,status=503}"] == 1


async def test_refusals_are_counted_by_their_limit(service: Service):
    service.dispatcher.refusal = ItemAnswer(TaskId("a"), ItemStatus.REFUSED, None, Refusal.QUEUED_MAX, "full", 7)
    assert (await service.client().post("/v1/tasks", json={"function": "media.echo"})).status_code == 429
    found = await seen(service)
    assert found["http_refusals_total{code=queued_max,limit=queued_max,status=429}"] == 1


async def test_strangers_requests_make_no_series_of_their_own(service: Service):
    for n in range(3):
        await service.client(None).get(f"/nowhere/{n}")
        await service.client(None).request(f"STRANGE{n}", "/v1/tasks")
    found = await seen(service)
    assert found["http_request_seconds_count{method=GET,route=_other,status=404}"] == 3
    assert not any("nowhere" in name or "STRANGE" in name for name in found)


async def test_openmetrics_and_compression_are_given_to_who_asks(service: Service):
    await service.submit("a")
    asked = {"accept": "application/openmetrics-text;version=1.0.0", "accept-encoding": "gzip"}
    response = await service.client("metrics").get("/metrics", headers=asked)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.headers["content-encoding"] == "gzip"
    assert samples(openmetrics(response.text))["submits_total{function=media.echo,status=accepted,tenant=acme}"] == 1


async def test_throttled_functions_show_their_window(service: Service):
    await service.submit("a")
    await service.end("a", OutcomeKind.THROTTLED, retry_after_ms=1_000)
    found = await seen(service)
    assert found["window_in_flight{downstream=media.echo}"] == 0
    assert found["window_limit{downstream=media.echo}"] >= 1
