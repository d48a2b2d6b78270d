"""GET /v1/functions, /v1/functions/{name} and /v1/cluster."""

from __future__ import annotations

from fastapi import APIRouter, Response

from taskservice.gateway.access import Here, Reader
from taskservice.gateway.answers import (
    ClusterView,
    FunctionsView,
    FunctionView,
    cluster_view,
    function_view,
    json_answer,
)
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import FUNCTION_NOT_FOUND, Problem

routes = APIRouter(prefix="/v1", tags=["service"])


@routes.get("/functions", **documented({200: FunctionsView}))
async def list_functions(gateway: Here, caller: Reader) -> Response:
    """All functions, by name."""
    known = gateway.catalog.functions
    return json_answer(FunctionsView([function_view(known[name].spec) for name in sorted(known)]))


@routes.get("/functions/{name}", **documented({200: FunctionView}, (404,)))
async def get_function(gateway: Here, caller: Reader, name: str) -> Response:
    """One function: its schema and limits."""
    known = await gateway.catalog.function(name)
    if known is None:
        raise Problem(FUNCTION_NOT_FOUND, f"There is no function {name[:200]!r}.")
    return json_answer(function_view(known.spec))


@routes.get("/cluster", **documented({200: ClusterView}))
async def get_cluster(gateway: Here, caller: Reader) -> Response:
    """The tasks by state and function: the own tenant's, or everybody's and the runners if an admin asks."""
    status = await gateway.dispatcher.status(None if caller.is_admin else caller.key.tenant)
    return json_answer(cluster_view(status, runners=caller.is_admin))
