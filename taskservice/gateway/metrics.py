"""GET /metrics: what the dispatcher and the gateway have counted, as Prometheus reads it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Iterator
from typing import Annotated

from fastapi import APIRouter, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, SecurityScopes
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from taskservice.config import is_loopback
from taskservice.core.metrics import MetricsAnswer
from taskservice.errors import BackOffError
from taskservice.gateway.access import BEARER, Gateway, Here, authenticate
from taskservice.gateway.metric_families import families
from taskservice.gateway.openapi import documented

routes = APIRouter(tags=["health"])

SCOPE = "metrics"
DISPATCHER_WAIT_S = 5.0
"""A dispatcher that has not answered by then is shown as down: scrapers give up after ten seconds."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""What proxies add: whoever came through one is not on this machine, whatever the address says."""


def is_open_to(request: Request, gateway: Gateway) -> bool:
    """Whether the caller may look without a key."""
    if not gateway.settings.metrics_open or request.client is None:
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    return is_loopback(request.client.host)


async def may_look(
    request: Request,
    gateway: Here,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
) -> None:
    """Raises a 401 or 403 Problem for whoever may not: all tenants are shown."""
    if not is_open_to(request, gateway):
        await authenticate(gateway, needed, credentials)


@routes.get(
    "/metrics",
    dependencies=[Security(may_look, scopes=[SCOPE])],
    **documented({200: {"text/plain": {"type": "string"}, "application/openmetrics-text": {"type": "string"}}}),
)
async def get_metrics(request: Request, gateway: Here) -> Response:
    """All counts, of all tenants: for a key with the scope metrics (or admin). In OpenMetrics or Prometheus's text format."""
    accept, packed = request.headers.get("accept", ""), "gzip" in request.headers.get("accept-encoding", "")
    answer = await _ask(gateway)
    # Off the loop: ten thousand lines take tens of milliseconds.
    text, kind = await asyncio.to_thread(_rendered, gateway.measures.registry, answer, accept, packed)
    headers = {"vary": "accept, accept-encoding", **({"content-encoding": "gzip"} if packed else {})}
    return Response(text, headers={**headers, "content-type": kind})


async def _ask(gateway: Gateway) -> MetricsAnswer | None:
    """What the dispatcher tells; None if it is away: then the gateway's own counts are all the more of interest."""
    try:
        return await asyncio.wait_for(gateway.dispatcher.metrics(), DISPATCHER_WAIT_S)
    except (BackOffError, TimeoutError):
        return None


class _Once:
    """A collector of what was told once."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _rendered(own: CollectorRegistry, answer: MetricsAnswer | None, accept: str, packed: bool) -> tuple[bytes, str]:
    told = CollectorRegistry()
    told.register(_Once([*families(answer), *own.collect()]))
    encode, kind = choose_encoder(accept)
    text = encode(told)
    return (gzip.compress(text, compresslevel=1) if packed else text), kind
