"""Tasks as rows of Parquet, and back. Typed, so that whoever reads a file need not know the service.

Payload and result are JSON text, or null where that is large and an object of its own: then `payload_at` or `result_at`
says which. These are the last columns: a listing reads all but these in one piece. A column is added at the end of the others
with a default, and never removed; what an older reader would misunderstand raises VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from taskservice.core.types import (
    ErrorInfo,
    FunctionName,
    Hooks,
    Lane,
    Priority,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
)
from taskservice.core.values import ValueRef, ref_of, referring

VERSION = 1
_VERSION_KEY = b"taskservice.history"

GROUP_ROWS_MAX = 4_096
"""Rows of a row group: what is read to show one task of it."""
GROUP_BYTES_MAX = 4 << 20
"""Bytes of a row group, about, before it is compressed; a single task may be larger."""
ZSTD_LEVEL = 3

_TIME = pa.timestamp("ms", tz="UTC")
_TEXT = pa.string()
_AT = pa.struct(
    [
        pa.field("key", _TEXT, nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.binary(), nullable=False),
    ]
)
"""A `ValueRef`; the key is below the state directory."""

SCHEMA = pa.schema(
    [
        pa.field("no", pa.int64(), nullable=False),
        pa.field("tenant", _TEXT, nullable=False),
        pa.field("id", _TEXT, nullable=False),
        pa.field("function", _TEXT, nullable=False),
        pa.field("priority", _TEXT, nullable=False),
        pa.field("state", _TEXT, nullable=False),
        pa.field("run", pa.int32(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("max_attempts", pa.int32(), nullable=False),
        pa.field("crashes", pa.int32(), nullable=False),
        pa.field("losses", pa.int32(), nullable=False),
        pa.field("timeout_ms", pa.int64(), nullable=False),
        pa.field("created_at", _TIME, nullable=False),
        pa.field("due_at", _TIME, nullable=False),
        pa.field("started_at", _TIME),
        pa.field("ended_at", _TIME),
        pa.field("duration_us", pa.int64()),
        pa.field("tags", pa.map_(_TEXT, _TEXT), nullable=False),
        pa.field("error_reason", _TEXT),
        pa.field("error_message", _TEXT),
        pa.field("error_detail", _TEXT),
        pa.field("expires_at", _TIME),
        pa.field("deadline_at", _TIME),
        pa.field("lane", _TEXT),
        pa.field("payload", _TEXT),
        pa.field("result", _TEXT),
        pa.field("payload_at", _AT),
        pa.field("result_at", _AT),
        pa.field("preempted", pa.int32()),
        pa.field("throttles", pa.int32()),
        pa.field("callback_url", _TEXT),
        pa.field("on_success", _TEXT),
        pa.field("on_failure", _TEXT),
        pa.field("log_at", _TEXT),
        pa.field("version", pa.int32()),
    ],
    metadata={_VERSION_KEY: str(VERSION).encode()},
)

BODIES = ("payload", "result", "payload_at", "result_at")
"""The columns that may be large."""


class Written(NamedTuple):
    """What a file says of a task of its own, in the order of its rows."""

    no: TaskNo
    run: int
    state: TaskState


class Unreadable(Exception):
    """The bytes are no file of history that this version can read."""


def batch(tasks: Sequence[Task]) -> pa.RecordBatch:
    """The tasks as rows, in their order."""
    errors = [task.error for task in tasks]
    payloads, payloads_at = _apart([task.payload for task in tasks])
    results, results_at = _apart([task.result for task in tasks])
    columns: list[list[object] | pa.Array] = [
        [task.no for task in tasks],
        [task.tenant for task in tasks],
        [task.id for task in tasks],
        [task.function for task in tasks],
        [task.priority.value for task in tasks],
        [task.state.value for task in tasks],
        [task.run for task in tasks],
        [task.attempt for task in tasks],
        [task.max_attempts for task in tasks],
        [task.crashes for task in tasks],
        [task.losses for task in tasks],
        [task.timeout_ms for task in tasks],
        [task.created_ms for task in tasks],
        [task.due_ms for task in tasks],
        [task.started_ms for task in tasks],
        [task.ended_ms for task in tasks],
        [task.duration_us for task in tasks],
        [task.tags for task in tasks],
        [error and error.reason for error in errors],
        [error and error.message for error in errors],
        [error and error.detail for error in errors],
        [task.expires_ms for task in tasks],
        [task.deadline_ms for task in tasks],
        [task.lane.value or None for task in tasks],
        _texts(payloads),
        _texts(results),
        payloads_at,
        results_at,
        [task.preempted for task in tasks],
        [task.throttles for task in tasks],
        [task.hooks and (task.hooks.callback_url or None) for task in tasks],
        [task.hooks and (task.hooks.on_success or None) for task in tasks],
        [task.hooks and (task.hooks.on_failure or None) for task in tasks],
        [task.log or None for task in tasks],
        [task.version for task in tasks],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def encode(batches: Sequence[pa.RecordBatch]) -> bytes:
    """A file with these rows, at least one."""
    table = pa.Table.from_batches(batches, SCHEMA)
    rows = min(GROUP_ROWS_MAX, max(1, table.num_rows * GROUP_BYTES_MAX // max(1, table.nbytes)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows, compression="zstd", compression_level=ZSTD_LEVEL)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def check_version(schema: pa.Schema) -> None:
    """Raises Unreadable if this version may misunderstand the file."""
    said = (schema.metadata or {}).get(_VERSION_KEY)
    if said is None:
        raise Unreadable("it is not a file of history")
    if int(said) > VERSION:
        raise Unreadable(
            f"it has version {int(said)}, and this taskservice reads up to {VERSION}: start the newer one that wrote it"
        )


def written(data: bytes) -> list[Written]:
    """Which tasks a file has, row by row. Raises Unreadable."""
    table = _columns(data, ["no", "run", "state"])
    columns = (table.column(name).to_pylist() for name in ("no", "run", "state"))
    return [Written(TaskNo(no), run, TaskState(state)) for no, run, state in zip(*columns, strict=True)]


def value_keys(data: bytes) -> list[str]:
    """The objects to which a file refers. Raises Unreadable."""
    table = _columns(data, ["payload_at", "result_at"])
    return [at["key"] for column in table.columns for at in column.drop_null().to_pylist()]


def _columns(data: bytes, names: list[str]) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(data), columns=names, use_threads=False)
    except pa.ArrowException as error:
        raise Unreadable(str(error)) from error
    check_version(table.schema)
    return table


def tasks_of(table: pa.Table) -> list[Task]:
    """The tasks of these rows; one whose payload or result is not among the columns has none."""
    columns: dict[str, list[Any]] = {}
    for field in SCHEMA:
        if field.name in table.column_names:
            column = table.column(field.name)
            columns[field.name] = (column.cast(pa.int64()) if field.type == _TIME else column).to_pylist()
        else:
            columns[field.name] = [None] * table.num_rows
    return [_task(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _task(row: dict[str, Any]) -> Task:
    reason = row["error_reason"]
    return Task(
        no=TaskNo(row["no"]),
        id=TaskId(row["id"]),
        tenant=TenantId(row["tenant"]),
        function=FunctionName(row["function"]),
        priority=Priority(row["priority"]),
        state=TaskState(row["state"]),
        payload=_value(row["payload"], row["payload_at"]) or b"",
        tags=tuple((name, value) for name, value in row["tags"]),
        created_ms=row["created_at"],
        due_ms=row["due_at"],
        max_attempts=row["max_attempts"],
        timeout_ms=row["timeout_ms"],
        run=row["run"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        losses=row["losses"],
        started_ms=row["started_at"],
        ended_ms=row["ended_at"],
        duration_us=row["duration_us"],
        result=_value(row["result"], row["result_at"]),
        error=None if reason is None else ErrorInfo(reason, row["error_message"], row["error_detail"]),
        expires_ms=row["expires_at"],
        deadline_ms=row["deadline_at"],
        lane=Lane(row["lane"] or ""),
        preempted=row["preempted"] or 0,
        throttles=row["throttles"] or 0,
        hooks=_hooks(row),
        log=row["log_at"] or "",
        version=row["version"] or 0,
    )


def _hooks(row: dict[str, Any]) -> Hooks | None:
    said = [row[name] or "" for name in Hooks.__struct_fields__]
    return Hooks(*said) if any(said) else None


def _apart(values: list[bytes | None]) -> tuple[list[bytes | None], list[object]]:
    """Those that are there themselves, and where the others are; null where they are not what the list is of."""
    refs = [ref_of(value) for value in values]
    texts = [value if ref is None else None for value, ref in zip(values, refs, strict=True)]
    return texts, [ref and {"key": ref.key, "size_bytes": ref.size_bytes, "sha256": ref.sha256} for ref in refs]


def _value(text: str | None, at: dict[str, Any] | None) -> bytes | None:
    if at is not None:
        return referring(ValueRef(**at))
    return None if text is None else text.encode()


def _texts(values: list[bytes | None]) -> pa.Array:
    """As text: JSON is UTF-8. What is not, which no handler can bring about, must not keep all others from history."""
    try:
        return pa.array(values, pa.binary()).cast(_TEXT)
    except pa.ArrowInvalid:
        return pa.array([None if value is None else value.decode(errors="replace") for value in values], _TEXT)
