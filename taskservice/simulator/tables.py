"""Rows of CSV and Parquet files, for those who know the columns that they want."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskservice.errors import RequestError

BATCH_ROWS = 50_000


class Table:
    """A file of rows. Raises RequestError for whatever cannot be read, and says where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = _parquet_columns(path) if self._is_parquet else self._csv_columns()

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix == ".parquet"

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row: text if it is CSV, what Parquet says if it is Parquet."""
        unknown = [column for column in columns if column not in self.columns]
        if unknown:
            known = ", ".join(self.columns[:20]) + (" ..." if len(self.columns) > 20 else "")
            raise bad(f"{self.path} has no column {unknown[0]!r}. Its columns are: {known}.")
        return _parquet_rows(self.path, list(columns)) if self._is_parquet else self._csv_rows(columns)

    def number(self, value: object, row: int, column: str) -> float:
        """The value as a number from 0 on; `row` counts from 1, without the header."""
        try:
            found = float(value)  # type: ignore[arg-type]  # whatever is no number is told below
        except (TypeError, ValueError):
            found = -1.0
        if not 0 <= found < float("inf"):
            raise bad(f"{self.path}, row {row}: {column} is {value!r:.50}, and not a number from 0 on.")
        return found

    def time_us(self, value: object, row: int, column: str, unit_us: float) -> int:
        """The value as a moment in microseconds: a number in the unit, or a date with a time; UTC if it names no zone."""
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) and not _is_number(value) else value
        except ValueError:
            raise bad(f"{self.path}, row {row}: {column} is {value!r:.50}, and not a time.") from None
        if isinstance(moment, datetime):
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return round(aware.timestamp() * 1_000_000)
        return int(self.number(value, row, column) * unit_us)

    def _csv_columns(self) -> list[str]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                return next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(self.path, error) from error

    def _csv_rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        at = [self.columns.index(column) for column in columns]
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            next(reader)
            for number, row in enumerate(reader, 1):
                if len(row) != len(self.columns):
                    raise bad(f"{self.path}, row {number}: it has {len(row)} values for {len(self.columns)} columns.")
                yield tuple([row[index] for index in at])


def bad(message: str) -> RequestError:
    return RequestError(message, code="bad_trace")


def _unreadable(path: Path, error: Exception) -> RequestError:
    return bad(f"{path} cannot be read: {error}. If the data is elsewhere, say where: --data FOLDER.")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - pyarrow takes long to import
    from pyarrow import ArrowException  # noqa: PLC0415

    try:
        return list(pq.read_schema(path).names)
    except (OSError, ArrowException) as error:
        raise _unreadable(path, error) from error


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - pyarrow takes long to import

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            found = batch.to_pydict()
            yield from zip(*(found[column] for column in columns), strict=True)
