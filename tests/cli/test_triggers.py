"""`taskservice trigger` against a real HTTP server: what it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest

PLACED = {
    "id": "placed", "tenant": "default", "function": "a.f", "filter": {"type": "order.placed", "source": {"prefix": "/s"}},
    "payload": {"n": "$.data.n"}, "priority": "low", "created_at": "2030-01-31T09:00:00.000Z",
}  # fmt: skip


def test_add_sends_what_was_said_and_prints_the_id(server, run):
    server.answer(PLACED, 201)
    done = run(
        "trigger", "add", "a.f", "--filter", json.dumps(PLACED["filter"]), "--payload", '{"n": "$.data.n"}',
        "--id", "placed", "--priority", "low",
    )  # fmt: skip
    assert (done.exit_code, done.stdout) == (0, "placed makes tasks of a.f.\n")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/triggers")
    assert asked.json == {name: PLACED[name] for name in ("id", "function", "filter", "payload", "priority")}


def test_a_template_comes_from_a_file(server, run, tmp_path):
    path = tmp_path / "template.json"
    path.write_text('{"n": "$.data.n"}')
    server.answer(PLACED, 201)
    run("trigger", "add", "a.f", "--filter", "{}", "--payload", f"@{path}")
    assert server.asked[0].json["payload"] == PLACED["payload"]


def test_list_shows_a_line_for_each(server, run):
    server.answer({"triggers": [PLACED], "next_cursor": "more"})
    server.answer({"triggers": [{**PLACED, "id": "second"}], "next_cursor": None})
    head, first, second = run("trigger", "list").stdout.splitlines()
    assert head.split() == ["ID", "FUNCTION", "FILTER"]
    assert first.split()[:2] == ["placed", "a.f"]
    assert '"order.placed"' in first
    assert second.split()[0] == "second"
    assert "cursor=more" in server.asked[1].path


def test_a_list_of_none(server, run):
    server.answer({"triggers": [], "next_cursor": None})
    assert run("trigger", "list").stdout == "No triggers.\n"


def test_show_and_remove(server, run):
    server.answer(PLACED)
    server.answer({**PLACED, "payload": None})
    shown, removed = run("trigger", "show", "placed").stdout, run("trigger", "remove", "placed").stdout
    assert '{"n": "$.data.n"}' in shown
    assert removed == "placed is removed.\n"
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("GET", "/v1/triggers/placed"),
        ("DELETE", "/v1/triggers/placed"),
    ]


@pytest.mark.parametrize(
    ("command", "answer", "printed"),
    [
        (("add", "a.f", "--filter", "{}"), PLACED, PLACED),
        (("list",), {"triggers": [PLACED], "next_cursor": None}, [PLACED]),
        (("show", "placed"), PLACED, PLACED),
        (("remove", "placed"), PLACED, PLACED),
    ],
)
def test_json_is_for_programs(server, run, command, answer, printed):
    server.answer(answer)
    done = run("trigger", *command, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, printed)


@pytest.mark.parametrize(("status", "code", "exit_code"), [(404, "trigger_not_found", 1), (422, "invalid_request", 2)])
def test_what_is_refused_is_told(server, run, status, code, exit_code):
    server.problem(status, code, "There is no trigger 'x'.")
    done = run("trigger", "show", "x")
    assert done.exit_code == exit_code
    assert "There is no trigger 'x'." in done.stderr


def test_a_filter_that_is_no_json_is_wrong_use(server, run):
    assert run("trigger", "add", "a.f", "--filter", "{").exit_code == 2
    assert server.asked == []
