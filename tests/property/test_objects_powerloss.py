"""Objects in a directory through loss of power, at every point and of every kind.

What was created is there, what was deleted is not, and what anybody has seen stays, until somebody begins to delete it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.fragile_disk import Died, Ends, FragileDisk
from taskservice.objects import NoSuchObject, StoreRefused
from taskservice.objects.directory import DirectoryObjects

KEYS = ["a/x", "a/y", "a/b/z", "top"]


@dataclass(frozen=True)
class Put:
    key: str
    data: bytes


@dataclass(frozen=True)
class Delete:
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Life:
    """One process: what it does, and after how many calls to the disk it ends."""

    steps: tuple[Put | Delete, ...]
    calls: int
    ends: Ends
    lists_first: bool = False
    """Whether the first look at what is there is at a list, or at the objects."""


lives = st.builds(
    Life,
    steps=st.lists(
        st.one_of(
            st.builds(Put, st.sampled_from(KEYS), st.binary(max_size=40)),
            st.builds(Delete, st.lists(st.sampled_from(KEYS), max_size=3, unique=True).map(tuple)),
        ),
        max_size=5,
    ).map(tuple),
    calls=st.integers(0, 40),
    ends=st.sampled_from(Ends),
    lists_first=st.booleans(),
)


@dataclass
class Known:
    """What each key may hold; None is nothing. More than one thing only if somebody died in the middle."""

    may: dict[str, set[bytes | None]] = field(default_factory=lambda: {key: {None} for key in KEYS})
    back: dict[str, set[bytes | None]] = field(default_factory=lambda: {key: set() for key in KEYS})
    """What a deletion that was cut short may have left, or not: a loss can bring it back."""

    def look(self, objects: DirectoryObjects, *, lists_first: bool) -> None:
        """What is found is one of the things that may be, and the only one from now on. Readers and lists agree."""
        sizes = {each.key: each.size_bytes for each in objects.list("")} if lists_first else None
        for key in KEYS:
            found = contents(objects, key)
            assert found in self.may[key]
            assert sizes is None or sizes.get(key) == (None if found is None else len(found))
            self.may[key] = {None, *self.back[key]} if found is None else {found}

    def do(self, objects: DirectoryObjects, step: Put | Delete) -> None:
        if isinstance(step, Put):
            before = contents(objects, step.key)
            self.may[step.key] |= {step.data} if before is None else set()
            there = objects.put_if_absent(step.key, step.data)
            assert there == (before if before not in {None, step.data} else None)
            self.may[step.key], self.back[step.key] = {step.data if there is None else there}, set()
        else:
            for key in step.keys:
                self.back[key] |= self.may[key]
                self.may[key] |= {None}
            objects.delete(step.keys)
            for key in step.keys:
                self.may[key], self.back[key] = {None}, set()


def contents(objects: DirectoryObjects, key: str) -> bytes | None:
    try:
        return objects.get(key)
    except NoSuchObject:
        return None


def live(disk: FragileDisk, life: Life, known: Known) -> None:
    disk.ends, disk.calls_left = life.ends, life.calls
    try:
        objects = DirectoryObjects(disk.root / "state" / "objects", disk=disk)
        known.look(objects, lists_first=life.lists_first)
        for step in life.steps:
            known.do(objects, step)
    except (Died, StoreRefused):
        pass
    finally:
        disk.calls_left = None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lives, max_size=5), st.data())
def test_what_was_created_or_seen_is_there_after_any_loss(processes: list[Life], data: st.DataObject):
    known = Known()
    with tempfile.TemporaryDirectory() as folder:
        disk = FragileDisk(Path(folder))
        for life in processes:
            live(disk, life, known)
            if life.ends is Ends.POWER_LOST:
                disk.lose_power(data)
        last = Life((Delete(("top",)), Put("top", b"the end")), 1000, Ends.KILLED)
        live(disk, last, known)
        disk.lose_power(data)
        live(disk, Life((), 1000, Ends.KILLED), known)
        assert known.may["top"] == {b"the end"}
