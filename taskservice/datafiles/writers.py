"""Rows into files: one, or one for each partition."""

from __future__ import annotations

import csv
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol, cast
from urllib.parse import quote

from taskservice.datafiles.formats import Format
from taskservice.datafiles.reading import needing_arrow
from taskservice.datafiles.targets import Target

Kind = Literal["text", "int", "float", "bool", "time", "tags", "json"]
"""`time`: ISO 8601 with a zone. `tags`: texts by name. `json`: any value, kept as JSON text where a file has columns."""

OPEN_MAX = 16
"""Files of a data set that are written at the same time; one that is needed again has a successor."""
ROWS_MAX = 4_096
TEXT_BYTES_MAX = 2 << 20
"""Of payloads and results that are kept in memory for one file, about, before they are written."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of what is written."""

    name: str
    kind: Kind


class Writer(Protocol):
    """Writes rows of one file; they have a value for each column, or none."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None:
        """All that was written is in the file, and the file is closed."""
        ...


def writer_of(format: Format, file: BinaryIO, columns: Sequence[Column], *, formulas: bool) -> Writer:
    """`formulas`: text in CSV is left alone that a spreadsheet would take for a formula."""
    if format is Format.CSV:
        return _CsvWriter(file, columns, formulas=formulas)
    if format is Format.JSONL:
        return _JsonWriter(file, columns)
    arrow: Writer = needing_arrow("column_writers").ColumnWriter(file, columns, format)
    return arrow


def json_text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def cell(value: object, kind: Kind, *, formulas: bool) -> str:
    """The value as a cell of CSV. Text that begins as a formula does begins with an apostrophe, unless `formulas`."""
    if value is None:
        return ""
    if kind in ("tags", "json", "bool"):
        return json_text(value)
    text = str(value)
    return f"'{text}" if kind == "text" and not formulas and text.startswith(_FORMULA) else text


class _CsvWriter:
    def __init__(self, file: BinaryIO, columns: Sequence[Column], *, formulas: bool) -> None:
        self._columns = columns
        self._formulas = formulas
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        self._csv = csv.writer(self._text)
        self._csv.writerow([column.name for column in columns])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._csv.writerow([cell(row.get(each.name), each.kind, formulas=self._formulas) for each in self._columns])

    def close(self) -> None:
        self._text.close()


class _JsonWriter:
    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._file = file

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = [json_text({name: row.get(name) for name in self._names}) for row in rows]
        self._file.write(("\n".join(lines) + "\n").encode(errors="replace"))

    def close(self) -> None:
        self._file.close()


class _Tap(io.RawIOBase):
    """A file until it is given up: then what a writer still has to say goes nowhere."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file: BinaryIO | None = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self._file is None else self._file.write(data)

    def close(self) -> None:
        if not self.closed and self._file is not None:
            self._file.close()
        super().close()

    def give_up(self) -> None:
        self._file = None


@dataclass(slots=True)
class _Shelf:
    """A file of a data set, and the rows that are still to be written to it."""

    tap: _Tap
    writer: Writer
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    text_bytes: int = 0


@dataclass(slots=True)
class Files:
    """What is written: one file, or with `partition` one or more for each of what it says of a row."""

    target: Target
    format: Format
    columns: Sequence[Column]
    partition: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]] | None = None
    """Names and values of the folders in which a row's file is."""
    formulas: bool = False
    _open: OrderedDict[str, _Shelf] = field(default_factory=OrderedDict)
    _begun: dict[str, int] = field(default_factory=dict)
    """By folder: how many files it has."""

    @property
    def files(self) -> int:
        return sum(self._begun.values())

    def write(self, rows: Sequence[Mapping[str, Any]], text_bytes: int) -> None:
        """The rows are in their files, or will be. `text_bytes`: what one of them takes, about."""
        for row in rows:
            folders = self.partition(row) if self.partition else ()
            shelf = self._shelf("/".join(f"{name}={quote(value, safe='')}" for name, value in folders))
            shelf.rows.append(row)
            shelf.text_bytes += text_bytes
            if len(shelf.rows) >= ROWS_MAX or shelf.text_bytes >= TEXT_BYTES_MAX:
                self._flush(shelf)

    def finish(self) -> None:
        """All files are there."""
        if not self._begun and self.partition is None:
            self._shelf("")
        while self._open:
            self._end(self._open.popitem(last=False)[1])
        self.target.commit()

    def abort(self) -> None:
        """Nothing is there."""
        for shelf in self._open.values():
            shelf.tap.give_up()
            shelf.writer.close()
        self._open.clear()
        self.target.abort()

    def _shelf(self, folder: str) -> _Shelf:
        shelf = self._open.get(folder)
        if shelf is not None:
            self._open.move_to_end(folder)
            return shelf
        if len(self._open) >= OPEN_MAX:
            self._end(self._open.popitem(last=False)[1])
        number = self._begun.get(folder, 0)
        self._begun[folder] = number + 1
        name = "" if self.partition is None else f"{folder}/part-{number:05d}.{self.format.value}"
        tap = _Tap(self.target.open(name))
        writer = writer_of(self.format, cast(BinaryIO, tap), self.columns, formulas=self.formulas)
        shelf = self._open[folder] = _Shelf(tap, writer)
        return shelf

    def _flush(self, shelf: _Shelf) -> None:
        if shelf.rows:
            shelf.writer.write(shelf.rows)
        shelf.rows, shelf.text_bytes = [], 0

    def _end(self, shelf: _Shelf) -> None:
        self._flush(shelf)
        shelf.writer.close()
