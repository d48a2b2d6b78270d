"""What happens because time has passed, and when there is something of that kind next."""

from __future__ import annotations

from taskservice.core import timed
from taskservice.core.decision import Decision
from taskservice.core.fire import fire
from taskservice.core.state import State


def next_tick_ms(state: State) -> int | None:
    """When something is due by the clock: from then on `Ticked` leads to something. None: nothing waits for the clock."""
    moments = (state.table.next_timed_ms(), state.schedules.next_ms())
    return min((moment for moment in moments if moment is not None), default=None)


def tick(state: State, now_ms: int) -> Decision:
    """What the clock does to tasks has happened, and schedules make theirs: as many of either as have their turn at once."""
    return Decision((*timed.ticked(state, now_ms), *fire(state, now_ms)))
