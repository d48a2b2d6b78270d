"""A live service whose state is in a bucket: of a real server, which is killed, hangs, or is all that is left."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from helpers.live import Live, ask, asking, eventually
from helpers.producers import Producers
from helpers.seaweed import Seaweed
from taskservice import Client

STATE = ("--state-dir", "s3://tests/service")
SUBMITS = 20_000
SINGLES = 2_000
BATCH = 250
COMMIT_TIMEOUT_S = 3
SLOW = 60
NOTES = 3_000
CHECK_S = 3
UNFINISHED = ("queued", "scheduled", "running", "retrying")


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


@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_while_the_store_is_away_submits_are_refused_with_a_reason_and_all_goes_on_when_it_is_back(
    homes: list[Live], bucket: Seaweed, tmp_path: Path, trouble: str
) -> None:
    """Running tasks go on, their outcomes wait, no lease begins; no process of ours ends."""
    live, ticks, ran = homes[0], tmp_path / "ticks", tmp_path / "ran"
    leave, come_back = (bucket.kill, bucket.start) if trouble == "refuses" else (bucket.pause, bucket.resume)
    with live.up(*STATE) as client, asking(live) as http:
        client.submit("work.tick", {"file": str(ticks), "seconds": 20.0}, id="tick")
        eventually(ticks.exists, 30)
        waiting = [{"function": "work.slow_note", "payload": {"i": i, "file": str(ran)}} for i in range(SLOW)]
        assert client.submit_many(waiting).accepted == SLOW
        eventually(ran.exists, 30)
        before = live.actor("DispatcherProcess").pid
        away_s = time.time()
        leave()
        said = [ask(http, "POST", "/v1/tasks", submission(f"a{i}")) for i in range(3)]
        for status, seconds, retry_after, problem in said:
            assert (status, problem["code"]) == (503, "journal_slow"), problem
            assert seconds < COMMIT_TIMEOUT_S + 2
            assert int(retry_after) > 0
        eventually(
            lambda: "s3://tests/service" in refusal_of(http), 10, "it says what is wrong, as soon as that is seen"
        )
        assert ask(http, "GET", "/v1/functions")[0] == 200, "what needs no dispatcher is answered"
        status, seconds, _, problem = ask(http, "GET", "/v1/tasks/tick")
        assert status == 200 or problem["code"] == "journal_slow"
        assert seconds < COMMIT_TIMEOUT_S + 2
        ended = lines(ran)
        eventually(lambda: time.time() > away_s + 3 * COMMIT_TIMEOUT_S, 60)
        assert lines(ran) == ended < SLOW, "nothing is leased any more"
        back_s = time.time()
        come_back()
        wait_for_all(client, SLOW + 1, others=3)
        print(f"all had ended {time.time() - back_s:.1f} s after the store was back")
        assert lines(ran) == SLOW, "each ran once: no outcome was lost"
        assert client.get("tick").info["attempt"] == 1
        assert live.actor("DispatcherProcess").pid == before
        assert ask(http, "POST", "/v1/tasks", submission("a0"))[0] in {200, 202}
    meanwhile = [float(line) for line in ticks.read_text().split() if away_s < float(line) < back_s]
    assert len(meanwhile) > 10 * (back_s - away_s)


def test_when_only_the_bucket_is_left_every_task_that_was_accepted_ends_once(
    homes: list[Live], bucket: Seaweed, tmp_path: Path
) -> None:
    """Everything of the service is killed in the midst of a batch, and its home is gone: another machine takes over."""
    gone, live = homes
    ran, ids = tmp_path / "ran", [f"t{i}" for i in range(NOTES)]
    tasks = [{"function": "work.note", "id": id, "payload": {"i": i, "file": str(ran)}} for i, id in enumerate(ids)]
    with gone.up(*STATE) as client:
        assert client.submit_many(tasks).accepted == NOTES
        eventually(lambda: client.status()["counts"]["succeeded"] >= NOTES // 5, 60)
        assert gone.kill_everything() > 5
    shutil.rmtree(gone.home)
    began_s = time.monotonic()
    with live.up(*STATE) as client:
        print(f"up again {time.monotonic() - began_s:.1f} s after the command")
        wait_for_all(client, NOTES)
        states = Counter((task.id, task.state) for task in client.list())
        assert states == Counter((id, "succeeded") for id in ids), "each once, each with one end"
        again = client.submit_many(tasks)
        assert (again.accepted, again.duplicates) == (0, NOTES)
    times = Counter(ran.read_text().split())
    assert set(times) == {str(i) for i in range(NOTES)}
    assert sum(times.values()) - NOTES < 600, "only what was running, or not yet reported, ran again"


def test_an_idle_service_asks_the_store_for_nothing_but_whether_the_log_is_still_its_own(
    homes: list[Live], bucket: Seaweed, tmp_path: Path
) -> None:
    """Once in `journal_check_s`: one request. What happened before is in a checkpoint, soon, and that is that."""
    settings = {"TASKSERVICE_JOURNAL_CHECK_S": str(CHECK_S), "TASKSERVICE_CHECKPOINT_INTERVAL_S": "2"}
    live = Live(tmp_path / "idle", environment={**bucket.environment, **settings})
    homes.append(live)
    log = live.home / "logs" / "service.log"
    with live.up(*STATE) as client:
        assert list(client.map("work.noop", ({"i": i} for i in range(300)))) == list(range(300))
        eventually(lambda: "checkpoint: Published" in log.read_text(), 30)
        eventually(lambda: set(asked_within(bucket, 8)) <= {"LIST 200"}, 60, "it comes to rest")
        asked = asked_within(bucket, 6 * CHECK_S)
        print(f"in {6 * CHECK_S} s: {dict(asked)}")
        assert set(asked) == {"LIST 200"}
        assert 5 <= asked.total() <= 7


def asked_within(bucket: Seaweed, seconds: float) -> Counter[str]:
    """What the server is asked in that time."""
    before, until_s = bucket.requests(), time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until_s, seconds + 10)
    return bucket.requests() - before


def submission(id: str) -> dict[str, object]:
    return {"id": id, "function": "work.noop", "payload": {"i": 1}}


def refusal_of(http: httpx.Client) -> str:
    detail: str = ask(http, "POST", "/v1/tasks", submission("a0")).body["detail"]
    return detail


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def shares_of(ids: list[str]) -> list[list[list[str]]]:
    """What each of six threads submits: two of them one task at a time, the others batches."""
    singles = [[id] for id in ids[:SINGLES]]
    batches = [ids[at : at + BATCH] for at in range(SINGLES, len(ids), BATCH)]
    return [singles[::2], singles[1::2], *(batches[at::4] for at in range(4))]


def wait_for_all(client: Client, count: int, others: int = 0) -> None:
    """So many tasks have succeeded, and perhaps some `others`, whose submit was answered with: perhaps."""
    wanted = range(count, count + others + 1)

    def all_ended() -> bool:
        counts = client.status()["counts"]
        return counts["succeeded"] in wanted and not any(counts[state] for state in UNFINISHED)

    eventually(all_ended, 60, "every accepted task ends")


def test_a_service_whose_state_is_taken_over_by_another_ends_and_says_so(homes: list[Live]) -> None:
    """They took it from each other for ever: each service started its fenced dispatcher again."""
    first, second = homes
    with first.up(*STATE) as client:
        client.submit("work.tick", {"file": str(first.home / "ticks"), "seconds": 60.0}, id="tick")
    with second.up(*STATE) as client:
        eventually(lambda: not first.processes(), 90)
        assert "another service" in (first.home / "logs" / "service.log").read_text()
        assert client.get("tick").state in UNFINISHED
        assert client.submit("work.noop", {"i": 7}).result(timeout=60) == 7
