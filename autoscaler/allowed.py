"""How much of what waits may run at all, however many machines there are: a backlog that its gates hold back buys none.

Each work begins with what it could use: a place for each task, those that run included. Each gate that it shares with others then
takes from all of them alike what is too much, the gates of functions first, those of classes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

from taskservice.core.backlog import Cap, Work

_WIDTH = {"function": 0, "downstream": 0, "tenant": 1, "class": 2}
"""By the first word of a gate's name: what is within what."""


class Allowed(NamedTuple):
    """What a work may use."""

    places: float
    """At once, those included that it has."""
    by: str
    """The gate that says so; empty: none does, it has no more tasks."""


def allowed(works: Sequence[Work], caps: Sequence[Cap]) -> list[Allowed]:
    """What each work may use of any number of machines."""
    places = [float(work.places + ceil(work.queued / work.concurrency)) for work in works]
    by = [""] * len(works)
    for at, work in enumerate(works):
        if work.places_max is not None and places[at] > (most := work.places_max / work.concurrency):
            places[at], by[at] = most, "key.max_running"
    members: dict[int, list[int]] = {}
    for at, work in enumerate(works):
        for cap in work.caps:
            members.setdefault(cap, []).append(at)
    for number in sorted(members, key=lambda number: _WIDTH.get(caps[number].gate.partition(".")[0], 0)):
        _bound(caps[number], members[number], works, places, by)
    return [Allowed(max(most, work.places), why) for most, work, why in zip(places, works, by, strict=True)]


def _bound(cap: Cap, members: Sequence[int], works: Sequence[Work], places: list[float], by: list[str]) -> None:
    """None of these has more than the gate lets them have together."""
    for limit, weights in _limits(cap, [works[at] for at in members]):
        total = sum(places[at] * weight for at, weight in zip(members, weights, strict=True))
        if total <= limit:
            continue
        for at, weight in zip(members, weights, strict=True):
            if weight:
                places[at] *= limit / total
                by[at] = f"{cap.gate} of {cap.of}"


def _limits(cap: Cap, works: Sequence[Work]) -> Iterator[tuple[float, list[float]]]:
    """What the gate counts, and how much of it a place of each work takes."""
    if cap.tasks_max is not None:
        yield cap.tasks_max, [float(work.concurrency) for work in works]
    if cap.per_s is not None:  # by Little's law, what starts in a second times what it takes is what runs
        yield cap.per_s, [1.0 / max(1e-6, work.each_s) for work in works]
    for name, most in cap.amounts:
        yield most, [float(dict(work.need).get(name, 0)) for work in works]
