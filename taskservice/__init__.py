"""taskservice: hand over what is slow, heavy or failure-prone; have an answer at once; know that it will be done.

A producer submits a task, a function's name and a JSON payload, over HTTP or with `Client`. The gateway admits it, the
journal makes it durable, the scheduler says when it runs; a lease carries it to a machine, a child process executes it,
its outcome is reported, and whoever waits is notified:

    submit -> admit -> journal -> schedule -> lease -> execute -> report -> notify

Handlers are plain functions of an `App`. `ARCHITECTURE.md` tells the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskservice.app import App, NonRetryable, Retry, Throttled
from taskservice.context import Cancelled, Context, TimeLimitExceeded
from taskservice.errors import (
    AuthError,
    BackOffError,
    ConflictError,
    NotFoundError,
    RequestError,
    ServiceBug,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskServiceError,
    UnreachableError,
    WaitTimeout,
)

if TYPE_CHECKING:
    from taskservice.client import AsyncClient, Client

__all__ = [
    "App",
    "AsyncClient",
    "AuthError",
    "BackOffError",
    "Cancelled",
    "Client",
    "ConflictError",
    "Context",
    "NonRetryable",
    "NotFoundError",
    "RequestError",
    "Retry",
    "ServiceBug",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskServiceError",
    "Throttled",
    "TimeLimitExceeded",
    "UnreachableError",
    "WaitTimeout",
]


def __getattr__(name: str) -> Any:
    """What handlers' processes do without is imported when it is first used."""
    if name in ("AsyncClient", "Client"):
        return getattr(import_module("taskservice.client"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("taskservice")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
