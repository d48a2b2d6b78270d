"""What must hold of every round of preemption, as it is made; found from the state, without asking the plan."""

from __future__ import annotations

from taskservice.core.preempt import ROUND_RATIO_MAX, URGENCY
from taskservice.core.preempt_round import PREEMPTED_MAX, ROUND_MS
from taskservice.core.resources import dominant_share
from taskservice.core.state import State
from taskservice.core.types import Priority, Token


class Rounds:
    """The rounds of one dispatcher."""

    def __init__(self, state: State) -> None:
        """What its predecessors have stopped was no round of its own."""
        self._known: dict[Token, None] = dict.fromkeys(state.preemption.told)
        self._last_ms: int | None = None

    def check(self, state: State, now_ms: int) -> None:
        """A round that was made just now has stopped no more, and nobody else, than it may."""
        new = {token: told for token, told in state.preemption.told.items() if token not in self._known}
        if not new:
            return
        self._known.update(dict.fromkeys(new))
        assert self._last_ms is None or not 0 <= now_ms - self._last_ms < ROUND_MS, "two rounds within one's time"
        self._last_ms = now_ms
        capacity = state.pool.capacity()
        total = sum(dominant_share(dict(told.demand.need), capacity) for told in new.values())
        runners = {told.runner for told in new.values()}
        assert total <= ROUND_RATIO_MAX + 1e-9 or len(runners) == 1, f"{total:.2f} of the pool was stopped at once"
        claimants = [promise.owner.priority for promise in state.preemption.promises()]
        for token, told in new.items():
            lease = state.leases[token]
            function = state.functions[told.owner.function]
            assert lease.preempted
            assert all(attempt.preempted < PREEMPTED_MAX for attempt in lease.open.values()), "once too often"
            assert function.preemptible or (
                function.preemptible is None and told.owner.priority is not Priority.CRITICAL
            )
            assert any(URGENCY[each] >= URGENCY[told.owner.priority] for each in claimants), "nothing is reserved here"
