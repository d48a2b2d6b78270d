"""Rows that did not become tasks: what is told of each, and the file that has them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Self

from taskservice.client.requests import to_json
from taskservice.errors import RequestError, TaskServiceError

_LINE = re.compile(r"^Line \d+: ")
"""What the service says of a line of the request: not of the file."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that did not become a task, and why."""

    file: str
    row: int
    """From 1; in JSON lines it is the line."""
    id: str | None
    code: str
    message: str
    detail: str

    @classmethod
    def of(cls, file: str, row: int, id: str | None, error: TaskServiceError) -> Self:
        return cls(file, row, id, error.code, _LINE.sub("", error.message), error.detail)


class RefusalFile:
    """JSON lines, one for each refusal. There is no file while there are none, or if none is wanted."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self._file: BufferedWriter | None = None

    @property
    def name(self) -> str | None:
        return None if self._path is None else str(self._path)

    def clear(self) -> None:
        """What an earlier run wrote there is gone."""
        if self._path is not None and self._path.is_dir():
            raise RequestError(f"{self._path} is a folder; refused rows are told in a file.", code="bad_report")
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def write(self, refusals: Sequence[Refusal]) -> None:
        """They are in the file, for whoever looks while the import goes on."""
        if self._path is None:
            return
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.writelines(to_json(asdict(each)) + b"\n" for each in refusals)
            self._file.flush()
        except OSError as error:
            raise RequestError(f"{self._path} cannot be written: {error.strerror}", code="bad_report") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
