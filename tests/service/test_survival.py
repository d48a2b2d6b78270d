"""A live service that is killed, in part and as a whole: what was accepted ends, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from helpers.live import Live, eventually
from taskservice import Client

TASKS = 2_000
INTERVAL_S = 5.0
"""`task_checkpoint_interval_s`."""


def test_a_dispatcher_that_is_killed_takes_no_task_with_it(live: Live, client: Client) -> None:
    """A task that runs goes on under the next dispatcher, and ends in its first attempt."""
    task = client.submit("work.sleep", {"seconds": 12})
    eventually(lambda: client.get(task.id).state == "running", 60, "the first task of a cold service")
    before = live.actor("DispatcherProcess")
    before.kill()
    assert client.submit("work.noop", {"i": 1}).result(timeout=60) == 1
    assert live.actor("DispatcherProcess").pid != before.pid
    assert task.result(timeout=60) == 12
    assert task.refresh().info["attempt"] == 1


@pytest.mark.parametrize("victim", ["RunnerProcess", "GatewayProcess"])
def test_other_actors_that_are_killed_come_back_and_nothing_is_lost(live: Live, client: Client, victim: str) -> None:
    batch = client.submit_many(({"i": i} for i in range(TASKS)), function="work.noop")
    live.actor(victim).kill()
    assert batch.accepted == TASKS
    eventually(lambda: all_ended(client), 90)
    assert client.submit("work.noop", {"i": 1}).result(timeout=60) == 1


def test_a_counter_goes_on_from_its_checkpoint_on_another_runner(live: Live, client: Client, tmp_path: Path) -> None:
    """It begins twice, the second time from its last checkpoint, which outlived a dispatcher as well."""
    ledger, upto = tmp_path / "ledger", 450
    task = client.submit("work.counts", {"upto": upto, "file": str(ledger)})
    eventually(lambda: ledger.exists() and ledger.read_text().count("\n") > 50, 60)
    live.actor("DispatcherProcess").kill()
    assert client.submit("work.noop", {"i": 1}).result(timeout=60) == 1
    eventually(lambda: ledger.read_text().count("\n") > 300, 60, "it runs on meanwhile")
    live.actor("RunnerProcess").kill()
    assert task.result(timeout=60) == upto
    steps = [(int(step), float(at_s)) for step, at_s in map(str.split, ledger.read_text().splitlines())]
    breaks = [at for at in range(1, len(steps)) if steps[at][0] != steps[at - 1][0] + 1]
    assert len(breaks) == 1, "it began twice"
    restored, stopped_s = steps[breaks[0]][0], steps[breaks[0] - 1][1]
    assert restored > 0
    assert stopped_s - steps[restored][1] < INTERVAL_S + 2, "what it did since the last checkpoint is done again"


def test_everything_is_killed_in_the_middle_of_a_batch_and_every_task_ends_once(mortal: Live, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ids = [f"t{i}" for i in range(TASKS)]
    tasks = [{"function": "work.note", "id": id, "payload": {"i": i, "file": str(ran)}} for i, id in enumerate(ids)]
    with mortal.up() as client:
        assert client.submit_many(tasks).accepted == TASKS
        eventually(lambda: client.status()["counts"]["succeeded"] >= TASKS // 5, 60)
        assert mortal.kill_everything() > 5
    with mortal.up() as client:
        eventually(lambda: client.status()["counts"]["succeeded"] == TASKS, 90, "every accepted task ends")
        states = Counter((task.id, task.state) for task in client.list())
        assert states == Counter((id, "succeeded") for id in ids), "each once, each with one end"
        again = client.submit_many(tasks)
        assert (again.accepted, again.duplicates) == (0, TASKS)
    times = Counter(ran.read_text().split())
    assert set(times) == {str(i) for i in range(TASKS)}
    assert sum(times.values()) - TASKS < 600, "only what was running, or not yet reported, ran again"


def all_ended(client: Client) -> bool:
    counts = client.status()["counts"]
    return not any(counts[state] for state in ("queued", "scheduled", "running", "retrying"))
