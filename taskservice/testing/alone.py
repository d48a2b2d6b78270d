"""One attempt of a handler, with whatever context the test wants it to have."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from taskservice.app import App, Function
from taskservice.checkpoints import decode, encode
from taskservice.client.requests import payload_of, to_json
from taskservice.context import Cancelled, SecretValues, StopSignal, TimeLimitExceeded
from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind, TaskId, TaskNo, TenantId
from taskservice.errors import RequestError, TaskCancelled, TaskFailed
from taskservice.gateway.canonical import canonical
from taskservice.gateway.catalog import KnownFunction
from taskservice.gateway.problems import PAYLOAD_INVALID, Problem
from taskservice.gateway.settings import GatewaySettings
from taskservice.runtime.attempt import Began
from taskservice.runtime.in_process import InProcess
from taskservice.units import parse_duration_ms


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt."""

    kind: str
    """`succeeded`, `handler_error` (will be retried), `non_retryable`, `throttled`, `bad_payload`, `bad_result`, `cancelled`,
    `timeout`, ...: as the timeline of a task calls it."""
    message: str
    """Why it did not succeed, as the task's error has it; empty if it did."""
    error: BaseException | None
    """What the handler raised, itself."""
    checkpoint: Any
    """The last one that it saved; None if it saved none."""
    logs: str
    """What it printed and logged, with its secrets masked."""
    retry_after_s: float | None
    """What `Throttled` said."""
    outcome: Outcome = field(repr=False)

    @property
    def succeeded(self) -> bool:
        return self.kind == OutcomeKind.SUCCEEDED

    @property
    def result(self) -> Any:
        """What the service would give as the task's result: decoded from JSON. Raises TaskFailed if the attempt did not succeed, or
        TaskCancelled if it was told to stop; from the handler's own exception."""
        if self.succeeded:
            return json.loads(self.outcome.result)
        raised = TaskCancelled if self.kind == OutcomeKind.CANCELLED else TaskFailed
        raise raised(
            f"{self.kind}: {self.message}", task_id="", reason=self.kind, detail=self.outcome.detail
        ) from self.error


def run(
    app: App,
    handler: Callable[..., Any] | str,
    payload: Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    restored: object = None,
    cancelled: bool = False,
    remaining: str | float | timedelta | None = None,
    secrets: Mapping[str, str] | None = None,
    task_id: str = "task-1",
    tenant: str = "default",
    tags: Mapping[str, str] | None = None,
    run: int = 1,
) -> Attempt:
    """One attempt of the handler (the function, or its full name) has been made, sync or async, here and now.

    `restored`: the last checkpoint of the attempts before. `cancelled`: it was asked to stop before it began. `remaining`: what is left of
    its time-out; 0: it is over, and the handler finds itself asked to stop for that. `secrets`: values of those that the function has
    declared; each must have one. Raises RequestError, as `submit` does, if the function does not take the payload, and ValueError for
    secrets that are missing or not declared. No exception of the handler's comes out of here: it is `Attempt.error`.
    """
    function = function_of(app, handler)
    text = checked(function, payload or {})
    remaining_ms = function.timeout_ms if remaining is None else parse_duration_ms(remaining)
    task = LeaseTask(
        *(TaskNo(1), TaskId(task_id), text, attempt, run, remaining_ms),
        tuple(sorted((tags or {}).items())),
        b"" if restored is None else encode(restored),
    )
    signal, kind = StopSignal(), OutcomeKind.CANCELLED
    if cancelled:
        signal.set(Cancelled("the test has cancelled the task"))
    elif remaining_ms == 0:
        kind = OutcomeKind.TIMEOUT
        signal.set(TimeLimitExceeded("the test has left no time"))
    process, began = InProcess(), Began(time.time_ns() // 1_000_000, time.monotonic_ns())
    try:
        values = SecretValues(declared(function, secrets or {}))
        made = process.attempt(function, TenantId(tenant), task, began, signal, values, lambda: kind)
    finally:
        process.close()
    wait_ms = made.outcome.retry_after_ms
    return Attempt(
        kind=made.outcome.kind.value,
        message=made.outcome.message,
        error=made.error,
        checkpoint=decode(made.checkpoints[-1]) if made.checkpoints else None,
        logs=b"".join(each.text for each in made.written).decode(),
        retry_after_s=None if wait_ms is None else wait_ms / 1000,
        outcome=made.outcome,
    )


def function_of(app: App, handler: Callable[..., Any] | str) -> Function:
    """The app's function that is meant. Raises LookupError, which says what there is."""
    for name, function in app.functions.items():
        if handler == name or handler is function.call:
            return function
    named = handler if isinstance(handler, str) else f"{app.name}.{getattr(handler, '__name__', handler)}"
    close = get_close_matches(named, app.functions, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise LookupError(f"App {app.name!r} has no function {named!r}.{hint} It has {', '.join(app.functions) or 'none'}.")


def checked(function: Function, payload: Mapping[str, Any]) -> bytes:
    """The payload as the service would keep it. Raises RequestError if it would not take it."""
    settings = GatewaySettings()
    try:
        found = canonical(to_json(payload_of(payload)), settings.payload_depth_max)
    except Problem as problem:
        document = problem.document
        raise RequestError(document.detail, code=document.code, status=document.status) from None
    errors = KnownFunction(function.spec(Bundle("", "", "")), None).payload_errors(found.value, settings.errors_max)
    if errors:
        message = f"{function.name} does not take this payload. {errors[0].path}: {errors[0].message}"
        raise RequestError(message, code=PAYLOAD_INVALID.code, status=PAYLOAD_INVALID.status)
    return found.text


def declared(function: Function, secrets: Mapping[str, str]) -> dict[str, str]:
    """The function's secrets. Raises ValueError if the test gives others, or not all."""
    missing, unknown = set(function.secrets) - set(secrets), set(secrets) - set(function.secrets)
    if missing or unknown:
        has = ", ".join(function.secrets) or "none"
        given = ", ".join(sorted(secrets)) or "none"
        raise ValueError(
            f"{function.name} declares the secrets {has}; the test gives {given}: give each that is declared"
        )
    return {name: secrets[name] for name in function.secrets}
