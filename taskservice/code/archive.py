"""An app's code as one object: a tar of plain files, compressed with zstandard.

    tar zstd    shop/__init__.py    shop/tasks.py    ...        in the order of their names, each once

Its name is a hash of what is in it (paths, whether a file may be executed, bytes), and not of the tar: so the same files have
the same name, whatever packed them. Nothing but plain files can be in one: who reads it meets no link, no device and no path
that leads elsewhere, for those are refused before a byte of them is used.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import zstandard

FILES_MAX = 10_000
PATH_BYTES_MAX = 500
NAME_BYTES_MAX = 200
ZSTD_LEVEL = 6
WINDOW_BYTES_MAX = 1 << 27
"""Memory that an archive may ask for to be decompressed."""

_NOT_AN_ARCHIVE = (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError, OverflowError)


class BadArchive(Exception):
    """It is no archive of ours, or not what its name says; the message says why."""


class Entry(NamedTuple):
    """One file."""

    path: str
    """Relative, with slashes."""
    data: bytes
    executable: bool = False


class Packed(NamedTuple):
    """An archive."""

    data: bytes
    sha256: str
    """Of what is in it."""


def pack(entries: Iterable[Entry]) -> Packed:
    """The archive of these files; the same for the same files. Raises BadArchive for what cannot be in one."""
    digest, names, file = _Digest(), _Names(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries):
            names.take(entry.path)
            digest.add(entry)
            member = tarfile.TarInfo(entry.path)
            member.size, member.mode = len(entry.data), 0o755 if entry.executable else 0o644
            tar.addfile(member, io.BytesIO(entry.data))
    return Packed(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(file.getvalue()), digest.hex())


def entries(data: bytes, unpacked_bytes_max: int) -> Iterator[Entry]:
    """The files of an archive, in order. Raises BadArchive, at the latest where something is wrong: what was given before
    that may have been anything."""
    names = _Names()
    try:
        stream = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(data)
        with tarfile.open(fileobj=_Bounded(stream, unpacked_bytes_max), mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    raise BadArchive(f"{member.name!r:.200} is no plain file: links and the like are not taken")
                names.take(member.name)
                content = tar.extractfile(member)
                found = b"" if content is None else content.read()
                if len(found) != member.size:
                    raise BadArchive(f"{member.name!r:.200} ends too early")
                yield Entry(member.name, found, bool(member.mode & 0o100))
    except _NOT_AN_ARCHIVE as error:
        raise BadArchive(f"it is no tar in zstandard: {error}") from error


def content_sha256(data: bytes, unpacked_bytes_max: int) -> str:
    """The name of what is in the archive, all of which has been looked at. Raises BadArchive."""
    digest = _Digest()
    for entry in entries(data, unpacked_bytes_max):
        digest.add(entry)
    return digest.hex()


def checked(data: bytes, sha256: str, unpacked_bytes_max: int) -> Iterator[Entry]:
    """The files of an archive; BadArchive is raised instead of an end if they are not those that the name says."""
    digest = _Digest()
    for entry in entries(data, unpacked_bytes_max):
        digest.add(entry)
        yield entry
    if digest.hex() != sha256:
        raise BadArchive(f"it holds other files than {sha256}: it has been damaged, or changed")


class _Digest:
    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, entry: Entry) -> None:
        path = entry.path.encode()
        self._sha256.update(b"%d:%s %d %d:" % (len(path), path, entry.executable, len(entry.data)))
        self._sha256.update(entry.data)

    def hex(self) -> str:
        return self._sha256.hexdigest()


class _Names:
    """The paths that an archive has had so far."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._last = ""

    def take(self, path: str) -> None:
        """One more; raises BadArchive if it cannot stand in an archive, or not there."""
        parts = path.split("/")
        try:
            too_long = len(path.encode()) > PATH_BYTES_MAX or max(len(part.encode()) for part in parts) > NAME_BYTES_MAX
        except UnicodeEncodeError:
            raise BadArchive(f"{path!r:.200} is not UTF-8") from None
        if too_long:
            message = f"{path!r:.200} is too long: {PATH_BYTES_MAX} bytes at most, {NAME_BYTES_MAX} for each name in it"
            raise BadArchive(message)
        if any(part in {"", ".", ".."} for part in parts) or "\\" in path or not path.isprintable():
            raise BadArchive(f"{path!r:.200} is no path inside the app's folder")
        if self._last and path <= self._last:
            raise BadArchive(f"{path!r:.200} is there twice, or not in its place")
        if any("/".join(parts[:depth]) in self._files for depth in range(1, len(parts))):
            raise BadArchive(f"{path!r:.200} is in a folder that is a file")
        self._last = path
        self._files.add(path)
        if len(self._files) > FILES_MAX:
            raise BadArchive(f"it has more than {FILES_MAX} files")


class _Bounded:
    """A stream that ends in BadArchive when it has given too much."""

    def __init__(self, stream: zstandard.ZstdDecompressionReader, bytes_max: int) -> None:
        self._stream = stream
        self._bytes_max = self._left_bytes = bytes_max

    def read(self, size: int) -> bytes:
        found: bytes = self._stream.read(min(size, self._left_bytes + 1))
        self._left_bytes -= len(found)
        if self._left_bytes < 0:
            raise BadArchive(f"it has more than {self._bytes_max} bytes when it is unpacked (code_unpacked_bytes_max)")
        return found
