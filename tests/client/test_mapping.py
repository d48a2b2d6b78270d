"""`map`: every result once, in bounds; without I/O, on a clock of our own."""

from __future__ import annotations

import json
from itertools import count

import pytest

from helpers.conversing import World, ok, problem
from taskservice.client.mapping import map_results
from taskservice.errors import BackOffError, RequestError, TaskFailed


class Doubling:
    """A service that answers a task {"n": n} with 2n, with room for `queued_max` tasks that nobody has asked for yet."""

    def __init__(self, queued_max=10**9, fails=(), late=()):
        self.tasks = {}
        self.open = set()
        self.open_most = 0
        self.queued_max = queued_max
        self.fails = fails
        self.late = set(late)

    def __call__(self, request):
        if request.method == "POST":
            return ok({"results": [self.accept(json.loads(line)) for line in request.body.splitlines()]})
        task_id = request.path.split("/")[3]
        n = self.tasks[task_id]
        if n in self.late:
            self.late.discard(n)
            return problem(409, "not_ended")
        self.open.discard(task_id)
        return problem(409, "task_failed", reason="handler_error") if n in self.fails else ok(2 * n)

    def accept(self, task):
        if len(self.open) >= self.queued_max:
            error = {"status": 429, "code": "queued_max", "detail": "full"}
            return {"id": task["id"], "status": "refused", "error": error}
        self.tasks[task["id"]] = task["payload"]["n"]
        self.open.add(task["id"])
        self.open_most = max(self.open_most, len(self.open))
        return {"id": task["id"], "status": "accepted"}


def mapped(service, payloads, *, in_flight=8, ordered=True, return_exceptions=False, **patience):
    world = World(service, **patience)
    stream = map_results(
        world.talk, "a.f", payloads, {}, in_flight=in_flight, ordered=ordered, return_exceptions=return_exceptions
    )
    return world.stream(stream)


def numbers(n):
    return ({"n": i} for i in range(n))


@pytest.mark.parametrize("in_flight", [1, 3, 8, 1000])
@pytest.mark.parametrize("queued_max", [1, 5, 10**9])
def test_map_gives_every_result_in_order_with_bounded_tasks_under_way(in_flight, queued_max):
    """Also if the tenant's queue is smaller than what map would like to have under way."""
    service = Doubling(queued_max)
    *results, end = mapped(service, numbers(50), in_flight=in_flight, timeout_s=5)
    assert (results, end) == ([2 * n for n in range(50)], None)
    assert service.open_most <= min(in_flight, queued_max)


def test_map_takes_no_more_payloads_than_it_has_tasks_under_way():
    taken = count()
    results = mapped(Doubling(), ({"n": next(taken)} for _ in iter(int, 1)), in_flight=8)
    assert [next(results) for _ in range(20)] == [2 * n for n in range(20)]
    assert next(taken) <= 28


def test_map_in_any_order_does_not_wait_for_a_straggler():
    *results, _ = mapped(Doubling(late=[0, 2]), numbers(5), ordered=False)
    assert results == [2, 6, 8, 0, 4]


def test_map_raises_a_failure_in_its_place_or_returns_it():
    results = mapped(Doubling(fails=[1]), numbers(3))
    assert next(results) == 0
    with pytest.raises(TaskFailed):
        next(results)
    first, failure, third, _ = mapped(Doubling(fails=[1]), numbers(3), return_exceptions=True)
    assert (first, third, failure.reason) == (0, 4, "handler_error")


def test_map_raises_a_refusal_in_its_place():
    def refuse(request):
        error = {"status": 422, "code": "payload_invalid", "detail": "n is not a number"}
        return ok({"results": [{"id": None, "status": "refused", "error": error}]})

    with pytest.raises(RequestError, match="not a number"):
        list(mapped(refuse, numbers(1)))


def test_map_gives_up_on_a_queue_that_others_keep_full():
    with pytest.raises(BackOffError, match="full"):
        list(mapped(Doubling(queued_max=0), numbers(3), timeout_s=5))


def test_map_makes_its_ids_itself():
    with pytest.raises(ValueError, match="id"):
        map_results(World(None).talk, "a.f", [], {"id": "x"}, in_flight=1, ordered=True, return_exceptions=False)
