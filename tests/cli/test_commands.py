"""The command line against a real HTTP server: what it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys

import pytest

TASK = {
    "id": "t1", "function": "media.thumbnail", "tenant": "default", "state": "succeeded", "priority": "normal",
    "tags": {"a": "b"}, "created_at": "2030-01-31T09:00:00.000Z", "due_at": "2030-01-31T09:00:00.000Z",
    "started_at": "2030-01-31T09:00:01.000Z", "ended_at": None, "run": 1, "attempt": 1, "max_attempts": 5, "crashes": 0,
    "deadline_at": "2030-01-31T08:00:00.000Z", "deadline_missed": True, "off_peak": True,
    "off_peak_until": "2030-01-31T07:00:00.000Z",
    "expires_at": "2030-01-31T10:00:00.000Z", "paused_until": None, "duration_ms": 12.5, "error": None,
}  # fmt: skip
UNLIMITED = {"rate": None, "submit_rate": None, "quota": {"reserved": {}, "maximum": {}}}
WHOLE = {**TASK, "payload": {"url": "x"}, "result": {"size": 3}}


def test_submit_prints_the_id_alone(server, run):
    server.answer(WHOLE, 202)
    done = run(
        "submit",
        "media.thumbnail",
        "--payload",
        '{"url": "x"}',
        "--tag",
        "a=b",
        "--delay",
        "5",
        "--id",
        "t1",
        "--ttl",
        "1h",
        "--deadline",
        "2030-01-31T09:00:00Z",
        "--off-peak",
    )
    assert (done.exit_code, done.stdout) == (0, "t1\n")
    asked = server.asked[0]
    assert asked.headers["authorization"] == "Bearer tsk_test"
    assert asked.json == {
        "id": "t1", "function": "media.thumbnail", "payload": {"url": "x"}, "tags": {"a": "b"}, "delay": 5.0, "ttl": "1h",
        "deadline": "2030-01-31T09:00:00Z", "off_peak": True,
    }  # fmt: skip


def test_submit_with_wait_prints_the_result(server, run):
    server.answer(WHOLE, 202)
    server.answer({"size": 3})
    done = run("submit", "media.thumbnail", "--wait")
    assert json.loads(done.stdout) == {"size": 3}


def test_submit_with_wait_of_a_task_that_fails_ends_with_1(server, run):
    server.answer(WHOLE, 202)
    server.problem(
        409, "task_failed", "Task t1 failed: boom", reason="handler_error", trace="Traceback\nValueError: boom"
    )
    done = run("submit", "media.thumbnail", "--wait")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Task t1 failed: boom\n")
    assert "  ValueError: boom" in done.stderr
    assert "tasks.py" not in done.stderr, "the traceback of the handler, not one of ours"


def test_submit_with_wait_that_is_over_ends_with_1(server, run):
    server.answer(WHOLE, 202)
    server.problem(409, "not_ended")
    assert run("submit", "media.thumbnail", "--wait", "--wait-timeout", "0").exit_code == 1


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_payload_can_come_from_a_file_or_stdin(server, run, tmp_path, way):
    (tmp_path / "payload.json").write_text('{"n": 1}')
    server.answer(WHOLE, 202)
    run("submit", "a.f", "--payload", "-" if way == "stdin" else f"@{tmp_path / 'payload.json'}", stdin='{"n": 1}')
    assert server.asked[0].json["payload"] == {"n": 1}


@pytest.mark.parametrize("payload", ["{", "[1]", "@nowhere.json", "7"])
def test_a_payload_that_is_none_ends_with_2_and_is_not_sent(server, run, payload):
    done = run("submit", "a.f", "--payload", payload)
    assert done.exit_code == 2
    assert "payload" in done.stderr
    assert not server.asked


def test_what_is_wrong_with_a_payload_is_told_line_by_line(server, run):
    errors = [{"path": "$.payload.url", "message": "1 is not a string"}]
    server.problem(422, "payload_invalid", "media.thumbnail does not take this payload.", errors=errors)
    done = run("submit", "media.thumbnail")
    assert done.exit_code == 2
    assert done.stderr == "Error: media.thumbnail does not take this payload.\n  $.payload.url: 1 is not a string\n"


def test_a_task_may_say_that_it_cannot_wait(server, run):
    server.answer(WHOLE, 202)
    run("submit", "a.f", "--no-off-peak", "--deadline", "90")
    assert (server.asked[0].json["off_peak"], server.asked[0].json["deadline"]) == (False, 90.0)


def test_show_says_that_a_deadline_was_missed(server, run):
    server.answer(WHOLE)
    server.answer({**WHOLE, "deadline_missed": False, "off_peak_until": None})
    server.answer({**WHOLE, "deadline_at": None, "off_peak": False})
    first, second, third = (run("show", "t1").stdout for _ in range(3))
    assert first.count("2030-01-31") >= 6
    assert ", missed" in first
    assert ", missed" not in second
    assert "off-peak" in second
    assert "off-peak" not in third
    assert "deadline" not in third


def test_tags_are_pairs(server, run):
    assert run("submit", "a.f", "--tag", "a").exit_code == 2
    assert run("submit", "a.f", "--tag", "a=b", "--tag", "a=c").exit_code == 2
    assert not server.asked


def test_list_shows_a_line_for_each_task(server, run):
    server.answer({"tasks": [TASK, {**TASK, "id": "t2", "state": "failed"}], "next_cursor": None})
    done = run("list", "--state", "failed", "--state", "succeeded", "--limit", 2)
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["ID", "FUNCTION", "STATE", "PRIORITY", "TRY", "CREATED", "TOOK"]
    assert first.split()[:5] == ["t1", "media.thumbnail", "succeeded", "normal", "1/5"]
    assert second.split()[:3] == ["t2", "media.thumbnail", "failed"]
    assert server.asked[0].path == "/v1/tasks?limit=2&state=failed&state=succeeded"


def test_a_long_id_is_whole_where_there_is_no_terminal(server, run):
    task = {**TASK, "id": "i" * 200}
    server.answer({"tasks": [task], "next_cursor": None})
    assert "i" * 200 in run("list").stdout


@pytest.mark.parametrize(
    ("command", "answer", "printed"),
    [
        (("list", "--json"), {"tasks": [TASK], "next_cursor": None}, [TASK]),
        (("show", "t1", "--json"), WHOLE, WHOLE),
        (("tenant", "list", "--json"), {"tenants": [{"id": "acme"}]}, [{"id": "acme"}]),
        (("key", "list", "--json"), {"keys": [{"id": "key_1"}]}, [{"id": "key_1"}]),
        (("key", "add", "--json"), {"id": "key_1", "secret": "tsk_x"}, {"id": "key_1", "secret": "tsk_x"}),
        (("tenant", "add", "acme", "--json"), {"id": "acme"}, {"id": "acme"}),
        (("submit", "a.f", "--json"), WHOLE, {**WHOLE, "duplicate": False}),
    ],
)
def test_json_is_for_programs(server, run, command, answer, printed):
    server.answer(answer)
    done = run(*command)
    assert (done.exit_code, json.loads(done.stdout)) == (0, printed)


def test_show_tells_all(server, run):
    error = {"reason": "timeout", "message": "it took too long", "detail": "trace"}
    server.answer({**WHOLE, "error": error})
    shown = run("show", "t1").stdout
    for part in (
        "t1",
        "succeeded",
        "expires",
        '"url": "x"',
        '"size": 3',
        "timeout: it took too long",
        "1 of 5",
        "12 ms",
    ):
        assert part in shown


def test_cancel_says_what_became_of_each_and_ends_with_1_if_one_could_not_be(server, run):
    running = {"status": 409, "code": "running", "detail": "t2 is running"}
    results = [{"id": "t1", "status": "cancelled"}, {"id": "t2", "status": "refused", "error": running}]
    server.answer({"results": results, "cancelled": 1, "refused": 1})
    done = run("cancel", "t1", "t2")
    assert done.exit_code == 1
    _, first, second = done.stdout.splitlines()
    assert first.split() == ["t1", "cancelled"]
    assert second.split() == ["t2", "refused", "t2", "is", "running"]
    server.answer({"results": results[:1], "cancelled": 1, "refused": 0})
    assert run("cancel", "t1").exit_code == 0


OPERATION = {
    "operation": "op-1", "kind": "cancel", "dry_run": False, "matched": 3_000, "changed": 0, "running": 0, "done": False,
}  # fmt: skip
DONE = {**OPERATION, "changed": 3_000, "done": True}


def test_cancel_by_filters_waits_until_it_is_done(server, run):
    server.answer(OPERATION, 202)
    server.answer({**OPERATION, "changed": 2_000})
    server.answer(DONE)
    done = run("cancel", "--state", "queued", "--state", "scheduled", "--function", "a.f")
    assert (done.exit_code, done.stdout) == (0, "3,000 tasks are cancelled.\n")
    assert server.asked[0].json == {"state": ["queued", "scheduled"], "function": "a.f"}
    assert [asked.path for asked in server.asked[1:]] == ["/v1/operations/op-1"] * 2


def test_cancel_by_filters_for_programs(server, run):
    server.answer(DONE, 202)
    assert json.loads(run("cancel", "--tag", "job=1", "--json").stdout) == DONE


def test_a_dry_run_only_counts(server, run):
    server.answer({**OPERATION, "operation": None, "dry_run": True, "done": True})
    done = run("cancel", "--priority", "low", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "3,000 tasks would be cancelled.\n")
    assert server.asked[0].json == {"priority": "low", "dry_run": True}
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("verb", "participle"),
    [
        ("cancel", "cancelled"),
        ("pause", "paused"),
        ("resume", "resumed"),
        ("retry", "run again"),
        ("delete", "deleted"),
    ],
)
def test_every_verb_takes_ids_or_filters(server, run, verb, participle):
    server.answer({"results": [{"id": "t1", "status": "done"}], "refused": 0})
    assert run(verb, "t1").exit_code == 0
    server.answer({**DONE, "running": 2}, 202)
    done = run(verb, "--function", "a.f", "--yes")
    assert (done.exit_code, done.stdout) == (0, f"3,000 tasks are {participle}. 2 are running, and left alone.\n")
    assert [(asked.path, asked.json) for asked in server.asked] == [
        (f"/v1/tasks/{verb}", {"ids": ["t1"]}),
        (f"/v1/tasks/{verb}", {"function": "a.f"}),
    ]
    assert run(verb).exit_code == 2


def test_a_pause_may_have_an_end(server, run):
    server.answer({"results": [], "refused": 0})
    run("pause", "t1", "--until", "2031-01-01T00:00:00Z")
    assert server.asked[0].json == {"ids": ["t1"], "until": "2031-01-01T00:00:00Z"}
    server.answer(DONE, 202)
    run("pause", "--state", "queued", "--until", "2031-01-01T00:00:00Z")
    assert server.asked[1].json == {"state": ["queued"], "until": "2031-01-01T00:00:00Z"}
    assert run("resume", "t1", "--until", "2031-01-01T00:00:00Z").exit_code == 2


@pytest.mark.parametrize(("said", "cancelled"), [("y\n", True), ("n\n", False)])
def test_somebody_at_a_terminal_is_asked_first(server, said, cancelled):
    server.answer({**OPERATION, "operation": None, "dry_run": True, "done": True})
    server.answer(DONE, 202)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "taskservice", "cancel", "--state", "queued"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        os.write(ours, said.encode())
        out, err = process.communicate()
    os.close(ours)
    assert "Cancel 3,000 tasks?" in err
    assert (process.returncode, out.strip()) == ((0, "3,000 tasks are cancelled.") if cancelled else (1, ""))
    assert len(server.asked) == 1 + cancelled


@pytest.mark.parametrize("arguments", [[], ["t1", "--state", "queued"], ["t1", "--dry-run"]])
def test_cancel_takes_ids_or_filters(server, run, arguments):
    assert run("cancel", *arguments).exit_code == 2
    assert not server.asked


STATUS = {
    "epoch": 3, "counts": {"queued": 2, "running": 1, "failed": 0}, "functions": {"a.f": {"queued": 2, "running": 1}},
    "runners": [{"id": "r1", "node": "n1", "cpus": 2.0, "cpus_used": 0.5, "leases": 1, "draining": False}],
    "deadlines": {"a.f": {"met": 7, "missed": 2}},
}  # fmt: skip


def test_status_is_counts_functions_and_runners(server, run):
    server.answer(STATUS)
    lines = [line.split() for line in run("status").stdout.splitlines()]
    assert ["a.f", "7", "2"] in lines
    assert ["tasks", "2", "queued,", "1", "running"] in lines
    assert ["a.f", "2", "1"] in lines
    assert ["r1", "n1", "0.5", "of", "2", "1", "ready"] in lines


def test_status_shows_as_much_of_a_nodes_id_as_tells_nodes_apart(server, run):
    """Ray's are of 56 characters, twice in a row of the table."""
    node = "abc271277b7c" + "5" * 44
    runner = {**STATUS["runners"][0], "id": f"runner:1:{node}:d875c1fc", "node": node}
    server.answer({**STATUS, "runners": [runner]})
    shown = run("status").stdout
    assert "runner:1:abc271277b7c:d875c1fc  abc271277b7c  " in shown
    server.answer({**STATUS, "runners": [runner]})
    assert json.loads(run("status", "--json").stdout)["runners"] == [runner]


