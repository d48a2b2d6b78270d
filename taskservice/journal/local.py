"""A journal in a local directory. Its promise holds through the loss of power: nothing is taken as written before fsync.

    <directory>/lock          flock'ed by the writer; holds its process id
    <directory>/00000001/     an epoch each (see `epochs`), without a gap

Two things keep a second writer out. The lock refuses it while the first one lives. And should the lock fail (deleted
by hand, not honoured by a network file system), the next epoch's directory is the fence: it is created before the
earlier epochs are read and sealed, and a writer looks for it after each fsync, before it lets anybody count on the
segment. So a segment is either acknowledged, and then seen by the next opener, or refused.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from taskservice.journal import (
    BEGINNING,
    Fenced,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    JournalLocked,
    Position,
    Segment,
)
from taskservice.journal.epochs import EpochDir, Seal
from taskservice.journal.failures import failed
from taskservice.journal.frames import FrameWriter
from taskservice.objects.disk import Disk, RealDisk, create_durably, make_dirs_durably, write_durably

FILE_BYTES_MAX = 64 * 1024 * 1024
EPOCH_NAME = re.compile(r"[0-9]{8}")


class LocalJournal:
    """The journal in `directory`, which is created if it is not there. One writer at a time.

    A new file is begun once the current one has `file_bytes_max`. Raises JournalLocked if another process has it
    open, JournalCorrupt if it is seen to be damaged, JournalFailed if the disk does not take what opening writes.
    """

    def __init__(self, directory: Path, *, file_bytes_max: int = FILE_BYTES_MAX, disk: Disk | None = None) -> None:
        self._directory = directory.absolute()
        self._file_bytes_max = file_bytes_max
        self._disk = disk or RealDisk()
        self._fd: int | None = None
        self._offset = 0
        self._refusal: JournalError | None = None
        """Why nothing can be appended any more; None while all is well."""
        self._lock = self._directory / "lock"
        self._lock_fd: int | None = None
        try:
            make_dirs_durably(self._disk, self._directory)
            self._lock_fd = _take_lock(self._lock)
            self._own = self._take_epoch()
            self._successor = EpochDir(self._directory, self.epoch + 1).path
            self._seals = self._seal_earlier()
        except OSError as error:
            self.close()
            raise failed(error, self._directory) from error
        except BaseException:
            self.close()
            raise
        self._writer = FrameWriter(self.epoch, self._seals[-1].chain_bytes if self._seals else BEGINNING.chain)

    in_flight_max = 1
    trouble = ""

    @property
    def epoch(self) -> int:
        """The epoch that this writer holds."""
        return self._own.epoch

    @property
    def position(self) -> Position:
        """Just after the last segment that was appended."""
        return Position(self.epoch, self._writer.number - 1, self._writer.chain)

    def sealed_segments(self, epoch: int) -> int | None:
        """How many segments an earlier epoch has; None if there was no such epoch."""
        return next((seal.segments for seal in self._seals if seal.epoch == epoch), None)

    def replay(self, after: Position | None = None) -> Iterator[Segment]:
        """The segments of all earlier epochs, in order; one file is in RAM at a time. Raises JournalCorrupt."""
        begin = after or BEGINNING
        chain = begin.chain
        for seal in self._seals:
            if seal.epoch >= begin.epoch:
                first = begin.number + 1 if seal.epoch == begin.epoch else 0
                yield from EpochDir(self._directory, seal.epoch).replay(seal, chain, first)
                chain = seal.chain_bytes

    def append(self, number: int, body: bytes) -> None:
        """The segment is durable. Raises Fenced or JournalFailed; after either, so does every further call.

        Raises ValueError, and goes on, if `number` does not follow or `body` is larger than `frames.BODY_BYTES_MAX`.
        """
        if self._refusal is not None:
            raise type(self._refusal)(*self._refusal.args)
        if self._lock_fd is None:
            raise ValueError("the journal is closed")
        if number != self._writer.number:
            raise ValueError(f"segment {number} does not follow: the next one of this epoch is {self._writer.number}")
        head = self._writer.head()
        frame = self._writer.frame(body)
        self._refusal = JournalFailed(f"{self._own.path}: an append was interrupted; what is on disk is unknown.")
        try:
            self._check_still_ours()
            if self._fd is None or self._offset >= self._file_bytes_max:
                self._begin_file(number, head)
            self._write(frame)
            self._check_still_ours()
        except OSError as error:
            self._refusal = failed(error, self._own.path)
            raise self._refusal from error
        except Fenced as error:
            self._refusal = error
            raise
        self._refusal = None

    def check(self) -> None:
        """Raises Fenced if somebody else may have opened the journal."""
        self._check_still_ours()

    def collect(self, upto: Position) -> None:
        """The segments up to this place are gone, as far as whole files hold nothing else."""
        for epoch in range(1, upto.epoch):
            EpochDir(self._directory, epoch).remove_logs(self._disk)
        EpochDir(self._directory, upto.epoch).remove_before(self._disk, upto.number + 1)

    def sweep(self) -> int:
        """Nothing is left to find: `collect` looks at all that is there."""
        return 0

    def close(self) -> None:
        """Files and the lock are released."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _begin_file(self, number: int, head: bytes) -> None:
        """The file that the next frame goes to is there, durable with its name."""
        if self._fd is not None:
            old, self._fd = self._fd, None
            self._disk.close(old)
        self._fd = create_durably(self._disk, self._own.log_path(number), head)
        self._offset = len(head)

    def _write(self, frame: bytes) -> None:
        assert self._fd is not None
        write_durably(self._disk, self._fd, frame, self._offset)
        self._offset += len(frame)

    def _check_still_ours(self) -> None:
        """Raises Fenced if somebody else may have opened the journal.

        Asked before a write, so as not to disturb them, and again once it is durable: whoever opened it before that
        second look may not have found the segment, whoever opens it later must find it. Two `stat` calls.
        """
        assert self._lock_fd is not None
        if self._successor.exists():
            raise Fenced(f"{self._successor} is there: somebody has taken the journal over. End this process.")
        if not _is_file_at(self._lock_fd, self._lock):
            raise Fenced(f"{self._lock} was removed or replaced, so others may write. End this process, start again.")

    def _take_epoch(self) -> EpochDir:
        """The next epoch is this writer's, durably. Raises JournalCorrupt if an earlier one is missing."""
        epochs = sorted(int(path.name) for path in self._directory.iterdir() if EPOCH_NAME.fullmatch(path.name))
        if epochs != list(range(1, len(epochs) + 1)):
            missing = min(set(range(1, len(epochs) + 1)) - set(epochs))
            path = EpochDir(self._directory, missing).path
            raise JournalCorrupt(f"{path}: it is missing. Restore the journal from a copy.")
        own = EpochDir(self._directory, len(epochs) + 1)
        try:
            self._disk.make_dir(own.path)
        except FileExistsError:
            raise JournalLocked(f"{self._directory}: another process is opening it at this moment.") from None
        self._disk.sync_dir(self._directory)
        return own

    def _seal_earlier(self) -> list[Seal]:
        """The seals of all earlier epochs, in order; they are durable.

        Who has written a log had made all seals before it durable. So only the last epoch that has one, and those
        that wrote nothing after it, may still lack theirs.
        """
        earlier = [EpochDir(self._directory, epoch) for epoch in range(1, self.epoch)]
        last_written = max((each.epoch for each in earlier if each.logs()), default=0)
        seals: list[Seal] = []
        chain = BEGINNING.chain
        for each in earlier:
            seal = each.read_seal() if each.epoch < last_written else each.seal(self._disk, chain, self.epoch)
            if seal is None:
                raise JournalCorrupt(f"{each.path / 'sealed'}: it is missing. Restore the journal from a copy.")
            seals.append(seal)
            chain = seal.chain_bytes
        return seals


def _take_lock(path: Path) -> int:
    """The descriptor that holds the lock; closing it, or the end of the process, lets go. Raises JournalLocked."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise JournalLocked(f"{path.parent} is in use by process {holder}: stop it, or use another one.") from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_file_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
