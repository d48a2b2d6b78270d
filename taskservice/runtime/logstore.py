"""Tasks' logs on disk: chunks of text, in files named by tenant, task, run and attempt."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from taskservice.core.types import TaskId, TenantId


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of one attempt's log."""

    run: int
    attempt: int
    text: str
    number: int = 0
    """Chunks of one attempt are in order of it."""


class LogStore:
    """Logs below one folder. Writers append chunks; a reader sees whole chunks only, in order."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def append(self, tenant: TenantId, id: TaskId, run: int, attempt: int, chunk: int, text: bytes) -> int:
        """The chunk is kept under its number, or, if that is taken, the next free one; gives that number.

        Raises OSError if it cannot be kept. Not fsynced: a log may lose its end with the power.
        """
        folder = self._folder(tenant, id)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{run:04d}-{attempt:04d}-{chunk:015d}.{os.getpid()}"
        unfinished.write_bytes(text)
        try:
            while not _named(unfinished, folder / f"{run:04d}-{attempt:04d}-{chunk:015d}"):
                chunk += 1
        finally:
            unfinished.unlink()
        return chunk

    def read(self, tenant: TenantId, id: TaskId) -> list[LogChunk]:
        """All chunks of the task, in the order of their attempts; empty if it has written nothing."""
        try:
            names = sorted(path.name for path in self._folder(tenant, id).iterdir())
        except FileNotFoundError:
            return []
        return [self._chunk(tenant, id, name) for name in names if not name.startswith(".")]

    def _chunk(self, tenant: TenantId, id: TaskId, name: str) -> LogChunk:
        run, attempt, number = name.split("-")
        text = (self._folder(tenant, id) / name).read_text(encoding="utf-8", errors="replace")
        return LogChunk(int(run), int(attempt), text, int(number))

    def _folder(self, tenant: TenantId, id: TaskId) -> Path:
        return self._root / _safe(tenant) / _safe(id)


def _named(file: Path, name: Path) -> bool:
    """Whether the file has got this name as well; False if another file has it."""
    try:
        name.hardlink_to(file)
    except FileExistsError:
        return False
    return True


def _safe(name: str) -> str:
    """A file name that no other name has, and that leads nowhere else."""
    quoted = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
    return quoted if len(quoted) <= 250 else f"{quoted[:180]}~{_digest(name)}"


def _digest(name: str) -> str:
    import hashlib  # noqa: PLC0415 - only for names that hardly anybody has

    return hashlib.sha256(name.encode()).hexdigest()[:32]
