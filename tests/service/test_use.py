"""A live service in use: from submit to result, by every door; and what it says to those who ask for the impossible."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from helpers.live import Live, eventually
from helpers.scripted_server import scripted_server
from taskservice import Client, RequestError, TaskFailed


def test_a_hundred_submits_of_one_id_from_twenty_threads_are_one_task(live: Live, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ready = threading.Barrier(20)

    def submit(_: int) -> list[bool]:
        with live.client() as client:
            ready.wait(timeout=30)
            return [client.submit("work.note", {"i": 1, "file": str(ran)}, id="one").duplicate for _ in range(5)]

    with ThreadPoolExecutor(20) as threads:
        duplicates = [answer for answers in threads.map(submit, range(20)) for answer in answers]
    assert sorted(duplicates) == [False] + [True] * 99
    with live.client() as client:
        assert client.get("one").result(timeout=30) == 1
        assert len(list(client.list(function="work.note"))) == 1
    assert ran.read_text() == "1\n"


def test_a_batch_comes_back_whole_and_in_order(client: Client) -> None:
    assert list(client.map("work.noop", ({"i": i} for i in range(3_000)))) == list(range(3_000))


def test_thousands_are_cancelled_in_one_call_and_others_go_on(live: Live, client: Client) -> None:
    for _ in range(3):
        client.submit_many(({"i": i} for i in range(2_000)), "work.noop", delay="1h", tags={"job": "later"})
    waiting = client.submit("work.noop", {"i": 1}, delay="1h", tags={"job": "other"})
    assert client.cancel_all(tag="job=later", dry_run=True)["matched"] == 6_000
    operation = client.cancel_all(tag="job=later", timeout=0)
    assert client.submit("work.noop", {"i": 7}).result(timeout=30) == 7
    done = live.cli("cancel", "--tag", "job=later", "--json")
    id = operation["operation"]
    eventually(lambda: client.operation(id)["done"], 30)
    assert client.operation(id)["changed"] + json.loads(done.stdout)["changed"] == 6_000
    assert waiting.refresh().state == "scheduled"
    assert client.cancel_all(state="scheduled")["changed"] == 1


def test_ten_thousand_expire_at_once_and_single_submits_go_on(client: Client) -> None:
    """Paused, so that none of them starts before; each single one has its result while they expire."""
    for _ in range(5):
        client.submit_many(({"i": i} for i in range(2_000)), "work.noop", delay="14s", ttl="15s", tags={"job": "short"})
    assert client.pause_all(tag="job=short")["changed"] == 10_000
    handles = 0
    while client.cancel_all(tag="job=short", state="paused", dry_run=True)["matched"]:
        assert client.submit("work.noop", {"i": handles}).result(timeout=30) == handles
        handles += 1
    assert handles > 0
    assert {task.state for task in client.list(tag="job=short", limit=10_000)} == {"expired"}


@pytest.mark.parametrize(
    ("how", "reason", "said"),
    [
        ("exit", "poison", "exit code 1"),
        ("system_exit", "handler_error", "SystemExit: 2"),
        ("not_json", "bad_result", "not JSON"),
        ("hopeless", "non_retryable", "no way"),
        ("large", "bad_result", "result_bytes_max"),
        ("anything", "handler_error", "ValueError: anything"),
    ],
)
def test_a_handler_that_misbehaves_is_a_dead_letter_with_its_reason(
    client: Client, how: str, reason: str, said: str
) -> None:
    with pytest.raises(TaskFailed) as failed:
        client.submit("work.misbehave", {"how": how}).result(timeout=30)
    assert failed.value.reason == reason
    assert said in failed.value.message
    assert client.submit("work.noop", {"i": 7}).result(timeout=30) == 7, "and the service goes on"


def test_a_handler_that_prints_100_mb_has_a_log_that_says_where_it_was_cut(client: Client) -> None:
    task = client.submit("work.misbehave", {"how": "shout"})
    assert task.result(timeout=60) == "shouted"
    log = task.logs()
    assert len(log) < 2_000_000
    assert "log_bytes_max is 1048576" in log


def test_a_log_is_followed_line_by_line_and_outlives_what_its_machine_keeps(live: Live, client: Client) -> None:
    """Through an attempt that fails and one that succeeds; then its machine's own folder of logs is lost."""
    task = client.submit("work.report", {"lines": 3})
    lines = [(line.attempt, line.stream, line.text) for line in task.follow_logs()]
    assert [line for line in lines if line[1] == "stdout"] == [(1, "stdout", f"line {i}\n") for i in range(3)] + [
        (2, "stdout", f"line {i}\n") for i in range(3)
    ]
    assert (1, "service", "ValueError: not the first time\n") in lines
    assert [line.text for line in task.log_lines(attempt=2)] == ["line 0\n", "line 1\n", "line 2\n"]
    eventually(lambda: list((live.home / "state" / "tasklog").rglob("*-*-*")), 30, "the log is stored")
    text = task.logs()
    eventually(lambda: not waiting(live), 30, "nothing waits on the machine")
    for session in (live.home / "logs" / "tasks").iterdir():
        shutil.rmtree(session)
    assert task.logs() == text
    eventually(lambda: list((live.home / "logs" / "tasks").glob("*/open")), 30, "logs are kept there again")


