"""What is done to all tasks that pass a filter, and asking how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from taskservice.core.limits import Limits

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def done(client: httpx.AsyncClient, operation: str) -> dict:
    """The operation, when it is done."""
    while not (body := (await client.get(f"/v1/operations/{operation}")).json())["done"]:
        pass
    return body


async def states(service: Service) -> dict[str, str]:
    return {id: task.state.value for id, task in (await service.tasks()).items()}


async def test_all_that_pass_are_cancelled_and_the_operation_says_so(service: Service) -> None:
    """202 with the exact count where the counters know it."""
    for id in ("a", "b"):
        await service.submit(id)
    await service.submit("c", delay="1h")
    await service.submit("other", function="media.thumbnail", payload={"url": "u"})
    client = service.client()
    response = await client.post("/v1/tasks/cancel", json={"function": "media.echo"})
    body = response.json()
    assert (response.status_code, body["kind"], body["matched"], body["dry_run"]) == (202, "cancel", 3, False)
    assert response.headers["location"] == f"/v1/operations/{body['operation']}"
    finished = await done(client, body["operation"])
    assert (finished["matched"], finished["changed"], finished["operation"]) == (3, 3, body["operation"])
    assert finished["done_at"] is not None
    assert await states(service) == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "other": "queued"}


async def test_each_kind_does_what_it_says(service: Service) -> None:
    """One after the other, to the same tasks; what runs is counted and left alone."""
    client = service.client()
    await service.submit("runs")
    await service.start("runs")
    for id in ("a", "b"):
        await service.submit(id)
    await service.submit("c", delay="1h")
    steps = [
        ("pause", {"until": "2031-01-01T00:00:00Z"}, ["paused", "paused", "paused"]),
        ("resume", {}, ["queued", "queued", "scheduled"]),
        ("cancel", {}, ["cancelled"] * 3),
        ("retry", {}, ["queued"] * 3),
    ]
    for kind, more, expected in steps:
        response = await client.post(f"/v1/tasks/{kind}", json={"function": "media.echo", **more})
        begun = response.json()
        assert (response.status_code, begun["kind"], begun["matched"], begun["running"]) == (202, kind, 3, 1)
        service.now_ms[0] += 1
        assert (await done(client, begun["operation"]))["changed"] == 3
        assert [state for id, state in sorted((await states(service)).items()) if id != "runs"] == expected
    deleted = await client.post("/v1/tasks/delete", json={"function": "media.echo"})
    await done(client, deleted.json()["operation"])
    assert await states(service) == {"runs": "running"}


async def test_deleting_reaches_into_history(service: Service) -> None:
    """And knows beforehand how many they are."""
    await service.submit("past")
    await service.succeed("past")
    assert await service.archive() == 1
    await service.submit("here")
    client = service.client()
    response = await client.post("/v1/tasks/delete", json={"function": "media.echo", "dry_run": True})
    assert response.json()["matched"] == 2
    response = await client.post("/v1/tasks/delete", json={"state": "succeeded"})
    assert response.json()["matched"] == 1
    await done(client, response.json()["operation"])
    assert (await client.get("/v1/tasks/past")).status_code == 404
    assert await states(service) == {"here": "queued"}


@pytest.mark.parametrize(
    ("kind", "state"), [("pause", "paused"), ("resume", "queued"), ("retry", "succeeded"), ("delete", "running")]
)
async def test_only_states_from_which_it_can_be_done_may_be_named(service: Service, kind: str, state: str) -> None:
    """422 that says which these are."""
    response = await service.client().post(f"/v1/tasks/{kind}", json={"state": state})
    assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "state")
    assert "only tasks that are" in response.json()["detail"]


async def test_a_dry_run_counts_and_changes_nothing(service: Service) -> None:
    """200, and there is no operation to ask for."""
    await service.submit("a")
    response = await service.client().post("/v1/tasks/cancel", json={"state": "queued", "dry_run": True})
    body = response.json()
    assert (response.status_code, body["operation"], body["matched"], body["changed"]) == (200, None, 1, 0)
    assert body["done"]
    assert await states(service) == {"a": "queued"}


async def test_a_filter_that_the_counters_do_not_know_counts_on_its_way(service: Service) -> None:
    """Tags and times of creation: `matched` is null until it is done, for a dry run as well."""
    client = service.client()
    await service.submit("a", tags={"job": "1"})
    await service.submit("b", tags={"job": "2"})
    for dry_run, changed in ((True, 0), (False, 1)):
        response = await client.post("/v1/tasks/cancel", json={"tag": "job=1", "dry_run": dry_run})
        assert (response.status_code, response.json()["matched"]) == (202, None)
        finished = await done(client, response.json()["operation"])
        assert (finished["matched"], finished["changed"]) == (1, changed)
    assert await states(service) == {"a": "cancelled", "b": "queued"}


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"state": "scheduled"}, ["high", "low", "tagged"]),
        ({"state": ["queued", "scheduled"], "priority": "high"}, ["later", "low", "tagged"]),
        ({"tag": "a=b=c"}, ["high", "later", "low"]),
        ({"created_before": 1_900_000_000.001}, ["high", "later", "tagged"]),
        ({"created_after": "2030-03-17T17:46:40.002Z"}, ["high", "low"]),
    ],
)
async def test_the_filters_are_those_of_a_listing(service: Service, filters: dict, left: list[str]) -> None:
    """By the same names, with the same meaning."""
    await service.submit("low", priority="low")
    await service.submit("high", priority="high")
    await service.submit("later", delay="1h")
    await service.submit("tagged", tags={"a": "b=c"})
    client = service.client()
    await done(client, (await client.post("/v1/tasks/cancel", json=filters)).json()["operation"])
    assert sorted(id for id, state in (await states(service)).items() if state != "cancelled") == left


async def test_a_tenant_reaches_only_its_own_tasks_and_operations(service: Service) -> None:
    """An admin names another one, or all."""
    await service.submit("mine")
    await service.submit("theirs", owner="rival")
    user, rival, admin = service.client(), service.client("rival"), service.client("admin")
    operation = (await user.post("/v1/tasks/cancel", json={"state": "queued"})).json()["operation"]
    await done(user, operation)
    assert await states(service) == {"mine": "cancelled", "theirs": "queued"}
    missing = await rival.get(f"/v1/operations/{operation}")
    assert (missing.status_code, missing.json()["code"]) == (404, "operation_not_found")
    assert (await user.get(f"/v1/operations/{operation}?tenant=rival")).status_code == 403
    assert (await admin.get(f"/v1/operations/{operation}")).json()["changed"] == 1
    assert (await admin.get(f"/v1/operations/{operation}?tenant=rival")).status_code == 404
    for tenant, count in (("acme", 0), ("rival", 1), ("*", 1)):
        body = {"state": "queued", "tenant": tenant, "dry_run": True}
        assert (await admin.post("/v1/tasks/cancel", json=body)).json()["matched"] == count
    by_query = await admin.post("/v1/tasks/cancel?tenant=rival", json={"state": "queued"})
    assert (await done(rival, by_query.json()["operation"]))["changed"] == 1


async def test_for_admins_too_it_is_their_own_tenants_tasks_unless_they_say(service: Service) -> None:
    """As everywhere else."""
    await service.submit("theirs", owner="rival")
    response = await service.client("admin").post("/v1/tasks/cancel", json={"state": "queued", "dry_run": True})
    assert response.json()["matched"] == 0


@pytest.mark.parametrize("id", ["none", "op-0", "%00", "x" * 300])
async def test_an_operation_that_is_not_known_is_a_404(service: Service, id: str) -> None:
    """Whatever it is called."""
    response = await service.client().get(f"/v1/operations/{id}")
    assert (response.status_code, response.json()["code"]) == (404, "operation_not_found")


async def test_too_many_at_once_are_told_to_come_back(service: Service) -> None:
    """429 with the limit and its value; the turns is kept from finishing the others."""
    service.dispatcher.inner._closing = True
    client = service.client()
    most = Limits().operations_max
    for _ in range(most):
        assert (await client.post("/v1/tasks/cancel", json={"state": "queued"})).status_code == 202
    response = await client.post("/v1/tasks/cancel", json={"state": "queued"})
    body = response.json()
    assert (response.status_code, body["code"], body["limit"], body["value"]) == (
        429,
        "operations_max",
        "operations_max",
        most,
    )
    assert response.headers["retry-after"] == "1"
