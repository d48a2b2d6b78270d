"""What bounds the flow of a function's tasks, as `@app.task` is told it: rates, counts, keys, what it calls. Checked at import."""

from __future__ import annotations

import re
from typing import NamedTuple, TypedDict

from taskservice.core.flow.bucket import RateLimit
from taskservice.core.specs import Rate
from taskservice.signature import Signature
from taskservice.units import parse_rate

RUNNING_MAX = 1_000_000
_DOWNSTREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FlowOptions(TypedDict, total=False):
    """The options of `@app.task` that say how fast, and how many at once."""

    rate: str | None
    """Tasks that may start, of all tenants together: `100/s`, `30/m`, `100/s burst 500`."""
    submit_rate: str | None
    """Tasks that may be submitted, likewise; whoever comes faster is told when to come back."""
    max_running: int | None
    """Tasks that may run at once, of all tenants together."""
    key: str | None
    """The parameter whose value is a task's key: what `key_max_running` counts by."""
    key_max_running: int | None
    """Tasks of one tenant with the same key that may run at once."""
    downstream: str | None
    """What it calls: all functions that name the same share a window, which finds out how much of it that bears."""
    retry_share: float
    """Retries for each call, at most, while calls fail."""


class Flow(NamedTuple):
    """The same for the control plane."""

    rate: Rate | None = None
    submit_rate: Rate | None = None
    max_running: int | None = None
    key: str = ""
    key_max_running: int | None = None
    downstream: str = ""
    retry_share: float = 0.1


def flow_of(signature: Signature, options: FlowOptions) -> Flow:
    """What the options say. Raises TypeError for one that there is not, ValueError for one that cannot be."""
    unknown = sorted(set(options) - set(FlowOptions.__annotations__))
    if unknown:
        raise TypeError(f"@app.task has no option {', '.join(unknown)}")
    key, key_max_running = options.get("key"), options.get("key_max_running")
    if key is None and key_max_running is not None:
        raise ValueError("key_max_running counts by a key: say which parameter that is, with key=...")
    if key is not None and key not in signature.parameters:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(f"key must be the name of a parameter of the function ({known}), not {key!r:.50}")
    downstream: object = options.get("downstream")
    if downstream is not None and not (isinstance(downstream, str) and _DOWNSTREAM.fullmatch(downstream)):
        raise ValueError(f"downstream must be 1 to 100 of A-Z a-z 0-9 . _ -, not {downstream!r:.50}")
    return Flow(
        _rate("rate", options.get("rate")),
        _rate("submit_rate", options.get("submit_rate")),
        _count("max_running", options.get("max_running")),
        key or "",
        _count("key_max_running", key_max_running),
        str(downstream or ""),
        _share(options.get("retry_share", 0.1)),
    )


def _rate(name: str, said: object) -> Rate | None:
    if said is None:
        return None
    try:
        per_s, burst = parse_rate(said)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    RateLimit(name, per_s, burst)
    return Rate(per_s, burst)


def _count(name: str, said: object) -> int | None:
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= RUNNING_MAX:
        raise ValueError(f"{name} must be a whole number from 1 to {RUNNING_MAX}, not {said!r:.50}")
    return said


def _share(said: object) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 1:
        raise ValueError(f"retry_share must be a number from 0 to 1, not {said!r:.50}")
    return float(said)
