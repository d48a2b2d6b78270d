"""How much work there is, by shape: what runs, what may begin, and how much more arrives in a second.

What arrives is what the runners do, and what the queues grow by meanwhile. So it is right whatever durations were guessed, and
nothing has to be counted on the way of a task. A burst is backlog and no rate: what in a part of the time looked back to is
more than twice the usual is not reckoned to go on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from taskservice.autoscaler.allowed import allowed
from taskservice.autoscaler.kinds import Shape
from taskservice.core.backlog import BacklogAnswer, Work

PARTS = 6
"""Parts of the time looked back to."""
BACK_S_MIN = 60.0
BACK_S_MAX = 600.0
BACK_TASKS = 3.0
"""It is looked back for so many times what a task takes: what takes long comes seldom."""
BURST_RATIO = 2.0
"""What is more than so many times the usual is a burst."""


@dataclass(slots=True)
class ShapeLoad:
    """Work of one shape."""

    shape: Shape
    places: int = 0
    """In use."""
    tasks: float = 0.0
    """That wait and may begin as soon as there are places."""
    work_s: float = 0.0
    """How long a single place would take for them."""
    each_s: float = 0.1
    """What a task takes, of those that run or wait."""
    most: float = 0.0
    """Places that may be in use at once, as far as gates and what there is of tasks say."""
    free_ratio: float = 0.0
    """Of those, the part that no gate bounds."""
    rate: float = 0.0
    """Places that what arrives keeps in use on average (Erlangs)."""
    held: dict[str, int] = field(default_factory=dict)
    """Tasks that no machine would help, by the gate that keeps them back."""


@dataclass(slots=True)
class _Track:
    """The work that has arrived of a shape, in seconds of a place."""

    times_s: list[float] = field(default_factory=list)
    sums_s: list[float] = field(default_factory=list)


class Loads:
    """What is remembered of the looks before."""

    def __init__(self) -> None:
        self._waiting: dict[str, float] | None = None
        """Tasks of each work that could begin, at the last look."""
        self._tracks: dict[Shape, _Track] = {}
        self._at_s = 0.0

    def look(self, answer: BacklogAnswer, begin_s: float, now_s: float) -> dict[Shape, ShapeLoad]:
        """The load now. `begin_s`: how soon what waits is to begin."""
        loads: dict[Shape, ShapeLoad] = {}
        grown_s: dict[Shape, float] = {}
        waiting: dict[str, float] = {}
        for work, may in zip(answer.works, allowed(answer.works, answer.caps), strict=True):
            load = loads.setdefault(shape_of(work), ShapeLoad(shape_of(work)))
            for gate, held in work.held:
                load.held[gate] = load.held.get(gate, 0) + held
            if work.fills:
                continue
            tasks = min(work.queued, (may.places - work.places) * max(work.concurrency, begin_s / work.each_s))
            _add(load, work, tasks, may.places, capped=bool(may.by))
            if may.by and work.queued > tasks:
                load.held[may.by] = load.held.get(may.by, 0) + round(work.queued - tasks)
            waiting[work.name] = tasks
            before = tasks if self._waiting is None else self._waiting.get(work.name, 0.0)
            grown_s[load.shape] = grown_s.get(load.shape, 0.0) + (tasks - before) * work.each_s
        seconds, self._at_s = (0.0 if self._waiting is None else now_s - self._at_s), now_s
        self._waiting = waiting
        for shape in [shape for shape in self._tracks if shape not in loads]:
            loads[shape] = ShapeLoad(shape)
        for shape, load in loads.items():
            load.each_s = load.each_s if load.most else 0.1
            track = self._tracks.setdefault(shape, _Track())
            _note(track, grown_s.get(shape, 0.0) + load.places * seconds, now_s)
            load.rate = _rate(track, load, now_s)
            if not load.rate and not load.most and not any(track.sums_s[-1:]):
                del self._tracks[shape]
        return {shape: load for shape, load in loads.items() if load.rate or load.most or load.held}


def shape_of(work: Work) -> Shape:
    """What a lease of the work asks of a machine."""
    return Shape(work.need, work.labels)


def _add(load: ShapeLoad, work: Work, tasks: float, places: float, *, capped: bool) -> None:
    """The load is that of one work more."""
    weight = load.most + places
    if weight:
        load.each_s = (load.each_s * load.most + work.each_s * places) / weight
        load.free_ratio = (load.free_ratio * load.most + (0.0 if capped else places)) / weight
    load.places += work.places
    load.tasks += tasks
    load.work_s += tasks * work.each_s
    load.most = weight


def _note(track: _Track, arrived_s: float, now_s: float) -> None:
    total = arrived_s + (track.sums_s[-1] if track.sums_s else 0.0)
    track.times_s.append(now_s)
    track.sums_s.append(total)
    old = bisect_left(track.times_s, now_s - BACK_S_MAX - 60.0)
    if old > 64:  # seldom, so that it costs little
        del track.times_s[:old], track.sums_s[:old]


def _rate(track: _Track, load: ShapeLoad, now_s: float) -> float:
    back_s = min(BACK_S_MAX, max(BACK_S_MIN, BACK_TASKS * load.each_s))
    step_s = back_s / PARTS
    known = int(min(PARTS, (now_s - track.times_s[0]) / step_s + 1e-9))
    if not known:
        return float(load.places)
    edges = [_sum_at(track, now_s - step_s * part) for part in range(known + 1)]
    rates = [max(0.0, newer - older) / step_s for newer, older in pairwise(edges)]
    usual = BURST_RATIO * median(rates)
    return sum(min(rate, usual) for rate in rates) / known


def _sum_at(track: _Track, at_s: float) -> float:
    """What had arrived by then."""
    times_s: Sequence[float] = track.times_s
    at = bisect_left(times_s, at_s)
    if at == 0:
        return track.sums_s[0]
    if at == len(times_s):
        return track.sums_s[-1]
    earlier, later = times_s[at - 1], times_s[at]
    part = (at_s - earlier) / (later - earlier)
    return track.sums_s[at - 1] + part * (track.sums_s[at] - track.sums_s[at - 1])
