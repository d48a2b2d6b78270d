"""The journal in a directory, when the world fails it: a full disk, a failing fsync, a stolen lock, kill -9."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.journals import BODIES, reopened, replayed, written
from taskservice.journal import Fenced, JournalFailed, JournalLocked
from taskservice.journal.local import LocalJournal
from taskservice.objects.disk import RealDisk


def test_a_second_opening_names_the_process_that_has_the_lock(tmp_path: Path):
    journal = LocalJournal(tmp_path)
    with pytest.raises(JournalLocked, match=rf"process {os.getpid()}\b"):
        LocalJournal(tmp_path)
    journal.append(0, b"undisturbed")
    journal.close()
    assert reopened(tmp_path) == [b"undisturbed"]


def test_without_its_lock_file_a_writer_is_fenced(tmp_path: Path):
    first = LocalJournal(tmp_path)
    first.append(0, b"a")
    (tmp_path / "lock").unlink()
    second = LocalJournal(tmp_path)
    second.append(0, b"b")
    with pytest.raises(Fenced):
        first.append(1, b"zombie")
    first.close()
    second.close()
    assert reopened(tmp_path) == [b"a", b"b"]


def test_a_writer_whose_lock_is_not_honoured_is_fenced_by_its_successor(tmp_path: Path):
    """As on some network file systems: both hold the same lock file."""
    first = LocalJournal(tmp_path)
    first.append(0, b"a")
    assert first._lock_fd is not None
    fcntl.flock(first._lock_fd, fcntl.LOCK_UN)
    second = LocalJournal(tmp_path)
    with pytest.raises(Fenced):
        first.append(1, b"zombie")
    second.append(0, b"b")
    first.close()
    second.close()
    assert reopened(tmp_path) == [b"a", b"b"]


def test_a_removed_lock_file_or_journal_fences_even_before_a_successor(tmp_path: Path):
    for remove in (lambda path: (path / "lock").unlink(), shutil.rmtree):
        journal = LocalJournal(tmp_path / "journal")
        remove(tmp_path / "journal")
        with pytest.raises(Fenced):
            journal.append(0, b"a")
        journal.close()


class HookedDisk(RealDisk):
    """A real disk on which something happens before the nth sync of a file (counted from 1)."""

    def __init__(self, nth: int, happens: Callable[[], None]) -> None:
        self._until = nth
        self._happens = happens

    def sync(self, fd: int) -> None:
        self._until -= 1
        if self._until == 0:
            self._happens()
        super().sync(fd)


def test_a_writer_overtaken_in_the_middle_of_an_append_does_not_acknowledge_it(tmp_path: Path):
    """The lock fails and somebody opens the journal between the write and its fsync."""
    successors: list[LocalJournal] = []

    def overtake() -> None:
        (tmp_path / "lock").unlink()
        successors.append(LocalJournal(tmp_path))

    first = LocalJournal(tmp_path, disk=HookedDisk(3, overtake))
    first.append(0, b"a")
    with pytest.raises(Fenced):
        first.append(1, b"zombie")
    (second,) = successors
    second.append(0, b"b")
    found = replayed(second)
    second.close()
    assert reopened(tmp_path) == [*found, b"b"], "whatever the successor saw, everybody sees ever after"


def test_the_late_write_of_a_fenced_writer_is_never_replayed(tmp_path: Path):
    """The successor seals after the first look and before the write."""
    found: list[bytes] = []

    class PausedDisk(RealDisk):
        def write(self, fd: int, data: memoryview, offset: int) -> int:
            if bytes(data).endswith(b"zombie"):
                (tmp_path / "lock").unlink()
                found.extend(reopened(tmp_path))
            return super().write(fd, data, offset)

    first = LocalJournal(tmp_path, disk=PausedDisk())
    first.append(0, b"a")
    with pytest.raises(Fenced):
        first.append(1, b"zombie")
    first.close()
    assert reopened(tmp_path) == found == [b"a"]


def raising(number: int) -> Callable[[], None]:
    def happens() -> None:
        raise OSError(number, os.strerror(number))

    return happens


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_after_a_failed_fsync_nothing_is_appended_and_fsync_is_not_tried_again(tmp_path: Path, nth: int):
    """The first sync is that of a new file's head, the second that of the first frame, and so on."""
    acknowledged = []
    disk = HookedDisk(nth, raising(errno.EIO))
    journal = LocalJournal(tmp_path, disk=disk)
    with pytest.raises(JournalFailed, match="Input/output error"):  # noqa: PT012 - the call at which it fails varies
        for number, body in enumerate(BODIES):
            journal.append(number, body)
            acknowledged.append(body)
    syncs_left = disk._until
    for _ in range(2):
        with pytest.raises(JournalFailed, match="Input/output error"):
            journal.append(len(acknowledged), b"more")
    assert disk._until == syncs_left
    journal.close()
    assert reopened(tmp_path)[: len(acknowledged)] == acknowledged


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_path(tmp_path: Path, number: int):
    """It takes part of a frame and then no more; what was acknowledged is there when there is room again."""

    class FullDisk(RealDisk):
        def write(self, fd: int, data: memoryview, offset: int) -> int:
            if offset > 200:
                raise OSError(number, os.strerror(number))
            return super().write(fd, data[: 220 - offset], offset)

    journal = LocalJournal(tmp_path, disk=FullDisk())
    journal.append(0, b"a" * 30)
    with pytest.raises(JournalFailed, match=rf"disk is full: {tmp_path}"):
        journal.append(1, b"b" * 30)
    with pytest.raises(JournalFailed, match="disk is full"):
        journal.append(1, b"b")
    journal.close()
    assert reopened(tmp_path) == [b"a" * 30]


