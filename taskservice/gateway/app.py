"""The HTTP application: routes, errors, headers and the background loop, put together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from taskservice.actors.ports import DispatcherPort
from taskservice.code.deploying import CodeKeeper
from taskservice.errors import BackOffError
from taskservice.gateway import (
    admin,
    apps,
    callbacks,
    changes,
    cluster,
    dead_letters,
    events,
    health,
    insight,
    log_routes,
    metrics,
    operations,
    policies,
    query,
    schedules,
    submit,
    triggers,
)
from taskservice.gateway.access import Gateway
from taskservice.gateway.catalog import Catalog
from taskservice.gateway.handlers import HANDLERS
from taskservice.gateway.headers import SafeHeaders
from taskservice.gateway.history import HistoryReader
from taskservice.gateway.logs import LogReader
from taskservice.gateway.measured import Measured, Measures
from taskservice.gateway.openapi import DocumentedAPI
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.values import GatewayValues, ValueStore

_LOG = logging.getLogger(__name__)

ROUTERS = (
    submit.routes, query.routes, log_routes.routes, changes.routes, insight.routes, operations.routes, schedules.routes,
    policies.routes, callbacks.routes, cluster.routes, admin.routes, apps.routes, health.routes, metrics.routes,
    dead_letters.routes, triggers.routes, events.routes,
)  # fmt: skip


def create_app(
    dispatcher: DispatcherPort,
    settings: GatewaySettings,
    logs: LogReader,
    values: ValueStore,
    history: HistoryReader,
    *,
    code: CodeKeeper | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> FastAPI:
    """The application, ready to be served: its catalog is fetched when the server starts it."""
    catalog = Catalog(dispatcher, settings, clock_s)
    app = DocumentedAPI(
        title="taskservice",
        summary="A multi-tenant asynchronous task service.",
        lifespan=_lifespan,
        exception_handlers=HANDLERS,
        docs_url=None,  # the pages of both would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    measures = Measures()
    app.state.gateway = Gateway(
        dispatcher, settings, logs, GatewayValues(values, settings), history, catalog, now_ms, measures, code=code
    )
    app.add_middleware(SafeHeaders)
    app.add_middleware(Measured, measures=measures)
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The catalog is kept fresh meanwhile. A dispatcher that is still starting does not keep the gateway from it."""
    catalog: Catalog = app.state.gateway.catalog
    try:
        await catalog.run_once()
    except BackOffError as error:
        _LOG.warning("the dispatcher does not answer yet (%s): not ready until it does", error)
    loop = asyncio.create_task(catalog.run(), name="catalog")
    try:
        yield
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        await app.state.gateway.values.removed()
