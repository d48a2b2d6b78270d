"""When a task that can wait for off-peak hours cannot wait any longer: its deadline, less the time that it will need.

    accepted --(press_ms comes: judged again)--> pressed: in the lane of all others        or put off: press_ms is later now

The time is reckoned from what its function's attempts have taken (nine of ten took less), from how many tasks wait before it, and
from the part of the pool that its queue has when everybody has work. Tasks of one batch get their times one after another, as
they can be served: so no more of them leave the lane than must, and those that an open window has served in the meantime
make the others' times later. A pressed task has its turns like others, and nothing beyond its class's share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taskservice.core.costs import UNKNOWN_S
from taskservice.core.fair.tree import path_of
from taskservice.core.state import State
from taskservice.core.table import Press
from taskservice.core.types import PRESSED_LANES, Lane, Leaf, TaskNo

MARGIN = 1.5
"""How much longer than reckoned it may take."""

MARGIN_MS = 10_000
"""And beside that, whatever it takes: a process has to be started, the clock to be looked at."""

PUT_OFF_RATIO = 0.75
"""A time that has come is put off if what is needed is at most such a part of what is left: so it is put off at most some dozens of
times, and the less the nearer the deadline is."""


@dataclass(slots=True)
class Pressing:
    """Reckons the times of one turn: each queue's part of the pool is asked once."""

    state: State
    _known: dict[Leaf, tuple[float, float, int]] = field(default_factory=dict)
    """How long a task of the leaf takes itself, how long each before it holds it up, and how many are before it."""

    def press_ms(self, leaf: Leaf, deadline_ms: int, timeout_ms: int) -> int:
        """When the next task that comes to the leaf has to be pressed. Tasks that were asked about are before it."""
        own_ms, each_ms, ahead = self._facts(leaf)
        self._known[leaf] = own_ms, each_ms, ahead + 1
        return deadline_ms - _with_margin((timeout_ms if own_ms < 0 else own_ms) + each_ms * ahead)

    def judged(self, due: Sequence[Press], now_ms: int) -> tuple[list[TaskNo], list[tuple[TaskNo, int]]]:
        """Of tasks whose time has come: those that are pressed, and those that need less than was thought, with their new times."""
        now: list[TaskNo] = []
        later: list[tuple[TaskNo, int]] = []
        for task in due:
            own_ms, each_ms, ahead = self._facts(task.leaf)
            left_ms = task.deadline_ms - now_ms
            needed_ms = _with_margin(own_ms + each_ms * (ahead - 1))
            if own_ms >= 0 and needed_ms <= PUT_OFF_RATIO * left_ms:
                later.append((task.no, task.deadline_ms - needed_ms))
            else:
                now.append(task.no)
        return now, later

    def _facts(self, leaf: Leaf) -> tuple[float, float, int]:
        known = self._known.get(leaf)
        if known is None:
            known = self._known[leaf] = (*_durations_ms(self.state, leaf), _waiting(self.state, leaf))
        return known


def _durations_ms(state: State, leaf: Leaf) -> tuple[float, float]:
    """How long a task of the leaf takes, -1 if nothing is known of it, and how long each one before it holds it up."""
    function, speed = state.functions[leaf.function], state.speeds.get(leaf.function)
    known_us = None if speed is None else speed.p90_us
    lasts_ms = UNKNOWN_S * 1000 if known_us is None else known_us / 1000
    part = state.turns.tree.part_of(path_of(leaf)[:3])
    at_once = state.pool.slots(state.turns.demand_of(leaf)) * function.concurrency * part
    bounds = (function.max_running, function.key_max_running if leaf.key else None)
    at_once = min([at_once, *(most for most in bounds if most)])
    return (-1 if known_us is None else lasts_ms), lasts_ms / at_once


def _waiting(state: State, leaf: Leaf) -> int:
    """How many tasks wait in the leaf and in the one that its pressed tasks go to."""
    lanes = (leaf.lane, PRESSED_LANES.get(leaf.lane, Lane.MAIN))
    queues = [state.queues.get(leaf._replace(lane=lane)) for lane in lanes]
    return sum(queue.count for queue in queues if queue is not None)


def _with_margin(needed_ms: float) -> int:
    return int(MARGIN * max(0.0, needed_ms)) + MARGIN_MS
