"""What a task is as a row: columns, and those of its result where its function's schema says what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from taskservice.client.rows import types_of
from taskservice.client.steps import JsonObject
from taskservice.datafiles.writers import Column, Kind

RESULT = "result_"
ResultColumns = dict[str, Kind]
"""By member of the result."""

_COLUMNS = (
    Column("id", "text"),
    Column("function", "text"),
    Column("tenant", "text"),
    Column("state", "text"),
    Column("priority", "text"),
    Column("tags", "tags"),
    Column("created_at", "time"),
    Column("due_at", "time"),
    Column("started_at", "time"),
    Column("ended_at", "time"),
    Column("expires_at", "time"),
    Column("deadline_at", "time"),
    Column("deadline_missed", "bool"),
    Column("off_peak", "bool"),
    Column("run", "int"),
    Column("attempt", "int"),
    Column("max_attempts", "int"),
    Column("crashes", "int"),
    Column("duration_ms", "float"),
    Column("error_reason", "text"),
    Column("error_message", "text"),
    Column("error_detail", "text"),
)
_KINDS: Mapping[str, Kind] = {"string": "text", "integer": "int", "number": "float", "boolean": "bool"}
_INT64 = 1 << 63
_EXACT_FLOAT = 1 << 53

PARTITIONS: Mapping[str, Callable[[JsonObject], str]] = {
    "function": lambda row: str(row["function"]),
    "day": lambda row: datetime.fromisoformat(row["created_at"]).astimezone(UTC).date().isoformat(),
    "state": lambda row: str(row["state"]),
    "priority": lambda row: str(row["priority"]),
    "tenant": lambda row: str(row["tenant"]),
}
"""By what a data set may be parted. `day`: on which the task was created, in UTC."""


def columns_of(results: ResultColumns, *, values: bool) -> list[Column]:
    """All columns of an export."""
    typed = [Column(f"{RESULT}{name}", kind) for name, kind in results.items()]
    return [*_COLUMNS, *([Column("payload", "json"), *typed, Column("result", "json")] if values else [])]


def result_columns(schema: object) -> ResultColumns:
    """A column for each member of the result, if it is an object of plain values, each of one type or null; else none."""
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        found = schema.get("$defs", {}).get(name, {})
        return result_columns({**found, "$defs": schema.get("$defs", {})}) if "$ref" not in found else {}
    properties = schema.get("properties")
    if schema.get("type") != "object" or not properties:
        return {}
    columns: ResultColumns = {}
    for name, each in properties.items():
        types = [kind for kind in types_of(each, schema) if kind != "null"]
        if len(types) != 1 or types[0] not in _KINDS:
            return {}
        columns[name] = _KINDS[types[0]]
    return columns


def row_of(task: JsonObject, results: ResultColumns) -> dict[str, Any]:
    """The task as a row. A result that does not fit its columns is in `result`, like one that has none: nothing is lost."""
    error = task.get("error") or {}
    row = {
        **task,
        "error_reason": error.get("reason"),
        "error_message": error.get("message"),
        "error_detail": error.get("detail"),
    }
    result = task.get("result")
    if results and isinstance(result, dict) and _fits(result, results):
        del row["result"]
        row.update((f"{RESULT}{name}", value) for name, value in result.items())
    return row


def _fits(result: Mapping[str, Any], results: ResultColumns) -> bool:
    return all(name in results and (value is None or _is_of(value, results[name])) for name, value in result.items())


def _is_of(value: object, kind: Kind) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and -_INT64 <= value < _INT64
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT_FLOAT)
