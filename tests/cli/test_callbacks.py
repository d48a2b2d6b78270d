"""Callbacks from the command line: said of a task, shown with it, and looked after."""

from __future__ import annotations

import json

import pytest

from cli.test_commands import WHOLE

DELIVERY = {
    "id": "msg_1", "run": 1, "type": "task.succeeded", "url": "https://a.example/x", "state": "owed",
    "ended_at": "2030-01-31T09:00:01.000Z", "next_at": "2030-01-31T09:05:00.000Z",
    "attempts": [{"at": "2030-01-31T09:00:02.000Z", "status": None, "message": "the connection failed"},
                 {"at": "2030-01-31T09:00:09.000Z", "status": 503, "message": ""}],
}  # fmt: skip
ENDPOINT = {
    "tenant": "acme", "origin": "https://a.example", "failures": 12, "failing_since": "2030-01-30T09:00:00.000Z",
    "disabled_at": "2030-01-31T09:00:00.000Z", "reason": "it has failed 12 times in a row",
}  # fmt: skip
DELIVERIES = {"deliveries": [DELIVERY], "endpoint": ENDPOINT}


def test_submit_says_whom_to_tell_and_what_follows(server, run):
    server.answer(WHOLE, 202)
    done = run(
        "submit", "media.thumbnail", "--id", "t1", "--callback-url", "https://a.example/x", "--on-success", "media.index",
        "--on-failure", "ops.alert",
    )  # fmt: skip
    assert done.exit_code == 0, done.stdout
    assert server.asked[0].json == {
        "id": "t1", "function": "media.thumbnail", "payload": {}, "callback_url": "https://a.example/x",
        "on_success": "media.index", "on_failure": "ops.alert",
    }  # fmt: skip


def test_show_lists_deliveries(server, run):
    hooked = {**WHOLE, "callback_url": "https://a.example/x", "on_success": "media.index", "follow_up": "t1~1.1"}
    server.answer(hooked)
    server.answer(DELIVERIES)
    shown = run("show", "t1").stdout
    for words in (
        "followed by",
        "t1~1.1",
        "media.index",
        "task.succeeded",
        "owed",
        "HTTP 503",
        "is disabled: it has failed 12",
    ):
        assert words in shown
    assert [asked.path for asked in server.asked] == ["/v1/tasks/t1", "/v1/tasks/t1/deliveries"]
    server.answer(hooked)
    server.answer(DELIVERIES)
    assert json.loads(run("show", "t1", "--json").stdout)["callbacks"] == DELIVERIES


def test_show_of_others_does_not_ask_for_them(server, run):
    server.answer(WHOLE)
    assert "callback" not in run("show", "t1").stdout
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("command", "answer", "method", "path", "body", "words"),
    [
        ("callback secret", {"tenant": "acme", "secret": "whsec_x", "previous_until": "2030-01-31T09:00:00.000Z"}, "POST",
         "/v1/callbacks/secret", None, ["whsec_x", "signs as well until"]),
        ("callback endpoints --tenant *", {"endpoints": [ENDPOINT]}, "GET", "/v1/callbacks/endpoints?tenant=%2A", None,
         ["https://a.example", "disabled", "12"]),
        ("callback endpoints", {"endpoints": []}, "GET", "/v1/callbacks/endpoints", None, ["No endpoint fails."]),
        ("callback enable https://a.example", ENDPOINT, "POST", "/v1/callbacks/endpoints/enable",
         {"origin": "https://a.example"}, ["https://a.example is told"]),
        ("callback resend t1", DELIVERIES, "POST", "/v1/tasks/t1/deliveries/retry", None, ["task.succeeded", "HTTP 503"]),
    ],
)  # fmt: skip
def test_commands(server, run, command, answer, method, path, body, words):
    server.answer(answer)
    done = run(*command.split())
    assert done.exit_code == 0, done.stdout
    asked = server.asked[0]
    assert (asked.method, asked.path) == (method, path)
    assert (asked.json if asked.body else None) == body
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize("command", ["callback secret", "callback resend t1"])
def test_programs_get_json(server, run, command):
    server.answer(DELIVERIES)
    assert json.loads(run(*command.split(), "--json").stdout) == DELIVERIES
