"""Schedules of a live service: their tasks run, also under the next dispatcher, and each time is accounted for."""

from __future__ import annotations

import json
from datetime import datetime

from helpers.live import Live, eventually
from taskservice import Client


def test_a_schedule_goes_on_under_the_next_dispatcher(live: Live, client: Client) -> None:
    words = "schedule add work.noop --interval 1 --id tick --catch-up all --json"
    made = live.cli(*words.split())
    assert made.returncode == 0, made.stderr
    begin = datetime.fromisoformat(json.loads(made.stdout)["created_at"])
    eventually(lambda: fired(client) >= 2, 30)
    live.actor("DispatcherProcess").kill()
    before = fired(client)
    eventually(lambda: fired(client) >= before + 2, 60)
    paused = client.pause_schedule("tick")
    ids = [task.id for task in client.list(tag="schedule=tick")]
    assert len(ids) == len(set(ids)) == paused["fired"]
    last = datetime.fromisoformat(paused["last"]["scheduled_at"])
    counted = paused["fired"] + sum(paused["skipped"].values())
    assert 0 <= counted - (last - begin).total_seconds() <= 1, "one may have been due when it was paused"
    assert client.result(paused["last"]["task"], timeout=30) == 0
    assert live.cli("schedule", "remove", "tick").returncode == 0
    assert list(client.schedules()) == []


def fired(client: Client) -> int:
    """How many tasks the schedule has made."""
    count: int = client.get_schedule("tick")["fired"]
    return count
