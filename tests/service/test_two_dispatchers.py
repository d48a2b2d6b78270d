"""Two dispatchers on one state: one is stopped at any moment and wakes up when a second has taken over.

Real processes, with all of a dispatcher but Ray (`helpers.shard_owner`). Each is the successor of the one before.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from helpers import shard_owner
from helpers.seaweed import CREDENTIALS, Seaweed
from taskservice.core.limits import Limits
from taskservice.core.types import ListFilter
from taskservice.journal import manifest as manifests
from taskservice.journal.chunks import load
from taskservice.journal.manifest import CheckpointRef
from taskservice.journal.opening import StateDir, open_state
from taskservice.journal.recovery import recover

ACCEPTED_MAX = 200
"""So many tasks at most, before an owner is stopped."""
CHECKPOINTS_MAX = 4
WITHIN_S = 30


class Owner:
    """A process; what it has said is known up to the line that was read last."""

    def __init__(self, state_dir: str, home: Path, name: str) -> None:
        command = [sys.executable, shard_owner.__file__, state_dir, str(home), name]
        self.name = name
        self.said: list[tuple[str, list[str]]] = []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._killer = threading.Timer(2 * WITHIN_S, self._process.kill)
        self._killer.start()
        self.read_until("ready")

    def open(self) -> None:
        """It has been told to open the state."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def read_until(self, *kinds: str) -> None:
        """The next line of one of these kinds was read."""
        while self._read() not in kinds:
            pass

    def _read(self) -> str:
        assert self._process.stdout is not None
        kind, *words = self._process.stdout.readline().split() or ["silence"]
        assert kind != "silence", f"{self.name} ended without a word after {self.said[-3:]}"
        self.said.append((kind, words))
        return kind

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """It has ended by itself, soon, and all it has said is known."""
        assert self._process.stdout is not None
        self._process.wait(WITHIN_S)
        for line in self._process.stdout:
            kind, *words = line.split()
            self.said.append((kind, words))

    def kill(self) -> None:
        self._killer.cancel()
        self._process.kill()
        self._process.communicate()

    def words(self, kind: str) -> list[str]:
        return [word for said, words in self.said if said == kind for word in words]


@pytest.fixture(params=["local", "seaweed"])
def state_dir(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "state")
        return
    seaweed = Seaweed(tmp_path / "seaweed")
    seaweed.start()
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    assert "AWS_ENDPOINT_URL" not in CREDENTIALS
    yield "s3://tests/two"
    seaweed.kill()


@pytest.mark.parametrize("homes", ["one home", "a home each"])
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_an_owner_that_wakes_up_after_its_successor_has_begun_harms_nothing_and_ends(
    state_dir: str, tmp_path: Path, homes: str, rounds: int
) -> None:
    """At random moments: what anybody was told is there, and the one who wakes up says no more that is not."""
    rng = Random(7)
    owners: list[Owner] = []
    woken_s: list[float] = []

    def begin() -> Owner:
        name = f"o{len(owners)}"
        owners.append(Owner(state_dir, tmp_path / ("home" if homes == "one home" else f"home-{name}"), name))
        return owners[-1]

    try:
        before, after = begin(), begin()
        before.open()
        for _ in range(rounds):
            stop_at_random(before, rng)
            if not state_dir.startswith("s3:"):
                unlock(state_dir, tmp_path)
            following = begin()
            after.open()
            for _ in range(rng.randrange(1, 20)):
                after.read_until("accepted", "fatal")
            before.go_on()
            began_s = time.monotonic()
            before.end()
            woken_s.append(time.monotonic() - began_s)
            check_ended(before, after)
            before, after = after, following
        stop_at_random(before, rng)
    finally:
        for owner in owners:
            owner.kill()
    check_all_there(state_dir, tmp_path, owners[:-1])
    accepted, published = (sum(len(owner.words(kind)) for owner in owners) for kind in ("accepted", "published"))
    print(f"{accepted} accepted, {published} checkpoints; ended {max(woken_s):.2f} s after waking at most")


def unlock(state_dir: str, folder: Path) -> None:
    """The lock of a local directory holds while its owner lives, stopped or not; somebody removes it by hand."""
    refused = Owner(state_dir, folder / "refused", "refused")
    try:
        refused.open()
        refused.read_until("refused")
    finally:
        refused.kill()
    (Path(state_dir) / "journal" / "lock").unlink()


def stop_at_random(owner: Owner, rng: Random) -> None:
    """Early or late, in the midst of a commit, or of a checkpoint."""
    for _ in range(rng.randrange(1, ACCEPTED_MAX)):
        owner.read_until("accepted")
    for _ in range(rng.randrange(CHECKPOINTS_MAX)):
        owner.read_until("published")
    until_s = time.perf_counter() + rng.random() / 50
    while time.perf_counter() < until_s:
        pass
    owner.stop()


def check_ended(before: Owner, after: Owner) -> None:
    """Who was stopped found out that it is fenced, and has never said anything that its successor did not find."""
    assert before.words("fatal") == ["Fenced"]
    lost = set(before.words("accepted")) - set(after.words("recovered"))
    assert not lost, f"{before.name} was told to have {lost}, which {after.name} did not find"
    assert len(after.words("recovered")) == len(set(after.words("recovered")))
    assert set(before.words("recovered")) <= set(after.words("recovered"))


def check_all_there(state_dir: str, folder: Path, owners: list[Owner]) -> None:
    """A last owner finds all that anybody was told, from each checkpoint, with nothing but the state."""
    state = open_state(state_dir, now_ms=lambda: 1)
    try:
        manifest = state.ownership.manifest
        found = [recovered_ids(state, ref, folder / f"from-{at}") for at, ref in enumerate(manifest.checkpoints)]
        assert len(found) == 2, "there were checkpoints"
        assert found[0] == found[1]
        for owner in owners:
            assert set(owner.words("accepted")) <= found[0]
            assert set(owner.words("recovered")) <= found[0]
        check_manifests(state, owners)
    finally:
        state.close()


def recovered_ids(state: StateDir, ref: CheckpointRef, path: Path) -> set[str]:
    recovered = recover(state.journal, state.ownership.manifest, Only(state, ref), path, Limits(), 1)
    ids = [str(task.id) for task in recovered.table.listing(ListFilter(), None, 1_000_000)]
    recovered.table.close()
    assert len(ids) == len(set(ids))
    return set(ids)


class Only:
    """Knows one checkpoint."""

    def __init__(self, state: StateDir, ref: CheckpointRef) -> None:
        self._state = state
        self._ref = ref

    def load(self, path: Path) -> CheckpointRef:
        load(self._state.store, self._ref, path, stop=threading.Event())
        return self._ref


def check_manifests(state: StateDir, owners: list[Owner]) -> None:
    """Nobody has published anything after the claim of a successor."""
    there = [manifests.decode(state.store.get(info.key), info.key) for info in state.store.list(manifests.PREFIX)]
    epochs = [manifest.epoch for manifest in there]
    assert epochs == sorted(epochs)
    claims = {manifest.epoch: manifest.number for manifest in there if manifest.claim}
    assert sorted(claims) == list(range(1, len(claims) + 1)), "claims are never removed"
    for epoch, owner in zip(sorted(claims), owners, strict=False):
        published = [int(number) for number in owner.words("published")]
        assert all(claims[epoch] < number < claims[epoch + 1] for number in published), owner.name
