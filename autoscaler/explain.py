"""Why a number is what it is, in words for whoever pays for it."""

from __future__ import annotations

from collections.abc import Iterator

from taskservice.autoscaler.kinds import Kind
from taskservice.autoscaler.load import ShapeLoad
from taskservice.autoscaler.need import Need
from taskservice.autoscaler.packing import Packed

HELD_SHOWN = 3
"""Gates that are named."""


def why_shape(load: ShapeLoad, need: Need, left: float) -> str:
    """What the places of a shape are for."""
    return "; ".join(_shape(load, need, left))


def _shape(load: ShapeLoad, need: Need, left: float) -> Iterator[str]:
    yield f"{load.places} in use"
    if need.rate >= 0.05:
        spare = f", {need.arrivals} so that few wait" if need.arrivals else ""
        yield f"what arrives keeps {need.rate:.1f} in use{spare}"
    if load.free.tasks >= 1:
        yield f"{load.free.tasks:,.0f} tasks wait, {load.free.work_s:,.0f} s of work: {need.waiting:.1f} more"
    if load.capped.most:
        yield f"no more than {need.capped_most:.0f} for what is bounded by a gate"
    held = sorted(load.held.items(), key=lambda item: -item[1])
    for gate, tasks in held[:HELD_SHOWN]:
        yield f"{tasks:,} tasks wait for {gate}, which no machine helps"
    if left >= 1:
        yield f"for {left:.0f} of them no kind of machine has room"


def why_kind(kind: Kind, packed: Packed, *, stays: bool, panic: bool) -> str:
    """What the machines of a kind are for. `stays`: there are more of them than are needed now."""
    return "; ".join(_kind(kind, packed, stays=stays, panic=panic))


def _kind(kind: Kind, packed: Packed, *, stays: bool, panic: bool) -> Iterator[str]:
    parts = [f"{part:.1f} for {shape}" for shape, part in packed.shares[kind.name].items() if part >= 0.05]
    yield " + ".join(parts) if parts else "no work needs one"
    if kind.name in packed.bounds:
        yield f"bounded by {packed.bounds[kind.name]}"
    if stays and panic:
        yield "none goes so soon after a burst"
    elif stays:
        yield "what was needed a moment ago stays for as long as one takes to start"
