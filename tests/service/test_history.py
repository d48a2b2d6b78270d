"""A live service whose tasks leave for history after a moment: nobody who uses it can tell."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from helpers.live import Live, eventually
from taskservice import Client

TASKS = 120
SETTINGS = """
retention_s: 0.5
history_interval_s: 0.2
history_file_tasks_max: 50
history_turn_tasks_max: 20
"""


def test_tasks_in_history_are_used_as_all_others(mortal: Live, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(SETTINGS)
    tasks = [
        {"function": "work.noop", "id": f"t{i}", "payload": {"i": i}, "tags": {"odd": str(i % 2)}} for i in range(TASKS)
    ]
    with mortal.up("--config", str(config)) as client:
        assert client.submit_many(tasks).accepted == TASKS
        eventually(lambda: archived(client), 60, "all tasks leave the table")
        check_use(mortal, client)
    mortal.kill_everything()
    with mortal.up("--config", str(config)) as client:
        check_use(mortal, client)
        again = client.submit_many(tasks)
        assert (again.accepted, again.duplicates) == (0, TASKS)
    files = f"{mortal.home}/state/history/dt=*/*.parquet"
    counted = f"SELECT count(*), count(DISTINCT id), count(DISTINCT dt) FROM read_parquet('{files}', hive_partitioning = true)"
    rows, ids, days = duckdb.connect().execute(counted).fetchall()[0]
    assert (rows, ids) == (TASKS, TASKS)
    assert days in {1, 2}


def archived(client: Client) -> bool:
    return sum(client.status()["counts"].values()) == 0


def check_use(live: Live, client: Client) -> None:
    task = client.get("t17")
    assert (task.state, task.result(timeout=10)) == ("succeeded", 17)
    assert {one.id for one in client.list()} == {f"t{i}" for i in range(TASKS)}
    assert sum(1 for _ in client.list(tag="odd=1")) == TASKS / 2
    shown = json.loads(live.cli("show", "t17", "--json").stdout)
    assert (shown["payload"], shown["result"]) == ({"i": 17}, 17)
    assert len(json.loads(live.cli("list", "--json", "--limit", "1000").stdout)) == TASKS
