"""Every way in which a request can go wrong, as a problem document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from taskservice.errors import BackOffError, TaskServiceError
from taskservice.gateway.headers import SAFE_HEADERS
from taskservice.gateway.problems import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    FieldError,
    Kind,
    Problem,
    problem_response,
)

_CLIENT_GONE = 499
"""Sent to nobody; what access logs of web servers call it."""


async def on_problem(request: Request, error: Problem) -> Response:
    """A refusal by the gateway itself."""
    return _refused(request, error)


async def on_service_error(request: Request, error: TaskServiceError) -> Response:
    """A refusal by the dispatcher, or a bug that somebody recognised as one."""
    status = HTTPStatus(error.status)
    code = status.name.lower() if error.code == type(error).__name__ else error.code
    retry_after_s = error.retry_after_s if isinstance(error, BackOffError) else None
    problem = Problem(Kind(code, status.value, status.phrase), error.message, retry_after_s=retry_after_s)
    return _refused(request, problem)


def _refused(request: Request, problem: Problem) -> Response:
    request.app.state.gateway.measures.refused(problem.document)
    return problem_response(problem.document)


async def on_http_exception(request: Request, error: HTTPException) -> Response:
    """No such route (404), or not with this method (405)."""
    status = HTTPStatus(error.status_code)
    detail = f"{request.method} {request.url.path[:200]}: {status.phrase}."
    kind = Kind(status.name.lower(), status.value, status.phrase)
    return problem_response(Problem(kind, detail).document, error.headers)


async def on_invalid_parameters(request: Request, error: RequestValidationError) -> Response:
    """A query parameter that is not what it should be."""
    errors = [FieldError(".".join(map(str, one["loc"][1:])), one["msg"]) for one in error.errors()]
    detail = "; ".join(f"{one.path}: {one.message}" for one in errors)
    return problem_response(Problem(INVALID_REQUEST, detail, errors=errors).document)


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody listens any more."""
    return Response(status_code=_CLIENT_GONE)


async def on_bug(request: Request, error: Exception) -> Response:
    """Ours. What happened is in the log of the server, and nowhere else."""
    detail = "The service made a mistake. The task, if there is one, is not lost; the operator's log says more."
    return problem_response(Problem(INTERNAL_ERROR, detail).document, SAFE_HEADERS)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Problem: on_problem,
    TaskServiceError: on_service_error,
    HTTPException: on_http_exception,
    RequestValidationError: on_invalid_parameters,
    ClientDisconnect: on_disconnect,
    Exception: on_bug,
}
