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
"""Parts of the time looked back to. While less than half of them are known, what runs is the best guess."""
BACK_S_MIN = 60.0
BACK_S_MAX = 600.0
BACK_TASKS = 10.0
"""It is looked back for so many times what a task takes: what takes long comes seldom."""
BURST_RATIO = 2.0
"""What is more than so many times the usual is a burst."""


@dataclass(slots=True)
class Amount:
    """Work, and the places that it has."""

    places: int = 0
    """In use."""
    tasks: float = 0.0
    """That wait and may begin as soon as there are places."""
    work_s: float = 0.0
    """How long a single place would take for them."""
    most: float = 0.0
    """Places that it could use at once, with those that it has."""


@dataclass(slots=True)
class ShapeLoad:
    """Work of one shape."""

    shape: Shape
    free: Amount = field(default_factory=Amount)
    """What no gate bounds but what there is of it."""
    capped: Amount = field(default_factory=Amount)
    """What gates bound: it has no use for more."""
    each_s: float = 0.1
    """What a task takes, of those that run or wait."""
    rate: float = 0.0
    """Places that what arrives of both keeps in use on average (Erlangs)."""
    fresh_per_s: float = 0.0
    """Tasks that have come in a second, at least: those by which what waits and runs has grown from one look to the next."""
    held: dict[str, int] = field(default_factory=dict)
    """Tasks that no machine would help, by the gate that keeps them back."""

    @property
    def places(self) -> int:
        return self.free.places + self.capped.places

    @property
    def work_s(self) -> float:
        return self.free.work_s + self.capped.work_s

    @property
    def any(self) -> bool:
        """Whether there is any work now."""
        return self.free.most + self.capped.most > 0


@dataclass(slots=True)
class _Track:
    """The work that has arrived of a shape, in seconds of a place."""

    times_s: list[float] = field(default_factory=list)
    sums_s: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    """That have come by then, at least."""


class Loads:
    """What is remembered of the looks before."""

    def __init__(self) -> None:
        self._waiting: dict[str, float] | None = None
        """Tasks of each work that could begin, at the last look."""
        self._present: dict[str, int] = {}
        """Of each work, those that waited or ran."""
        self._tracks: dict[Shape, _Track] = {}
        self._at_s = 0.0

    def look(self, answer: BacklogAnswer, begin_s: float, now_s: float) -> dict[Shape, ShapeLoad]:
        """The load now. `begin_s`: how soon what waits is to begin."""
        loads: dict[Shape, ShapeLoad] = {}
        grown_s: dict[Shape, float] = {}
        fresh: dict[Shape, int] = {}
        waiting: dict[str, float] = {}
        present: dict[str, int] = {}
        for work, may in zip(answer.works, allowed(answer.works, answer.caps), strict=True):
            load = loads.setdefault(shape_of(work), ShapeLoad(shape_of(work)))
            for gate, held in work.held:
                load.held[gate] = load.held.get(gate, 0) + held
            if work.fills:
                continue
            tasks = min(work.queued, (may.places - work.places) * max(work.concurrency, begin_s / work.each_s))
            _add(load, load.capped if may.by else load.free, work, tasks, may.places)
            if may.by and work.queued > tasks:
                load.held[may.by] = load.held.get(may.by, 0) + round(work.queued - tasks)
            waiting[work.name] = tasks
            before = tasks if self._waiting is None else self._waiting.get(work.name, 0.0)
            grown_s[load.shape] = grown_s.get(load.shape, 0.0) + (tasks - before) * work.each_s
            present[work.name] = now = work.queued + work.places * work.concurrency
            came = 0 if self._waiting is None else max(0, now - self._present.get(work.name, 0))
            fresh[load.shape] = fresh.get(load.shape, 0) + came
        seconds, self._at_s = (0.0 if self._waiting is None else now_s - self._at_s), now_s
        self._waiting, self._present = waiting, present
        for shape in [shape for shape in self._tracks if shape not in loads]:
            loads[shape] = ShapeLoad(shape)
        for shape, load in loads.items():
            track = self._tracks.setdefault(shape, _Track())
            _note(track, grown_s.get(shape, 0.0) + load.places * seconds, fresh.get(shape, 0), now_s)
            _reckon(load, track, now_s)
            if not load.rate and not load.any and now_s - track.times_s[0] > BACK_S_MAX:
                del self._tracks[shape]
        return {shape: load for shape, load in loads.items() if load.rate or load.any or load.held}


def shape_of(work: Work) -> Shape:
    """What a lease of the work asks of a machine."""
    return Shape(work.need, work.labels)


def _add(load: ShapeLoad, amount: Amount, work: Work, tasks: float, most: float) -> None:
    """The load is that of one work more."""
    before = load.free.most + load.capped.most
    if before + most:
        load.each_s = ((load.each_s if before else 0.0) * before + work.each_s * most) / (before + most)
    amount.places += work.places
    amount.tasks += tasks
    amount.work_s += tasks * work.each_s
    amount.most += most


def _note(track: _Track, arrived_s: float, tasks: int, now_s: float) -> None:
    track.sums_s.append(arrived_s + (track.sums_s[-1] if track.sums_s else 0.0))
    track.tasks.append(tasks + (track.tasks[-1] if track.tasks else 0.0))
    track.times_s.append(now_s)
    old = bisect_left(track.times_s, now_s - BACK_S_MAX - 60.0)
    if old > 64:  # seldom, so that it costs little
        del track.times_s[:old], track.sums_s[:old], track.tasks[:old]


def _reckon(load: ShapeLoad, track: _Track, now_s: float) -> None:
    """The load's rates are those of the time looked back to."""
    back_s = min(BACK_S_MAX, max(BACK_S_MIN, BACK_TASKS * load.each_s))
    step_s = back_s / PARTS
    load.fresh_per_s = (track.tasks[-1] - _at(track, track.tasks, now_s - back_s)) / back_s
    known = int(min(PARTS, (now_s - track.times_s[0]) / step_s + 1e-9))
    if known < PARTS / 2:
        load.rate = float(load.places)
        return
    edges = [_at(track, track.sums_s, now_s - step_s * part) for part in range(known + 1)]
    rates = [max(0.0, newer - older) / step_s for newer, older in pairwise(edges)]
    usual = BURST_RATIO * median(rates)
    load.rate = sum(min(rate, usual) for rate in rates) / known


def _at(track: _Track, sums: Sequence[float], at_s: float) -> float:
    """What had arrived by then."""
    times_s = track.times_s
    at = bisect_left(times_s, at_s)
    if at == 0:
        return sums[0]
    if at == len(times_s):
        return sums[-1]
    part = (at_s - times_s[at - 1]) / (times_s[at] - times_s[at - 1])
    return sums[at - 1] + part * (sums[at] - sums[at - 1])
