"""`taskservice schedule` against a real HTTP server: what it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest

NIGHTLY = {
    "id": "nightly", "tenant": "default", "function": "media.sweep", "priority": None, "tags": {"a": "b"},
    "max_attempts": None, "timeout_s": 90.0, "ttl_s": 7200.0, "deadline_s": 3600.0, "off_peak": True,
    "callback_url": None, "on_success": None, "on_failure": "ops.alert",
    "cron": "30 2 * * *", "zone": "Europe/Berlin", "interval_s": None,
    "anchor": None, "overlap": "skip", "catch_up": "one", "jitter_s": 0.0, "paused": False, "starts_at": None,
    "ends_at": None, "created_at": "2030-01-31T09:00:00.000Z", "version": 1,
    "next_at": ["2030-02-01T01:30:00.000Z", "2030-02-02T01:30:00.000Z"],
    "last": {
        "scheduled_at": "2030-01-31T01:30:00.000Z", "fired_at": "2030-01-31T01:30:00.020Z",
        "task": "nightly@2030-01-31T01:30:00.000Z",
    },
    "fired": 12, "skipped": {"late": 2, "overlap": 1, "refused": 0}, "waiting_since": None, "retry_at": None,
    "error": {
        "at": "2030-01-31T01:30:00.000Z", "scheduled_at": "2030-01-31T01:30:00.000Z", "reason": "queued_max",
        "message": "the queue is full",
    },
    "payload": {"n": 1},
}  # fmt: skip
OVER = {
    **NIGHTLY,
    "id": "over",
    "cron": None,
    "zone": None,
    "interval_s": 90.0,
    "next_at": [],
    "last": None,
    "error": None,
}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    """Times are shown in this machine's zone."""
    monkeypatch.setenv("TZ", "UTC")


def test_add_says_when_it_fires_next(server, run):
    server.answer(NIGHTLY, 201)
    done = run(
        "schedule", "add", "media.sweep", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--id", "nightly",
        "--payload", '{"n": 1}', "--overlap", "skip", "--catch-up", "all", "--jitter", "30", "--tag", "a=b",
        "--starts-at", "2030-01-01T00:00:00Z", "--timeout", "90s", "--priority", "low", "--max-attempts", "2",
        "--ttl", "2h", "--deadline", "1h", "--off-peak", "--on-failure", "ops.alert",
    )  # fmt: skip
    assert done.exit_code == 0
    assert done.stdout.startswith("nightly fires next: 2030-0")
    assert server.asked[0].json == {
        "id": "nightly", "function": "media.sweep", "payload": {"n": 1}, "cron": "30 2 * * *", "zone": "Europe/Berlin",
        "overlap": "skip", "catch_up": "all", "jitter": 30.0, "tags": {"a": "b"}, "starts_at": "2030-01-01T00:00:00Z",
        "timeout": "90s", "priority": "low", "max_attempts": 2, "paused": False,
        "ttl": "2h", "deadline": "1h", "off_peak": True, "on_failure": "ops.alert",
    }  # fmt: skip


def test_add_by_an_interval(server, run):
    server.answer({**OVER, "paused": True}, 201)
    done = run("schedule", "add", "media.sweep", "--every", "90s", "--anchor", "2030-01-01T00:00:00Z", "--paused")
    assert done.stdout == "over fires next: paused\n"
    asked = server.asked[0].json
    assert (asked["interval"], asked["anchor"], asked["paused"]) == ("90s", "2030-01-01T00:00:00Z", True)
    assert "cron" not in asked


def test_list_shows_a_line_for_each_schedule(server, run):
    server.answer({"schedules": [NIGHTLY, OVER], "next_cursor": None})
    head, first, second = run("schedule", "list").stdout.splitlines()
    assert head.split() == ["ID", "FUNCTION", "TIMES", "NEXT", "LAST", "FIRED", "SKIPPED", "ERROR"]
    assert first.split()[:2] == ["nightly", "media.sweep"]
    assert "30 2 * * * (Europe/Berlin)" in first
    assert first.split()[-3:] == ["12", "3", "queued_max"]
    assert "every 90 s" in second
    assert second.split()[-5:] == ["never", "-", "12", "3", "-"]


def test_a_list_of_none(server, run):
    server.answer({"schedules": [], "next_cursor": None})
    assert run("schedule", "list").stdout == "No schedules.\n"


def test_show_says_all_there_is_to_know(server, run):
    server.answer(NIGHTLY)
    done = run("schedule", "show", "nightly", "--next", 2)
    assert server.asked[0].path == "/v1/schedules/nightly?next=2"
    for said in (
        "30 2 * * * (Europe/Berlin)",
        "nightly@2030-01-31T01:30:00.000Z",
        "2 late, 1 overlap",
        "7200 s",
        "3600 s",
        "off-peak    yes",
        "queued_max: the queue is full",
        '"n": 1',
    ):
        assert said in done.stdout
    assert done.stdout.count("2030-02-0") == 2


@pytest.mark.parametrize(
    ("command", "answer", "printed"),
    [
        (("add", "media.sweep", "--every", "5"), NIGHTLY, NIGHTLY),
        (("list",), {"schedules": [NIGHTLY], "next_cursor": None}, [NIGHTLY]),
        (("show", "nightly"), NIGHTLY, NIGHTLY),
        (("pause", "nightly"), NIGHTLY, NIGHTLY),
        (("resume", "nightly"), NIGHTLY, NIGHTLY),
        (("remove", "nightly"), NIGHTLY, NIGHTLY),
    ],
)
def test_json_is_for_programs(server, run, command, answer, printed):
    server.answer(answer)
    done = run("schedule", *command, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, printed)


def test_pause_resume_remove(server, run):
    server.answer({**NIGHTLY, "paused": True})
    server.answer(NIGHTLY)
    server.answer(NIGHTLY)
    assert run("schedule", "pause", "nightly").stdout == "nightly fires next: paused\n"
    assert run("schedule", "resume", "nightly").stdout.startswith("nightly fires next: 2030-02-01")
    assert run("schedule", "remove", "nightly").stdout == "nightly is removed.\n"
    assert [(asked.method, asked.body) for asked in server.asked] == [
        ("PATCH", b'{"paused":true}'),
        ("PATCH", b'{"paused":false}'),
        ("DELETE", b""),
    ]


def test_what_is_refused_is_told_and_ends_with_2(server, run):
    server.problem(422, "cron_invalid", "cron '61 * * * *': bad minute", errors=[{"path": "$.cron", "message": "bad"}])
    done = run("schedule", "add", "media.sweep", "--cron", "61 * * * *")
    assert (done.exit_code, done.stderr) == (2, "Error: cron '61 * * * *': bad minute\n  $.cron: bad\n")


def test_a_schedule_that_is_not_there_ends_with_1_or_2_as_a_task_does(server, run):
    server.problem(404, "schedule_not_found")
    server.problem(404, "task_not_found")
    assert run("schedule", "show", "none").exit_code == run("show", "none").exit_code != 0