def test_how_long_the_attempt_before_took_is_not_said_of_the_one_that_runs(server, run):
    server.answer({"tasks": [{**TASK, "state": "running", "duration_ms": 123.0}], "next_cursor": None})
    assert "123" not in run("list").stdout
    server.answer({"tasks": [{**TASK, "state": "retrying", "duration_ms": 123.0}], "next_cursor": None})
    assert "123 ms" in run("list").stdout


def test_tenants_and_keys(server, run):
    server.answer({"id": "acme", "weight": 2.0, "queued_max": 10, "running_max": None}, 201)
    server.answer({"tenants": [{"id": "acme", "weight": 2.0, "queued_max": 10, "running_max": None, **UNLIMITED}]})
    server.answer({"id": "key_1", "tenant": "acme", "scopes": ["submit"], "secret": "tsk_x"}, 201)
    server.answer({"id": "key_1"})
    assert "taskservice key add --tenant acme" in run("tenant", "add", "acme", "--weight", 2, "--queued-max", 10).stdout
    assert run("tenant", "list").stdout.splitlines()[1].split() == ["acme", "2", "10", "-", "-", "-"]
    assert "tsk_x" in run("key", "add", "--tenant", "acme", "--scope", "submit").stdout
    assert run("key", "revoke", "key_1").stdout == "key_1 is revoked.\n"
    assert [asked.method for asked in server.asked] == ["POST", "GET", "POST", "DELETE"]
    assert server.asked[2].json["scopes"] == ["submit"]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(400, "x", 2), (401, "invalid_key", 2), (403, "missing_scope", 2), (404, "task_not_found", 1), (500, "x", 1)],
)
def test_errors_have_an_exit_code_and_words(server, run, status, code, exit_code):
    server.problem(status, code, "because of this")
    done = run("show", "t1")
    assert (done.exit_code, done.stderr) == (exit_code, "Error: because of this\n")


