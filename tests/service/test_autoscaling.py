"""The service on a cluster that Ray's autoscaler makes larger and smaller: from nothing to machines and back, and no task is cut."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.autoscaled import KIND, Autoscaled
from helpers.live import Live, eventually
from helpers.ports import free_port
from helpers.seaweed import BUCKET, Seaweed

MACHINES_MAX = 3
WITHIN_S = 120
SETTING = {"machines": [{"name": KIND, "cpus": 1, "machines_max": MACHINES_MAX, "starts_s": 5}], "wait_s": 1}


@pytest.fixture
def cluster(seaweed: Seaweed) -> Iterator[Autoscaled]:
    folder = Path(tempfile.mkdtemp(prefix="tsa", dir="/tmp"))  # short: there will be sockets in it
    cluster = Autoscaled(folder, free_port(), seaweed.environment)
    yield cluster
    cluster.end()
    shutil.rmtree(folder)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_machines_come_for_a_backlog_and_go_when_it_is_done(cluster: Autoscaled, tmp_path: Path) -> None:
    live = Live(tmp_path, environment={**cluster.environment, "TASKSERVICE_AUTOSCALER": json.dumps(SETTING)})
    client = live.up("--address", cluster.address, "--state-dir", f"s3://{BUCKET}/autoscaling")
    seen: list[int] = []

    def runners() -> int:
        seen.append(len(client.status()["runners"]))
        return seen[-1]

    try:
        assert runners() == 0, "the head has no CPUs, and nobody has asked for a machine"
        tasks = [client.submit("work.sleep", {"seconds": 4.0}) for _ in range(9)]
        eventually(lambda: client.status()["machines"][0]["wanted"] > 0, WITHIN_S, "a machine is wanted")
        assert "1 CPU" in client.status()["machines"][0]["why"]
        eventually(lambda: runners() > 0, WITHIN_S, "a machine has come")
        eventually(
            lambda: runners() >= 0 and all(client.get(task.id).state == "succeeded" for task in tasks),
            WITHIN_S,
            "all is done",
        )
        assert max(seen) > 1, "more than one was worth it"
        eventually(lambda: runners() == 0, WITHIN_S, "all machines go when there is nothing to do")
        ended = [client.get(task.id) for task in tasks]
        assert [(task.state, task.info["attempt"]) for task in ended] == [("succeeded", 1)] * len(tasks), "none was cut"
        assert max(seen) <= MACHINES_MAX
        again = client.submit("work.noop", {})
        assert again.result(timeout=WITHIN_S) == 0, "and they come again"
    finally:
        client.close()
        live.down()
