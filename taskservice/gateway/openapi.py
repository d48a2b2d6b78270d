"""The OpenAPI document, made from the very structs that requests and answers are read into and written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import msgspec
from fastapi import FastAPI
from msgspec import Struct

from taskservice.gateway import (
    answers,
    app_views,
    callback_views,
    insight_views,
    policy_views,
    requests,
    schedule_views,
    trigger_views,
)
from taskservice.gateway.body import JSON
from taskservice.gateway.problems import PROBLEM_MEDIA_TYPE, ProblemDocument

_REF = "#/components/schemas/{name}"
_ALWAYS = (422, 500, 503)
_WITH_KEY = (401, 403)

Schema = dict[str, Any]


class Documented(TypedDict):
    """The keyword arguments of a route that only describe it."""

    response_model: None
    status_code: int
    responses: dict[int | str, dict[str, Any]]
    openapi_extra: Schema | None


def documented(
    answers: Mapping[int, type[Struct] | Mapping[str, Schema]],
    problems: Iterable[int] = (),
    *,
    body: type[Struct] | Mapping[str, Schema] | None = None,
    open_to_all: bool = False,
) -> Documented:
    """Says what a route answers by status, what it takes, and (unless `open_to_all`) that it wants a key."""
    refusals = sorted({*_ALWAYS, *problems, *(() if open_to_all else _WITH_KEY)})
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": "Refused.", "content": {PROBLEM_MEDIA_TYPE: {"schema": reference(ProblemDocument)}}}
        for status in refusals
    }
    for status, answer in answers.items():
        responses[status] = {"description": "Done.", "content": _content(answer)}
    extra = None if body is None else {"requestBody": {"required": True, "content": _content(body)}}
    return Documented(response_model=None, status_code=min(answers), responses=responses, openapi_extra=extra)


def reference(model: type[Struct]) -> Schema:
    """A schema that points to the struct's."""
    return {"$ref": _REF.format(name=model.__name__)}


def _content(model: type[Struct] | Mapping[str, Schema]) -> dict[str, Any]:
    if isinstance(model, Mapping):
        return {media: {"schema": schema} for media, schema in model.items()}
    return {JSON: {"schema": reference(model)}}


class DocumentedAPI(FastAPI):
    """A FastAPI whose document knows the structs."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            models = (
                *requests.MODELS, *answers.MODELS, *schedule_views.MODELS, *insight_views.MODELS, *policy_views.MODELS,
                *callback_views.MODELS, *app_views.MODELS, *trigger_views.MODELS,
            )  # fmt: skip
            _, components = msgspec.json.schema_components(models, ref_template=_REF)
            for component in components.values():
                if "enum" in component:
                    component.pop("description", None)  # the core's enums speak to the readers of its code
            document.setdefault("components", {}).setdefault("schemas", {}).update(components)
            self.openapi_schema = document
        return self.openapi_schema
