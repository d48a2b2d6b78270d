"""Objects in a directory, when the world fails them: a full disk, no rights, a failing fsync, kill -9, other processes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import find
from hypothesis.strategies import SearchStrategy

from helpers.fragile_disk import FragileDisk
from taskservice.objects import NoSuchObject, StoreRefused, StoreUnavailable
from taskservice.objects.directory import DRAFTS, FORGOTTEN_S, DirectoryObjects
from taskservice.objects.disk import RealDisk


class FailingDisk(RealDisk):
    """A disk that refuses one verb, as often as there are errors."""

    def __init__(self, verb: str, *numbers: int) -> None:
        self.verb = verb
        self.errors = list(numbers)

    def _fail(self, verb: str) -> None:
        if verb == self.verb and self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        self._fail("write")
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._fail("sync")
        super().sync(fd)

    def sync_dir(self, path: Path) -> None:
        self._fail("sync_dir")
        super().sync_dir(path)

    def link(self, source: Path, target: Path) -> None:
        self._fail("link")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._fail("unlink")
        super().unlink(path)


def drafts(root: Path) -> list[Path]:
    return list((root / DRAFTS).iterdir())


def keys(objects: DirectoryObjects, prefix: str = "") -> list[str]:
    return [found.key for found in objects.list(prefix)]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "Let this user"),
        (errno.EPERM, "hard links"),
        (errno.EIO, "See to the disk"),
    ],
)
@pytest.mark.parametrize("verb", ["write", "sync", "link"])
def test_a_refusal_names_the_path_and_what_to_do_and_leaves_nothing(tmp_path: Path, verb: str, number: int, says: str):
    disk = FailingDisk(verb)
    objects = DirectoryObjects(tmp_path, disk=disk)
    disk.errors = [number]
    with pytest.raises(StoreRefused, match=says) as refused:
        objects.put_if_absent("a/b", b"x")
    assert str(tmp_path / "a" / "b") in str(refused.value)
    assert keys(objects) == drafts(tmp_path) == []
    assert objects.put_if_absent("a/b", b"y") is None, "there is room again"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE])
def test_what_may_pass_is_unavailable(tmp_path: Path, number: int):
    disk = FailingDisk("write")
    objects = DirectoryObjects(tmp_path, disk=disk)
    disk.errors = [number]
    with pytest.raises(StoreUnavailable, match=str(tmp_path)):
        objects.put_if_absent("a", b"x")
    assert objects.put_if_absent("a", b"x") is None


def test_once_names_could_not_be_synced_nothing_is_created_any_more(tmp_path: Path):
    disk = FailingDisk("sync_dir")
    objects = DirectoryObjects(tmp_path, disk=disk)
    disk.errors = [errno.EIO]
    for key in ("a", "a", "b"):
        with pytest.raises(StoreRefused, match="may not be durable"):
            objects.put_if_absent(key, b"x")
    assert not disk.errors
    assert len(drafts(tmp_path)) == 1, "which tells others that the object's name is not durable yet"
    assert DirectoryObjects(tmp_path).get("a") == b"x"


def test_names_that_could_not_be_synced_for_the_moment_are_synced_by_who_comes_back(tmp_path: Path):
    disk = FailingDisk("sync_dir")
    objects = DirectoryObjects(tmp_path, disk=disk)
    disk.errors = [errno.EMFILE]
    with pytest.raises(StoreUnavailable):
        objects.put_if_absent("a", b"x")
    disk.errors = [errno.EMFILE]
    with pytest.raises(StoreUnavailable):
        objects.get("a")
    assert objects.put_if_absent("a", b"x") is None
    assert objects.get("a") == b"x"


def test_a_deletion_that_fails_says_so(tmp_path: Path):
    disk = FailingDisk("unlink")
    objects = DirectoryObjects(tmp_path, disk=disk)
    objects.put_if_absent("a", b"x")
    disk.errors = [errno.EACCES]
    with pytest.raises(StoreRefused, match="Let this user"):
        objects.delete(["a"])
    assert objects.get("a") == b"x"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreRefused, match=str(tmp_path / "file" / "objects")):
        DirectoryObjects(tmp_path / "file" / "objects")


def test_a_directory_that_has_gone_is_named(tmp_path: Path):
    objects = DirectoryObjects(tmp_path / "objects")
    (tmp_path / "objects" / DRAFTS).rmdir()
    with pytest.raises(StoreRefused, match=str(tmp_path / "objects")):
        objects.put_if_absent("a", b"x")


def test_a_key_that_is_the_folder_of_another_is_refused(tmp_path: Path):
    objects = DirectoryObjects(tmp_path)
    objects.put_if_absent("a/b", b"x")
    for key in ("a", "a/b/c"):
        with pytest.raises(StoreRefused, match="folder of another key"):
            objects.put_if_absent(key, b"y")
        with pytest.raises(NoSuchObject):
            objects.get(key)
    objects.delete(["a", "a/b/c"])
    assert keys(objects) == ["a/b"]
    assert keys(objects, "a/b/c") == drafts(tmp_path) == []


def test_only_the_owner_may_look_at_them(tmp_path: Path):
    DirectoryObjects(tmp_path / "new" / "objects").put_if_absent("a/b", b"x")
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}


def test_what_is_no_object_is_not_listed(tmp_path: Path):
    objects = DirectoryObjects(tmp_path)
    objects.put_if_absent("a/b", b"x")
    (tmp_path / "a" / ".hidden").write_text("somebody's")
    (tmp_path / "a" / "two words").write_text("somebody's")
    assert keys(objects) == ["a/b"]


def test_folders_go_with_their_last_object(tmp_path: Path):
    objects = DirectoryObjects(tmp_path)
    for key in ("a/b/c", "a/b/d", "a/e"):
        objects.put_if_absent(key, b"x")
    objects.delete(["a/b/c", "a/b/d"])
    assert not (tmp_path / "a" / "b").exists()
    objects.delete(["a/e"])
    assert [path.name for path in tmp_path.iterdir()] == [DRAFTS]


class MeddledDisk(RealDisk):
    """A disk on which somebody else does something just before the first link."""

    def __init__(self, meddle: Callable[[Path, Path], None]) -> None:
        self.meddle: Callable[[Path, Path], None] | None = meddle

    def link(self, source: Path, target: Path) -> None:
        if self.meddle is not None and source.parent.name == DRAFTS:
            self.meddle(source, target)
            self.meddle = None
        super().link(source, target)


@pytest.mark.parametrize(
    "meddle",
    [lambda draft, target: target.parent.rmdir(), lambda draft, target: draft.unlink()],
    ids=["the folder is removed", "the draft is removed"],
)
def test_who_is_meddled_with_begins_again(tmp_path: Path, meddle: Callable[[Path, Path], None]):
    objects = DirectoryObjects(tmp_path, disk=MeddledDisk(meddle))
    assert objects.put_if_absent("a/b", b"x") is None
    assert objects.get("a/b") == b"x"
    assert drafts(tmp_path) == []


def test_forgotten_drafts_are_removed_and_young_ones_are_not(tmp_path: Path):
    objects = DirectoryObjects(tmp_path)
    objects.put_if_absent("a/b", b"x")
    (tmp_path / DRAFTS / "unlinked").write_bytes(b"half")
    os.link(tmp_path / "a" / "b", tmp_path / DRAFTS / "linked")
    (tmp_path / DRAFTS / "young").write_bytes(b"half")
    long_ago = time.time() - FORGOTTEN_S - 1
    for name in ("unlinked", "linked"):
        os.utime(tmp_path / DRAFTS / name, (long_ago, long_ago))
    DirectoryObjects(tmp_path)
    assert [path.name for path in drafts(tmp_path)] == ["young"]
    assert objects.get("a/b") == b"x"


CREATE_FOR_EVER = """
import sys
from pathlib import Path
from taskservice.objects.directory import DirectoryObjects

