"""Whether what is kept is whole: each checkpoint, each segment from the older checkpoint on, and what they say of each other."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec import Struct

from taskservice.core.check import Corrupt, check
from taskservice.journal import JournalCorrupt
from taskservice.journal import chunks as chunk_files
from taskservice.journal.checkpoint import CheckpointDamaged, Chunk, Index
from taskservice.journal.folding import Folding, Progress, decode_at, difference, quiet
from taskservice.journal.manifest import CheckpointRef
from taskservice.journal.reader import Moved, Reader, standing


class Verified(Struct):
    """What was looked at, and what is wrong with it."""

    url: str
    log: str = ""
    manifest: int = 0
    checkpoints: list[str] = []
    """Those that are whole, the newest first."""
    chunks: int = 0
    segments: int = 0
    records: int = 0
    bodies_bytes: int = 0
    first: tuple[int, int] = (0, 0)
    """Epoch and number of the first segment that was read."""
    last: tuple[int, int] = (0, 0)
    deep: bool = False
    """Whether the checkpoints were compared with the segments."""
    damage: list[str] = []
    """The first that was found in each checkpoint, and in the segments: where, and what."""


def verify(reader: Reader, *, deep: bool = False, progress: Progress = quiet) -> Verified:
    """All that is kept has been read; `damage` says whether it is whole.

    `deep`: the older checkpoint and the segments between make the newer one, and no segment contradicts what is before it.
    That takes room for two tables in the folder for temporary files. Raises what the store raises, and Moved.
    """
    return reader.undisturbed(lambda: _verify(reader, deep, progress))


def _verify(reader: Reader, deep: bool, progress: Progress) -> Verified:
    found = Verified(reader.store.url, deep=deep)
    if reader.manifest is not None:
        found.log, found.manifest = reader.manifest.log, reader.manifest.number
    refs = standing(reader)
    whole = [ref for ref in refs if _is_whole(reader, ref, found, progress)]
    found.checkpoints = [ref.key for ref in whole]
    try:
        _read_segments(reader, refs, found, progress)
        if deep and not found.damage:
            _fold(reader, whole, progress)
    except JournalCorrupt as error:
        found.damage.append(str(error))
    if found.damage and reader.is_moved():
        raise Moved("what seemed damaged may only have been removed")
    return found


def _is_whole(reader: Reader, ref: CheckpointRef, found: Verified, progress: Progress) -> bool:
    lock = threading.Lock()

    def seen(_chunk: Chunk, _object: bytes) -> None:
        with lock:
            found.chunks += 1
            progress("chunks read", found.chunks, 0)

    try:
        index: Index = chunk_files.check(reader.store, ref, stop=threading.Event(), seen=seen)
        if reader.manifest is not None and index.log != reader.manifest.log:
            raise CheckpointDamaged(f"{reader.store.url}: {ref.key} belongs to another log.")
    except CheckpointDamaged as error:
        found.damage.append(str(error))
        return False
    return True


def _read_segments(reader: Reader, refs: list[CheckpointRef], found: Verified, progress: Progress) -> None:
    """Raises JournalCorrupt at the first that is not as it was, or if a checkpoint is not of this log."""
    chains = {(ref.epoch, ref.segment): ref for ref in refs}
    start = reader.start
    chains.pop(start[:2], None)  # the first segment that is read has to follow it
    found.last = start[:2]
    for kept in reader.segments():
        found.segments += 1
        found.bodies_bytes += len(kept.body)
        found.records += len(decode_at(kept))
        found.first = found.first if found.segments > 1 else kept.place
        found.last = kept.place
        ref = chains.pop(kept.place, None)
        if ref is not None and kept.chain.hex() != ref.chain:
            raise JournalCorrupt(f"{ref.key}: the segments up to its place are not those that it was made from.")
        progress("segments read", found.segments, 0)
    for place, ref in chains.items():
        raise JournalCorrupt(
            f"{ref.key}: the segments end at {found.last[0]}/{found.last[1]}, before {place[0]}/{place[1]}."
        )


def _fold(reader: Reader, whole: list[CheckpointRef], progress: Progress) -> None:
    """The state goes from the beginning to the end, and is at each checkpoint as that says. Raises JournalCorrupt if not."""
    ways = _ways(reader, whole)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskservice-verify-")))
        state = stack.enter_context(closing(Folding(reader, next(ways), folder / "older.sqlite")))
        for newer in ways:
            assert newer is not None
            state.go_on((newer.epoch, newer.segment), progress)
            with closing(Folding(reader, newer, folder / "newer.sqlite")) as other:
                unlike = difference(state.state, other.state, progress)
            if unlike:
                raise JournalCorrupt(
                    f"{newer.key}: the checkpoint before it and the segments between say otherwise. {unlike}"
                )
        state.go_on(progress=progress)
        try:
            check(state.state)
        except Corrupt as error:
            raise JournalCorrupt(f"{reader.store.url}: what the log comes to contradicts itself: {error}") from error


def _ways(reader: Reader, whole: list[CheckpointRef]) -> Iterator[CheckpointRef | None]:
    """Where the state is begun, and what it has to be like on the way."""
    oldest_first = list(reversed(whole))
    if reader.start.epoch == 0:
        yield None
    yield from oldest_first
