"""The page of an attempt that runs: a file with all that it has written, from which it is followed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from taskservice.logs.pieces import Piece, Written, decode_piece, frame, read_page, unframe

READ_BYTES_MAX = 4 << 20
"""What is read of a page at once by somebody who follows it."""


class Page(NamedTuple):
    """A part of a page."""

    written: tuple[Written, ...]
    at: int
    """Where the next part begins."""


def start_page(path: Path, piece: Piece) -> int:
    """The page is there, and says whose it is, as a piece in which nothing is written; gives how many bytes that takes."""
    head = frame(piece)
    path.write_bytes(len(head).to_bytes(4, "little") + head)
    return 4 + len(head)


def read_from(path: Path, at: int, bytes_max: int = -1) -> Page:
    """What the page says from there on; 0: from its beginning. Raises OSError."""
    with path.open("rb") as file:
        if not at:
            at = 4 + int.from_bytes(file.read(4), "little")
        file.seek(at)
        written, size = read_page(file.read(bytes_max))
    return Page(tuple(written), at + size)


def owner_of(path: Path) -> Piece | None:
    """The piece with which the page was started; None if that is not there in whole. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(int.from_bytes(file.read(4), "little"))
    return next((decode_piece(piece.body) for piece in unframe(head)), None)
