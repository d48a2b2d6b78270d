"""Callbacks and follow-ups over HTTP: as they are said, as they are shown, and what is refused."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from taskservice.core.callback_events import Attempted

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

URL = "https://a.example/told"
ECHO = {"function": "media.echo", "id": "t"}


async def attempted(service: Service, status: int, message: str = "") -> None:
    """All that is due has been tried."""
    due = (await service.dispatcher.inner.callbacks(9, ())).deliveries
    attempts = [Attempted(each.no, each.run, status, message) for each in due]
    await service.dispatcher.inner.callbacks_attempted(attempts)


async def test_the_tasks_of_a_schedule_may_have_them(service: Service) -> None:
    said = {"callback_url": URL, "on_success": "media.thumbnail", "on_failure": None}
    body = {"function": "media.echo", "id": "s", "interval": "1s", **said}
    shown = (await service.client().post("/v1/schedules", json=body)).json()
    assert {name: shown[name] for name in said} == said
    changed = (await service.client().patch("/v1/schedules/s", json={"tags": {"a": "b"}, "on_success": None})).json()
    assert (changed["callback_url"], changed["on_success"]) == (URL, None)
    refused = await service.client().patch("/v1/schedules/s", json={"callback_url": "http://10.0.0.1/"})
    assert refused.status_code == 422
    service.now_ms[0] += 1_000
    service.dispatcher.inner.run_once()
    (task,) = (await service.tasks()).values()
    assert task.hooks is not None
    assert (task.hooks.callback_url, task.hooks.on_success) == (URL, "")


async def test_they_are_shown_as_they_were_said(service: Service) -> None:
    body = {**ECHO, "callback_url": URL, "on_success": "media.thumbnail", "on_failure": "media.echo"}
    shown = (await service.client().post("/v1/tasks", json=body)).json()
    assert {name: shown[name] for name in body} == body
    assert "follow_up" not in shown
    plain = (await service.client().post("/v1/tasks", json={**ECHO, "id": "plain", "callback_url": None})).json()
    assert not {"callback_url", "on_success", "on_failure", "follow_up"} & set(plain)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://localhost/",
        "ftp://a.example/",
        "x",
        "",
    ],
)
async def test_a_url_that_can_never_be_called_is_refused_at_once(service: Service, url: str) -> None:
    response = await service.client().post("/v1/tasks", json={**ECHO, "callback_url": url})
    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == "$.callback_url"
    assert await service.tasks() == {}


async def test_the_refusal_names_the_setting(service: Service) -> None:
    response = await service.client().post("/v1/tasks", json={**ECHO, "callback_url": "http://10.0.0.1/"})
    assert "callback_private_networks is false" in response.json()["detail"]


@pytest.mark.parametrize("name", ["on_success", "on_failure"])
async def test_a_function_that_there_is_not_is_refused(service: Service, name: str) -> None:
    response = await service.client().post("/v1/tasks", json={**ECHO, name: "media.nothing"})
    assert response.status_code == 422
    assert response.json()["errors"] == [{"path": f"$.{name}", "message": "there is no function 'media.nothing'"}]


async def test_one_of_a_batch_refuses_itself_alone(service: Service) -> None:
    tasks = [{**ECHO, "id": "a", "callback_url": "http://10.0.0.1/"}, {**ECHO, "id": "b", "callback_url": URL}]
    answer = (await service.client().post("/v1/tasks/batch", json={"tasks": tasks})).json()
    assert [each["status"] for each in answer["results"]] == ["refused", "accepted"]


async def test_a_task_names_what_follows_it(service: Service) -> None:
    await service.submit("t", on_success="media.thumbnail")
    await service.succeed("t", b'{"n":1}')
    shown = (await service.client().get("/v1/tasks/t")).json()
    follower = (await service.client().get(f"/v1/tasks/{shown['follow_up']}")).json()
    assert (follower["function"], follower["tags"]) == ("media.thumbnail", {"follows": "t"})
    assert (follower["payload"]["task"]["id"], follower["payload"]["task"]["result"]) == ("t", {"n": 1})


async def test_it_does_so_in_history_as_well(service: Service) -> None:
    await service.submit("t", on_success="media.thumbnail", callback_url=URL)
    await service.succeed("t")
    before = (await service.client().get("/v1/tasks/t")).json()
    assert await service.archive() == 1
    assert (await service.client().get("/v1/tasks/t")).json() == before
    assert len((await service.client().get("/v1/tasks/t/deliveries")).json()["deliveries"]) == 1


async def test_deliveries_say_what_became_of_them(service: Service) -> None:
    await service.submit("t", callback_url=URL)
    assert (await service.client().get("/v1/tasks/t/deliveries")).json() == {"deliveries": [], "endpoint": None}
    await service.succeed("t")
    await attempted(service, 0, "no answer")
    service.now_ms[0] += 10_000
    await attempted(service, 503)
    told = (await service.client("read").get("/v1/tasks/t/deliveries")).json()
    (delivery,) = told["deliveries"]
    assert (delivery["type"], delivery["state"], delivery["run"], delivery["url"]) == ("task.succeeded", "owed", 1, URL)
    assert delivery["id"].startswith("msg_")
    assert [(each["status"], each["message"]) for each in delivery["attempts"]] == [(None, "no answer"), (503, "")]
    assert delivery["next_at"] is not None
    assert told["endpoint"]["failures"] == 2
    assert told["endpoint"]["reason"] == "HTTP status 503"


async def test_one_can_be_sent_again(service: Service) -> None:
    await service.submit("t", callback_url=URL)
    await service.succeed("t")
    await attempted(service, 200)
    client = service.client("operate")
    (again,) = (await client.post("/v1/tasks/t/deliveries/retry")).json()["deliveries"]
    assert again["state"] == "owed"
    assert len((await service.dispatcher.inner.callbacks(9, ())).deliveries) == 1
    await service.submit("plain")
    assert (await client.post("/v1/tasks/plain/deliveries/retry")).json()["code"] == "no_callback"
    for path in ("nobody", "not an id"):
        assert (await client.post(f"/v1/tasks/{path}/deliveries/retry")).status_code == 404
        assert (await service.client().get(f"/v1/tasks/{path}/deliveries")).status_code == 404


async def test_an_endpoint_that_is_disabled_is_listed_and_enabled(service: Service) -> None:
    await service.submit("t", callback_url=URL)
    await service.succeed("t")
    await attempted(service, 410)
    (endpoint,) = (await service.client("read").get("/v1/callbacks/endpoints")).json()["endpoints"]
    assert (endpoint["origin"], endpoint["tenant"]) == ("https://a.example", "acme")
    assert endpoint["disabled_at"] is not None
    assert "410" in endpoint["reason"]
    told = (await service.client().get("/v1/tasks/t/deliveries")).json()
    assert told["deliveries"][0]["next_at"] is None, "it is held"
    assert (await service.client("rival").get("/v1/callbacks/endpoints")).json() == {"endpoints": []}
    body = {"origin": "https://A.example/"}
    response = await service.client("operate").post("/v1/callbacks/endpoints/enable", json=body)
    assert (response.status_code, response.json()["disabled_at"]) == (200, None)
    assert (await service.client("read").get("/v1/callbacks/endpoints")).json() == {"endpoints": []}


async def test_an_admin_sees_everybodys(service: Service) -> None:
    await service.submit("t", "rival", callback_url=URL)
    await service.succeed("t")
    await attempted(service, 410)
    admin = service.client("admin")
    assert (await admin.get("/v1/callbacks/endpoints")).json()["endpoints"] == []
    assert len((await admin.get("/v1/callbacks/endpoints?tenant=*")).json()["endpoints"]) == 1
    response = await admin.post("/v1/callbacks/endpoints/enable?tenant=nobody", json={"origin": "https://a.example"})
    assert response.status_code == 404


async def test_a_secret_is_shown_once_and_the_one_before_signs_on(service: Service) -> None:
    client = service.client("operate")
    first = (await client.post("/v1/callbacks/secret")).json()
    assert (first["tenant"], first["previous_until"]) == ("acme", None)
    assert first["secret"].startswith("whsec_")
    second = (await client.post("/v1/callbacks/secret")).json()
    assert second["previous_until"] == "2030-03-18T17:46:40.000Z"
    await service.submit("t", callback_url=URL)
    await service.succeed("t")
    signing = (await service.dispatcher.inner.callbacks(9, ())).secrets["acme"]  # type: ignore[index]
    assert [f"whsec_{base64.b64encode(each).decode()}" for each in signing] == [second["secret"], first["secret"]]
    assert (await service.client("admin").post("/v1/callbacks/secret?tenant=nobody")).status_code == 404


@pytest.mark.parametrize(
    ("owner", "method", "path"),
    [
        ("read", "POST", "/v1/callbacks/secret"),
        ("submit", "POST", "/v1/callbacks/secret"),
        ("read", "POST", "/v1/callbacks/endpoints/enable"),
        ("read", "POST", "/v1/tasks/t/deliveries/retry"),
        ("submit", "GET", "/v1/tasks/t/deliveries"),
        ("submit", "GET", "/v1/callbacks/endpoints"),
    ],
)
async def test_each_needs_its_scope(service: Service, owner: str, method: str, path: str) -> None:
    response = await service.client(owner).request(method, path, json={"origin": "https://a.example"})
    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")


async def test_another_tenants_task_is_nobodys(service: Service) -> None:
    await service.submit("t", callback_url=URL)
    await service.succeed("t")
    rival = service.client("rival")
    assert (await rival.get("/v1/tasks/t/deliveries")).status_code == 404
    assert (await rival.post("/v1/tasks/t/deliveries/retry")).status_code == 404


async def test_no_listing_holds_a_secret(service: Service) -> None:
    made = (await service.client("operate").post("/v1/callbacks/secret")).json()["secret"]
    raw = base64.b64decode(made.removeprefix("whsec_"))
    for path in ("tenants", "keys", "callbacks/endpoints?tenant=*", "tasks?tenant=*", "usage"):
        text = (await service.client("admin").get(f"/v1/{path}")).text
        assert made not in text
        assert raw.hex() not in text
