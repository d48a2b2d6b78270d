"""Triggers of a live service: events come to tasks, also under the next dispatcher, and each once; and those run again on request."""

from __future__ import annotations

import json

from helpers.live import Live, eventually
from taskservice import Client

EVENT = {"id": "1", "source": "/shop", "type": "order.placed", "data": {}}


def test_an_event_is_one_task_under_the_next_dispatcher_too(live: Live, client: Client) -> None:
    made = live.cli("trigger", "add", "work.noop", "--filter", '{"type": "order.placed"}', "--id", "orders", "--json")
    assert made.returncode == 0, made.stderr
    (came,) = client.send_events(EVENT)["events"]
    (task,) = came["tasks"]
    assert client.result(task["task"], timeout=60) == 0
    live.actor("DispatcherProcess").kill()
    eventually(lambda: client.send_events(EVENT)["events"][0]["duplicates"] == [task], 60)
    assert client.get_trigger("orders") == json.loads(made.stdout)
    again = client.submit("work.noop", {}, id=task["task"], on_conflict="rerun")
    assert again.result(timeout=60) == 0
    assert client.get(task["task"]).info["run"] == 2
    assert live.cli("trigger", "remove", "orders").returncode == 0
    assert client.send_events({**EVENT, "id": "2"})["events"][0]["matched"] == 0