def waiting(live: Live) -> list[Path]:
    return list((live.home / "logs" / "tasks").glob("*/2*/*"))


@pytest.mark.parametrize(
    ("function", "payload", "status", "code"),
    [
        ("work.nope", {}, 422, "unknown_function"),
        ("work.noop", {"i": "seven"}, 422, "payload_invalid"),
        ("work.noop", {"j": 7}, 422, "payload_invalid"),
        ("work.misbehave", {"how": "x" * (16 << 20)}, 413, "too_large"),
    ],
)
def test_what_cannot_be_accepted_is_refused_by_name(
    client: Client, function: str, payload: dict[str, object], status: int, code: str
) -> None:
    with pytest.raises(RequestError) as refused:
        client.submit(function, payload)
    assert (refused.value.status, refused.value.code) == (status, code)


def raw(live: Live, **request: object) -> httpx.Response:
    key = json.loads((live.home / "client.json").read_text())["api_key"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": str(request.pop("type"))}
    url = f"http://127.0.0.1:{live.port}/v1/tasks/batch"
    return httpx.post(url, headers=headers, **request)  # type: ignore[arg-type]


def test_malformed_json_is_a_problem_document(live: Live) -> None:
    answer = raw(live, type="application/json", content=b'{"tasks": [')
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_malformed_line_of_ndjson_is_named_and_the_others_are_accepted(live: Live) -> None:
    lines = b'{"function":"work.noop","payload":{"i":1}}\n{"function":\n{"function":"work.noop","payload":{"i":2}}\n'
    answer = raw(live, type="application/x-ndjson", content=lines).json()
    assert (answer["accepted"], answer["refused"]) == (2, 1)
    assert answer["results"][1]["error"]["line"] == 2


def test_the_command_line_goes_all_the_way(live: Live) -> None:
    submitted = live.cli("submit", "work.noop", "--payload", '{"i": 5}', "--id", "by-hand", "--wait")
    assert submitted.returncode == 0, submitted.stderr
    assert "5" in submitted.stdout
    shown = live.cli("show", "by-hand", "--json")
    assert json.loads(shown.stdout)["state"] == "succeeded"
    assert live.cli("show", "nobody").returncode == 1
    assert live.cli("submit", "work.noop", "--payload", "{").returncode == 2
    for _ in range(3):
        assert live.cli("submit", "work.noop", "--payload", '{"i": 5}').returncode == 0
    listed = json.loads(live.cli("list", "--json", "--limit", "3").stdout)
    assert len(listed) == 3
    assert live.cli("doctor").returncode == 0


def test_an_app_that_cannot_be_imported_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    broken = Live(tmp_path, app="broken:app")
    ended = broken.cli("up", "--app", broken.app, "--port", str(broken.port), "-d")
    assert ended.returncode == 1
    assert "this module cannot be imported" in ended.stderr
    assert broken.processes() == []


def test_the_end_of_a_task_is_told_and_followed(live: Live, client: Client) -> None:
    """By a callback that the official library verifies, and by another function."""
    secret = json.loads(live.cli("callback", "secret", "--json").stdout)["secret"]
    with scripted_server() as server:
        server.answer({}, 204)
        task = client.submit("work.noop", {"i": 7}, callback_url=f"{server.url}/told", on_success="work.after")
        assert task.result(timeout=30) == 7
        assert client.result(task.refresh().info["follow_up"], timeout=30) == f"{task.id} has succeeded"
        eventually(lambda: task.deliveries()["deliveries"][0]["state"] == "delivered", 30)
        (asked,) = server.asked
        event = Webhook(secret).verify(asked.body, asked.headers)
        assert (event["type"], event["data"]["id"], event["data"]["result"]) == ("task.succeeded", task.id, 7)
    shown = live.cli("show", task.id)
    assert "delivered" in shown.stdout
    assert "HTTP 204" in shown.stdout
