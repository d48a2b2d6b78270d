"""A bundle of logs: pieces in the order of their tasks, in compressed blocks, and in front of them a directory.

    magic, length of the directory  |  directory: first and last task of each block, where it begins and ends  |  blocks

So what one task has in it is read with two requests, whatever else is in it: the head, and the blocks of that task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
import zstandard
from msgspec import Struct

from taskservice.core.types import TaskNo, TenantId
from taskservice.logs.pieces import Framed, Piece, decode_piece, framed, unframe

MAGIC = b"tslog1\n\0"
BLOCK_BYTES = 64 * 1024
"""A block is closed when it has so many bytes, before it is compressed."""
HEAD_BYTES = 16 * 1024
"""What is read of a bundle first: its directory, unless it is very large."""
BLOCK_BYTES_MAX = 1 << 30
ZSTD_LEVEL = 1

_FIXED = len(MAGIC) + 4


class BundleDamaged(Exception):
    """The bytes are no bundle, or not what was written."""


class Block(Struct, frozen=True, array_like=True):
    """Where pieces of some tasks are."""

    first_no: TaskNo
    last_no: TaskNo
    start: int
    """From the end of the directory."""
    end: int


Get = Callable[[int, int], bytes]
"""Bytes of the bundle from the first number up to the second (exclusive), or its end."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(list[Block]).decode


def make_bundle(pieces: Iterable[Framed]) -> bytes:
    """The bundle of these pieces; those of one task stay in their order."""
    blocks: list[Block] = []
    bodies: list[bytes] = []
    compress = zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True).compress
    at = 0
    for nos, raw in _grouped(sorted(pieces, key=lambda piece: piece.no)):
        body = compress(raw)
        blocks.append(Block(nos[0], nos[1], at, at + len(body)))
        bodies.append(body)
        at += len(body)
    directory = _encode(blocks)
    return b"".join([MAGIC, len(directory).to_bytes(4, "little"), directory, *bodies])


def read_bundle(get: Get, tenant: TenantId, no: TaskNo) -> list[Piece]:
    """What the tenant's task has in the bundle, in order. Raises BundleDamaged, and what `get` raises."""
    head = get(0, HEAD_BYTES)
    if len(head) < _FIXED or not head.startswith(MAGIC):
        raise BundleDamaged("it does not begin as a bundle of logs does")
    begin = _FIXED + int.from_bytes(head[len(MAGIC) : _FIXED], "little")
    if begin > len(head):
        head += get(len(head), begin)
    try:
        blocks = [block for block in _decode(head[_FIXED:begin]) if block.first_no <= no <= block.last_no]
        if not blocks:
            return []
        start, end = begin + blocks[0].start, begin + blocks[-1].end
        data = head[start:end] if end <= len(head) else get(start, end)
        base = blocks[0].start
        raw = b"".join(_expand(data[block.start - base : block.end - base]) for block in blocks)
        pieces = [decode_piece(piece.body) for piece in unframe(raw) if piece.no == no]
    except (msgspec.MsgspecError, zstandard.ZstdError, ValueError) as error:
        raise BundleDamaged(str(error)) from error
    return [piece for piece in pieces if piece.tenant == tenant]


def _expand(block: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(block, max_output_size=BLOCK_BYTES_MAX)


def _grouped(pieces: list[Framed]) -> Iterator[tuple[tuple[TaskNo, TaskNo], bytes]]:
    """The pieces' frames in blocks, each with its first and its last task."""
    block: list[bytes] = []
    size, first = 0, TaskNo(0)
    for at, piece in enumerate(pieces):
        if not block:
            size, first = 0, piece.no
        block.append(framed(piece))
        size += len(piece.body)
        if size >= BLOCK_BYTES or at == len(pieces) - 1:
            yield (first, piece.no), b"".join(block)
            block = []
