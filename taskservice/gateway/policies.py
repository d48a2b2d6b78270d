"""/v1/functions, /v1/downstreams and /v1/classes: looked at by all, changed while the service runs by its admins."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, Struct
from msgspec.structs import replace

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Policy, policy_key
from taskservice.core.types import FunctionName, Priority
from taskservice.gateway.access import Admin, Gateway, Here, Reader
from taskservice.gateway.amounts import QuotaSaid, quota_of, rate_of
from taskservice.gateway.answers import json_answer
from taskservice.gateway.body import read_json
from taskservice.gateway.insight_views import WindowView, window_view
from taskservice.gateway.openapi import documented
from taskservice.gateway.policy_views import (
    ClassesView,
    ClassPatch,
    ClassView,
    DownstreamPatch,
    DownstreamsView,
    DownstreamView,
    FunctionPatch,
    FunctionsView,
    FunctionView,
    class_view,
    downstream_view,
    function_view,
)
from taskservice.gateway.problems import CLASS_NOT_FOUND, DOWNSTREAM_NOT_FOUND, FUNCTION_NOT_FOUND, Problem

routes = APIRouter(prefix="/v1", tags=["settings"])

_FUNCTION = msgspec.json.Decoder(FunctionPatch)
_DOWNSTREAM = msgspec.json.Decoder(DownstreamPatch)
_CLASS = msgspec.json.Decoder(ClassPatch)
_REFUSED = (400, 404, 413, 415)

P = TypeVar("P", bound=Struct)


@routes.get("/functions", **documented({200: FunctionsView}))
async def list_functions(gateway: Here, caller: Reader) -> Response:
    """All functions, by name."""
    known = gateway.catalog.functions
    views = [function_view(known[name].spec, _function_policy(gateway, name)) for name in sorted(known)]
    return json_answer(FunctionsView(views))


@routes.get("/functions/{name}", **documented({200: FunctionView}, (404,)))
async def get_function(gateway: Here, caller: Reader, name: str) -> Response:
    """One function: its schema, its limits, and what an operator has set."""
    known = await gateway.catalog.function(name)
    if known is None:
        raise _no_function(name)
    return json_answer(function_view(known.spec, _function_policy(gateway, known.spec.name)))


@routes.patch("/functions/{name}", **documented({200: FunctionView}, _REFUSED, body=FunctionPatch))
async def change_function(request: Request, gateway: Here, caller: Admin, name: str) -> Response:
    """The function is treated like that from now on, also after a restart: paused, with another rate, count or quota."""
    patch = await read_json(request, _FUNCTION, gateway.settings)
    said = said_of(patch, "function")
    async with gateway.catalog.changing:
        await gateway.catalog.run_once()
        known = gateway.catalog.functions.get(FunctionName(name))
        if known is None:
            raise _no_function(name)
        before = _function_policy(gateway, known.spec.name)
        policy = await _put(gateway, changed(before, FunctionPolicy(known.spec.name), said))
    return json_answer(function_view(known.spec, policy))


@routes.get("/downstreams", **documented({200: DownstreamsView}))
async def list_downstreams(gateway: Here, caller: Reader) -> Response:
    """All downstreams, by name: those that functions name, and functions that have been throttled."""
    windows = await _windows(gateway)
    await gateway.catalog.run_once()
    names = sorted(
        {*windows, *_named(gateway), *(name for kind, name in gateway.catalog.policies if kind == "downstream")}
    )
    return json_answer(DownstreamsView([_downstream_view(gateway, name, windows) for name in names]))


@routes.get("/downstreams/{name}", **documented({200: DownstreamView}, (404,)))
async def get_downstream(gateway: Here, caller: Reader, name: str) -> Response:
    """One downstream: its window, and what an operator has set."""
    await gateway.catalog.run_once()
    _check_downstream(gateway, name)
    return json_answer(_downstream_view(gateway, name, await _windows(gateway)))


@routes.patch("/downstreams/{name}", **documented({200: DownstreamView}, _REFUSED, body=DownstreamPatch))
async def change_downstream(request: Request, gateway: Here, caller: Admin, name: str) -> Response:
    """The downstream's window is bounded, or frozen, like that from now on, also after a restart."""
    patch = await read_json(request, _DOWNSTREAM, gateway.settings)
    said = said_of(patch, "downstream")
    async with gateway.catalog.changing:
        await gateway.catalog.run_once()
        _check_downstream(gateway, name)
        await _put(gateway, changed(_downstream_policy(gateway, name), DownstreamPolicy(name), said))
    return json_answer(_downstream_view(gateway, name, await _windows(gateway)))


