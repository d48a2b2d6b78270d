"""A handler's signature as a schema: payloads are checked against it at submit, and turned into arguments at run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from taskservice.context import Context

ERRORS_SHOWN_MAX = 5


class BadPayload(Exception):
    """The payload does not fit the signature."""


class BadResult(Exception):
    """What the handler returned cannot be a result."""


class Signature:
    """The parameters of a handler, but for its context, as a pydantic model; and what it returns."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """Raises TypeError if the parameters cannot be given by name from JSON."""
        try:
            hints = get_type_hints(call, include_extras=True)
        except NameError as error:
            raise TypeError(f"{call.__name__}: {error}; annotations must be importable from its module") from error
        self.context_parameter: str | None = None
        self._names: list[tuple[str, str]] = []
        """Field of the model, parameter of the handler."""
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(call).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(
                    f"{call.__name__}: parameter {parameter} cannot be given by name; handlers take named parameters"
                )
            if _is_context(parameter.name, hints):
                if self.context_parameter is not None:
                    raise TypeError(f"{call.__name__}: two parameters for the context")
                self.context_parameter = parameter.name
                continue
            # Field names are ours, so that a parameter may be called `json`, `schema` or `_x` without clashing.
            name = f"p{len(fields)}"
            fields[name] = _field(parameter, hints.get(parameter.name, Any))
            self._names.append((name, parameter.name))
        self._returns = hints.get("return", inspect.Signature.empty)
        config = ConfigDict(extra="forbid", validate_default=False)
        try:
            self._model: type[BaseModel] = create_model(f"{call.__name__}_payload", __config__=config, **fields)
            self._schema = json.dumps(_titled(self._model.model_json_schema(by_alias=True), call.__name__)).encode()
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError) as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(f"{call.__name__}: a parameter's type cannot come from JSON: {reason}") from error

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a payload may give by name."""
        return tuple(parameter for _, parameter in self._names)

    def payload_schema(self) -> bytes:
        """JSON Schema of the payload."""
        return self._schema

    def result_schema(self) -> bytes:
        """JSON Schema of the result; empty if the handler does not say what it returns."""
        if self._returns is inspect.Signature.empty:
            return b""
        try:
            return json.dumps(TypeAdapter(self._returns).json_schema(mode="serialization")).encode()
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError):
            return b""

    def arguments(self, payload: bytes) -> dict[str, Any]:
        """The handler's arguments. Raises BadPayload with the places and problems."""
        try:
            model = self._model.model_validate_json(payload)
        except ValidationError as error:
            raise BadPayload(_explain(error)) from None
        values = model.__dict__
        return {parameter: values[field] for field, parameter in self._names}


def result_json(value: object) -> bytes:
    """The result as JSON text. Raises BadResult if it is none."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=to_jsonable_python)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = type(value).__name__
        raise BadResult(
            f"the handler returned {kind}, which is not JSON: {str(error) or type(error).__name__}"
        ) from None


def _is_context(name: str, hints: dict[str, Any]) -> bool:
    if name not in hints:
        return name == "ctx"
    return hints[name] is Context or Context in get_args(hints[name])  # `Context | None`, for calls in unit tests


def _field(parameter: inspect.Parameter, annotation: Any) -> Any:
    default = ... if parameter.default is parameter.empty else parameter.default
    return (Annotated[annotation, Field(alias=parameter.name, title=parameter.name)], default)


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return {**schema, "title": title}


def _explain(error: ValidationError) -> str:
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'payload'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = f" (and {len(problems) - ERRORS_SHOWN_MAX} more)" if len(problems) > ERRORS_SHOWN_MAX else ""
    return "; ".join(problems[:ERRORS_SHOWN_MAX]) + more
