"""A checkpoint: the working table's file, kept in the store in chunks, of which only those that changed are new.

    checkpoint/00000003-0000000042      its index: which chunks make the file
    chunk/00000003-0000000042/000007    a chunk, compressed: first needed by this checkpoint, perhaps by later ones too

Both names hold the position, and that holds the epoch. So each is written by one owner of the log, at most once, and is
never given to anything else after it was removed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from taskservice.journal import JournalError
from taskservice.journal.manifest import CheckpointRef
from taskservice.objects import NoSuchObject, ObjectStore

INDEX_PREFIX = "checkpoint/"
CHUNK_PREFIX = "chunk/"
VERSION = 1
CHUNK_BYTES = 1024 * 1024
DIGEST_BYTES = 16
_PLACE = re.compile(r"(?:checkpoint|chunk)/([0-9]{8,})-([0-9]{10,})(?:/[0-9]{6,})?")


class CheckpointDamaged(JournalError):
    """A checkpoint cannot be read back. There is an older one; and the segments from there on."""


class Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""

    key: str
    digest: str
    """Of its bytes as they are in the file: blake2b, 16 bytes, in hexadecimal."""


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint consists of. Kept as JSON, for people to read."""

    version: int
    log: str
    """Which log it belongs to (see `manifest`)."""
    epoch: int
    segment: int
    chain: str
    file_bytes: int
    chunk_bytes: int
    """Of each chunk of the file but the last, which may be shorter."""
    chunks: tuple[Chunk, ...]

    @property
    def ref(self) -> CheckpointRef:
        """How a manifest refers to it."""
        return CheckpointRef(self.epoch, self.segment, self.chain, index_key(self.epoch, self.segment))

    @property
    def chunk_keys(self) -> set[str]:
        return {chunk.key for chunk in self.chunks}

    def length_of(self, place: int) -> int:
        """Bytes of the chunk at a place of the file."""
        return min(self.chunk_bytes, self.file_bytes - place * self.chunk_bytes)


class _Versioned(msgspec.Struct, frozen=True):
    """What an index of any version says."""

    version: int


class Place(NamedTuple):
    """Which checkpoint an object was made for."""

    epoch: int
    segment: int


def index_key(epoch: int, segment: int) -> str:
    return f"{INDEX_PREFIX}{epoch:08d}-{segment:010d}"


def chunks_prefix(epoch: int, segment: int) -> str:
    return f"{CHUNK_PREFIX}{epoch:08d}-{segment:010d}/"


def place_of(key: str) -> Place | None:
    """The place that the key of an index or a chunk names; None if it is of neither."""
    match = _PLACE.fullmatch(key)
    return Place(int(match[1]), int(match[2])) if match else None


def put_index(store: ObjectStore, index: Index) -> bytes | None:
    """The checkpoint is complete, but not published. Gives what is there if that is something else."""
    return store.put_if_absent(index.ref.key, msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")


def get_index(store: ObjectStore, ref: CheckpointRef) -> Index:
    """The index of a checkpoint. Raises CheckpointDamaged if it is not there, or is not what was put."""
    name = f"{store.url}: {ref.key}"
    try:
        data = store.get(ref.key)
        version = msgspec.json.decode(data, type=_Versioned).version
        if version > VERSION:
            raise CheckpointDamaged(f"{name}: a newer version of taskservice wrote it. Start that one, or a later one.")
        index = msgspec.json.decode(data, type=Index)
    except NoSuchObject:
        raise CheckpointDamaged(f"{name} is missing.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointDamaged(f"{name} is garbled or cut short: {error}.") from error
    if version != VERSION or index.ref != ref or not _is_sound(index):
        raise CheckpointDamaged(f"{name} is not the index of that checkpoint, or is garbled.")
    return index


def _is_sound(index: Index) -> bool:
    """Whether its numbers fit together."""
    if index.chunk_bytes < 1 or index.file_bytes < 0 or any(place_of(chunk.key) is None for chunk in index.chunks):
        return False
    return len(index.chunks) == -(-index.file_bytes // index.chunk_bytes)
