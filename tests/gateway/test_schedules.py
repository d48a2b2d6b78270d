"""Schedules over HTTP: set, shown, listed, changed, paused, removed; and what is refused, in words that say why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from taskservice.actors.ports import DispatcherPort
from taskservice.core.limits import Limits

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

# The dispatcher's clock stands at 2030-03-17T17:46:40Z.
NIGHTLY = {"id": "nightly", "function": "media.echo", "cron": "30 2 * * *", "zone": "Europe/Berlin"}
HOURLY = {"id": "hourly", "function": "media.echo", "interval": "1h"}


async def made(service: Service, owner: str = "user", **fields: object) -> dict:
    """A schedule that there is now."""
    response = await service.client(owner).post("/v1/schedules", json={**HOURLY, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def pass_time(service: Service, ms: int) -> None:
    """So much time has passed, and the dispatcher has seen it."""
    service.dispatcher.inner.run_once()
    service.now_ms[0] += ms
    service.dispatcher.inner.run_once()


async def test_a_schedule_is_made_and_shown_with_its_next_times(service: Service) -> None:
    """In UTC, over the change to summer time on the 31st."""
    response = await service.client().post(
        "/v1/schedules",
        json={**NIGHTLY, "payload": {"b": 1, "a": 2}, "priority": "high", "tags": {"a": "b"}, "timeout": "90s"},
    )
    body = response.json()
    assert response.status_code == 201
    assert body["next_at"][:2] == ["2030-03-18T01:30:00.000Z", "2030-03-19T01:30:00.000Z"]
    assert len(body["next_at"]) == 5
    assert (body["cron"], body["zone"], body["interval_s"], body["version"]) == ("30 2 * * *", "Europe/Berlin", None, 1)
    assert (body["payload"], body["priority"], body["tags"], body["timeout_s"]) == (
        {"a": 2, "b": 1},
        "high",
        {"a": "b"},
        90,
    )
    assert (body["overlap"], body["catch_up"], body["jitter_s"], body["paused"]) == ("allow", "one", 0, False)
    assert (body["tenant"], body["created_at"]) == ("acme", "2030-03-17T17:46:40.000Z")
    assert (body["last"], body["fired"], body["error"]) == (None, 0, None)
    shown = await service.client().get("/v1/schedules/nightly?next=20")
    assert shown.json()["next_at"][12:14] == ["2030-03-30T01:30:00.000Z", "2030-03-31T01:00:00.000Z"]
    assert shown.json()["next_at"][14] == "2030-04-01T00:30:00.000Z"
    assert {**shown.json(), "next_at": None} == {**body, "next_at": None}


async def test_all_that_can_be_said_of_times_is_shown_as_it_was_said(service: Service) -> None:
    """Durations in seconds, times in UTC."""
    said = {
        "interval": "90m",
        "anchor": "2030-01-01T00:00:00+01:00",
        "overlap": "queue_one",
        "catch_up": "all",
        "jitter": "2m",
        "starts_at": "2030-04-01T00:00:00Z",
        "ends_at": 1_904_000_000,
        "max_attempts": 2,
    }
    body = await made(service, **said)
    assert (body["interval_s"], body["anchor"], body["zone"]) == (5_400, "2029-12-31T23:00:00.000Z", None)
    assert (body["overlap"], body["catch_up"], body["jitter_s"], body["max_attempts"]) == ("queue_one", "all", 120, 2)
    assert (body["starts_at"], body["ends_at"]) == ("2030-04-01T00:00:00.000Z", "2030-05-03T00:53:20.000Z")
    assert "2030-04-01T00:30:00.000Z" <= body["next_at"][0] <= "2030-04-01T00:32:00.000Z"


async def test_without_an_id_one_is_made(service: Service) -> None:
    """Each time another one."""
    first, second = await made(service, id=None), await made(service, id=None)
    assert first["id"] != second["id"]


async def test_the_same_again_is_there_once_and_another_is_a_conflict(service: Service) -> None:
    """So a client may repeat what it did not hear the answer of."""
    body = await made(service)
    client = service.client()
    again = await client.post("/v1/schedules", json=HOURLY)
    assert (again.status_code, again.json()) == (200, body)
    other = await client.post("/v1/schedules", json={**HOURLY, "interval": "2h"})
    assert (other.status_code, other.json()["code"]) == (409, "schedule_exists")


async def test_its_tasks_and_what_has_come_of_it_are_to_be_seen(service: Service) -> None:
    """The last fire, the tasks by their tag."""
    await made(service, payload={"n": 1})
    await pass_time(service, 3_600_000 + 5_000)
    body = (await service.client().get("/v1/schedules/hourly")).json()
    task = "hourly@2030-03-17T18:46:40.000Z"
    assert body["last"] == {
        "scheduled_at": "2030-03-17T18:46:40.000Z",
        "fired_at": "2030-03-17T18:46:45.000Z",
        "task": task,
    }
    assert (body["fired"], body["next_at"][0]) == (1, "2030-03-17T19:46:40.000Z")
    listed = (await service.client().get("/v1/tasks?tag=schedule=hourly")).json()["tasks"]
    assert [one["id"] for one in listed] == [task]
    shown = (await service.client().get(f"/v1/tasks/{task}")).json()
    assert (shown["payload"], shown["tags"]) == ({"n": 1}, {"schedule": "hourly"})


async def test_what_was_skipped_and_refused_is_to_be_seen(service: Service) -> None:
    """A full queue: the reason, when it is tried again, and how many were too late."""
    await service.client("admin").patch("/v1/tenants/acme", json={"queued_max": 0})
    await made(service)
    await pass_time(service, 3 * 3_600_000)
    body = (await service.client().get("/v1/schedules/hourly")).json()
    assert body["skipped"] == {"late": 2, "overlap": 0, "refused": 0}
    assert body["retry_at"] == "2030-03-17T20:46:50.000Z"
    assert (body["error"]["reason"], body["error"]["scheduled_at"]) == ("queued_max", "2030-03-17T20:46:40.000Z")
    assert "queued_max 0" in body["error"]["message"]


async def test_pausing_and_going_on(service: Service) -> None:
    """Nothing of the time between is made up for."""
    await made(service)
    client = service.client("operate")
    paused = (await client.patch("/v1/schedules/hourly", json={"paused": True})).json()
    assert (paused["paused"], paused["next_at"], paused["version"]) == (True, [], 2)
    await pass_time(service, 5 * 3_600_000)
    body = (await client.patch("/v1/schedules/hourly", json={"paused": False})).json()
    assert (body["fired"], body["next_at"][0]) == (0, "2030-03-17T23:46:40.000Z")


async def test_a_paused_schedule_can_be_paused_whatever_has_become_of_its_function(service: Service) -> None:
    """Its payload is looked at only if it is changed."""
    await made(service, function="media.thumbnail", payload={"url": "u"})
    spec = await service.function("media.thumbnail")
    await service.dispatcher.inner.register([type(spec)(spec.name, spec.bundle, b'{"required": ["other"]}')])
    client = service.client()
    assert (await client.patch("/v1/schedules/hourly", json={"paused": True})).status_code == 200
    refused = await client.patch("/v1/schedules/hourly", json={"tags": {"a": "b"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "payload_invalid")


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"interval": "2h"}, {"interval_s": 7_200}),
        ({"cron": "0 3 * * *", "zone": "Asia/Tokyo"}, {"cron": "0 3 * * *", "zone": "Asia/Tokyo", "interval_s": None}),
        ({"payload": {"n": 2}}, {"payload": {"n": 2}}),
        ({"tags": None, "priority": "low"}, {"tags": {}, "priority": "low"}),
        ({"priority": None, "max_attempts": None, "timeout": None}, {"max_attempts": None, "timeout_s": None}),
        ({"overlap": "skip", "catch_up": None}, {"overlap": "skip", "catch_up": "one"}),
        ({"jitter": "5m"}, {"jitter_s": 300}),
        ({"jitter": None, "ends_at": None}, {}),
        (
            {"function": "media.thumbnail", "payload": {"url": "u"}},
            {"function": "media.thumbnail", "payload": {"url": "u"}},
        ),
        ({}, {}),
    ],
)
async def test_a_change_changes_what_it_says_and_nothing_else(service: Service, patch: dict, changed: dict) -> None:
    """Null takes back what was said."""
    before = await made(service, payload={"n": 1}, tags={"a": "b"}, max_attempts=3, timeout="30s", catch_up="all")
    response = await service.client().patch("/v1/schedules/hourly", json=patch)
    assert response.status_code == 200, response.text
    after = response.json()
    other = {"version", "next_at"}
    assert {k: v for k, v in after.items() if k not in other} == {
        k: v for k, v in {**before, **changed}.items() if k not in other
    }
    assert after["version"] == (1 if after | {"next_at": 0} == before | {"next_at": 0} else 2)


async def test_from_cron_to_an_interval(service: Service) -> None:
    """And not to both."""
    client = service.client()
    await client.post("/v1/schedules", json=NIGHTLY)
    both = await client.patch("/v1/schedules/nightly", json={"interval": "2h", "cron": "* * * * *"})
    assert (both.status_code, both.json()["code"]) == (422, "schedule_invalid")
    body = (await client.patch("/v1/schedules/nightly", json={"interval": "2h"})).json()
    assert (body["cron"], body["zone"], body["interval_s"]) == (None, None, 7_200)


class Overtaken:
    """A dispatcher that is told of another change before the first one that it is asked for."""

    def __init__(self, inner: DispatcherPort, other: Callable[[], Awaitable[object]]) -> None:
        self._inner = inner
        self._others = [other]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def put_schedule(self, *arguments: object) -> object:
        if self._others:
            await self._others.pop()()
        return await self._inner.put_schedule(*arguments)  # type: ignore[arg-type]


async def test_two_changes_at_once_both_count(service: Service) -> None:
    """The one that comes second looks again."""
    await made(service)
    client, gateway = service.client(), service.app.state.gateway
    service.app.state.gateway = replace(
        gateway,
        dispatcher=Overtaken(
            gateway.dispatcher, lambda: client.patch("/v1/schedules/hourly", json={"overlap": "skip"})
        ),
    )
    body = (await client.patch("/v1/schedules/hourly", json={"catch_up": "all"})).json()
    assert (body["overlap"], body["catch_up"], body["version"]) == ("skip", "all", 3)


async def test_a_schedule_that_is_removed_is_gone(service: Service) -> None:
    """And its id is free."""
    body = await made(service)
    client = service.client()
    removed = await client.delete("/v1/schedules/hourly")
    assert (removed.status_code, removed.json()) == (200, body)
    for response in (
        await client.get("/v1/schedules/hourly"),
        await client.delete("/v1/schedules/hourly"),
        await client.patch("/v1/schedules/hourly", json={"paused": True}),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "schedule_not_found")
    await made(service)


async def test_schedules_are_listed_page_by_page_without_payloads(service: Service) -> None:
    """By id, and with the next time of each."""
    for id in ("c", "a", "b"):
        await made(service, id=id)
    client = service.client()
    first = (await client.get("/v1/schedules?limit=2")).json()
    second = (await client.get("/v1/schedules", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["schedules"]] == ["a", "b"]
    assert ([one["id"] for one in second["schedules"]], second["next_cursor"]) == (["c"], None)
    assert "payload" not in first["schedules"][0]
    assert len(first["schedules"][0]["next_at"]) == 1


async def test_a_tenant_sees_and_changes_only_its_own(service: Service) -> None:
    """The same id may be a schedule of each; an admin names the tenant."""
    await made(service)
    rival, admin = service.client("rival"), service.client("admin")
    for method in ("GET", "DELETE", "PATCH"):
        foreign = await rival.request(method, "/v1/schedules/hourly", content=b"{}")
        nobodys = await rival.request(method, "/v1/schedules/none", content=b"{}")
        assert foreign.status_code == 404
        assert foreign.text.replace("hourly", "none") == nobodys.text
    assert (await rival.get("/v1/schedules")).json()["schedules"] == []
    await made(service, owner="rival", payload={"x": "theirs"})
    assert (await service.client().get("/v1/schedules/hourly")).json()["payload"] == {}
    everyones = (await admin.get("/v1/schedules?tenant=*")).json()["schedules"]
    assert [(one["tenant"], one["id"]) for one in everyones] == [("acme", "hourly"), ("rival", "hourly")]
    page = (await admin.get("/v1/schedules?tenant=*&limit=1")).json()
    stolen = await service.client().get("/v1/schedules", params={"cursor": page["next_cursor"]})
    assert stolen.json()["schedules"] == [], "a cursor is a place, and shows nothing by itself"
    assert (await admin.get("/v1/schedules/hourly?tenant=rival")).json()["payload"] == {"x": "theirs"}
    assert (await admin.delete("/v1/schedules/hourly?tenant=rival")).status_code == 200
    for method, path in (("GET", "/v1/schedules"), ("GET", "/v1/schedules/hourly"), ("DELETE", "/v1/schedules/hourly")):
        assert (await rival.request(method, f"{path}?tenant=acme")).json()["code"] == "tenant_forbidden"


async def test_who_may_only_operate_may_pause_and_remove_but_not_say_what_runs(service: Service) -> None:
    """Whoever says what runs submits."""
    await made(service)
    client = service.client("operate")
    refused = await client.patch("/v1/schedules/hourly", json={"paused": True, "payload": {"mine": 1}})
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    assert (await client.patch("/v1/schedules/hourly", json={"paused": True})).status_code == 200
    assert (await client.delete("/v1/schedules/hourly")).status_code == 200


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        ({"interval": None, "cron": "61 * * * *"}, 422, "cron_invalid", "bad minute"),
        ({"interval": None, "cron": "* * * *"}, 422, "cron_invalid", "minute, hour, day of month, month, day of week"),
        ({"interval": None, "cron": "0 0 * * * *"}, 422, "cron_invalid", "6 fields"),
        ({"interval": None, "cron": "* * */20 * 1L"}, 422, "cron_invalid", "no time within 50 years"),
        ({"interval": None, "cron": "* * * * *", "zone": "Mars/Olympus"}, 422, "zone_unknown", "Europe/Berlin"),
        ({"interval": None, "cron": "* * * * *", "zone": "../../etc"}, 422, "zone_unknown", "IANA name"),
        ({"interval": None}, 422, "schedule_invalid", "cron expression or an interval"),
        ({"cron": "* * * * *"}, 422, "schedule_invalid", "not both"),
        ({"interval": "999ms"}, 422, "period_too_short", "schedule_period_ms_min"),
        ({"interval": 0}, 422, "invalid_request", "$.interval"),
        ({"interval": "soon"}, 422, "invalid_request", "$.interval"),
        ({"interval": "5000d"}, 422, "invalid_request", "delay_ms_max"),
        ({"jitter": "1h"}, 422, "schedule_invalid", "jitter"),
        ({"jitter": -1}, 422, "invalid_request", "$.jitter"),
        ({"starts_at": "tomorrow"}, 422, "invalid_request", "$.starts_at"),
        ({"ends_at": "2030-01-01T00:00:00Z"}, 422, "schedule_invalid", "no time after now"),
        ({"overlap": "sometimes"}, 422, "invalid_request", "overlap"),
        ({"catch_up": "many"}, 422, "invalid_request", "catch_up"),
        ({"paused": "yes"}, 422, "invalid_request", "paused"),
        ({"id": "a@b"}, 422, "invalid_request", "$.id"),
        ({"id": "x" * 101}, 422, "invalid_request", "id"),
        ({"id": "a\n"}, 422, "invalid_request", "$.id"),
        ({"delay": "5m"}, 422, "invalid_request", "delay"),
        ({"tenant": "rival"}, 422, "invalid_request", "tenant"),
        ({"function": "media.none"}, 422, "unknown_function", "media.echo"),
        ({"function": "media.thumbnail"}, 422, "payload_invalid", "url"),
        ({"max_attempts": 99}, 422, "attempts_above_limit", "max_attempts 99"),
        ({"timeout": "1d"}, 422, "timeout_above_limit", "timeout"),
        ({"tags": {"a b": "c"}}, 422, "invalid_request", "$.tags"),
        ({"payload": {"x": "y" * 150}}, 413, "too_large", "may have 100"),
        ({"payload": {"x": "y" * 300}}, 413, "too_large", "200 are allowed"),
    ],
)
async def test_what_cannot_be_is_refused_and_says_why(
    service: Service, fields: dict, status: int, code: str, says: str
) -> None:
    """Nothing is made of it."""
    response = await service.client().post("/v1/schedules", json={**HOURLY, **fields})
    assert problem(response) == (status, code)
    assert says in response.text
    assert (await service.client().get("/v1/schedules")).json()["schedules"] == []


@pytest.mark.parametrize(
    ("fields", "status", "code", "path"),
    [
        ({"cron": "61 * * * *"}, 422, "cron_invalid", "$.cron"),
        ({"cron": "* * * * *", "zone": "Mars/Olympus"}, 422, "zone_unknown", "$.zone"),
        ({"interval": None}, 422, "schedule_invalid", None),
        ({"jitter": "2h"}, 422, "schedule_invalid", None),
        ({"ends_at": 1}, 422, "schedule_invalid", None),
        ({"id": "another"}, 422, "invalid_request", None),
        ({"function": "media.thumbnail"}, 422, "payload_invalid", "$.payload"),
        ({"max_attempts": 99}, 422, "attempts_above_limit", None),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    service: Service, fields: dict, status: int, code: str, path: str | None
) -> None:
    """Whatever is wrong with it says where."""
    before = await made(service)
    response = await service.client().patch("/v1/schedules/hourly", json=fields)
    assert problem(response) == (status, code)
    assert path is None or [error["path"] for error in response.json()["errors"]] == [path]
    assert (await service.client().get("/v1/schedules/hourly")).json() == before


async def test_a_limit_is_named_with_its_value(service: Service) -> None:
    """The number of schedules, and the shortest period."""
    service.dispatcher.inner._shard.state.limits = Limits(schedules_max=1, schedule_period_ms_min=60_000)
    client = service.client()
    short = (await client.post("/v1/schedules", json={**HOURLY, "interval": 59})).json()
    assert (short["limit"], short["value"]) == ("schedule_period_ms_min", 60_000)
    await made(service)
    full = await client.post("/v1/schedules", json={**HOURLY, "id": "another"})
    assert problem(full) == (409, "schedules_max")
    assert (full.json()["limit"], full.json()["value"]) == ("schedules_max", 1)
    much = await client.get("/v1/schedules/hourly?next=101")
    assert (much.status_code, much.json()["limit"], much.json()["value"]) == (422, "schedule_next_max", 100)


@pytest.mark.parametrize("cursor", ["x", "YmVmb3JlOjE", "YWZ0ZXI6YQ", "\xff", "YWZ0ZXI6YS9hQGI"])
async def test_a_cursor_that_is_none_of_ours_is_told(service: Service, cursor: str) -> None:
    """422."""
    response = await service.client().get("/v1/schedules", params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("id", ["a@b", "%00", "x" * 300, "none"])
async def test_an_id_that_cannot_be_is_a_404(service: Service, id: str) -> None:
    """Like one that nobody has."""
    assert (await service.client().get(f"/v1/schedules/{id}")).json()["code"] == "schedule_not_found"
