"""Why, usage and settings from the command line, against a real HTTP server."""

from __future__ import annotations

import json

import pytest

TASK = {
    "id": "t1", "function": "media.thumbnail", "tenant": "default", "state": "succeeded", "priority": "normal", "tags": {},
    "key": "ann", "created_at": "2030-01-31T09:00:00.000Z", "due_at": "2030-01-31T09:00:00.000Z", "started_at": None,
    "ended_at": None, "run": 1, "attempt": 1, "max_attempts": 5, "crashes": 0, "expires_at": None, "paused_until": None,
    "duration_ms": None, "error": None, "deadline_at": None, "deadline_missed": None, "off_peak": False,
}  # fmt: skip
QUOTA = {"reserved": {}, "maximum": {"cpus": 4.0, "memory": 8 << 30}}
WINDOW = {
    "name": "stripe", "functions": ["a.f"], "limit": 9, "in_flight": 4, "floor": 1, "ceiling": 10_000, "frozen": None,
    "round_trip_s": 0.25, "closed_until": None,
    "changes": [{"at": "2030-01-31T09:00:00.000Z", "limit": 9, "why": "doubled"}],
}  # fmt: skip
RATE = {
    "gate": "tenant.rate", "text": "The rate of its tenant is used up: 5 a second, 10 at once.", "limit": 10, "value": 10,
    "clears_at": "2030-01-31T09:00:00.200Z", "per_s": 5.0, "cause": None,
}  # fmt: skip
TURN = {**RATE, "gate": "turn", "text": "40 tasks are before it in turn.", "limit": None, "value": 40}
WHY = {
    "id": "t1", "state": "queued", "since": "2030-01-31T09:00:00.000Z", "gate": "tenant.rate", "text": RATE["text"],
    "limit": 10, "value": 10, "clears_at": RATE["clears_at"], "reasons": [RATE, TURN], "rank": 7, "rank_exact": True,
    "queued": 90, "before": 40, "no_estimate": None, "expires_at": None, "may_expire": False, "attempt": 0, "runner": None,
    "node": None, "deadline": None, "error": None,
    "estimated_start": {"p50": "2030-01-31T09:00:02.000Z", "p90": "2030-01-31T09:00:05.000Z", "how": "6 tasks pass it first"},
}  # fmt: skip
TIMELINE = {
    "id": "t1", "state": "queued", "spent_s": {"tenant.rate": 1.5}, "known_since": "2030-01-31T08:00:00.000Z",
    "stages": [
        {"stage": "accepted", "at": "2030-01-31T09:00:00.000Z", "until": None, "seconds": None, "cause": None,
         "attempt": None, "runner": None, "message": None},
        {"stage": "waited", "at": "2030-01-31T09:00:00.000Z", "until": "2030-01-31T09:00:01.500Z", "seconds": 1.5,
         "cause": "tenant.rate", "attempt": None, "runner": None, "message": None},
    ],
}  # fmt: skip
USE = {
    "name": "acme", "weight": 2.0, "used_s": 30.0, "used_ratio": 0.25, "due_ratio": 0.5, "running": 3, "unfinished": 90,
    "queued_max": None, "quota": QUOTA, "holds": {"cpus": 3.0}, "gates": [RATE],
}  # fmt: skip
USAGE = {
    "at": "2030-01-31T09:00:00.000Z", "span_s": 300.0, "capacity": {"cpus": 16.0, "memory": 64 << 30}, "tenants": [USE],
    "classes": [{**USE, "name": "normal", "gates": []}, {**USE, "name": "low", "due_ratio": None}],
    "functions": [{
        "name": "a.f", "counts": {"queued": 87, "running": 3}, "mean_s": 1.25, "running": 3, "paused": False,
        "downstream": "stripe", "quota": QUOTA, "holds": {}, "gates": [], "retries": {**RATE, "gate": "function.retries"},
    }],
    "downstreams": [WINDOW],
}  # fmt: skip
FUNCTION = {
    "name": "a.f", "doc": "Does it.", "paused": True, "rate": {"per_s": 5.0, "burst": 5}, "submit_rate": None,
    "max_running": None, "quota": QUOTA, "downstream": "stripe", "key": None, "key_max_running": None,
    "set_by_operator": ["paused", "rate"],
}  # fmt: skip
DOWNSTREAM = {"name": "stripe", "functions": ["a.f"], "ceiling": None, "frozen": 9, "window": WINDOW}
CLASS = {"name": "low", "weight": 3.0, "quota": QUOTA, "set_by_operator": ["weight"]}
TENANT = {
    "id": "acme", "weight": 2.0, "queued_max": None, "running_max": 5, "rate": {"per_s": 5.0, "burst": 5}, "submit_rate": None,
    "quota": QUOTA,
}  # fmt: skip


