"""Logs on the command line: printed, with times, as JSON, and followed."""

from __future__ import annotations

import json


def test_logs_are_printed_as_they_are(server, run):
    server.answer(text="one\ntwo")
    assert run("logs", "t1").stdout == "one\ntwo"


LINE = {"at": "2030-01-01T00:00:00.000Z", "run": 1, "attempt": 1, "stream": "stderr", "text": "careful\n"}


def test_logs_with_times_and_as_json(server, run):
    logs = [
        {
            "run": 1,
            "attempt": 1,
            "text": "careful\n",
            "lines": [{name: LINE[name] for name in ("at", "stream", "text")}],
        }
    ]
    server.answer({"logs": logs})
    assert run("logs", "t1", "-t", "--tail", "5").stdout == "2030-01-01T00:00:00.000Z careful\n"
    server.answer({"logs": logs})
    assert json.loads(run("logs", "t1", "--json").stdout) == LINE
    assert server.asked[0].path == "/v1/tasks/t1/logs?tail=5"


def test_logs_are_followed_to_the_end(server, run):
    end = 'event: end\ndata: {"state":"failed"}\n\n'
    server.answer(text=f"id: 1.1.1\nevent: line\ndata: {json.dumps(LINE)}\n\n{end}")
    done = run("logs", "-f", "t1", "--attempt", "2")
    assert (done.stdout, done.exit_code) == ("careful\n", 0)
    assert server.asked[0].path == "/v1/tasks/t1/logs?attempt=2&follow=true"
