"""Rows of Parquet and of Arrow's files and streams, with values as JSON has them."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taskservice.datafiles.formats import Format, Row, Rows
from taskservice.datafiles.places import Opened
from taskservice.errors import RequestError

ROWS_MAX = 1_000
BYTES_AIM = 4 << 20
"""Values of one batch, about."""
BUFFER_BYTES = 1 << 20
"""What is read of a column at once: without it a whole row group would be."""


def read(opened: Opened, format: Format, name: str) -> Iterator[Rows]:
    """The rows, a batch at a time. Raises RequestError if the file is not what it should be."""
    try:
        yield from _numbered(_parquet(opened) if format is Format.PARQUET else _arrow(opened))
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{name} cannot be read as {format.value}: {error}", code="bad_file") from error


def _numbered(batches: Iterator[tuple[pa.RecordBatch, float]]) -> Iterator[Rows]:
    number = 0
    for batch, ratio in batches:
        values = _in_microseconds(batch).to_pylist(maps_as_pydicts="lossy")
        plain = [field.name for field in batch.schema if not _is_plain(field.type)]
        rows = []
        for value in values:
            number += 1
            for column in plain:
                value[column] = in_json(value[column])
            rows.append(Row(number, value))
        yield Rows(rows, ratio)


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python's times know no nanoseconds."""
    types = pa.types
    for index, field in enumerate(batch.schema):
        kind = field.type
        if (types.is_timestamp(kind) or types.is_duration(kind) or types.is_time64(kind)) and kind.unit == "ns":
            less = pa.timestamp("us", kind.tz) if types.is_timestamp(kind) else pa.duration("us")
            less = pa.time64("us") if types.is_time64(kind) else less
            batch = batch.set_column(index, pa.field(field.name, less), batch.column(index).cast(less, safe=False))
    return batch


def _is_plain(kind: pa.DataType) -> bool:
    """Whether its values are JSON already."""
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
    )


def _parquet(opened: Opened) -> Iterator[tuple[pa.RecordBatch, float]]:
    file = pq.ParquetFile(opened.file, buffer_size=BUFFER_BYTES, pre_buffer=False)
    total, done = file.metadata.num_rows, 0
    for group in range(file.metadata.num_row_groups):
        said = file.metadata.row_group(group)
        row_bytes = said.total_byte_size / max(1, said.num_rows)
        at_once = max(1, min(ROWS_MAX, int(BYTES_AIM / max(1.0, row_bytes))))
        for batch in file.iter_batches(batch_size=at_once, row_groups=[group], use_threads=False):
            done += batch.num_rows
            yield batch, done / total


def _arrow(opened: Opened) -> Iterator[tuple[pa.RecordBatch, float]]:
    """As a file, or as a stream, which has no magic word at its beginning."""
    magic = opened.file.read(6)
    opened.file.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(opened.file)
        batches = (file.get_batch(index) for index in range(file.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(opened.file))
    for batch in batches:
        row_bytes = batch.nbytes / max(1, batch.num_rows)
        at_once = max(1, min(ROWS_MAX, int(BYTES_AIM / max(1.0, row_bytes))))
        ratio = min(1.0, opened.file.tell() / max(1, opened.size_bytes))
        for start in range(0, batch.num_rows, at_once):
            yield batch.slice(start, at_once), ratio


def in_json(value: Any) -> Any:
    """The value as JSON can say it.

    Times are ISO 8601, with Z where the column has a zone; durations are seconds; bytes are base64; a decimal is a number where
    that says the same, else text. What is not finite stays, and cannot be written.
    """
    if isinstance(value, dict):
        return {str(name): in_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(each) for each in value]
    if isinstance(value, datetime):
        text = (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
        return text.replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _number(value) if isinstance(value, Decimal) else value


def _number(value: Decimal) -> object:
    if value == value.to_integral_value():
        return int(value)
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else str(value)
