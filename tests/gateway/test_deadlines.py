"""Deadlines and off-peak tasks over HTTP: as they are said, as they are shown, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

# The dispatcher's clock stands at 2030-03-17T17:46:40Z.
ECHO = {"function": "media.echo", "id": "t"}


@pytest.mark.parametrize(
    ("deadline", "at"),
    [
        ("8h", "2030-03-18T01:46:40.000Z"),
        (90, "2030-03-17T17:48:10.000Z"),
        ("2030-03-18T00:00:00+01:00", "2030-03-17T23:00:00.000Z"),
        ("2030-03-17T17:46:40Z", "2030-03-17T17:46:40.000Z"),
    ],
)
async def test_a_deadline_is_a_time_or_a_duration(service: Service, deadline: object, at: str) -> None:
    """A number is a duration: in seconds, as everywhere."""
    response = await service.client().post("/v1/tasks", json={**ECHO, "deadline": deadline})
    assert response.status_code == 202
    assert (response.json()["deadline_at"], response.json()["deadline_missed"]) == (at, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"deadline": 0},
        {"deadline": "soon"},
        {"deadline": -1},
        {"deadline": 10**9},
        {"deadline": "2030-03-18T00:00:00"},
        {"deadline": "2030-13-18T00:00:00Z"},
        {"deadline": "1h", "delay": "1h"},
        {"deadline": "2030-03-17T18:00:00Z", "run_at": "2030-03-17T19:00:00Z"},
    ],
)
async def test_a_deadline_that_cannot_be_is_refused(service: Service, fields: dict) -> None:
    """422, also if it is before the task is due."""
    response = await service.client().post("/v1/tasks", json={**ECHO, **fields})
    assert response.status_code == 422
    code = "deadline_undue" if len(fields) > 1 else "invalid_request"
    assert response.json()["code"] == code
    assert await service.tasks() == {}


async def test_off_peak_is_a_boolean(service: Service) -> None:
    """Not a word."""
    response = await service.client().post("/v1/tasks", json={**ECHO, "off_peak": "yes"})
    assert response.status_code == 422


async def test_a_task_that_can_wait_says_until_when(service: Service) -> None:
    """Nothing is known of the function, so as much as it may take is left, and half of that."""
    body = {**ECHO, "off_peak": True, "deadline": "8h"}
    response = await service.client().post("/v1/tasks", json=body)
    shown = response.json()
    assert (shown["off_peak"], shown["off_peak_until"]) == (True, "2030-03-18T01:31:30.000Z")
    without = (await service.client().post("/v1/tasks", json={**ECHO, "id": "u", "off_peak": True})).json()
    assert (without["off_peak"], without["off_peak_until"]) == (True, None)


async def test_a_deadline_that_is_missed_is_seen(service: Service) -> None:
    """In the task, while it has not ended and afterwards."""
    client = service.client()
    await client.post("/v1/tasks", json={**ECHO, "deadline": "1s", "off_peak": False})
    service.now_ms[0] += 1_000
    assert (await client.get("/v1/tasks/t")).json()["deadline_missed"] is False
    service.now_ms[0] += 1
    assert (await client.get("/v1/tasks/t")).json()["deadline_missed"] is True
    assert [one["deadline_missed"] for one in (await client.get("/v1/tasks")).json()["tasks"]] == [True]
    assert (await client.get("/v1/cluster")).json()["deadlines"] == {}


async def test_kept_and_missed_deadlines_are_counted(service: Service) -> None:
    """By function; a tenant sees its own."""
    client = service.client()
    for id in ("t", "u"):
        await client.post("/v1/tasks", json={**ECHO, "id": id, "deadline": "1s"})
        await service.succeed(id)
        service.now_ms[0] += 2_000
    await client.post("/v1/tasks", json={**ECHO, "id": "v", "deadline": "2030-03-17T17:46:40Z"})
    await service.fail("v")
    assert (await client.get("/v1/cluster")).json()["deadlines"] == {"media.echo": {"met": 2, "missed": 1}}
    assert (await service.client("rival").get("/v1/cluster")).json()["deadlines"] == {}


async def test_a_function_shows_what_its_tasks_do_not_have_to_say(service: Service) -> None:
    """What `@app.task` said of them."""
    spec = await service.function("media.echo")
    changed = replace(spec, off_peak=True, deadline_ms=90_000, labels=(("zone", "a"),), spread=True)
    await service.dispatcher.inner.register([changed])
    await service.client("admin").get("/v1/tenants")  # so that the gateway looks again
    shown = (await service.client().get("/v1/functions/media.echo")).json()
    assert (shown["off_peak"], shown["deadline_s"], shown["labels"], shown["spread"]) == (True, 90, {"zone": "a"}, True)
    task = (await service.client().post("/v1/tasks", json=ECHO)).json()
    assert (task["deadline_at"], task["off_peak"]) == ("2030-03-17T17:48:10.000Z", False), "its deadline is too near"


async def test_a_schedule_says_it_of_its_tasks(service: Service) -> None:
    """And of the others as well that a task can have."""
    client = service.client()
    said = {"ttl": "3h", "deadline": "2h", "off_peak": True, "priority": "low", "tags": {"a": "b"}}
    body = {"id": "s", "function": "media.echo", "interval": "1h", **said}
    shown = (await client.post("/v1/schedules", json=body)).json()
    assert (shown["ttl_s"], shown["deadline_s"], shown["off_peak"], shown["priority"]) == (10_800, 7_200, True, "low")
    service.dispatcher.inner.run_once()
    service.now_ms[0] += 3_600_000
    service.dispatcher.inner.run_once()
    task = (await client.get("/v1/tasks/s@2030-03-17T18:46:40.000Z")).json()
    assert (task["deadline_at"], task["expires_at"]) == ("2030-03-17T20:46:40.000Z", "2030-03-17T21:46:40.000Z")
    assert (task["off_peak"], task["priority"], task["tags"]) == (True, "low", {"a": "b", "schedule": "s"})
    patched = (await client.patch("/v1/schedules/s", json={"deadline": None, "off_peak": False})).json()
    assert (patched["deadline_s"], patched["off_peak"], patched["ttl_s"]) == (None, False, 10_800)


async def test_a_schedule_has_no_deadline_at_one_point_in_time(service: Service) -> None:
    """Each of its tasks is made at another."""
    body = {"id": "s", "function": "media.echo", "interval": "1h", "deadline": "2031-01-01T00:00:00Z"}
    response = await service.client().post("/v1/schedules", json=body)
    assert response.status_code == 422
    assert "is a duration" in response.text
