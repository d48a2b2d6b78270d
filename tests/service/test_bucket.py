"""A live service whose state is in a bucket: of a real server, which is killed, hangs, or is all that is left."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.live import Live, eventually
from helpers.producers import Producers
from helpers.seaweed import Seaweed
from taskservice import Client

STATE = ("--state-dir", "s3://tests/service")
SUBMITS = 20_000
SINGLES = 2_000
BATCH = 250
COMMIT_TIMEOUT_S = 3


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Seaweed]:
    """A server of its own for each test, for the test to kill."""
    seaweed = Seaweed(tmp_path / "seaweed")
    seaweed.start()
    yield seaweed
    seaweed.kill()


@pytest.fixture
def homes(tmp_path: Path, bucket: Seaweed) -> Iterator[list[Live]]:
    """Services on the bucket, one after another: none is up yet."""
    settings = {"TASKSERVICE_COMMIT_TIMEOUT_S": str(COMMIT_TIMEOUT_S)}
    homes = [Live(tmp_path / name, environment={**bucket.environment, **settings}) for name in ("home", "next")]
    yield homes
    for live in homes:
        live.kill_everything()


def test_the_store_is_killed_in_the_midst_of_20000_submits_and_nothing_that_was_acknowledged_is_lost(
    homes: list[Live], bucket: Seaweed, tmp_path: Path
) -> None:
    """Nobody starts anything again but the store, and no process of ours ends; a task that runs knows nothing of it."""
    live, ticks = homes[0], tmp_path / "ticks"
    with live.up(*STATE) as client:
        client.submit("work.tick", {"file": str(ticks), "seconds": 25.0}, id="tick")
        eventually(ticks.exists, 30)
        before = live.actor("DispatcherProcess").pid
        producers = Producers(live)
        ids = [f"t{i}" for i in range(SUBMITS)]
        working = threading.Thread(target=producers.submit, args=(shares_of(ids),))
        working.start()
        eventually(lambda: len(producers.acknowledged) > SUBMITS // 4, 60)
        away_s = time.time()
        bucket.kill()
        eventually(lambda: time.time() > away_s + 2 * COMMIT_TIMEOUT_S, 60)
        back_s = time.time()
        acknowledged = len(producers.acknowledged)
        bucket.start()
        working.join(timeout=60)
        assert not working.is_alive()
        assert acknowledged < SUBMITS, "the store was away in the midst of it"
        assert producers.refusals
        for refusal in producers.refusals:
            assert (refusal.status, refusal.retry_after is not None) == (503, True), refusal
        assert producers.slowest_s < COMMIT_TIMEOUT_S + 3
        wait_for_all(client, SUBMITS + 1)
        states = Counter((task.id, task.state) for task in client.list())
        assert states == Counter((id, "succeeded") for id in ["tick", *ids]), "each once, each with one end"
        assert client.get("tick").info["attempt"] == 1
        assert live.actor("DispatcherProcess").pid == before
    print(
        f"{acknowledged:,} acknowledged before, {len(producers.refusals)} refused, slowest {producers.slowest_s:.1f} s"
    )
    meanwhile = [float(line) for line in ticks.read_text().split() if away_s < float(line) < back_s]
    assert len(meanwhile) > 10 * (back_s - away_s)


def shares_of(ids: list[str]) -> list[list[list[str]]]:
    """What each of six threads submits: two of them one task at a time, the others batches."""
    singles = [[id] for id in ids[:SINGLES]]
    batches = [ids[at : at + BATCH] for at in range(SINGLES, len(ids), BATCH)]
    return [singles[::2], singles[1::2], *(batches[at::4] for at in range(4))]


def wait_for_all(client: Client, count: int) -> None:
    eventually(lambda: client.status()["counts"]["succeeded"] == count, 60, "every accepted task ends")
