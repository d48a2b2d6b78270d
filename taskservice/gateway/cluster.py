"""GET /v1/cluster."""

from __future__ import annotations

from fastapi import APIRouter, Response

from taskservice.gateway.access import Here, Reader
from taskservice.gateway.answers import ClusterView, cluster_view, json_answer
from taskservice.gateway.openapi import documented

routes = APIRouter(prefix="/v1", tags=["service"])


@routes.get("/cluster", **documented({200: ClusterView}))
async def get_cluster(gateway: Here, caller: Reader) -> Response:
    """The tasks by state and function: the own tenant's, or everybody's and the runners if an admin asks."""
    status = await gateway.dispatcher.status(None if caller.is_admin else caller.key.tenant)
    return json_answer(cluster_view(status, runners=caller.is_admin))
