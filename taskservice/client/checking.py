"""Payloads checked by the functions' JSON Schemas before they are submitted, with the words of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from taskservice.client.steps import JsonObject
from taskservice.errors import RequestError

ERRORS_MAX = 10
_MESSAGE_CHARS_MAX = 300

Check = Callable[[str, Mapping[str, Any]], None]


def checker(functions: Mapping[str, JsonObject]) -> Check:
    """What raises RequestError for a payload that the function does not take, and says what is wrong with it."""
    import jsonschema_rs  # noqa: PLC0415 - only whoever checks needs it

    validators: dict[str, jsonschema_rs.Validator] = {}

    def check(function: str, payload: Mapping[str, Any]) -> None:
        if function not in validators:
            validators[function] = jsonschema_rs.validator_for(functions[function]["payload_schema"], offline=True)
        try:
            errors = list(islice(validators[function].iter_errors(payload), ERRORS_MAX))
        except ValueError as error:
            raise RequestError(f"This cannot be written as JSON: {error}", code="not_json") from error
        if errors:
            detail = "\n".join(f"{_path(one.instance_path)}: {one.message[:_MESSAGE_CHARS_MAX]}" for one in errors)
            message = f"The payload is not what {function} takes: {detail.splitlines()[0]}"
            raise RequestError(message, code="payload_invalid", detail=detail)

    return check


def _path(path: list[str | int]) -> str:
    return "$.payload" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
