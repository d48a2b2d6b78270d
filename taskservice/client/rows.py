"""A row of a file as a task: which column is which field, and what text means by the function's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskservice.client.requests import Line, TaskOptions, task_line
from taskservice.client.steps import JsonObject
from taskservice.datafiles.formats import Row
from taskservice.errors import NotFoundError, RequestError
from taskservice.ids import is_task_id

TAG = "tags."
_TIME_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a handler."""

    types: frozenset[str]
    """The JSON types that it takes; none: any."""
    required: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """What is what in a row.

    `columns`: field of the payload -> column; None: each column that is not used otherwise is the field of its name.
    `task_columns`: option of the task, `function`, `tags`, or `tags.NAME` -> column.
    """

    function: str | None
    columns: Mapping[str, str] | None = None
    task_columns: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Fields that all rows have, unless a row says otherwise."""
    options: TaskOptions = field(default_factory=lambda: TaskOptions())  # noqa: PLW0108 - a TypedDict is no factory for mypy

    def __post_init__(self) -> None:
        known = {*TaskOptions.__annotations__, "function"}
        unknown = [name for name in self.task_columns if name not in known and not name.startswith(TAG)]
        if unknown:
            message = f"A task has no {', '.join(unknown)}: it has {', '.join(sorted(known))} and tags.NAME."
            raise RequestError(message, code="bad_columns")
        if (self.function is None) == ("function" not in self.task_columns):
            raise RequestError("Say which function, or which column names it: one of them.", code="bad_task")
        if self.options.get("id") is not None:
            raise RequestError("One id cannot be the id of all rows; name the column that has it.", code="bad_columns")

    def said(self) -> str:
        """What of it makes another payload, or another function's, of the same row, as text: part of what an import is."""
        used = sorted(self.task_columns.values()) if self.columns is None else dict(self.columns)
        return json.dumps([self.function, self.task_columns.get("function"), used, dict(self.payload)], sort_keys=True)


def fields_of(schema: Mapping[str, Any]) -> dict[str, Field]:
    """The fields that a payload's JSON Schema names."""
    required = schema.get("required", ())
    properties: Mapping[str, Any] = schema.get("properties", {})
    return {name: Field(frozenset(types_of(each, schema)), name in required) for name, each in properties.items()}


def types_of(schema: object, root: Mapping[str, Any], depth: int = 0) -> list[str]:
    """The JSON types that a schema takes; none if it does not say, or says it in a way that is not looked into."""
    if not isinstance(schema, Mapping) or depth > 8:
        return []
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        return types_of(root.get("$defs", {}).get(name), root, depth + 1)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            each = [types_of(one, root, depth + 1) for one in schema[union]]
            return [] if [] in each else sorted({name for names in each for name in names})
    said = schema.get("type", [])
    return [said] if isinstance(said, str) else list(said)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes tasks of rows. `text`: the rows are of CSV, where all values are text, and an empty one may be none."""

    layout: Layout
    functions: Mapping[str, JsonObject]
    """By name: what the service says of each."""
    text: bool
    jsonl: bool
    _fields: dict[str, dict[str, Field]] = field(default_factory=dict)

    def task(self, row: Row, task_id: str) -> tuple[str, dict[str, Any], TaskOptions]:
        """Function, payload and options of the row. Raises RequestError that says what is wrong with it."""
        if row.problem:
            raise RequestError(row.problem, code="bad_row")
        layout = self.layout
        function = layout.function or str(self._taken(row.value, "function"))
        fields = self._fields_of(function)
        payload = {**layout.payload, **dict(self._payload(row.value, fields))}
        options: TaskOptions = {**layout.options, **self._options(row.value), "id": task_id}  # type: ignore[typeddict-item]
        if "id" in layout.task_columns:
            options["id"] = str(self._taken(row.value, "id"))
        if not is_task_id(options["id"] or ""):
            raise RequestError(f"{options['id']!r:.200} cannot be the id of a task.", code="validation_failed")
        return function, payload, options

    def line(self, row: Row, task_id: str) -> Line:
        """The row as it is submitted. Its id is not new: what is known already may be of an earlier run."""
        return task_line(*self.task(row, task_id))

    def _fields_of(self, function: str) -> dict[str, Field]:
        if function not in self.functions:
            raise NotFoundError(f"There is no function {function!r}.", code="unknown_function")
        if function not in self._fields:
            self._fields[function] = fields_of(self.functions[function]["payload_schema"])
        return self._fields[function]

    def _taken(self, value: Mapping[str, Any], option: str) -> Any:
        column = self.layout.task_columns[option]
        found = value.get(column)
        if found is None or found == "":
            raise RequestError(f"The column {column!r}, its {option}, is empty or not there.", code="bad_row")
        return found

    def _payload(self, value: Mapping[str, Any], fields: Mapping[str, Field]) -> Iterable[tuple[str, Any]]:
        columns = self.layout.columns
        if columns is None:
            used = set(self.layout.task_columns.values())
            pairs = [(name, name) for name in value if name not in used]
        else:
            pairs = [(name, column) for name, column in columns.items() if column in value]
        found = []
        for name, column in pairs:
            said = value[column]
            if not self.jsonl:
                one = fields.get(name, _ANY)
                if said is None or (self.text and said == ""):
                    if not one.required:
                        continue
                    said = "" if self.text and "string" in one.types else None
                elif isinstance(said, str):
                    said = from_text(said, one.types)
            found.append((name, said))
        return found

    def _options(self, value: Mapping[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {}
        tags: dict[str, str] = dict(self.layout.options.get("tags") or {})
        for name, column in self.layout.task_columns.items():
            said = value.get(column)
            if said is None or said == "" or name in ("id", "function"):
                continue
            if name.startswith(TAG):
                tags[name.removeprefix(TAG)] = as_tag(said)
            elif name == "tags":
                tags.update({tag: as_tag(each) for tag, each in _tags_in(said).items()})
            else:
                options[name] = _option(name, said)
        return {**options, "tags": tags} if tags else options


_ANY = Field(frozenset(), required=False)


def from_text(text: str, types: frozenset[str]) -> Any:
    """What the text means where the schema wants something else than text; the text itself if it means nothing of that."""
    if not types or "string" in types:
        return text
    try:
        return json.loads(text.lower() if "boolean" in types and text.lower() in ("true", "false") else text)
    except (ValueError, RecursionError):
        return text


def as_tag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tags_in(said: Any) -> Mapping[str, Any]:
    value = from_text(said, frozenset(["object"])) if isinstance(said, str) else said
    if not isinstance(value, Mapping):
        raise RequestError('Tags are a map, or JSON such as {"customer": "7"}.', code="bad_row")
    return value


def _option(name: str, said: Any) -> Any:
    """Numbers and truth may be text, and a time without a zone is UTC: so a file means the same everywhere."""
    if not isinstance(said, str):
        return said
    if name == "off_peak":
        return from_text(said, frozenset(["boolean"]))
    if _NUMBER.fullmatch(said):
        number = float(said)
        return int(number) if name == "max_attempts" and number.is_integer() else number
    return f"{said}Z" if name in ("run_at", "deadline") and _TIME_WITHOUT_ZONE.fullmatch(said) else said
