"""`import` and `export` on the command line: what is asked, what is printed, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys

import pytest

FUNCTION = {
    "name": "a.f",
    "payload_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    "result_schema": None,
}
TASK = {
    "id": "t1", "function": "a.f", "tenant": "default", "state": "succeeded", "priority": "normal", "tags": {"a": "b"},
    "created_at": "2030-01-31T09:00:00.000Z", "due_at": "2030-01-31T09:00:00.000Z", "started_at": None, "ended_at": None,
    "expires_at": None, "paused_until": None, "run": 1, "attempt": 1, "max_attempts": 5, "crashes": 0, "duration_ms": 12.5,
    "error": None, "payload": {"n": 1}, "result": "=1+1",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judging(server):
    """The server refuses what is above 1."""
    server.answer({"functions": [FUNCTION]})

    def judge(asked):
        results = []
        for task in asked.lines:
            error = {"status": 422, "code": "payload_invalid", "detail": "n is too large"}
            bad = {"status": "refused", "error": error} if task["payload"]["n"] > 1 else {"status": "accepted"}
            results.append({"id": task["id"], **bad})
        return 200, {"content-type": "application/json"}, json.dumps({"results": results}).encode()

    server.answers.append(judge)


def test_an_import_tells_what_became_of_the_rows(server, run, folder):
    (folder / "rows.csv").write_text("number,who\n0,x\n1,y\n2,z\n")
    judging(server)
    done = run(
        "import", "rows.csv", "--function", "a.f", "--map", "n=number", "--task-column", "tags.who=who", "--priority", "low",
        "--tag", "b=c", "--id-prefix", "day-1",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "3 rows: 2 accepted, 0 known already, 1 refused" in done.stdout
    assert "rows.csv, row 3: n is too large (payload_invalid)" in done.stdout
    assert server.asked[1].lines[0] == {
        "id": "day-1-1", "function": "a.f", "payload": {"n": 0}, "priority": "low", "tags": {"b": "c", "who": "x"},
    }  # fmt: skip
    (told,) = (json.loads(line) for line in (folder / "rows.csv.refused.jsonl").read_text().splitlines())
    assert (told["row"], told["id"]) == (3, "day-1-3")


def test_an_import_without_refusals_ends_with_0(server, run, folder):
    (folder / "rows.jsonl").write_text('{"n": 1}\n')
    judging(server)
    done = run("import", "rows.jsonl", "--function", "a.f", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["accepted"], said["report"], done.stderr) == (0, 1, None, "")
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["rows.jsonl"]


def test_rows_may_come_from_stdin(server, run, folder):
    judging(server)
    done = run("import", "-", "--format", "jsonl", "--function", "a.f", stdin='{"n": 1}\n')
    assert (done.exit_code, "1 accepted" in done.stdout) == (0, True)


def test_a_dry_run_submits_nothing(server, run, folder):
    (folder / "rows.csv").write_text("n\n0\nx\n")
    server.answer({"functions": [FUNCTION]})
    done = run("import", "rows.csv", "--function", "a.f", "--dry-run")
    assert (done.exit_code, len(server.asked)) == (1, 1)
    assert "2 rows, 1 would be refused; nothing was submitted" in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["import", "rows.csv"], "which function"),
        (["import", "none.csv", "--function", "a.f"], "cannot be read"),
        (["import", "rows", "--function", "a.f"], "does not say"),
        (["import", "rows.csv", "--function", "a.f", "--map", "=x"], "NAME=COLUMN"),
        (["import", "rows.csv", "--function", "a.f", "--task-column", "colour=x"], "no colour"),
        (["export", "tasks"], "does not say"),
        (["export", "tasks.parquet", "--partition-by", "colour"], "parted by colour"),
    ],
)
def test_wrong_use_ends_with_2(server, run, folder, words, why):
    (folder / "rows.csv").write_text("n\n1\n")
    server.answer({"functions": [FUNCTION]})
    done = run(*words)
    assert (done.exit_code, why in done.stderr) == (2, True), done.stderr


def test_a_service_that_is_not_there_ends_with_3(run, folder, monkeypatch):
    monkeypatch.setenv("TASKSERVICE_URL", "http://127.0.0.1:1")
    (folder / "rows.csv").write_text("n\n1\n")
    assert run("import", "rows.csv", "--function", "a.f").exit_code == 3
    assert run("export", "out.csv").exit_code == 3
    assert not (folder / "out.csv").exists()


def test_an_export_is_a_file(server, run, folder):
    server.answer({"tasks": [TASK], "next_cursor": "c"})
    server.answer(
        {"tasks": [{**TASK, "id": "t0", "error": {"reason": "r", "message": "=m", "detail": "d"}}], "next_cursor": None}
    )
    done = run("export", "out.csv", "--state", "succeeded", "--tag", "a=b")
    assert (done.exit_code, done.stdout.startswith("2 tasks are in out.csv")) == (0, True)
    assert server.asked[0].path == "/v1/tasks?limit=200&values=true&state=succeeded&tag=a%3Db"
    header, first, second = (folder / "out.csv").read_text().splitlines()
    assert header.endswith("error_detail,payload,result")
    assert first.startswith("t1,a.f,default,succeeded,normal,")
    assert "'=m" in second


def test_an_export_to_stdout_is_nothing_but_rows(server, run, folder):
    server.answer({"tasks": [TASK], "next_cursor": None})
    done = run("export", "-", "--format", "jsonl")
    assert json.loads(done.stdout)["result"] == "=1+1"


def test_an_export_parted_by_days(server, run, folder):
    server.answer({"tasks": [TASK], "next_cursor": None})
    done = run("export", "out", "--partition-by", "function,day", "--json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["rows"], said["files"]) == (0, 1, 1)
    assert (folder / "out" / "function=a.f" / "day=2030-01-31" / "part-00000.parquet").exists()


def test_an_export_for_which_there_is_no_room_ends_with_1_and_leaves_nothing(server, folder):
    """A file of this process may have a few kilobytes."""
    server.answer({"tasks": [{**TASK, "payload": {"text": "x" * 2_000_000}}], "next_cursor": None})
    command = f"ulimit -f 8; exec {shlex.quote(sys.executable)} -m taskservice export out.csv"
    done = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "out.csv cannot be written" in done.stderr) == (1, True), done.stderr
    assert [path.name for path in folder.iterdir() if path.is_file()] == []


def test_who_looks_at_a_terminal_sees_how_far_it_has_come(server, folder):
    (folder / "rows.jsonl").write_text('{"n": 1}\n')
    judging(server)
    shown, terminal = pty.openpty()
    words = [sys.executable, "-m", "taskservice", "import", "rows.jsonl", "--function", "a.f"]
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=60)
    os.close(terminal)
    seen = os.read(shown, 65_536).decode()
    os.close(shown)
    assert (done.returncode, "1 accepted" in done.stdout, "import 1 rows" in seen) == (0, True, True), seen
