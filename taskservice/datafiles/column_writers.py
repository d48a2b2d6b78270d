"""Rows into Parquet, and into Arrow's file format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from taskservice.datafiles.formats import Format
from taskservice.datafiles.writers import Column, Kind, json_text

TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("ms", tz="UTC"),
    "tags": pa.map_(pa.string(), pa.string()),
    "json": pa.string(),
}


class ColumnWriter:
    """Writes each batch of rows as one row group, or one record batch, compressed."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column], format: Format) -> None:
        self._file = file
        self._columns = columns
        self._schema = pa.schema([pa.field(column.name, TYPES[column.kind]) for column in columns])
        if format is Format.PARQUET:
            self._writer: Any = pq.ParquetWriter(file, self._schema, compression="zstd")
        else:
            self._writer = pa.ipc.new_file(file, self._schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        arrays = [
            pa.array([_value(row.get(column.name), column.kind) for row in rows], TYPES[column.kind])
            for column in self._columns
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def _value(value: Any, kind: Kind) -> object:
    if value is None:
        return None
    if kind == "json":
        return json_text(value)
    if kind == "tags":
        return list(value.items())
    return datetime.fromisoformat(value) if kind == "time" else value
