"""What an attempt has written, as it is kept on nodes and in bundles: lines with their times, in pieces.

A piece is everything that the attempt wrote so far, or what came after the piece before. In files pieces are framed: the
task's number and the length come first, so that they are sorted without being decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct as Packed
from typing import NamedTuple

import msgspec
from msgspec import Struct

from taskservice.core.types import TaskId, TaskNo, TenantId, Token

STREAM_CHARS_MAX = 16
SERVICE = "service"
"""The stream of what the service itself has to say in a log."""
OUTPUT = "output"
"""The stream of what came past Python's: from C code, subprocesses, and the interpreter when it dies."""

_HEAD = Packed("<QI")


class Written(Struct, frozen=True, array_like=True, gc=False):
    """What was written to one stream at one time: a line, a part of one, or several."""

    at_ms: int
    """0: that has no time; a remark of the service."""
    stream: str
    """`stdout`, `stderr`, a level of logging in lower case, OUTPUT or SERVICE."""
    text: bytes


class Piece(Struct, frozen=True, array_like=True):
    """What an attempt has written."""

    tenant: TenantId
    no: TaskNo
    id: TaskId
    run: int
    attempt: int
    token: Token
    """Of its lease: an attempt that is not charged is made again under the same number."""
    part: int
    """Pieces of one attempt are in order of it."""
    whole: bool
    """Whether everything before is in this one."""
    ended: bool
    """Whether this is the last one."""
    before: str
    """The place of the attempt's piece before; empty if it is whole."""
    previous: str
    """The link to the logs of the attempts before."""
    written: tuple[Written, ...]


class Framed(NamedTuple):
    """A piece that is not decoded."""

    no: TaskNo
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_encode_written = msgspec.msgpack.Encoder().encode
decode_piece = msgspec.msgpack.Decoder(Piece).decode
_decode_written = msgspec.msgpack.Decoder(Written).decode


def frame(piece: Piece) -> bytes:
    """The piece, as it stands in files."""
    return framed(Framed(piece.no, _encode(piece)))


def framed(piece: Framed) -> bytes:
    """The same, of one that is encoded."""
    return _HEAD.pack(piece.no, len(piece.body)) + piece.body


def unframe(data: bytes) -> Iterator[Framed]:
    """The pieces, up to one that is cut short: what a writer has not finished."""
    at, view = 0, memoryview(data)
    while at + _HEAD.size <= len(view):
        no, size = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        if at + size > len(view):
            return
        yield Framed(TaskNo(no), bytes(view[at : at + size]))
        at += size


def write_page(written: list[Written]) -> bytes:
    """What was written, as the page of an attempt that runs has it."""
    bodies = [_encode_written(each) for each in written]
    return b"".join(len(body).to_bytes(4, "little") + body for body in bodies)


def read_page(data: bytes) -> tuple[list[Written], int]:
    """What a page says, and how many bytes of it were read: all but what its writer has not finished."""
    found: list[Written] = []
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            break
        found.append(_decode_written(data[at + 4 : end]))
        at = end
    return found, at
