"""The way to the code for a user who has none: where folders above it are closed to others, as root's home mostly is.

A process that may mount gets a view of its own of such a folder: an empty one in its place, with nothing in it but the
way to the code. So what else is in there is not only closed, but not to be seen.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18


class Cover(Struct, frozen=True):
    """A closed folder, and what of it is to be reached."""

    folder: str
    shown: tuple[str, ...]


class Unreachable(Exception):
    """Others cannot read it, and no view helps: its own mode says so. `path`: which."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is closed to other users")
        self.path = path


def covers_for(paths: Iterable[Path]) -> tuple[Cover, ...]:
    """What is to be covered so that everybody can read these folders; nothing if they can anyway.

    Raises Unreachable if one is closed itself.
    """
    shown: dict[Path, set[Path]] = {}
    for path in sorted({way for each in paths if each.is_dir() for way in (each, each.resolve())}):
        if not _open_to_all(path, stat.S_IROTH | stat.S_IXOTH):
            raise Unreachable(path)
        closed = [folder for folder in _above(path) if not _open_to_all(folder, stat.S_IXOTH)]
        if closed:
            if closed[0] == Path("/"):
                raise Unreachable(closed[0])
            shown.setdefault(closed[0], set()).add(path)
    return tuple(
        Cover(str(folder), tuple(map(str, sorted(_outermost(wanted))))) for folder, wanted in sorted(shown.items())
    )


def _outermost(wanted: set[Path]) -> Iterator[Path]:
    """Those that are not shown with another one. Raises Unreachable for one that a folder in between hides."""
    for path in wanted:
        around = [other for other in wanted if other in path.parents]
        if not around:
            yield path
            continue
        between = [folder for folder in _above(path) if around[0] in folder.parents]
        if not all(_open_to_all(folder, stat.S_IXOTH) for folder in between):
            raise Unreachable(path)


def _above(path: Path) -> Iterator[Path]:
    """The folders above it, from the root down."""
    return reversed(path.parents)


def _open_to_all(path: Path, bits: int) -> bool:
    return path.stat().st_mode & bits == bits


def show(covers: Iterable[Cover]) -> None:
    """This process, and what it starts, sees of these folders what is shown of them. Raises OSError if it may not mount."""
    libc, here = ctypes.CDLL(None, use_errno=True), Path.cwd()
    _done("unshare", libc.unshare(_CLONE_NEWNS))
    _mount(libc, "none", Path("/"), _MS_REC | _MS_PRIVATE)
    opened = [
        (Path(cover.folder), [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in map(Path, cover.shown)])
        for cover in covers
    ]
    umask = os.umask(0o022)
    for folder, ways in opened:
        _mount(libc, "tmpfs", folder, _MS_NOSUID | _MS_NODEV, kind=b"tmpfs", data=b"mode=0755,size=64k")
        for path, descriptor in ways:
            path.mkdir(parents=True, exist_ok=True)
            _mount(libc, f"/proc/self/fd/{descriptor}", path, _MS_BIND | _MS_REC)
            os.close(descriptor)
    os.umask(umask)
    os.chdir(here)  # the same folder, as it is seen now


def _mount(
    libc: ctypes.CDLL, source: str, target: Path, flags: int, kind: bytes | None = None, data: bytes | None = None
) -> None:
    _done(f"mount on {target}", libc.mount(source.encode(), os.fsencode(target), kind, ctypes.c_ulong(flags), data))


def _done(what: str, result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
