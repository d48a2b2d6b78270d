"""What operators and users ask about the scheduler, and change of it, as requests. Durations, rates and quotas travel as they are said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict
from urllib.parse import quote

from taskservice.client.requests import to_json
from taskservice.client.steps import Request

Rate = str | Mapping[str, float]
"""`100/s`, `30/m`, `100/s burst 500`, or a mapping of `per_s` and `burst`."""

Quota = Mapping[str, Mapping[str, float | str]]
"""`reserved` and `maximum`, each by resource: `cpus`, `gpus`, `memory` (bytes, or text such as `8GiB`), custom ones."""


class FunctionChanges(TypedDict, total=False):
    """What to change of how a function is treated. None: as the function says itself."""

    paused: bool | None
    rate: Rate | None
    max_running: int | None
    quota: Quota | None


class DownstreamChanges(TypedDict, total=False):
    """What to change of a downstream's window. None: it is found out."""

    ceiling: int | None
    frozen: int | None


class ClassChanges(TypedDict, total=False):
    """What to change of a priority class. None: as by default."""

    weight: float | None
    quota: Quota | None


class TenantLimits(TypedDict, total=False):
    """What can be said of a tenant. None: no limit, and of the weight 1."""

    weight: float | None
    """Its share of the machines' time, relative to other tenants."""
    queued_max: int | None
    """Unfinished tasks."""
    running_max: int | None
    rate: Rate | None
    """Tasks that may start."""
    submit_rate: Rate | None
    """Tasks that may be submitted."""
    quota: Quota | None


_KNOWN: dict[str, Any] = {
    "functions": FunctionChanges,
    "downstreams": DownstreamChanges,
    "classes": ClassChanges,
    "tenants": TenantLimits,
}


def find(kind: str, name: str) -> Request:
    """One of `functions`, `downstreams`, `classes`, `tenants`."""
    return Request("GET", _path(kind, name))


def change(kind: str, name: str, changes: Mapping[str, Any]) -> Request:
    """That is to be like this; what is not named stays."""
    _check(kind, changes)
    return Request("PATCH", _path(kind, name), body=to_json(dict(changes)))


def create_tenant(name: str, limits: TenantLimits) -> Request:
    _check("tenants", limits)
    said = {key: value for key, value in limits.items() if value is not None}
    return Request("POST", "/v1/tenants", body=to_json({"id": name, **said}), repeatable=False)


def why(task_id: str) -> Request:
    return Request("GET", _path("tasks", task_id, "/why"))


def timeline(task_id: str) -> Request:
    return Request("GET", _path("tasks", task_id, "/timeline"))


def usage(tenant: str | None) -> Request:
    return Request("GET", "/v1/usage", () if tenant is None else (("tenant", tenant),))


def _path(kind: str, name: str, rest: str = "") -> str:
    return f"/v1/{kind}/{quote(name, safe='')}{rest}"


def names(kind: str) -> list[str]:
    """The settings that one of that kind has."""
    return list(_KNOWN[kind].__annotations__)


def _check(kind: str, said: Mapping[str, Any]) -> None:
    known = names(kind)
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise TypeError(f"there is no setting {', '.join(unknown)}: there are {', '.join(known)}")
