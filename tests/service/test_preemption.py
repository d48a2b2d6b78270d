"""A live service whose machine is full of what can wait, and work that cannot: real Ray, real processes."""

from __future__ import annotations

import time
from pathlib import Path

from helpers.live import Live, eventually
from taskservice import Client
from taskservice.core.preempt import CLAIM_AFTER_MS
from taskservice.core.preempt_round import ROUND_MS

GRACE_S = 1.0


def test_a_critical_task_does_not_wait_for_batch_tasks_that_take_a_minute(
    client: Client, live: Live, tmp_path: Path
) -> None:
    """It starts when the claim's time, a round and the grace are over; what was stopped runs again, to its end, and is not charged."""
    assert client.submit("work.when", {}).result(timeout=60) > 0, "a child of this app has been started once"
    begun, let_go = tmp_path / "begun", tmp_path / "let_go"
    cpus = round(sum(runner["cpus"] for runner in client.status()["runners"]))
    payload = {"file": str(begun), "until": str(let_go)}
    batch = client.submit_many([payload] * cpus, "work.linger").results
    eventually(lambda: lines(begun) == cpus, 60)
    submitted_s = time.time()
    started_s = client.submit("work.when", {}, priority="critical").result(timeout=30)
    bound_s = (CLAIM_AFTER_MS + ROUND_MS) / 1000 + GRACE_S + 1
    print(f"\nstarted {started_s - submitted_s:.2f} s after it was submitted (at most {bound_s:.2f})")
    assert started_s - submitted_s <= bound_s
    eventually(lambda: lines(begun) == cpus + 1, 30)
    let_go.touch()
    tasks = [client.get(str(item.id)) for item in batch]
    assert [task.result(timeout=30) for task in tasks] == ["to the end"] * cpus
    told = sorted((task.refresh().info["preempted"], task.info["attempt"]) for task in tasks)
    assert told == [(0, 1)] * (cpus - 1) + [(1, 1)]
    assert lines(begun) == cpus + 1


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
