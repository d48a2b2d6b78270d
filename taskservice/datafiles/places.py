"""Files to be read: by path, pattern or folder, from stdin, or from a bucket."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from taskservice.datafiles.formats import Format, format_of, is_data, is_note
from taskservice.errors import RequestError

STDIN = "-"
BLOCK_BYTES = 1 << 20


@dataclass(slots=True)
class Opened:
    """A file that is open. `mark` says which state of it this is: another one than the first means that it was changed."""

    file: BinaryIO
    size_bytes: int
    mark: Callable[[], object]
    first_mark: object = None

    def __post_init__(self) -> None:
        self.first_mark = self.mark()

    def digest(self) -> str:
        """Of the whole content: two files with other bytes have another one. The file is at its beginning again."""
        digest = hashlib.sha256()
        while block := self.file.read(BLOCK_BYTES):
            digest.update(block)
        self.file.seek(0)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """A file of rows."""

    name: str
    format: Format
    open: Callable[[], Opened]
    """Raises RequestError if it cannot be read."""


def sources_of(location: str | os.PathLike[str], said: str | None) -> list[Source]:
    """The files there, in order of their names. Raises RequestError if there are none, or one that cannot be read.

    `location`: a path, a pattern with `*`, `?` or `[...]`, a folder (all files of rows in it), `-`, or any of these but stdin
    after `s3://bucket/`.
    """
    place = os.fspath(location)
    if place == STDIN:
        if said is None:
            raise RequestError("Say in which format the rows on stdin are.", code="bad_format")
        return [Source("stdin", format_of(STDIN, said), _open_stdin)]
    if place.startswith("s3://"):
        from taskservice.datafiles import bucket  # noqa: PLC0415 - boto3 takes long to import

        found = [(name, bucket.opener(name)) for name in bucket.names(place)]
    else:
        found = [(str(path), _opener(path)) for path in _paths(place)]
    if not found:
        raise RequestError(f"There is no file at {place}.", code="no_file")
    return [Source(name, format_of(name, said), opener) for name, opener in found]


def is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _paths(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file() and is_data(each.name))
    if path.exists() or not is_pattern(place):
        return [path]
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no pattern that begins at the root
    return sorted(Path(each) for each in found if Path(each).is_file() and not is_note(each))


def _opener(path: Path) -> Callable[[], Opened]:
    def open_path() -> Opened:
        try:
            file = path.open("rb")
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror}", code="no_file") from error
        if not file.seekable():
            with file:
                return _kept(file)

        def mark() -> object:
            now = os.fstat(file.fileno())
            return now.st_size, now.st_mtime_ns

        return Opened(file, os.fstat(file.fileno()).st_size, mark)

    return open_path


def _open_stdin() -> Opened:
    return _kept(sys.stdin.buffer)


def _kept(stream: BinaryIO) -> Opened:
    """What can be read but once, in a temporary file: ids are made of all of it, and Parquet begins at its end."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - whoever opened it closes it
    while block := stream.read(BLOCK_BYTES):
        kept.write(block)
    size_bytes = kept.tell()
    kept.seek(0)
    return Opened(kept, size_bytes, lambda: size_bytes)
