"""One attempt in the child: resolve, validate, run, encode; whatever happens becomes an outcome."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from taskservice.app import Function, NonRetryable, Throttled
from taskservice.checkpoints import Checkpoints
from taskservice.context import Context, SecretValues, StopSignal
from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.types import OutcomeKind, TenantId
from taskservice.runtime.boxes import Box, hint
from taskservice.signature import BadPayload, BadResult, result_json

DETAIL_CHARS_MAX = 8_000
MESSAGE_CHARS_MAX = 1_000
_OURS = str(Path(__file__).parent) + os.sep


class Began(NamedTuple):
    """When an attempt began, by both clocks."""

    ms: int
    monotonic_ns: int


def call_of(
    function: Function,
    tenant: TenantId,
    task: LeaseTask,
    began: Began,
    signal: StopSignal,
    checkpoints: Checkpoints,
    secrets: SecretValues,
) -> Callable[[], Any]:
    """The handler with its arguments, ready to be called. Raises BadPayload if they do not fit."""
    arguments = function.signature.arguments(task.payload)
    if function.signature.context_parameter is not None:
        context = _context(tenant, task, began, signal, checkpoints, secrets)
        arguments[function.signature.context_parameter] = context
    return partial(function.call, **arguments)


def _context(
    tenant: TenantId,
    task: LeaseTask,
    began: Began,
    signal: StopSignal,
    checkpoints: Checkpoints,
    secrets: SecretValues,
) -> Context:
    deadline = datetime.fromtimestamp((began.ms + task.timeout_ms) / 1000, UTC)
    deadline_s = began.monotonic_ns / 1e9 + task.timeout_ms / 1000
    tags = dict(task.tags)
    return Context(task.id, tenant, task.attempt, deadline, tags, task.run, signal, deadline_s, checkpoints, secrets)


def success(task: LeaseTask, value: object, result_bytes_max: int) -> Outcome:
    """The outcome of a handler that returned `value`. Raises BadResult if that is no result."""
    result = result_json(value)
    if len(result) > result_bytes_max:
        message = (
            f"the result has {len(result)} bytes, result_bytes_max is {result_bytes_max}; store it and return where"
        )
        raise BadResult(message)
    return Outcome(task.no, OutcomeKind.SUCCEEDED, result=result)


def failure(function: Function, task: LeaseTask, error: BaseException, box: Box) -> Outcome:
    """The outcome of an attempt that raised `error`, with the bound of its box that it met, if it was one."""
    bound = hint(error, box)
    message = f"{describe(error)}; {bound}" if bound else describe(error)
    if isinstance(error, BadPayload):
        return Outcome(task.no, OutcomeKind.BAD_PAYLOAD, message=_sendable(str(error))[:MESSAGE_CHARS_MAX])
    if isinstance(error, BadResult):
        return Outcome(task.no, OutcomeKind.BAD_RESULT, message=_sendable(str(error))[:MESSAGE_CHARS_MAX])
    detail = traceback_of(error)
    if isinstance(error, Throttled):
        wait_ms = error.retry_after_ms
        return Outcome(task.no, OutcomeKind.THROTTLED, message=message, detail=detail, retry_after_ms=wait_ms)
    final = isinstance(error, (NonRetryable, *function.retry.non_retryable))
    retried = OutcomeKind.OUT_OF_MEMORY if isinstance(error, MemoryError) else OutcomeKind.HANDLER_ERROR
    kind = OutcomeKind.NON_RETRYABLE if final else retried
    return Outcome(task.no, kind, message=message, detail=detail)


def stopped(outcome: Outcome, kind: OutcomeKind) -> Outcome:
    """The outcome of an attempt that was asked to stop: whatever it raised came of that, unless it says that it is final."""
    if outcome.kind is not OutcomeKind.HANDLER_ERROR:
        return outcome
    return Outcome(outcome.no, kind, message=outcome.message, detail=outcome.detail)


def timed(outcome: Outcome, began: Began) -> Outcome:
    """The same outcome, with its times: it ended now."""
    duration_us = (time.monotonic_ns() - began.monotonic_ns) // 1000
    return Outcome(
        outcome.no,
        outcome.kind,
        began.ms,
        duration_us,
        outcome.result,
        outcome.message,
        outcome.detail,
        outcome.retry_after_ms,
    )


def describe(error: BaseException) -> str:
    """The error in one line, whatever its class does when it is asked."""
    try:
        said = _sendable(str(error))
    except BaseException:  # an exception of the user's whose own __str__ raises, whatever
        said = "(its message cannot be made)"
    return f"{type(error).__name__}: {said}"[:MESSAGE_CHARS_MAX] if said else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """The end of the traceback, from the handler's own frame on."""
    try:
        lines = traceback.format_exception(type(error), error, _handler_frames(error))
    except BaseException:  # see describe
        return ""
    return _sendable("".join(lines))[-DETAIL_CHARS_MAX:]


def _sendable(text: str) -> str:
    """The text, with what UTF-8 cannot say (lone surrogates, as file names may have) written as escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def _handler_frames(error: BaseException) -> Any:
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return frames
