"""One epoch of the local journal: a directory of log files and, once its writer is gone, its seal.

    00000003/                     epoch 3
        0000000000.log            frames from number 0 on (see `frames`)
        0000004711.log            ... from number 4711 on
        sealed                    how many segments count, and the chain after the last of them

Whoever opens the journal next writes the seal, once and for ever. What lies behind the sealed end, a torn tail or the
late write of a writer that did not yet know it was fenced, was never acknowledged and is never looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from taskservice.journal import JournalCorrupt, Segment
from taskservice.journal.frames import FileScan, Frame, never_finished
from taskservice.objects.disk import Disk, create_durably, write_durably

SEAL_VERSION = 1


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an epoch ends. Kept as JSON, for people to read."""

    version: int
    epoch: int
    segments: int
    chain: str
    """After the last segment, in hexadecimal; the next epoch begins with it."""

    @property
    def chain_bytes(self) -> bytes:
        return bytes.fromhex(self.chain)


class Kept(NamedTuple):
    """A segment as it was found."""

    path: Path
    offset: int
    """Of its frame in the file."""
    marker: bytes
    """Its writer's."""
    frame: Frame
    chain: bytes
    """After it."""


class End(NamedTuple):
    """Where an epoch's last file stops being whole."""

    segments: int
    chain: bytes
    path: Path
    tail_offset: int
    tail: bytes
    """The last whole frame, or the head of a file that has none."""