def test_show_says_why_a_task_waits_and_what_it_waited_for(server, run):
    for answer in ({**TASK, "state": "queued"}, WHY, TIMELINE):
        server.answer(answer)
    done = run("show", "t1")
    assert done.exit_code == 0, done.stdout
    for words in (
        "The rate of its tenant is used up", "40 tasks are before it in turn", "7 of 90 in its queue",
        "6 tasks pass it first", "1500 ms", "tenant.rate",
    ):  # fmt: skip
        assert words in done.stdout
    assert [asked.path for asked in server.asked] == ["/v1/tasks/t1", "/v1/tasks/t1/why", "/v1/tasks/t1/timeline"]


def test_show_of_a_task_that_has_ended_asks_for_its_timeline_when_told(server, run):
    server.answer(TASK)
    server.answer(TIMELINE)
    shown = json.loads(run("show", "t1", "--timeline", "--json").stdout)
    assert (shown["timeline"], "why" in shown) == (TIMELINE, False)


def test_usage_is_tables(server, run):
    server.answer(USAGE)
    shown = run("usage").stdout
    for words in (
        "25 %",
        "50 %",
        "rate 10/10",
        "cpus 16, memory 64 GiB",
        "at most cpus 4, memory 8 GiB",
        "4 of 9",
        "9 doubled",
    ):
        assert words in shown
    assert "low" not in shown, "a class without work is left out"


@pytest.mark.parametrize(
    ("command", "answer", "method", "path", "body"),
    [
        ("function set a.f --rate 5/s --max-running 3", FUNCTION, "PATCH", "functions/a.f", {"rate": "5/s", "max_running": 3}),
        ("function set a.f --maximum cpus=4 --maximum memory=8GiB --reserve gpus=1", FUNCTION, "PATCH", "functions/a.f",
         {"quota": {"reserved": {"gpus": 1.0}, "maximum": {"cpus": 4.0, "memory": "8GiB"}}}),
        ("function set a.f --default rate --default max-running", FUNCTION, "PATCH", "functions/a.f",
         {"rate": None, "max_running": None}),
        ("function pause a.f", FUNCTION, "PATCH", "functions/a.f", {"paused": True}),
        ("function resume a.f", FUNCTION, "PATCH", "functions/a.f", {"paused": False}),
        ("function show a.f", FUNCTION, "GET", "functions/a.f", None),
        ("downstream set stripe --freeze 9 --default ceiling", DOWNSTREAM, "PATCH", "downstreams/stripe",
         {"frozen": 9, "ceiling": None}),
        ("downstream show stripe", DOWNSTREAM, "GET", "downstreams/stripe", None),
        ("class set low --weight 3", CLASS, "PATCH", "classes/low", {"weight": 3.0}),
        ("tenant set acme --rate 5/s --default quota", TENANT, "PATCH", "tenants/acme", {"rate": "5/s", "quota": None}),
        ("tenant show acme", TENANT, "GET", "tenants/acme", None),
        ("usage --tenant acme", USAGE, "GET", "usage?tenant=acme", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True])
def test_a_setting_travels_and_what_holds_now_is_shown(server, run, command, answer, method, path, body, as_json):
    server.answer(answer)
    done = run(*command.split(), *(["--json"] if as_json else []))
    assert done.exit_code == 0, done.stdout
    asked = server.asked[0]
    assert (asked.method, asked.path) == (method, f"/v1/{path}")
    assert (asked.json if asked.body else None) == body
    if as_json:
        assert json.loads(done.stdout) == answer
    else:
        assert str(answer.get("name") or answer.get("id") or "acme") in done.stdout


@pytest.mark.parametrize(
    ("command", "name", "answer", "words"),
    [
        ("function list", "functions", FUNCTION, ["a.f", "paused", "5/s burst 5", "stripe"]),
        ("downstream list", "downstreams", DOWNSTREAM, ["stripe", "a.f"]),
        ("class list", "classes", CLASS, ["low", "3", "weight"]),
        ("tenant list", "tenants", TENANT, ["acme", "5/s burst 5", "at most cpus 4"]),
    ],
)
def test_listings_are_tables_or_json(server, run, command, name, answer, words):
    server.answer({name: [answer]})
    shown = run(*command.split()).stdout
    assert all(word in shown for word in words), shown
    server.answer({name: [answer]})
    assert json.loads(run(*command.split(), "--json").stdout) == [answer]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("function set a.f", "Say what is to be changed"),
        ("function set a.f --rate 5/s --default rate", "set and taken back at once"),
        ("class set low --maximum cpus", "Write KIND=AMOUNT"),
        (
            "function set a.f --default ceiling",
            "There is no setting 'ceiling': there are paused, rate, max_running, quota.",
        ),
        ("tenant set acme --default frozen", "There is no setting 'frozen'"),
    ],
)
def test_what_cannot_be_meant_is_wrong_use(server, run, command, words):
    done = run(*command.split())
    assert done.exit_code == 2
    assert words in done.stderr
    assert server.asked == []


def test_what_the_service_refuses_is_said_once(server, run):
    said = "$.rate: 'banana' is not a rate"
    server.problem(422, "invalid_request", said, errors=[{"path": "$.rate", "message": "'banana' is not a rate"}])
    done = run("function", "set", "a.f", "--rate", "banana")
    assert done.exit_code == 2
    assert done.stderr.count(said) == 1
