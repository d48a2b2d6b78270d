"""Files that appear whole or not at all: under another name first, or as the parts of an upload."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from taskservice.errors import RequestError

STDOUT = "-"


class Target(Protocol):
    """Where files are to be. Of what was opened nothing is there before `commit`, and nothing after `abort`."""

    def open(self, name: str) -> BinaryIO:
        """A new file of a data set; "" is the only file of a target that is one."""
        ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...


def target_of(location: str | os.PathLike[str], *, is_folder: bool) -> Target:
    """The file or, if `is_folder`, the folder of files that is to be there. Raises RequestError.

    A file takes the place of one that was there; a folder has to be new, or empty.
    """
    place = os.fspath(location)
    if place.startswith("s3://"):
        return _BucketTarget(place)
    if place == STDOUT:
        if is_folder:
            raise RequestError("A data set of several files cannot go to stdout.", code="bad_target")
        return _Stdout()
    return _Folder(Path(place).expanduser()) if is_folder else _File(Path(place).expanduser())


def _beside(path: Path) -> Path:
    """A name that nobody has, on the same disk."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


class _Synced(io.FileIO):
    """A file that is on disk when it is closed."""

    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
        super().close()


def _created(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, io.BufferedWriter(_Synced(str(path), "xb"), 1 << 20))
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}", code="bad_target") from error


def _close(files: list[BinaryIO]) -> None:
    """They are closed, whatever the disk says of what was still to be written."""
    for file in files:
        with suppress(OSError):
            file.close()


class _File:
    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise RequestError(f"{path} is a folder or a device; name a file, or - for stdout.", code="bad_target")
        self._path = path.resolve()  # a link goes on to lead there
        self._part = _beside(self._path)
        self._files: list[BinaryIO] = []

    def open(self, name: str) -> BinaryIO:
        self._files.append(_created(self._part))
        return self._files[-1]

    def commit(self) -> None:
        self._part.replace(self._path)

    def abort(self) -> None:
        _close(self._files)
        self._part.unlink(missing_ok=True)


class _Folder:
    def __init__(self, path: Path) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            message = f"{path} is there already; a data set is written into a new folder, or an empty one."
            raise RequestError(message, code="bad_target")
        self._path = path
        self._part = _beside(path)
        self._files: list[BinaryIO] = []

    def open(self, name: str) -> BinaryIO:
        self._files.append(_created(self._part / name))
        return self._files[-1]

    def commit(self) -> None:
        self._part.mkdir(exist_ok=True)
        self._part.replace(self._path)

    def abort(self) -> None:
        _close(self._files)
        shutil.rmtree(self._part, ignore_errors=True)


class _BucketTarget:
    def __init__(self, url: str) -> None:
        from taskservice.datafiles import bucket  # noqa: PLC0415 - boto3 takes long to import

        bucket.split(url)
        self._bucket = bucket
        self._url = url
        self._s3 = bucket.client()
        self._uploads: list[Any] = []

    def open(self, name: str) -> BinaryIO:
        upload = self._bucket.Upload(self._s3, self._bucket.join(self._url, name))
        self._uploads.append(upload)
        return cast(BinaryIO, upload)

    def commit(self) -> None:
        """One object after the other: a reader may see some of a data set before the others."""
        for upload in self._uploads:
            upload.complete()

    def abort(self) -> None:
        for upload in self._uploads:
            upload.abort()


class _Stdout:
    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, _Unclosed(sys.stdout.buffer))

    def commit(self) -> None:
        sys.stdout.flush()

    def abort(self) -> None:
        """What was said was said."""


class _Unclosed(io.RawIOBase):
    """stdout, which outlives what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        if not self.closed:
            self._stream.flush()