objects = DirectoryObjects(Path(sys.argv[1]))
number = 0
while True:
    assert objects.put_if_absent(f"{number % 3}/{number:09}", str(number).encode() * 5_000) is None
    print(number, flush=True)
    number += 1
"""


def test_kill_9_in_the_middle_of_creations_loses_nothing_and_tears_nothing(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", CREATE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(30):
            child.stdout.readline()
        child.kill()
        acknowledged = 30 + child.stdout.read().count("\n")
    objects = DirectoryObjects(tmp_path)
    found = sorted((int(key.split("/")[1]), objects.get(key)) for key in keys(objects))
    assert [number for number, _ in found] == list(range(len(found)))
    assert acknowledged <= len(found) <= acknowledged + 1
    assert all(body == str(number).encode() * 5_000 for number, body in found)


class Least:
    """Draws the least that may be: of what was not synced, nothing is left."""

    def draw(self, strategy: SearchStrategy[int], label: str) -> int:
        return find(strategy, lambda _: True)


def test_what_was_deleted_stays_so_where_one_folder_is_within_another(tmp_path: Path):
    """Found by tests/property/test_objects_powerloss.py: removing a/b/ took a/ as well, before its names were synced."""
    disk = FragileDisk(tmp_path)
    objects = DirectoryObjects(disk.root / "objects", disk=disk)
    keys = ["a/b/z", "a/y"]
    for key in keys:
        objects.put_if_absent(key, b"")
    objects.delete(keys)
    disk.lose_power(Least())
    assert list(DirectoryObjects(disk.root / "objects", disk=disk).list("")) == []
