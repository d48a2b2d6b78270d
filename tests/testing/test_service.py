"""The service in memory: the clock moves when the test says so, and what happens meanwhile is what the core decides."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from helpers.tested_app import app, made
from taskservice import App, ConflictError, NotFoundError, RequestError, TaskExpired, TaskFailed, WaitTimeout
from taskservice.testing import Service


def test_nothing_runs_until_it_is_let(service):
    task = service.client.submit("t.note", {"text": "a"})
    assert (task.state, made) == ("queued", [])
    assert service.drain() == 1
    assert (task.refresh().state, made) == ("succeeded", ["a"])


def test_retries_come_after_their_pauses(service):
    task = service.client.submit("t.fail", {"times": 2})
    assert [service.drain(), service.advance("9s"), service.advance("1s"), service.advance("20s")] == [1, 0, 1, 1]
    assert task.result() == [3, {"made": 2}]
    assert task.refresh().info["attempt"] == 3


def test_a_result_is_waited_for_on_the_clock(service):
    task = service.client.submit("t.fail", {"times": 2}, delay="2h")
    began = service.now
    assert task.result() == [3, {"made": 2}]
    assert service.now - began == timedelta(hours=2, seconds=30)


def test_a_wait_ends_when_its_time_is_over(service):
    task = service.client.submit("t.note", {}, delay="1h")
    began = service.now
    with pytest.raises(WaitTimeout, match="60 s"):
        task.result(timeout=60)
    assert service.now - began == timedelta(seconds=60)


def test_a_wait_in_vain_ends_at_once(service):
    task = service.client.submit("t.note", {})
    service.client.pause_many([task.id])
    with pytest.raises(WaitTimeout, match="nothing more happens by itself"):
        task.result()


def test_a_dead_letter_raises_and_runs_again(service):
    task = service.client.submit("t.fail", {"times": 3})
    with pytest.raises(TaskFailed, match="not yet"):
        task.result()
    assert task.retry().state == "queued"


def test_drain_goes_up_to_a_moment_and_stays_at_the_last_event(service):
    for minutes in (10, 20, 90):
        service.client.submit("t.note", {"text": str(minutes)}, delay=timedelta(minutes=minutes))
    assert service.drain("1h") == 2
    assert service.now == datetime(2030, 1, 1, 0, 20, tzinfo=UTC)
    assert service.drain(datetime(2030, 1, 1, 2, tzinfo=UTC)) == 1
    assert made == ["10", "20", "90"]


def test_ids_conflicts_and_times_to_live_are_the_service_s(service):
    task = service.client.submit("t.note", {"text": "a"}, id="one", delay="1h", ttl="2h")
    assert service.client.submit("t.note", {"text": "a"}, id="one", delay="1h", ttl="2h").duplicate
    with pytest.raises(ConflictError):
        service.client.submit("t.note", {"text": "b"}, id="one")
    with pytest.raises(RequestError, match=r"Did you mean 't.note'\?"):
        service.client.submit("t.noet", {})
    service.client.pause_many(["one"])
    service.advance("3h")
    with pytest.raises(TaskExpired):
        task.result()


def test_functions_follow_an_end(service):
    service.client.submit("t.note", {"text": "a"}, on_success="t.note")
    service.client.submit("t.final", {"how": "raise"}, on_failure="t.note")
    service.drain()
    assert sorted(made) == ["a", "failed", "succeeded"]


def test_map_takes_its_results_in_order(service):
    assert list(service.client.map("t.awaited", [{"text": str(n)} for n in range(30)], in_flight=7)) == [
        str(n) for n in range(30)
    ]


def test_what_a_function_asks_of_machines_is_there(service):
    task = service.client.submit("t.demanding", {})
    assert task.result() == "default"
    assert "<TOKEN>" in task.logs()


def test_tenants_do_not_see_each_other(service):
    task = service.client_of("acme").submit("t.note", {"text": "secret"})
    service.drain()
    with pytest.raises(NotFoundError):
        service.client_of("rival").get(task.id)
    assert service.client_of("acme").get(task.id).state == "succeeded"


def test_a_handler_hears_that_its_task_is_cancelled():
    app, heard = App("own"), []

    @app.task
    def cancels_itself(ctx) -> None:
        service.client.cancel(ctx.task_id)
        heard.append(ctx.cancelled)
        ctx.raise_if_cancelled()

    with Service(app) as service:
        task = service.client.submit("own.cancels_itself", {})
        service.drain()
        assert (heard, task.refresh().state) == ([True], "cancelled")


def test_a_handler_cannot_move_the_clock():
    app = App("own")

    @app.task
    def waits() -> None:
        service.drain()

    with Service(app) as service:
        service.client.submit("own.waits", {}, max_attempts=1)
        service.drain()
        (task,) = service.client.list()
        assert "cannot move the clock" in task.info["error"]["message"]


def test_tasks_that_submit_each_other_without_end_are_found_out():
    app = App("own")

    @app.task
    def again(n: int) -> None:
        service.client.submit("own.again", {"n": n + 1})

    with Service(app, attempts_max=20) as service:
        service.client.submit("own.again", {"n": 0})
        with pytest.raises(RuntimeError, match="without end"):
            service.drain()


def test_two_services_do_the_same():
    told = []
    for _ in range(2):
        with Service(app, secrets={"TOKEN": "open sesame"}, seed=3) as service:
            service.client.submit_many([{"times": n % 4} for n in range(20)], function="t.fail")
            service.drain("1h")
            told.append([task.info["ended_at"] for task in service.client.list()])
    assert told[0] == told[1]


def test_an_event_loop_is_refused_with_advice(service):
    async def submit() -> None:
        service.client.submit("t.note", {})

    with pytest.raises(RuntimeError, match="plain `def`"):
        asyncio.run(submit())


def test_it_needs_no_ray():
    code = "import sys; sys.modules['ray'] = None; import taskservice.testing"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
