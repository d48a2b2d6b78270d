"""Loss of power, at every point and of every kind: what was acknowledged is there, and what was found once stays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.fragile_disk import Died, Ends, FragileDisk
from taskservice.journal import JournalFailed
from taskservice.journal.local import LocalJournal

FILE_BYTES_MAX = 300


@dataclass(frozen=True)
class Life:
    """One writer: what it wants to append, and after how many calls to the disk it ends."""

    bodies: tuple[bytes, ...]
    calls: int
    ends: Ends


lives = st.builds(
    Life,
    bodies=st.lists(st.binary(max_size=120), max_size=6).map(tuple),
    calls=st.integers(0, 40),
    ends=st.sampled_from(Ends),
)


@dataclass
class Known:
    """What the test knows must be replayed, and the one body that may be."""

    sure: list[bytes] = field(default_factory=list)
    perhaps: list[bytes] = field(default_factory=list)

    def check(self, found: list[bytes]) -> None:
        assert found in (self.sure, self.sure + self.perhaps)
        self.sure, self.perhaps = found, []


def live(directory: Path, disk: FragileDisk, life: Life, known: Known) -> None:
    """One life of a writer, to its end; `known` is checked when it opens, and told of what it does."""
    disk.ends, disk.calls_left = life.ends, life.calls
    journal: LocalJournal | None = None
    try:
        journal = LocalJournal(directory, file_bytes_max=FILE_BYTES_MAX, disk=disk)
        known.check([segment.body for segment in journal.replay()])
        for number, body in enumerate(life.bodies):
            known.perhaps = [body]
            journal.append(number, body)
            known.sure, known.perhaps = [*known.sure, body], []
    except (Died, JournalFailed):
        pass
    finally:
        disk.calls_left = None
        if journal is not None:
            journal.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lives, max_size=5), st.data())
def test_what_was_acknowledged_or_found_is_found_after_any_loss(writers: list[Life], data: st.DataObject):
    known = Known()
    with tempfile.TemporaryDirectory() as root:
        disk = FragileDisk(Path(root))
        directory = disk.root / "state" / "journal"
        for life in writers:
            live(directory, disk, life, known)
            if life.ends is Ends.POWER_LOST:
                disk.lose_power(data)
        live(directory, disk, Life((b"the end",), 1000, Ends.KILLED), known)
        disk.lose_power(data)
        live(directory, disk, Life((), 1000, Ends.KILLED), known)
        assert known.sure[-1] == b"the end"
