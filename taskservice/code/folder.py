"""What of a folder is an app's code: all its files, but for those that are none, or are not to leave this machine.

Left out without a word: hidden files and folders (`.git`, `.venv`, `.env`), `__pycache__`, `node_modules`, virtual
environments, compiled files, and what `.taskserviceignore` names: a pattern on each line, such as `data/*`, `*.csv` or
`notes/*.md`. Left out and told: files that are too large, and links that lead out of the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from taskservice.code.archive import FILES_MAX, BadArchive, Entry, Packed, pack
from taskservice.errors import RequestError

IGNORE_FILE = ".taskserviceignore"
FILE_BYTES_MAX = 10 << 20
"""A larger file is left out: it is data rather than code, and is read from where data is."""
_IGNORED = ("__pycache__", "node_modules", "*.pyc", "*.pyo", "*.egg-info")


class LeftOut(NamedTuple):
    """A file that somebody might miss."""

    path: str
    why: str


class Survey(NamedTuple):
    """What there is in a folder."""

    folder: Path
    files: tuple[Path, ...]
    """Relative to the folder, in order."""
    size_bytes: int
    left_out: tuple[LeftOut, ...]


def survey(folder: Path, unpacked_bytes_max: int, outside: Iterable[Path] = ()) -> Survey:
    """The folder's code; nothing is read but names and sizes. `outside`: folders that are none of it, wherever they are.

    Raises RequestError if the folder is none, or has too much.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder", code="bad_app")
    files: list[Path] = []
    left_out: list[LeftOut] = []
    size_bytes = 0
    for path in _found(folder, _patterns(folder), frozenset(map(os.path.realpath, outside))):
        name = path.relative_to(folder)
        why, bytes_ = _why_not(path, folder)
        if why:
            left_out.append(LeftOut(name.as_posix(), why))
            continue
        files.append(name)
        size_bytes += bytes_
        if len(files) > FILES_MAX:
            raise _too_much(folder, f"has more than {FILES_MAX} files")
        if size_bytes > unpacked_bytes_max:
            raise _too_much(folder, f"has more than {unpacked_bytes_max} bytes (code_unpacked_bytes_max)")
    return Survey(folder, tuple(sorted(files)), size_bytes, tuple(left_out))


def packed(found: Survey, bytes_max: int) -> Packed:
    """The folder's code as an archive. Raises RequestError if it is too large, or a file's name cannot be in one."""
    try:
        archive = pack(_read(found.folder / name, name.as_posix()) for name in found.files)
    except BadArchive as error:
        raise RequestError(f"{found.folder} cannot be packed: {error}", code="bad_app") from error
    except OSError as error:
        raise RequestError(f"{found.folder} cannot be read: {error}", code="bad_app") from error
    if len(archive.data) > bytes_max:
        raise _too_much(found.folder, f"packed has {len(archive.data)} bytes, at most {bytes_max} (code_bytes_max)")
    return archive


def _read(path: Path, name: str) -> Entry:
    return Entry(name, path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))


def _found(folder: Path, patterns: list[str], outside: frozenset[str]) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(each for each in folders if _is_code_folder(place / each, folder, patterns, outside))
        for name in sorted(names):
            if not _ignored(place / name, folder, patterns):
                yield place / name
        for each in [each for each in folders if (place / each).is_symlink()]:
            folders.remove(each)
            yield place / each


def _is_code_folder(path: Path, folder: Path, patterns: list[str], outside: frozenset[str]) -> bool:
    if _ignored(path, folder, patterns, is_folder=True):
        return False
    return os.path.realpath(path) not in outside and not (path / "pyvenv.cfg").exists()


def _ignored(path: Path, folder: Path, patterns: list[str], *, is_folder: bool = False) -> bool:
    if path.name.startswith(".") or any(fnmatchcase(path.name, each) for each in _IGNORED):
        return True
    name = path.relative_to(folder).as_posix()
    for pattern in patterns:
        wanted = pattern.rstrip("/")
        if pattern.endswith("/") and not is_folder:
            continue
        if fnmatchcase(name, wanted.lstrip("/")) or ("/" not in wanted and fnmatchcase(path.name, wanted)):
            return True
    return False


def _patterns(folder: Path) -> list[str]:
    try:
        lines = (folder / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{folder / IGNORE_FILE} cannot be read: {error}", code="bad_app") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _why_not(path: Path, folder: Path) -> tuple[str, int]:
    """Why the file is left out, if it is; and its size."""
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if path.is_symlink() and not inside:
        return "it is a link to outside the folder", 0
    try:
        found = path.stat()
    except OSError as error:
        return f"it cannot be read: {error.strerror}", 0
    if not stat.S_ISREG(found.st_mode):
        return "it is no plain file", 0
    if found.st_size > FILE_BYTES_MAX:
        return f"it has {found.st_size} bytes, a file of code at most {FILE_BYTES_MAX}", 0
    return "", found.st_size


def _too_much(folder: Path, what: str) -> RequestError:
    message = f"{folder} {what}: give the folder of the app's code alone (--path), or name what is no code in {folder / IGNORE_FILE}"
    return RequestError(message, code="code_too_large")
