"""From places of several shapes to machines of several kinds.

Each shape goes to the kind on which its places cost least, GPUs not for those who need none; what does not fit below that kind's
ceiling goes to the next. A kind's machines are the sum of the parts that its shapes take of one, rounded up: so there is room for them
however they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from taskservice.autoscaler.kinds import Kind, ScaleOptions, Shape
from taskservice.core.backlog import RunnerUse
from taskservice.core.resources import times

ROUNDING = 1e-6


@dataclass(slots=True)
class Packed:
    """Machines by kind, and what they are for."""

    machines: dict[str, int] = field(default_factory=dict)
    shares: dict[str, dict[Shape, float]] = field(default_factory=dict)
    """Parts of machines, by kind and shape."""
    bounds: dict[str, str] = field(default_factory=dict)
    """By kind: the setting that made the number another one than the work asks for."""
    left: dict[Shape, float] = field(default_factory=dict)
    """Places that no kind has room for."""


def beyond(places: Mapping[Shape, float], others: Sequence[RunnerUse]) -> dict[Shape, float]:
    """What is left of these places when machines that are there anyhow have taken what they can."""
    room = 1.0
    rest: dict[Shape, float] = {}
    for shape, wanted in places.items():
        slots = sum(times(dict(shape.need), dict(one.capacity)) for one in others if _suits(one, shape))
        taken = min(wanted, slots * room)
        room -= taken / slots if slots else 0.0
        rest[shape] = wanted - taken
    return rest


def _suits(runner: RunnerUse, shape: Shape) -> bool:
    own = dict(runner.labels)
    return not runner.draining and all(own.get(key) == value for key, value in shape.labels)


def pack(places: Mapping[Shape, float], options: ScaleOptions, off_peak: bool) -> Packed:
    """Machines for these places, within floors, ceilings and what all may cost."""
    packed = Packed({kind.name: 0 for kind in options.kinds}, {kind.name: {} for kind in options.kinds})
    rest = {shape: wanted for shape, wanted in places.items() if wanted > ROUNDING}
    choices = {shape: _choices(shape, options.kinds) for shape in rest}
    for level in range(len(options.kinds)):
        for kind in options.kinds:
            here = [shape for shape in rest if level < len(choices[shape]) and choices[shape][level] is kind]
            _fill(packed, kind, here, rest)
    packed.left = {shape: wanted for shape, wanted in rest.items() if wanted > ROUNDING}
    _raise_to_floors(packed, options, off_peak)
    _mind_spot(packed, options, off_peak)
    _mind_price(packed, options, off_peak)
    return packed


def _choices(shape: Shape, kinds: Sequence[Kind]) -> list[Kind]:
    """The kinds that suit, the best first."""
    able = [(kind.unused(shape), kind.price_per_h / slots, kind) for kind in kinds if (slots := kind.places(shape))]
    return [kind for _, _, kind in sorted(able, key=lambda choice: choice[:2])]


def _fill(packed: Packed, kind: Kind, shapes: Sequence[Shape], rest: dict[Shape, float]) -> None:
    """The kind takes as much of these shapes as its ceiling lets it; of all the same part."""
    if not shapes:
        return
    shares = packed.shares[kind.name]
    parts = {shape: rest[shape] / kind.places(shape) for shape in shapes}
    room, wanted = kind.machines_max - sum(shares.values()), sum(parts.values())
    taken = min(1.0, room / wanted) if wanted else 1.0
    for shape, part in parts.items():
        shares[shape] = shares.get(shape, 0.0) + part * taken
        rest[shape] *= 1.0 - taken
    packed.machines[kind.name] = min(kind.machines_max, ceil(sum(shares.values()) - ROUNDING))
    if taken < 1.0:
        packed.bounds[kind.name] = f"machines_max {kind.machines_max}"


def _raise_to_floors(packed: Packed, options: ScaleOptions, off_peak: bool) -> None:
    for kind in options.kinds:
        least = min(kind.machines_max, kind.floor(off_peak))
        if packed.machines[kind.name] < least:
            packed.machines[kind.name] = least
            word = "machines_min_off_peak" if off_peak and kind.machines_min_off_peak is not None else "machines_min"
            packed.bounds[kind.name] = f"{word} {least}"


def _mind_spot(packed: Packed, options: ScaleOptions, off_peak: bool) -> None:
    """Of those above the floors no more are spot machines than may be, where others could do the same."""
    for kind in options.kinds:
        others = [one for one in options.kinds if not one.spot and _replaces(one, kind)]
        above = packed.machines[kind.name] - kind.floor(off_peak)
        if not kind.spot or not others or above <= 0:
            continue
        stand_in = min(others, key=lambda one: one.price_per_h)
        moved = above - floor(above * options.spot_ratio_max)
        moved = max(0, min(moved, stand_in.machines_max - packed.machines[stand_in.name]))
        packed.machines[kind.name] -= moved
        packed.machines[stand_in.name] += moved
        if moved:
            packed.bounds[stand_in.name] = f"spot_ratio_max {options.spot_ratio_max:g}"


def _replaces(one: Kind, other: Kind) -> bool:
    """Whether it has all that the other has."""
    own = dict(one.capacity)
    return all(own.get(name, 0) >= amount for name, amount in other.capacity)


def _mind_price(packed: Packed, options: ScaleOptions, off_peak: bool) -> None:
    """All together cost no more than they may; the floors stay."""
    if options.price_per_h_max is None:
        return
    floors = {kind.name: min(kind.machines_max, kind.floor(off_peak)) for kind in options.kinds}
    least = sum(kind.price_per_h * floors[kind.name] for kind in options.kinds)
    above = sum(kind.price_per_h * (packed.machines[kind.name] - floors[kind.name]) for kind in options.kinds)
    if above <= 0 or least + above <= options.price_per_h_max:
        return
    ratio = max(0.0, options.price_per_h_max - least) / above
    for kind in options.kinds:
        more = packed.machines[kind.name] - floors[kind.name]
        packed.machines[kind.name] = floors[kind.name] + floor(more * ratio + ROUNDING)
        if more:
            packed.bounds[kind.name] = f"price_per_h_max {options.price_per_h_max:g}"