@pytest.mark.parametrize("nth", [1, 2])
def test_a_disk_that_fails_while_opening_leaves_the_journal_as_it_was(tmp_path: Path, nth: int):
    """Sealing syncs the last frame and the seal's draft; the lock is free again afterwards."""
    written(tmp_path)
    with pytest.raises(JournalFailed, match=str(tmp_path)):
        LocalJournal(tmp_path, disk=HookedDisk(nth, raising(errno.EIO)))
    assert reopened(tmp_path) == BODIES


def test_short_writes_are_completed(tmp_path: Path):
    class ShortDisk(RealDisk):
        def write(self, fd: int, data: memoryview, offset: int) -> int:
            return super().write(fd, data[:7], offset)

    journal = LocalJournal(tmp_path, disk=ShortDisk())
    for number, body in enumerate(BODIES):
        journal.append(number, body)
    journal.close()
    assert reopened(tmp_path) == BODIES


def test_an_interrupted_append_is_the_last(tmp_path: Path):
    """Control-C between write and fsync: what is on disk is unknown, so nothing may follow it."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    journal = LocalJournal(tmp_path, disk=HookedDisk(3, interrupt))
    journal.append(0, b"a")
    with pytest.raises(KeyboardInterrupt):
        journal.append(1, b"b")
    with pytest.raises(JournalFailed, match="interrupted"):
        journal.append(1, b"b")
    journal.close()
    assert reopened(tmp_path)[0] == b"a"


def test_a_body_too_large_is_refused_and_does_no_harm(tmp_path: Path):
    journal = LocalJournal(tmp_path)
    with pytest.raises(ValueError, match="more than"):
        journal.append(0, bytes(256 * 1024 * 1024 + 1))
    journal.append(0, b"a")
    journal.close()
    assert reopened(tmp_path) == [b"a"]


def test_only_the_owner_may_look_at_it(tmp_path: Path):
    written(tmp_path / "new" / "parents" / "journal")
    reopened(tmp_path / "new" / "parents" / "journal")
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalFailed, match=str(tmp_path / "file" / "journal")):
        LocalJournal(tmp_path / "file" / "journal")


APPEND_FOR_EVER = """
import sys
from pathlib import Path
from taskservice.journal.local import LocalJournal

journal = LocalJournal(Path(sys.argv[1]), file_bytes_max=50_000)
number = 0
while True:
    journal.append(number, str(number).encode().ljust(5_000))
    print(number, flush=True)
    number += 1
"""


def test_kill_9_in_the_middle_of_appends_loses_nothing_acknowledged(tmp_path: Path):
    found: list[bytes] = []
    for lines in (1, 20, 40):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
            rest = child.stdout.read()
        acknowledged = lines + rest.count("\n")
        before = found
        found = [body.rstrip() for body in reopened(tmp_path)]
        assert found[: len(before)] == before
        new = found[len(before) :]
        assert new == [str(number).encode() for number in range(len(new))]
        assert acknowledged <= len(new) <= acknowledged + 1
