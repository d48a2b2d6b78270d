"""A segment's body: records as bytes, and back.

One byte says the format, then comes msgpack. The records are tagged arrays (see `core.records`), so a field appended
with a default needs no new format; a change that an older reader would misunderstand does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from taskservice.core.records import Record
from taskservice.journal import JournalCorrupt

FORMAT = 1
"""Of the bodies written now. Lower ones are read for ever; there are none yet."""

_PREFIX = bytes([FORMAT])
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


def encode(records: Sequence[Record]) -> bytes:
    """The body of a segment that holds `records`, in their order."""
    return _PREFIX + _encoder.encode(records)


def decode(body: bytes) -> list[Record]:
    """The records that `encode` was given. Raises JournalCorrupt if this is not such a body, or a newer one."""
    if not body:
        raise JournalCorrupt("A segment's body is empty: not even its format is there.")
    if body[0] > FORMAT:
        raise JournalCorrupt(
            f"A segment has format {body[0]}, and this version reads up to {FORMAT}: a newer version of taskservice "
            f"wrote it. Start that version, or a later one."
        )
    if body[0] != FORMAT:
        raise JournalCorrupt(f"A segment claims format {body[0]}, which never existed.")
    try:
        return _decoder.decode(memoryview(body)[1:])
    except msgspec.MsgspecError as error:
        raise JournalCorrupt(f"A segment's records cannot be read: {error}") from error