def test_no_service_ends_with_3_and_at_once(run, monkeypatch):
    assert run("list").exit_code == 3
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TASKSERVICE_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
        done = run("list")
    assert done.exit_code == 3
    assert "taskservice up" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["submit"], ["list", "--limit", "0"], ["show", "a", "b"], ["up", "--app"]]
)
def test_wrong_use_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "taskservice", "list"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("Error: No service is known here.")
    assert "Traceback" not in done.stderr


def test_the_command_line_starts_without_ray_and_servers():
    code = (
        "import sys, taskservice.cli.main; print(sorted(sys.modules.keys() & {'ray', 'fastapi', 'pyarrow', 'boto3'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_dead_letters_are_listed_with_their_reasons(server, run):
    error = {"reason": "poison", "message": "its process died 3 times\nand more", "trace": ""}
    dead = {**TASK, "state": "failed", "ended_at": TASK["created_at"], "error": error}
    server.answer({"tasks": [dead], "next_cursor": None})
    shown = run("dlq", "list", "--function", "a.f").stdout
    assert "poison" in shown
    assert "its process died 3 times" in shown
    assert "and more" not in shown
    assert "state=failed" in server.asked[0].path
    assert "function=a.f" in server.asked[0].path


def test_dead_letters_are_retried_by_id_or_filter_or_all(server, run):
    server.answer({"results": [{"id": "t1", "status": "retried"}], "refused": 0})
    assert run("dlq", "retry", "t1").exit_code == 0
    for _ in range(2):
        server.answer({**DONE, "running": 0}, 202)
    assert run("dlq", "retry", "--function", "a.f").exit_code == 0
    assert run("dlq", "retry").exit_code == 0
    assert [asked.json for asked in server.asked] == [
        {"ids": ["t1"]},
        {"state": ["failed"], "function": "a.f"},
        {"state": ["failed"]},
    ]
    assert run("dlq", "retry", "t1", "--function", "a.f").exit_code == 2
