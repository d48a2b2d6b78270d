"""A payload that a function's JSON Schema takes, to show what one looks like."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

_OF_TYPE: Mapping[str, object] = {
    "string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip
_DEPTH_MAX = 8
"""Schemas can contain themselves."""


def sample_command(function: str, schema: Mapping[str, Any]) -> str:
    """A command line that submits a task of the function."""
    payload = json.dumps(sample(schema, schema), ensure_ascii=False)
    return f"taskservice submit {function} --payload {shlex.quote(payload)} --wait"


def sample(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that the schema most likely takes: what has to be there and nothing else."""
    if depth > _DEPTH_MAX:
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum", "anyOf", "oneOf", "allOf"):
        if schema.get(name):
            first = schema[name][0]
            return sample(first, root, depth + 1) if name.endswith("Of") else first
    if "$ref" in schema:
        return sample(_resolve(str(schema["$ref"]), root), root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        known = schema.get("properties", {})
        return {name: sample(known.get(name, {}), root, depth + 1) for name in schema.get("required", ())}
    if kind == "array" and schema.get("minItems", 0) > 0:
        return [sample(schema.get("items", {}), root, depth + 1)] * schema["minItems"]
    if kind in {"integer", "number"} and "minimum" in schema:
        return schema["minimum"]
    return _OF_TYPE.get(kind)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `#/$defs/Name` stands for; a schema without demands if it is not in the document."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
