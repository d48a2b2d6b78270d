"""A task's log over HTTP: as text or JSON, a part of it, or followed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

NOW_MS = 1_900_000_000_000
LOGS = "/v1/tasks/t/logs"


async def test_the_log_is_text_or_json(service: Service) -> None:
    """One attempt: its text alone. Several: each under its own line."""
    await service.submit("t")
    client = service.client()
    assert (await client.get(LOGS)).text == ""
    service.logs.write("acme", "t", 1, 1, "hällo\n")
    response = await client.get(LOGS)
    assert (response.text, response.headers["content-type"]) == ("hällo\n", "text/plain; charset=utf-8")
    service.logs.write("acme", "t", 1, 2, "again")
    text = (await client.get(LOGS)).text
    assert text == "--- run 1, attempt 1 ---\nhällo\n--- run 1, attempt 2 ---\nagain\n"
    response = await client.get(LOGS, headers={"accept": "application/json"})
    lines = [{"at": "2030-03-17T17:46:40.000Z", "stream": "stdout", "text": "again"}]
    assert response.json()["logs"][1] == {"run": 1, "attempt": 2, "text": "again", "lines": lines}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("attempt=2", ["two", "more"]),
        ("run=1&attempt=1", ["one"]),
        ("run=2", []),
        ("tail=2", ["two", "more"]),
        ("tail=0", []),
        ("since=1900000010", ["two", "more"]),
        ("until=2030-03-17T17:46:50Z", ["one"]),
        ("since=1900000010&until=1900000011&tail=1", ["two"]),
    ],
)
async def test_a_part_of_the_log(service: Service, query: str, shown: list[str]) -> None:
    """By attempt, by time, from the end."""
    await service.submit("t")
    service.logs.write("acme", "t", 1, 1, "one\n")
    service.logs.write("acme", "t", 1, 2, "two\n", NOW_MS + 10_000)
    service.logs.write("acme", "t", 1, 2, "more\n", NOW_MS + 20_000)
    response = await service.client().get(f"{LOGS}?{query}", headers={"accept": "application/json"})
    assert [line["text"].strip() for log in response.json()["logs"] for line in log["lines"]] == shown


async def test_times_before_the_lines(service: Service) -> None:
    await service.submit("t")
    service.logs.write("acme", "t", 1, 1, "one\ntwo\n")
    text = (await service.client().get(f"{LOGS}?timestamps=true")).text
    assert text == "2030-03-17T17:46:40.000Z one\n2030-03-17T17:46:40.000Z two\n"


@pytest.mark.parametrize("query", ["since=yesterday", "tail=-1", "attempt=0", "follow=perhaps", "lines=3"])
async def test_what_is_no_part_of_a_log_is_refused(service: Service, query: str) -> None:
    await service.submit("t")
    assert (await service.client().get(f"{LOGS}?{query}")).status_code == 422


async def test_a_running_attempts_page_comes_last(service: Service) -> None:
    from taskservice.logs.pieces import Written  # noqa: PLC0415

    await service.submit("t")
    await service.start("t")
    service.logs.write("acme", "t", 1, 0, "before\n")
    service.logs.page.append(Written(NOW_MS, "stdout", b"now\n"))
    text = (await service.client().get(LOGS)).text
    assert text == "--- run 1, attempt 0 ---\nbefore\n--- run 1, attempt 1 ---\nnow\n"


async def test_followed_to_the_end(service: Service) -> None:
    """Server-sent events: one for each line, and one that says how the task ended."""
    await service.submit("t")
    service.logs.write("acme", "t", 1, 1, "one\ntwo\n")
    await service.succeed("t")
    response = await service.client().get(f"{LOGS}?follow=true")
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, end = [
        dict(part.split(": ", 1) for part in event.split("\n")) for event in response.text.split("\n\n")[:-1]
    ]
    assert [json.loads(line["data"])["text"] for line in lines] == ["one\n", "two\n"]
    assert (lines[1]["id"], end) == ("1.101.1", {"event": "end", "data": '{"state":"succeeded"}'})
    again = await service.client().get(f"{LOGS}?follow=true", headers={"last-event-id": "1.101.1"})
    assert again.text == 'event: end\ndata: {"state":"succeeded"}\n\n'


async def test_another_tenants_log_is_not_there(service: Service) -> None:
    """Not to be read, and not to be followed."""
    await service.submit("t")
    service.logs.write("acme", "t", 1, 1, "secret\n")
    for query in ("", "?follow=true"):
        response = await service.client("rival").get(f"{LOGS}{query}")
        assert (response.status_code, "secret" in response.text) == (404, False)


async def test_no_more_than_so_many_follow(service: Service) -> None:
    """The refusal names the limit."""
    await service.submit("t")
    with service.app.state.gateway.followers.one_more():
        response = await service.client().get(f"{LOGS}?follow=true")
    assert response.status_code == 503
    assert (response.json()["limit"], response.json()["value"]) == ("log_followers_max", 1)
    assert response.headers["retry-after"] == "5"
    await service.succeed("t")
    assert (await service.client().get(f"{LOGS}?follow=true")).status_code == 200
