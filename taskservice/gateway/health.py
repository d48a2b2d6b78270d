"""/healthz and /readyz: for load balancers and `up`, without a key."""

from __future__ import annotations

from fastapi import APIRouter, Response

from taskservice.gateway.access import Here
from taskservice.gateway.answers import HealthView, json_answer
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import NOT_READY, Problem

routes = APIRouter(tags=["health"])


@routes.get("/healthz", **documented({200: HealthView}, open_to_all=True))
async def healthz() -> Response:
    """The process answers."""
    return json_answer(HealthView("ok"))


@routes.get("/readyz", **documented({200: HealthView}, open_to_all=True))
async def readyz(gateway: Here) -> Response:
    """The process can do its work: its dispatcher answers."""
    if not gateway.catalog.ready:
        raise Problem(NOT_READY, "The dispatcher does not answer yet.", retry_after_s=1.0)
    return json_answer(HealthView("ready"))
