"""A live service whose disk is full: that of its state, or that of its working table. Room is made; nothing else is done."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from helpers.live import Live, ask, asking, eventually

SIZE_MIB = 64
COMMIT_TIMEOUT_S = 3
TASKS = 60
UNFINISHED = ("queued", "scheduled", "running", "retrying")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that a test can fill."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def service(tmp_path: Path, small_disk: Path) -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def make(home: Path, **settings: object) -> Live:
        environment = {f"TASKSERVICE_{name.upper()}": str(value) for name, value in settings.items()}
        made.append(Live(home, environment={"TASKSERVICE_COMMIT_TIMEOUT_S": str(COMMIT_TIMEOUT_S), **environment}))
        return made[-1]

    yield make
    for live in made:
        live.kill_everything()


def test_when_the_disk_of_the_journal_is_full_submits_are_refused_until_there_is_room(
    service: Callable[..., Live], small_disk: Path, tmp_path: Path
) -> None:
    live = service(tmp_path / "home", state_dir=small_disk / "state")
    while_full(live, small_disk, tmp_path)


def test_when_the_disk_of_the_table_is_full_submits_are_refused_until_there_is_room(
    service: Callable[..., Live], small_disk: Path, tmp_path: Path
) -> None:
    live = service(small_disk / "home", state_dir=tmp_path / "state")
    while_full(live, small_disk, tmp_path)


def while_full(live: Live, disk: Path, tmp_path: Path) -> None:
    """Running tasks go on, what was accepted waits, submits say why not; with room again all ends."""
    ticks, ran = tmp_path / "ticks", tmp_path / "ran"
    with live.up() as client, asking(live) as http:
        client.submit("work.tick", {"file": str(ticks), "seconds": 20.0}, id="tick")
        eventually(ticks.exists, 30)
        waiting = [{"function": "work.slow_note", "payload": {"i": i, "file": str(ran)}} for i in range(TASKS)]
        accepted = {str(item.id) for item in client.submit_many(waiting).results} | {"tick"}
        eventually(ran.exists, 30)
        fill(disk)
        eventually(lambda: "disk is full" in refused(http), 40, "it says what is wrong")
        for _ in range(3):
            refused(http)
        assert ask(http, "GET", "/v1/functions")[0] == 200, "what needs no dispatcher is answered"
        freed_s = time.time()
        (disk / "filler").unlink()
        eventually(lambda: not any(client.status()["counts"][state] for state in UNFINISHED), 60)
        print(f"all had ended {time.time() - freed_s:.1f} s after there was room again")
        for task in client.list(state="succeeded"):
            accepted.discard(task.id)
        assert not accepted, "what was accepted has succeeded"
        assert set(ran.read_text().split()) == {str(i) for i in range(TASKS)}
        assert client.get("tick").info["attempt"] == 1
        eventually(lambda: ask(http, "POST", "/v1/tasks", submission("after")).status in {200, 202}, 10)


def refused(http: httpx.Client) -> str:
    """Why a submit is refused; empty if it is not, for there may be room for a few bytes more."""
    heard = ask(http, "POST", "/v1/tasks/batch", {"tasks": [submission(f"a{time.time_ns()}.{i}") for i in range(200)]})
    assert heard.seconds < COMMIT_TIMEOUT_S + 2
    if heard.status == 200:
        return ""
    assert heard.status == 503, heard.body
    assert int(heard.retry_after) > 0
    detail: str = heard.body["detail"]
    return detail


def submission(id: str) -> dict[str, object]:
    return {"id": id, "function": "work.noop", "payload": {"i": 1}}


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)
