"""What is asked, again and again if need be, and what is made of the answers: without I/O, on a clock of our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from helpers.conversing import World, ok, problem, replies
from taskservice.client.requests import task_line
from taskservice.client.steps import Reply, Request, Silence
from taskservice.errors import (
    AuthError,
    BackOffError,
    ConflictError,
    NotFoundError,
    RequestError,
    ServiceBug,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    UnreachableError,
    WaitTimeout,
)

READ = Request("GET", "/v1/x")
ONCE = Request("POST", "/v1/keys", body=b"{}", repeatable=False)
REFUSED = Silence("refused", connected=False)
BROKEN = Silence("broken", connected=True)


@pytest.mark.parametrize("failure", [REFUSED, BROKEN, problem(429), problem(502), problem(503), problem(504)])
def test_a_failure_that_may_pass_is_survived(failure):
    world = World(replies(failure, failure, ok(7)))
    assert world.run(world.talk.ask(READ)).body == b"7"
    assert len(world.sent) == 3
    assert world.pauses == [0.1, 0.2], "each pause may be twice as long as the one before"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (problem(400), RequestError),
        (problem(401), AuthError),
        (problem(403), AuthError),
        (problem(404), NotFoundError),
        (problem(409), ConflictError),
        (problem(413), RequestError),
        (problem(422), RequestError),
        (problem(500), ServiceBug),
        (problem(501), ServiceBug),
    ],
)
def test_a_failure_that_cannot_pass_is_told_at_once(failure, kind):
    world = World(replies(failure))
    with pytest.raises(kind, match="why") as caught:
        world.run(world.talk.ask(READ))
    assert (type(caught.value), caught.value.code, caught.value.status) == (kind, "some_code", failure.status)
    assert world.pauses == []


def test_what_the_service_says_about_coming_back_is_kept_to():
    world = World(replies(problem(429, headers={"retry-after": "7"}), problem(429, retry_after_s=2.0), ok(1)))
    world.run(world.talk.ask(READ))
    assert world.pauses == [7 * 1.25, 2 * 1.25], "a little later than it says, so that not all come back at once"


def test_nobody_waits_for_what_comes_after_the_deadline():
    world = World(replies(problem(503, headers={"retry-after": "31"})), timeout_s=30)
    with pytest.raises(BackOffError) as caught:
        world.run(world.talk.ask(READ))
    assert (world.pauses, caught.value.retry_after_s) == ([], 31.0)


def test_trying_ends_at_the_deadline_and_earlier_where_nothing_listens():
    for failure, limit_s in [(BROKEN, 30.0), (REFUSED, 5.0)]:
        world = World(lambda request, failure=failure: failure, timeout_s=30, refused_s=5)
        with pytest.raises(UnreachableError, match=failure.message):
            world.run(world.talk.ask(READ))
        assert limit_s - 5 <= world.now_s <= limit_s


def test_a_service_that_has_answered_gets_the_whole_time_to_start_again():
    world = World(replies(ok(1), *[REFUSED] * 9, ok(2)), timeout_s=30, refused_s=5)
    world.run(world.talk.ask(READ))
    assert world.run(world.talk.ask(READ)).ok
    assert sum(world.pauses) > 5


def test_an_attempt_gets_the_time_that_is_left_and_what_it_asks_the_service_to_wait():
    world = World(replies(BROKEN, ok(1)), timeout_s=30)
    world.run(world.talk.ask(Request("GET", "/", wait_s=20)))
    assert [step.timeout_s for step in world.sent] == [50.0, pytest.approx(49.9)]


@pytest.mark.parametrize("failure", [BROKEN, problem(502), problem(503), problem(504)])
def test_what_may_have_been_done_is_not_done_twice(failure):
    """A second key, say, would be a key that nobody knows of."""
    world = World(replies(failure))
    with pytest.raises(BackOffError):
        world.run(world.talk.ask(ONCE))
    assert len(world.sent) == 1


@pytest.mark.parametrize("failure", [REFUSED, problem(429)])
def test_what_was_surely_not_done_is_asked_again(failure):
    world = World(replies(failure, ok(1)))
    assert world.run(world.talk.ask(ONCE)).ok


def test_an_answer_that_is_not_ours_says_so():
    world = World(replies(Reply(404, b"<html>nginx", {"content-type": "text/html"}), Reply(200, b"<html>")))
    with pytest.raises(NotFoundError, match="HTTP 404") as caught:
        world.run(world.talk.ask(READ))
    assert "nginx" in caught.value.detail
    with pytest.raises(ServiceBug, match="Is this URL the task service"):
        world.run(world.talk.ask_object(READ))


def test_all_that_is_wrong_with_a_request_is_in_the_detail():
    errors = [{"path": "$.payload.size", "message": "12 is not a string"}]
    world = World(replies(problem(422, errors=errors)))
    with pytest.raises(RequestError) as caught:
        world.run(world.talk.ask(READ))
    assert caught.value.detail == "$.payload.size: 12 is not a string"


def test_a_repeated_submit_is_the_same_bytes_and_no_duplicate():
    """The first attempt had arrived, so the service calls the second one a duplicate."""
    world = World(replies(BROKEN, ok({"id": "x", "state": "queued", "duplicate": True})))
    task = world.run(world.talk.submit("a.f", {"n": 1}, {}))
    first, second = (step.request.body for step in world.sent)
    assert first == second
    assert json.loads(first)["id"]
    assert task["duplicate"] is False


def test_a_known_id_is_a_duplicate():
    world = World(replies(ok({"id": "mine", "state": "queued", "duplicate": True})))
    assert world.run(world.talk.submit("a.f", {}, {"id": "mine"}))["duplicate"] is True


def test_on_conflict_goes_along_with_an_id_that_was_given():
    """An id that is made here can only be known from an attempt before, which is no conflict."""
    world = World(replies(ok({"id": "mine"}), ok({"id": "new"})))
    world.run(world.talk.submit("a.f", {}, {"id": "mine"}, "rerun"))
    world.run(world.talk.submit("a.f", {}, {}, "reject"))
    assert [step.request.params for step in world.sent] == [(("on_conflict", "rerun"),), ()]


def batch_service(request):
    """Accepts every task of a batch."""
    ids = [json.loads(line)["id"] for line in request.body.splitlines()]
    return ok({"results": [{"id": task_id, "status": "accepted"} for task_id in ids]})


def test_many_tasks_travel_in_batches_bounded_by_number_and_bytes():
    world = World(batch_service, batch_tasks=3)
    answer = world.run(world.talk.submit_many(({"n": n} for n in range(7)), "a.f", {}))
    assert [len(step.request.body.splitlines()) for step in world.sent] == [3, 3, 1]
    assert (answer.accepted, answer.refused, len({item.id for item in answer.results})) == (7, 0, 7)
    world = World(batch_service, batch_bytes=1000)
    world.run(world.talk.submit_many([{"text": "x" * 600}] * 3, "a.f", {}))
    assert len(world.sent) == 3


def test_a_batch_can_be_of_several_functions_with_options_of_their_own():
    world = World(batch_service)
    items = [{"function": "a.f", "payload": {"n": 1}, "priority": "high"}, {"function": "a.g", "id": "mine"}]
    world.run(world.talk.submit_many(items, None, {"priority": "low", "delay": "5m"}))
    first, second = (json.loads(line) for line in world.sent[0].request.body.splitlines())
    assert (first["function"], first["payload"], first["priority"], first["delay"]) == ("a.f", {"n": 1}, "high", "5m")
    assert (second["function"], second["payload"], second["priority"], second["id"]) == ("a.g", {}, "low", "mine")


@pytest.mark.parametrize(
    "item", [{"payload": {}}, {"function": "a.f", "payload": {"n": float("nan")}}, {"function": 1}]
)
def test_a_batch_with_an_item_that_is_no_task_is_told_so(item):
    world = World(batch_service)
    with pytest.raises(RequestError):
        world.run(world.talk.submit_many([item], None, {}))


def full_queue(*rooms):
    """A service whose queue has room for so many tasks of each batch."""
    left = iter(rooms)

    def answer(request):
        room = next(left)
        results = json.loads(batch_service(request).body)["results"]
        refusal = {"status": 429, "code": "queued_max", "detail": "full", "retry_after_s": 1.0}
        refused = [{"id": item["id"], "status": "refused", "error": refusal} for item in results[room:]]
        return ok({"results": results[:room] + refused})

    return answer


def test_tasks_that_the_queue_has_no_room_for_are_submitted_again():
    world = World(full_queue(1, 0, 2))
    answer = world.run(world.talk.submit_many([{"n": n} for n in range(3)], "a.f", {}))
    assert [len(step.request.body.splitlines()) for step in world.sent] == [3, 2, 2]
    assert (answer.accepted, world.pauses) == (3, [1.25, 1.25])


def test_a_queue_that_stays_full_is_told_in_the_end():
    world = World(full_queue(1, *[0] * 100), timeout_s=10)
    answer = world.run(world.talk.submit_many([{"n": n} for n in range(3)], "a.f", {}))
    assert (answer.accepted, answer.refused) == (1, 2)
    assert 5 < world.now_s <= 10
    with pytest.raises(BackOffError, match="full"):
        answer.raise_for_refused()


def test_a_result_is_waited_for_until_the_task_has_ended():
    world = World(replies(problem(409, "not_ended"), BROKEN, problem(409, "not_ended"), ok({"sum": 3})))
    assert world.run(world.talk.result("t", None)) == {"sum": 3}
    assert all(dict(step.request.params)["wait"] == "20.000" for step in world.sent)


def test_waiting_for_a_result_ends_when_the_caller_says():
    world = World(lambda request: problem(409, "not_ended", detail="it is running"))
    with pytest.raises(WaitTimeout, match="within 30 s") as caught:
        world.run(world.talk.result("t", 30))
    assert caught.value.detail == "it is running"
    assert [step.request.wait_s for step in world.sent] == [20.0, 10.0]


def test_no_waiting_is_one_look():
    world = World(replies(problem(409, "not_ended")))
    with pytest.raises(WaitTimeout):
        world.run(world.talk.result("t", 0))
    assert world.sent[0].request.params == ()


def test_a_task_without_a_result_says_why():
    failed = problem(409, "task_failed", detail="Task t failed: no", reason="timeout", trace="File x")
    world = World(replies(failed, problem(409, "task_cancelled"), problem(409, "task_expired")))
    with pytest.raises(TaskFailed, match="failed: no") as caught:
        world.run(world.talk.result("t", None))
    assert (caught.value.task_id, caught.value.reason, caught.value.detail) == ("t", "timeout", "File x")
    for kind in (TaskCancelled, TaskExpired):
        with pytest.raises(kind):
            world.run(world.talk.result("t", None))


def test_a_listing_fetches_pages_as_they_are_needed():
    pages = {None: ([1, 2], "c1"), "c1": ([3, 4], "c2"), "c2": ([5], None)}

    def answer(request):
        tasks, cursor = pages[dict(request.params).get("cursor")]
        return ok({"tasks": tasks, "next_cursor": cursor})

    world = World(answer)
    stream = world.stream(world.talk.list_tasks({"state": ["queued", "failed"], "tag": "a=b"}, None))
    assert (next(stream), len(world.sent)) == (1, 1)
    assert list(stream) == [2, 3, 4, 5, None]
    assert world.sent[0].request.params[1:] == (("state", "queued"), ("state", "failed"), ("tag", "a=b"))


def test_a_listing_ends_at_its_limit():
    world = World(lambda request: ok({"tasks": [1] * int(dict(request.params)["limit"]), "next_cursor": "more"}))
    assert len(list(world.stream(world.talk.list_tasks({}, 450)))) == 451
    assert [dict(step.request.params)["limit"] for step in world.sent] == ["200", "200", "50"]


@pytest.mark.parametrize(
    "talk", [lambda t: t.list_tasks({"sate": "x"}, None), lambda t: t.submit("a.f", {}, {"dealy": 1})]
)
def test_a_misspelt_name_is_told_with_the_known_ones(talk):
    world = World(replies())
    with pytest.raises(TypeError, match=r"(sate.*state|dealy.*delay)"):
        world.run(talk(world.talk))


def test_times_are_written_as_the_api_takes_them():
    moment = datetime(2030, 1, 31, 9, tzinfo=UTC)
    task = json.loads(task_line("a.f", {}, {"delay": timedelta(minutes=5), "timeout": 1.5, "run_at": moment}).text)
    assert (task["delay"], task["timeout"]) == (300.0, 1.5)
    assert datetime.fromisoformat(task["run_at"]) == moment
    naive = json.loads(task_line("a.f", {}, {"run_at": moment.astimezone().replace(tzinfo=None)}).text)
    assert datetime.fromisoformat(naive["run_at"]) == moment, "a time without a zone is local"
