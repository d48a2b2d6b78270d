"""A state directory with checkpoints: its owner dies at any call to the disk, or the power is lost there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.fragile_disk import Died, Ends, FragileDisk
from helpers.owners import Owner, check_told, found_by
from helpers.stories import PUBLISH, Step
from taskservice.journal.local import LocalJournal
from taskservice.journal.manifest import claim
from taskservice.objects.directory import DirectoryObjects

FILE_BYTES_MAX = 300
"""Two or three segments to a file of the journal."""


class LocalOwner(Owner):
    """A process whose state is in a directory, on a disk that may fail it."""

    def __init__(self, disk: FragileDisk, directory: Path, name: str) -> None:
        super().__init__(DirectoryObjects(disk.root), directory, name)
        self._disk = disk

    def open(self) -> None:
        self.store = DirectoryObjects(self._disk.root, disk=self._disk)
        self.journal = LocalJournal(self._disk.root / "journal", file_bytes_max=FILE_BYTES_MAX, disk=self._disk)
        ownership = claim(self.store, log="log", nonce=self.name, writer=self.name, at_ms=1, epoch=self.journal.epoch)
        self._open_checkpoints(ownership)

    def live(self, steps: Sequence[Step]) -> bool:
        """Whether it lived to see the last step."""
        try:
            return self.do(steps) is None
        except Died:
            return False
        finally:
            self._disk.calls_left = None
            self.close()


OPEN: list[Step] = [LocalOwner.open, Owner.recover, Owner.sweep]
FIRST: list[Step] = [*OPEN, *PUBLISH, Owner.append, *PUBLISH, *PUBLISH, Owner.append]
SECOND: list[Step] = [*OPEN, *PUBLISH, *PUBLISH, Owner.append]


class State:
    """One state directory, and who had it."""

    def __init__(self, folder: Path) -> None:
        self.disk = FragileDisk(folder / "disk")
        self.folder = folder
        self.owners: list[LocalOwner] = []
        self._names = count()

    def live(self, steps: Sequence[Step], calls: int | None) -> bool:
        """One process; it has so many calls to the disk."""
        owner = LocalOwner(self.disk, self.folder, f"o{next(self._names)}")
        owner.others = self.owners
        self.owners.append(owner)
        self.disk.calls_left = calls
        return owner.live(steps)

    def check(self) -> None:
        check_told(self.owners, found_by(LocalOwner(self.disk, self.folder, f"o{next(self._names)}"), self.folder))


def new_state(folder: Path) -> State:
    (folder / "disk").mkdir()
    return State(folder)


def test_a_process_that_dies_at_any_call_to_the_disk():
    """In its first life, and in that of its successor."""
    for lives_before in (0, 1):
        for calls in count():
            with tempfile.TemporaryDirectory() as folder:
                state = new_state(Path(folder))
                if lives_before:
                    assert state.live(FIRST, None)
                survived = state.live(SECOND if lives_before else FIRST, calls)
                state.check()
                assert state.live(SECOND, None)
                state.check()
            if survived:
                break
        assert calls > 50


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([FIRST, SECOND])), max_size=4), st.data())
def test_the_power_is_lost_at_any_call(lives: list[tuple[int, list[Step]]], data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        state = new_state(Path(folder))
        for calls, steps in lives:
            state.disk.ends = Ends.POWER_LOST
            state.live(steps, calls)
            state.disk.lose_power(data)
        state.check()
        assert state.live(SECOND, None)
        state.disk.lose_power(data)
        state.check()