class EpochDir:
    """The files of one epoch."""

    def __init__(self, directory: Path, epoch: int) -> None:
        self.epoch = epoch
        self.path = directory / f"{epoch:08d}"

    def log_path(self, first: int) -> Path:
        """The file whose first frame has the number `first`."""
        return self.path / f"{first:010d}.log"

    def logs(self) -> list[Path]:
        """The log files, oldest first."""
        try:
            return sorted(path for path in self.path.iterdir() if path.suffix == ".log")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def read_seal(self) -> Seal | None:
        """The seal; None if there is none yet. Raises JournalCorrupt if it is not a seal of this epoch."""
        path = self.path / "sealed"
        if not path.exists():
            return None
        try:
            seal = msgspec.json.decode(_read(path), type=Seal)
            whole = len(seal.chain_bytes) == 16 and seal.segments >= 0 and seal.epoch == self.epoch
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalCorrupt(f"{path}: damaged: {error}. Restore the journal from a copy.") from error
        if seal.version > SEAL_VERSION:
            raise JournalCorrupt(f"{path}: a newer version of taskservice wrote it. Start that one, or a later one.")
        if not whole or seal.version != SEAL_VERSION:
            raise JournalCorrupt(f"{path}: not the seal of epoch {self.epoch}. Restore the journal from a copy.")
        return seal

    def seal(self, disk: Disk, chain: bytes, by_epoch: int) -> Seal:
        """The epoch's end is durable, with all before it. If somebody has sealed it already, their seal is the one.

        `chain` is that of the epoch before. Raises JournalCorrupt if acknowledged data is seen to be damaged; only
        the last file is read here, `replay` reads them all.
        """
        seal = self.read_seal()
        if seal is None:
            self._publish_seal(disk, self._settle_end(disk, chain), by_epoch)
            seal = self.read_seal()
            assert seal is not None, "a name that was just taken"
        disk.sync_dir(self.path)  # an opener that died may have left the seal's name, not yet durable
        return seal

    def end_now(self, chain: bytes) -> Seal:
        """The seal that the epoch has, or would get if it were sealed now. Writes nothing; the epoch may still grow.

        `chain` is that of the epoch before. Raises JournalCorrupt as `seal` does.
        """
        seal = self.read_seal()
        if seal is not None:
            return seal
        end = self._find_end()
        segments, chain = (0, chain) if end is None else (end.segments, end.chain)
        return Seal(SEAL_VERSION, self.epoch, segments, chain.hex())

    def replay(self, seal: Seal, chain: bytes, first: int = 0) -> Iterator[Segment]:
        """The segments from number `first` on that `seal` covers, in order; `chain` is the chain before them.

        An empty `chain` is not known, and not compared. Raises JournalCorrupt at the first that is not as it was.
        """
        for kept in self.read(seal, chain, first):
            yield Segment(self.epoch, kept.frame.number, kept.frame.body)

    def read(self, seal: Seal, chain: bytes, first: int = 0) -> Iterator[Kept]:
        """As `replay`, with the place of each."""
        number = first
        for path in self._logs_from(first):
            if number == seal.segments:
                break
            scan = self._scan(path)
            if scan.head.first < first:
                self._skip(scan, first)
            if scan.number != number or (chain and scan.chain != chain):
                raise JournalCorrupt(f"{path}: what comes before it is missing. Restore the journal from a copy.")
            for frame in scan:
                yield Kept(path, scan.last_offset, scan.head.marker, frame, scan.chain)
                if scan.number == seal.segments:
                    break
            number, chain = scan.number, scan.chain
            if number < seal.segments and scan.torn:
                raise JournalCorrupt(
                    f"{path}: segment {number} of epoch {self.epoch}, at byte {scan.offset}, is damaged or cut short; "
                    f"it was sealed as whole. Restore the journal from a copy."
                )
        if number != seal.segments or (chain and chain != seal.chain_bytes):
            raise JournalCorrupt(
                f"{self.path}: {number} segments are there, and its seal speaks of {seal.segments}"
                f"{', and of others' if number == seal.segments else ''}. Restore the journal from a copy."
            )

    def remove_before(self, disk: Disk, number: int) -> None:
        """The log files that hold nothing from segment `number` on are gone; the last one stays, and so does the seal."""
        kept = self._logs_from(number)
        self._remove(disk, [path for path in self.logs() if path not in kept])

    def remove_logs(self, disk: Disk) -> None:
        """All log files are gone. The seal stays: it ends the epoch for ever."""
        self._remove(disk, self.logs())

    def _remove(self, disk: Disk, paths: list[Path]) -> None:
        """Oldest first, so that what a crash leaves is still without a gap."""
        for path in paths:
            disk.unlink(path)

    def _logs_from(self, number: int) -> list[Path]:
        """The log files that may hold segment `number` or a later one; the last one in any case."""
        logs = self.logs()
        begun = [path for path in logs if int(path.stem) <= number]
        return [*begun[-1:], *logs[len(begun) :]]

    def _skip(self, scan: FileScan, number: int) -> None:
        """The scan stands before segment `number`, if there is one in its file."""
        while scan.number < number and next(iter(scan), None) is not None:
            pass

    def _settle_end(self, disk: Disk, chain: bytes) -> tuple[int, bytes]:
        """The count of segments that are whole, and the chain after them; they are durable.

        The last one may never have been acknowledged: its writer may have died before its fsync, or of its failure.
        After a failed fsync the system shows pages as clean that never reached the disk, and a second fsync would
        succeed without writing them. So the last frame is written once more, byte by byte the same, and then synced.
        """
        end = self._find_end()
        if end is None:
            return 0, chain
        fd = disk.open(end.path)
        try:
            write_durably(disk, fd, end.tail, end.tail_offset)
        finally:
            disk.close(fd)
        return end.segments, end.chain

    def _find_end(self) -> End | None:
        """Where the epoch stops being whole; None if nothing was written."""
        logs = self.logs()
        unfinished = logs.pop() if logs and never_finished(_read(logs[-1])) else None
        if not logs:
            return None
        path = logs[-1]
        data = _read(path)
        scan = self._scan(path, data)
        for _ in scan:
            pass
        if unfinished is not None and (scan.torn or unfinished != self.log_path(scan.number)):
            raise JournalCorrupt(
                f"{path}: segment {scan.number} of epoch {self.epoch}, at byte {scan.offset}, is damaged or missing; it "
                f"was acknowledged, for {unfinished.name} was begun after it. Restore the journal from a copy."
            )
        return End(scan.number, scan.chain, path, scan.last_offset, data[scan.last_offset : scan.offset])

    def _publish_seal(self, disk: Disk, end: tuple[int, bytes], by_epoch: int) -> None:
        """A seal is there, whole: this one, or that of somebody who was faster. The first one stays."""
        segments, chain = end
        body = msgspec.json.encode(Seal(SEAL_VERSION, self.epoch, segments, chain.hex()))
        draft = self.path / f"sealed.{by_epoch:08d}"
        disk.close(create_durably(disk, draft, body + b"\n"))
        try:
            disk.link(draft, self.path / "sealed")
        except FileExistsError:
            return
        disk.unlink(draft)

    def _scan(self, path: Path, data: bytes | None = None) -> FileScan:
        """The frames of a file. Raises JournalCorrupt if it belongs elsewhere."""
        scan = FileScan(_read(path) if data is None else data, str(path))
        if scan.head.epoch != self.epoch or path != self.log_path(scan.head.first):
            raise JournalCorrupt(
                f"{path}: it was written as file {scan.head.first:010d}.log of epoch {scan.head.epoch}; somebody has "
                f"renamed or copied it. Restore the journal from a copy."
            )
        return scan


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> JournalCorrupt:
    return JournalCorrupt(f"{path}: it cannot be read: {error.strerror}.")
