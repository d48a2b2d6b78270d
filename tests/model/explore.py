"""Every state that a state machine can get to, the nearest first."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)


class Result(NamedTuple):
    """What was seen."""

    states: int
    path: list[str] | None
    """The shortest way to a violation, a line for each step and at the end what is violated. None: there is none."""


def explore(
    initial: State,
    next_states: Callable[[State], Iterable[tuple[str, State]]],
    violation: Callable[[State], str | None],
) -> Result:
    """All states have been seen and none is a violation, or the nearest violation was found."""
    came_from: dict[State, tuple[State, str] | None] = {initial: None}
    waiting = deque([initial])
    collecting = gc.isenabled()
    gc.disable()  # all that is made here is kept, and none of it refers to itself
    try:
        while waiting:
            state = waiting.popleft()
            for step, after in next_states(state):
                origin = (state, step)
                if came_from.setdefault(after, origin) is not origin:
                    continue
                if wrong := violation(after):
                    return Result(len(came_from), [*way_to(after, came_from), wrong])
                waiting.append(after)
    finally:
        if collecting:
            gc.enable()
    return Result(len(came_from), None)


def way_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> list[str]:
    steps = []
    while origin := came_from[state]:
        state, step = origin
        steps.append(step)
    return steps[::-1]
