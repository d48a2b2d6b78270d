"""From the text of a task to a `NewTask` that the dispatcher can take: everything a gateway can check is checked here."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

import msgspec
from msgspec import UnsetType

from taskservice.callback_urls import check_url
from taskservice.core.types import FunctionName, Hooks, NewTask, TaskId
from taskservice.gateway.body import decode
from taskservice.gateway.canonical import Canonical, canonical
from taskservice.gateway.catalog import Catalog, KnownFunction
from taskservice.gateway.problems import PAYLOAD_INVALID, Problem, invalid, too_large
from taskservice.gateway.requests import Deadline, Duration, Instant, TaskRequest
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.task_key import key_of
from taskservice.gateway.times import parse_moment_ms, parse_time_ms
from taskservice.ids import is_task_id, uuid7
from taskservice.units import parse_duration_ms

_DECODER = msgspec.json.Decoder(TaskRequest)
_TAG_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_EXPLANATIONS_MAX = 20
_ASIDE_BYTES = 1 << 20
"""A longer payload is checked on a thread, so that other requests get their turn meanwhile."""

T = TypeVar("T")


class Admission:
    """Checks the tasks of one request."""

    def __init__(self, catalog: Catalog, settings: GatewaySettings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._explained = 0

    async def admit_text(self, text: bytes) -> NewTask:
        """The task that `text` describes. Raises Problem."""
        bytes_max = self._settings.task_text_bytes_max
        if len(text) > bytes_max:
            message = f"The task's JSON is longer than {bytes_max} bytes: no payload within the limit needs that."
            raise too_large(message, "payload_bytes_max", self._settings.payload_bytes_max)
        return await self.admit(decode(text, _DECODER))

    async def admit(self, request: TaskRequest) -> NewTask:
        """The task that is asked for, with a payload that its function takes. Raises Problem."""
        function = await self._catalog.function(request.function)
        if function is None:
            self._explained += 1
            raise self._catalog.unknown_function(request.function, explain=self._explained <= _EXPLANATIONS_MAX)
        deadline_ms, deadline_in_ms = _deadline(request.deadline, self._settings)
        delay_ms = duration_ms("$.delay", request.delay, self._settings, at_least_ms=0)
        run_at_ms = instant_ms("$.run_at", request.run_at)
        if delay_ms is not None and run_at_ms is not None:
            raise invalid("$.run_at", "give delay or run_at, not both")
        if isinstance(request.payload, msgspec.Raw) and memoryview(request.payload).nbytes > _ASIDE_BYTES:
            payload = await asyncio.to_thread(self._payload, request, function)
        else:
            payload = self._payload(request, function)
        return NewTask(
            id=_task_id(_given(request.id)),
            function=FunctionName(request.function),
            payload=payload.text,
            priority=_given(request.priority),
            run_at_ms=run_at_ms,
            delay_ms=delay_ms,
            max_attempts=_given(request.max_attempts),
            timeout_ms=duration_ms("$.timeout", request.timeout, self._settings, at_least_ms=1),
            tags=self._tags(_given(request.tags) or {}),
            ttl_ms=duration_ms("$.ttl", request.ttl, self._settings, at_least_ms=1),
            key=key_of(function.spec, payload.value, _given(request.key)),
            deadline_ms=deadline_ms,
            deadline_in_ms=deadline_in_ms,
            off_peak=_given(request.off_peak),
            hooks=await self._hooks(request),
        )

    async def _hooks(self, request: TaskRequest) -> Hooks | None:
        """What is to follow the task's end. Raises Problem if that can never be."""
        hooks = Hooks(
            _given(request.callback_url) or "", _given(request.on_success) or "", _given(request.on_failure) or ""
        )
        if hooks.callback_url:
            try:
                check_url(hooks.callback_url, private_networks=self._settings.callback_private_networks)
            except ValueError as error:
                raise invalid("$.callback_url", str(error)) from None
        for path, name in (("$.on_success", hooks.on_success), ("$.on_failure", hooks.on_failure)):
            if name and await self._catalog.function(name) is None:
                raise invalid(path, f"there is no function {name!r}")
        return None if hooks == Hooks() else hooks

    def _payload(self, request: TaskRequest, function: KnownFunction) -> Canonical:
        settings = self._settings
        given = b"{}" if isinstance(request.payload, UnsetType) else bytes(request.payload)
        payload = canonical(given, settings.payload_depth_max)
        if len(payload.text) > settings.payload_bytes_max:
            message = f"The payload has {len(payload.text)} bytes; {settings.payload_bytes_max} are allowed."
            raise too_large(message, "payload_bytes_max", settings.payload_bytes_max)
        errors = function.payload_errors(payload.value, settings.errors_max)
        if errors:
            first = f"{errors[0].path}: {errors[0].message}"
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            detail = f"{request.function} does not take this payload. {first}{more}"
            raise Problem(PAYLOAD_INVALID, detail, errors=errors)
        return payload

    def _tags(self, tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
        settings = self._settings
        if len(tags) > settings.tags_max:
            message = f"there are {len(tags)} tags; {settings.tags_max} are allowed"
            raise invalid("$.tags", message, limit="tags_max", value=settings.tags_max)
        for key, value in tags.items():
            if not _TAG_KEY.fullmatch(key):
                raise invalid("$.tags", f"{key[:80]!r} cannot be a tag's name: use 1 to 63 of A-Z a-z 0-9 . _ / -")
            if len(value) > settings.tag_value_chars_max:
                message = f"the value is longer than {settings.tag_value_chars_max} characters"
                raise invalid(f"$.tags.{key}", message, limit="tag_value_chars_max", value=settings.tag_value_chars_max)
            if not value.isprintable():
                raise invalid(f"$.tags.{key}", "the value holds characters that cannot be printed")
        return tuple(sorted(tags.items()))


def _given(value: T | UnsetType | None) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _task_id(text: str | None) -> TaskId:
    if text is None:
        return TaskId(uuid7())
    if not is_task_id(text):
        raise invalid("$.id", "use 1 to 200 of A-Z a-z 0-9 . _ : @ + = ~ -, beginning with a letter or digit")
    return TaskId(text)


def duration_ms(
    path: str, value: Duration | UnsetType | None, settings: GatewaySettings, *, at_least_ms: int
) -> int | None:
    """The duration at that place of the request, if there is one. Raises Problem."""
    if value is None or isinstance(value, UnsetType):
        return None
    try:
        ms = parse_duration_ms(value)
    except (ValueError, OverflowError) as error:
        raise invalid(path, str(error)) from None
    if ms < at_least_ms:
        raise invalid(path, f"it must be at least {at_least_ms} ms")
    if ms > settings.delay_ms_max:
        limit_ms = settings.delay_ms_max
        raise invalid(path, f"it is longer than {limit_ms} ms", limit="delay_ms_max", value=limit_ms)
    return ms


def _deadline(value: Deadline | UnsetType | None, settings: GatewaySettings) -> tuple[int | None, int | None]:
    """The deadline, as a point in time or reckoned from acceptance; neither if there is none. Raises Problem."""
    if value is None or isinstance(value, UnsetType):
        return None, None
    try:
        at_ms, in_ms = parse_moment_ms(value)
    except (ValueError, OverflowError) as error:
        raise invalid("$.deadline", str(error)) from None
    return at_ms, None if in_ms is None else duration_ms("$.deadline", in_ms / 1000, settings, at_least_ms=1)


def instant_ms(path: str, value: Instant | UnsetType | None) -> int | None:
    """The time at that place of the request, if there is one. Raises Problem."""
    if value is None or isinstance(value, UnsetType):
        return None
    try:
        return parse_time_ms(value)
    except ValueError as error:
        raise invalid(path, str(error)) from None
