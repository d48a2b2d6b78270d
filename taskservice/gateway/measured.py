"""What the gateway counts of its own requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskservice.core.meters import REST
from taskservice.gateway.problems import ProblemDocument

_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
_REFUSALS = (429, 503)
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS")


class Measures:
    """Counts of one gateway, in a registry of its own: several may live in one process."""

    def __init__(self, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self.registry = CollectorRegistry()
        self.clock_s = clock_s
        self.requests = Histogram(
            "taskservice_http_request_seconds",
            "Time from a request to the end of its answer; long polls and streams wait in it.",
            ["method", "route", "status"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.refusals = Counter(
            "taskservice_http_refusals",
            "Answers 429 and 503, by what refused and by the setting that is its limit, if there is one.",
            ["status", "code", "limit"],
            registry=self.registry,
        )
        ProcessCollector(namespace="taskservice_gateway", registry=self.registry)

    def refused(self, document: ProblemDocument) -> None:
        """A request, or an item of one, was answered with this problem."""
        if document.status in _REFUSALS:
            self.refusals.labels(str(document.status), document.code, document.limit or "").inc()


class Measured:
    """Middleware that measures each request."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, clock_s = 500, self._measures.clock_s

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began_s = clock_s()
        try:
            await self._app(scope, receive, noting)
        finally:
            # Only names that are ours become labels: whoever asks for other paths or methods makes no series.
            route = getattr(scope.get("route"), "path", REST)
            method = scope["method"] if scope["method"] in _METHODS else REST
            self._measures.requests.labels(method, route, str(status)).observe(clock_s() - began_s)
