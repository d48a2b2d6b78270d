"""A segment's body: records as bytes, and back.

One byte says the format, then comes msgpack: as it is (1), or compressed with zstd where that is worth it (2). The records are tagged arrays (see `core.records`), so a field appended
with a default needs no new format; a change that an older reader would misunderstand does.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import zstandard

from taskservice.core.records import Record
from taskservice.journal import JournalCorrupt

PLAIN = 1
COMPRESSED = 2
FORMAT = COMPRESSED
"""The newest of the bodies written now. Lower ones are read for ever."""

GENERATION = 1
"""Of the records that are written now, as manifests have it: raised by the first change of a release that adds a record or
a field. An older version could read past what is new, and lose it with the next checkpoint; so it must not begin."""

COMPRESS_BYTES_MIN = 512
LEVEL = 1
"""Of zstd: 20,000 tasks of 200 bytes shrink to about a fifth, at some 500 MB/s."""
PLAIN_BYTES_MAX = 1 << 30
"""What a body may become again; no journal takes nearly as much."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])
_own = threading.local()


def encode(records: Sequence[Record]) -> bytes:
    """The body of a segment that holds `records`, in their order."""
    plain = _encoder.encode(records)
    if len(plain) < COMPRESS_BYTES_MIN:
        return bytes([PLAIN]) + plain
    return bytes([COMPRESSED]) + _compressor().compress(plain)


def decode(body: bytes) -> list[Record]:
    """The records that `encode` was given. Raises JournalCorrupt if this is not such a body, or a newer one."""
    if not body:
        raise JournalCorrupt("A segment's body is empty: not even its format is there.")
    rest = memoryview(body)[1:]
    if body[0] == COMPRESSED:
        rest = memoryview(_decompress(rest))
    elif body[0] > FORMAT:
        raise JournalCorrupt(
            f"A segment has format {body[0]}, and this version reads up to {FORMAT}: a newer version of taskservice "
            f"wrote it. Start that version, or a later one."
        )
    elif body[0] != PLAIN:
        raise JournalCorrupt(f"A segment claims format {body[0]}, which never existed.")
    try:
        return _decoder.decode(rest)
    except msgspec.MsgspecError as error:
        raise JournalCorrupt(f"A segment's records cannot be read: {error}") from error


def plain_bytes(body: bytes) -> int:
    """How many bytes the records of a body take when they are not compressed."""
    if body[:1] != bytes([COMPRESSED]):
        return len(body)
    return 1 + max(0, zstandard.frame_content_size(memoryview(body)[1:]))


def _decompress(data: memoryview) -> bytes:
    try:
        if zstandard.frame_content_size(data) > PLAIN_BYTES_MAX:
            raise JournalCorrupt(f"A segment claims to be more than {PLAIN_BYTES_MAX} bytes.")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise JournalCorrupt(f"A segment cannot be decompressed: {error}") from error


def _compressor() -> zstandard.ZstdCompressor:
    """This thread's own: segments may be encoded at the same time."""
    if not hasattr(_own, "compressor"):
        _own.compressor = zstandard.ZstdCompressor(level=LEVEL)
    compressor: zstandard.ZstdCompressor = _own.compressor
    return compressor
