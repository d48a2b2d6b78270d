"""Why a number is what it is, in words for whoever pays for it."""

from __future__ import annotations

from collections.abc import Iterator

from taskservice.autoscaler.kinds import Kind
from taskservice.autoscaler.load import ShapeLoad
from taskservice.autoscaler.packing import Packed

HELD_SHOWN = 3
"""Gates that are named."""


def why_shape(load: ShapeLoad, arrivals: int, waiting: float, needed: float, left: float) -> str:
    """What the places of a shape are for."""
    return "; ".join(_shape(load, arrivals, waiting, needed, left))


def _shape(load: ShapeLoad, arrivals: int, waiting: float, needed: float, left: float) -> Iterator[str]:
    yield f"{load.places} in use"
    if load.rate >= 0.05:
        yield f"what arrives keeps {load.rate:.1f} in use: {arrivals} so that few wait"
    if load.tasks:
        yield f"{load.tasks:,.0f} tasks wait, {load.work_s:,.0f} s of work: {waiting:.1f} more"
    if needed < max(float(arrivals), load.rate + waiting) - 0.5:
        yield f"no more than {needed:.0f} could be used"
    held = sorted(load.held.items(), key=lambda item: -item[1])
    for gate, tasks in held[:HELD_SHOWN]:
        yield f"{tasks:,} tasks wait for {gate}, which no machine helps"
    if left >= 1:
        yield f"for {left:.0f} of them no kind of machine has room"


def why_kind(kind: Kind, wanted: int, now: int, needed: int, soon: Packed, panic: bool) -> str:
    """What the machines of a kind are for."""
    return "; ".join(_kind(kind, wanted, now, needed, soon, panic))


def _kind(kind: Kind, wanted: int, now: int, needed: int, soon: Packed, panic: bool) -> Iterator[str]:
    shares = soon.shares[kind.name]
    parts = [f"{part:.1f} for {shape}" for shape, part in shares.items() if part >= 0.05]
    yield " + ".join(parts) if parts else "no work needs one"
    if kind.name in soon.bounds:
        yield f"bounded by {soon.bounds[kind.name]}"
    if wanted > now:
        if needed > now and wanted <= needed:
            yield f"{needed} until what waits is done"
        elif panic:
            yield "none goes so soon after a burst"
        else:
            yield "those that were needed a moment ago stay for as long as one takes to start"
