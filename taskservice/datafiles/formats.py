"""The formats of files, and what is read of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

from taskservice.errors import RequestError


class Format(Enum):
    """How rows are written in a file."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
    ARROW = "arrow"


_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}
PACKED_SUFFIXES = (".gz", ".zst")
"""Of CSV and JSON lines that are compressed; the others compress by themselves."""
REFUSED_SUFFIX = ".refused.jsonl"
"""Of what an import tells of rows that it could not bring: never meant by a folder or a pattern."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, numbered from 1; a header has no number."""

    number: int
    value: Mapping[str, Any]
    problem: str = ""
    """Why it could not be read; then it has no value."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, and how much of the file has been read with them, from 0 to 1."""

    rows: list[Row]
    read_ratio: float


def suffix_of(name: str) -> str:
    """The last suffix but those of compression, in lower case."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in PACKED_SUFFIXES else path.suffix


def is_data(name: str) -> bool:
    """Whether the name says that it is a file of rows. Hidden ones, and those that begin with `_`, are notes about others."""
    return suffix_of(name) in _SUFFIXES and not is_note(name)


def is_note(name: str) -> bool:
    return PurePosixPath(name).name.startswith((".", "_")) or name.endswith(REFUSED_SUFFIX)


def format_of(name: str, said: str | None) -> Format:
    """The format that was said, else the one that the name says. Raises RequestError if neither says one."""
    if said is not None:
        try:
            return Format(said)
        except ValueError:
            known = ", ".join(each.value for each in Format)
            raise RequestError(f"There is no format {said!r}: there are {known}.", code="bad_format") from None
    found = _SUFFIXES.get(suffix_of(name))
    if found is None:
        message = (
            f"{name} does not say what it is: give the format, or a name such as tasks.parquet, .csv, .jsonl, .arrow."
        )
        raise RequestError(message, code="bad_format")
    return found