@routes.get("/classes", **documented({200: ClassesView}))
async def list_classes(gateway: Here, caller: Reader) -> Response:
    """All priority classes, the most urgent first."""
    await gateway.catalog.run_once()
    return json_answer(ClassesView([class_view(_class_policy(gateway, each)) for each in Priority]))


@routes.get("/classes/{priority}", **documented({200: ClassView}, (404,)))
async def get_class(gateway: Here, caller: Reader, priority: str) -> Response:
    """One priority class."""
    await gateway.catalog.run_once()
    return json_answer(class_view(_class_policy(gateway, _priority(priority))))


@routes.patch("/classes/{priority}", **documented({200: ClassView}, _REFUSED, body=ClassPatch))
async def change_class(request: Request, gateway: Here, caller: Admin, priority: str) -> Response:
    """The class has that weight and quota from now on, also after a restart."""
    patch = await read_json(request, _CLASS, gateway.settings)
    said = said_of(patch, "class")
    name = _priority(priority)
    async with gateway.catalog.changing:
        await gateway.catalog.run_once()
        policy = await _put(gateway, changed(_class_policy(gateway, name), ClassPolicy(name), said))
    return json_answer(class_view(policy))


def changed(before: P, default: P, said: dict[str, object]) -> P:
    """As before, but for what is said; None: as by default."""
    values = {name: getattr(default, name) if value is None else value for name, value in said.items()}
    return replace(before, **values)


def said_of(request: Struct, owner: str) -> dict[str, object]:
    """What the request says of somebody's settings, in the core's words. `owner`: what the names of its gates begin with. Raises
    Problem."""
    said: dict[str, object] = {}
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if value is UNSET:
            continue
        if isinstance(value, QuotaSaid):
            value = quota_of(f"$.{name}", value)
        elif name in ("rate", "submit_rate") and value is not None:
            value = rate_of(f"$.{name}", value, f"{owner}.{name}")
        said[name] = value
    return said


async def _put(gateway: Gateway, policy: P) -> P:
    """The policy holds."""
    assert isinstance(policy, FunctionPolicy | DownstreamPolicy | ClassPolicy)
    await gateway.dispatcher.put_policy(policy)
    await gateway.catalog.run_once()
    return policy


def _function_policy(gateway: Gateway, name: FunctionName) -> FunctionPolicy:
    return _policy(gateway, FunctionPolicy(name))


def _downstream_policy(gateway: Gateway, name: str) -> DownstreamPolicy:
    return _policy(gateway, DownstreamPolicy(name))


def _class_policy(gateway: Gateway, name: Priority) -> ClassPolicy:
    return _policy(gateway, ClassPolicy(name))


K = TypeVar("K", FunctionPolicy, DownstreamPolicy, ClassPolicy)


def _policy(gateway: Gateway, default: K) -> K:
    """What an operator has said, or the default."""
    found: Policy | None = gateway.catalog.policies.get(policy_key(default))
    return found if isinstance(found, type(default)) else default


def _no_function(name: str) -> Problem:
    return Problem(FUNCTION_NOT_FOUND, f"There is no function {name[:200]!r}.")


def _priority(text: str) -> Priority:
    try:
        return Priority(text)
    except ValueError:
        names = ", ".join(Priority)
        raise Problem(CLASS_NOT_FOUND, f"There is no class {text[:200]!r}; there are {names}.") from None


def _named(gateway: Gateway) -> list[str]:
    """Downstreams that functions name."""
    return [known.spec.downstream for known in gateway.catalog.functions.values() if known.spec.downstream]


def _check_downstream(gateway: Gateway, name: str) -> None:
    """Raises Problem if nothing calls it."""
    known = name in _named(gateway) or FunctionName(name) in gateway.catalog.functions
    if not known and ("downstream", name) not in gateway.catalog.policies:
        raise Problem(DOWNSTREAM_NOT_FOUND, f"No function has the downstream {name[:200]!r}.")


async def _windows(gateway: Gateway) -> dict[str, WindowView]:
    answer = await gateway.dispatcher.usage(None)
    return {window.name: window_view(window) for window in answer.windows}


def _downstream_view(gateway: Gateway, name: str, windows: dict[str, WindowView]) -> DownstreamView:
    functions = [
        known.spec.name
        for known in gateway.catalog.functions.values()
        if name == (known.spec.downstream or known.spec.name)
    ]
    return downstream_view(_downstream_policy(gateway, name), sorted(functions), windows.get(name))
