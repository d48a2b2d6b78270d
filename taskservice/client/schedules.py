"""What can be asked about schedules, as requests. Their ids are made here, so asking twice makes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict
from urllib.parse import quote

from taskservice.client.requests import Duration, Instant, in_json, payload_of, to_json
from taskservice.client.steps import Request
from taskservice.ids import uuid7


class ScheduleOptions(TypedDict, total=False):
    """What can be said of a schedule besides its function and payload: `cron` or `interval` has to be."""

    cron: str | None
    """Minute, hour, day of month, month, day of week: `30 2 * * MON-FRI`."""
    zone: str | None
    """The time zone of `cron`, such as `Europe/Berlin`; UTC if not given."""
    interval: Duration | None
    anchor: Instant | None
    """A time that intervals are counted from; by default the start, or when it is made."""
    overlap: str | None
    """When the last task has not ended: `allow` (default), `skip` or `queue_one`."""
    catch_up: str | None
    """Times that passed during an outage: `skip`, `one` (default) or `all`."""
    jitter: Duration | None
    """Each time may be later by up to so much."""
    starts_at: Instant | None
    ends_at: Instant | None
    paused: bool
    priority: str | None
    max_attempts: int | None
    timeout: Duration | None
    ttl: Duration | None
    """Each task expires if it has not started by then, from when it is made."""
    deadline: Duration | None
    """When each task is to have ended, from when it is made; later it runs all the same."""
    off_peak: bool | None
    """Each task can wait for off-peak hours or an idle pool, while its deadline leaves time."""
    tags: Mapping[str, str] | None
    callback_url: str | None
    """Is told by a signed request when a task has ended."""
    on_success: str | None
    """A function that gets a task when one has succeeded."""
    on_failure: str | None
    """A function that gets a task when one has failed or expired."""


class ScheduleChanges(ScheduleOptions, total=False):
    """What can be changed of a schedule. None takes back what was said."""

    function: str
    payload: Mapping[str, Any]


def create(function: str, payload: Mapping[str, Any], id: str | None, options: ScheduleOptions) -> Request:
    said = {name: value for name, value in _said(ScheduleOptions, options).items() if value is not None}
    body = {**said, "id": uuid7() if id is None else id, "function": function, "payload": payload_of(payload)}
    return Request("POST", "/v1/schedules", body=to_json(body))


def change(id: str, changes: ScheduleChanges) -> Request:
    said = _said(ScheduleChanges, changes)
    if "payload" in said:
        said["payload"] = payload_of(said["payload"])
    return Request("PATCH", _path(id), body=to_json(said))


def find(id: str, next_count: int | None) -> Request:
    return Request("GET", _path(id), () if next_count is None else (("next", str(next_count)),))


def remove(id: str) -> Request:
    return Request("DELETE", _path(id))


def listing(tenant: str | None, cursor: str | None, limit: int) -> Request:
    """A page of at most `limit` schedules."""
    params = {"limit": str(limit), "tenant": tenant, "cursor": cursor}
    return Request("GET", "/v1/schedules", tuple((name, value) for name, value in params.items() if value is not None))


def _said(kind: type[ScheduleOptions], options: Mapping[str, object]) -> dict[str, object]:
    known = {**ScheduleOptions.__annotations__, **kind.__annotations__}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"a schedule has no {', '.join(unknown)}: it has {', '.join(known)}")
    return {name: in_json(value) for name, value in options.items()}


def _path(id: str) -> str:
    return f"/v1/schedules/{quote(id, safe='')}"
