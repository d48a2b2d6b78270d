"""Logs with the SDK: all, a part, line by line, and followed through whatever breaks on the way."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from helpers.conversing import World, replies
from taskservice.client import AsyncClient, Client, LogLine
from taskservice.client.logs import BROKEN, Following
from taskservice.client.steps import Silence
from taskservice.errors import NotFoundError, UnreachableError

ONE = {"at": "2030-01-01T00:00:00.000Z", "run": 1, "attempt": 1, "stream": "stdout", "text": "one\n"}
TWO = {**ONE, "text": "two\n"}
END = 'event: end\ndata: {"state":"succeeded"}\n\n'
LIVE = ": still here\n\n"


def event(line: dict, id: str) -> str:
    return f"id: {id}\nevent: line\ndata: {json.dumps(line)}\n\n"


@pytest.fixture
def client(server):
    with Client(server.url, "tsk_x", timeout_s=3, refused_s=0) as client:
        yield client


def asked(server, at: int = 0) -> dict[str, list[str]]:
    return parse_qs(urlsplit(server.asked[at].path).query)


def test_a_part_is_asked_for(server, client):
    server.answer(text="x\n")
    since = datetime(2030, 1, 1, tzinfo=UTC)
    assert client.logs("t1", since=since, until=1_900_000_000, attempt=2, run=1, tail=10) == "x\n"
    said = asked(server)
    assert datetime.fromisoformat(said.pop("since")[0]) == since
    assert said == {"until": ["1900000000"], "attempt": ["2"], "run": ["1"], "tail": ["10"]}


@pytest.mark.parametrize("ago", ["10m", timedelta(minutes=10)])
def test_so_long_ago(server, client, ago):
    server.answer(text="")
    client.logs("t1", since=ago)
    assert float(asked(server)["since"][0]) == pytest.approx(time.time() - 600, abs=60)


def test_a_part_that_there_is_not(client):
    with pytest.raises(TypeError, match="a log has no lines"):
        client.logs("t1", lines=3)


def test_line_by_line(server, client):
    lines = [{name: ONE[name] for name in ("at", "stream", "text")}]
    server.answer({"logs": [{"run": 1, "attempt": 1, "text": "one\n", "lines": lines}]})
    assert client.log_lines("t1") == [LogLine(**ONE)]
    assert server.asked[0].headers["accept"] == "application/json"


def test_followed_to_the_end(server, client):
    server.answer(text=LIVE + event(ONE, "1.1.1") + LIVE + event(TWO, "1.1.2") + END)
    assert [line.text for line in client.follow_logs("t1", tail=5)] == ["one\n", "two\n"]
    assert asked(server) == {"tail": ["5"], "follow": ["true"]}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, client):
    """Once it ends in the midst, once nobody answers, once the service is not ready: no line is lost, none comes twice."""
    server.answer(text=event(ONE, "1.1.1") + "event: line\ndata: {")
    server.hang_up()
    server.problem(503, "not_ready", headers={"retry-after": "0"})
    server.answer(text=event(TWO, "1.1.2") + END)
    assert [line.text for line in client.follow_logs("t1")] == ["one\n", "two\n"]
    assert [each.headers.get("last-event-id") for each in server.asked] == [None, "1.1.1", "1.1.1", "1.1.1"]


def test_what_is_not_there_is_not_followed(server, client):
    server.problem(404, "task_not_found")
    with pytest.raises(NotFoundError):
        list(client.follow_logs("t1"))


def test_nobody_answers(client):
    client._http.close()
    with Client("http://127.0.0.1:9", "tsk_x", timeout_s=1, refused_s=0) as nobody, pytest.raises(UnreachableError):
        list(nobody.follow_logs("t1"))


def test_a_service_whose_lines_were_heard_gets_the_whole_time_to_start_again():
    world = World(replies(), timeout_s=30, refused_s=0)
    following = Following(world.talk, "t1", {})
    following.take(LIVE.strip())
    following.failed(BROKEN)
    world.now_s += 29
    assert following.failed(Silence("refused", connected=False)) > 0


def test_the_same_without_blocking(server):
    server.answer(text=event(ONE, "1.1.1"))
    server.answer(text=event(TWO, "1.1.2") + END)

    async def follow() -> list[str]:
        async with AsyncClient(server.url, "tsk_x") as client:
            return [line.text async for line in client.follow_logs("t1")]

    assert asyncio.run(follow()) == ["one\n", "two\n"]
    assert server.asked[1].headers["last-event-id"] == "1.1.1"
