"""`top`: what it shows of recorded answers, at 80 columns, and once from a real HTTP server."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from taskservice.cli.top import read_metrics
from taskservice.cli.top_view import Snapshot, seen, view

METRICS = """\
# TYPE taskservice_submits_total counter
taskservice_submits_total{tenant="a",function="media.thumbnail",status="accepted"} %d
taskservice_submits_total{tenant="b",function="media.thumbnail",status="accepted"} 10
taskservice_submits_total{tenant="b",function="media.thumbnail",status="refused"} 500
# TYPE taskservice_tasks_ended_total counter
taskservice_tasks_ended_total{tenant="a",function="media.thumbnail",state="succeeded"} %d
# TYPE taskservice_oldest_queued_seconds gauge
taskservice_oldest_queued_seconds{tenant="a",function="media.thumbnail"} 90
taskservice_oldest_queued_seconds{tenant="b",function="media.thumbnail"} 7300
# TYPE taskservice_queues gauge
taskservice_queues 2
"""
TENANT = {"name": "acme", "used_ratio": 0.75, "due_ratio": 0.5, "running": 3, "unfinished": 40}
FUNCTION = {
    "name": "media.thumbnail", "counts": {"queued": 30, "retrying": 2, "running": 3}, "paused": False,
    "holds": {"cpus": 3.0, "memory": 1 << 30},
}  # fmt: skip
USAGE = {
    "at": "2030-01-31T09:00:00.000Z", "capacity": {"cpus": 4.0, "memory": 4 << 30}, "tenants": [TENANT],
    "functions": [{**FUNCTION, "name": "a.idle", "counts": {}, "holds": {}, "paused": True}, FUNCTION],
    "downstreams": [{"name": "stripe", "in_flight": 4, "limit": 9, "ceiling": 10_000, "closed_until": None}],
}  # fmt: skip
CLUSTER = {
    "counts": {"queued": 30, "retrying": 2, "running": 3, "failed": 0},
    "runners": [{"id": "r", "node": "10.0.0.5", "cpus": 4.0, "cpus_used": 3.5, "leases": 3, "draining": True}],
}


def snapshot(at: str = USAGE["at"], submitted: int = 100, ended: int = 50) -> Snapshot:
    return Snapshot({**USAGE, "at": at}, CLUSTER, read_metrics(METRICS % (submitted, ended)))


def shown(figures, width: int = 80, **options) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(view(figures, **options))
    return capture.get()


def line_with(text: str, word: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if word in line)


def test_rates_are_of_the_time_between_two_looks():
    figures = seen(snapshot("2030-01-31T09:00:02.000Z", 130, 54), snapshot())
    busiest = figures["functions"][0]
    assert (busiest["name"], busiest["waiting"], busiest["running"]) == ("media.thumbnail", 32, 3)
    assert (busiest["submitted_per_s"], busiest["ended_per_s"]) == (15.0, 2.0)
    assert (busiest["oldest_s"], busiest["share"]) == (7300, 0.75)


def test_a_dispatcher_that_began_anew_has_no_negative_rate():
    figures = seen(snapshot("2030-01-31T09:00:02.000Z", 0, 0), snapshot())
    assert (figures["functions"][0]["submitted_per_s"], figures["functions"][0]["ended_per_s"]) == (0.0, 0.0)


def test_it_fits_80_columns():
    text = shown(seen(snapshot("2030-01-31T09:00:02.000Z", 130, 54), snapshot()))
    assert max(map(len, text.splitlines())) <= 80
    assert line_with(text, "thumbnail") == ["media.thumbnail", "32", "3", "2h", "15.0", "2.0", "75", "%"]
    assert line_with(text, "acme") == ["acme", "75", "%", "50", "%", "3", "40"]
    assert line_with(text, "stripe")[:4] == ["stripe", "4", "9", "10000"]
    assert line_with(text, "10.0.0.5") == ["10.0.0.5", "3.5/4", "3", "draining"]
    assert "a.idle (paused)" in text
    assert "failed" not in text


def test_long_names_are_cut_and_many_rows_are_counted():
    many = [{**FUNCTION, "name": f"app{number}.{'x' * 100}"} for number in range(20)]
    figures = seen(Snapshot({**USAGE, "functions": many}, CLUSTER, None))
    text = shown(figures, rows_max=5)
    assert max(map(len, text.splitlines())) <= 80
    assert "... and 15 more" in text
    assert "75 %" in text


def test_a_key_that_may_not_see_metrics_sees_the_rest():
    figures = seen(Snapshot(USAGE, {**CLUSTER, "runners": []}, None))
    assert figures["functions"][0]["oldest_s"] is None
    assert line_with(shown(figures), "thumbnail") == ["media.thumbnail", "32", "3", "-", "-", "-", "75", "%"]


def test_a_note_is_shown():
    assert "the dispatcher starts again" in shown(seen(snapshot()), note="the dispatcher starts again")


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_it_is_printed_once(server, run, option):
    server.problem(403, "missing_scope")
    server.answer(USAGE)
    server.answer(CLUSTER)
    done = run("top", option)
    assert done.exit_code == 0, done.output
    assert [asked.path for asked in server.asked] == ["/metrics", "/v1/usage", "/v1/cluster"]
    if option == "--json":
        assert json.loads(done.output)["nodes"] == CLUSTER["runners"]
    else:
        assert "media.thumbnail" in done.output
