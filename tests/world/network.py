"""Messages between the processes of a world: late, lost and doubled, as its faults say. Never forged."""

from __future__ import annotations

from collections.abc import Callable

from world.clock import Clock
from world.faults import Faults


class Network:
    """Delivers; `faults` may be changed while it runs."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.clock = clock
        self.faults = faults

    def send(self, deliver: Callable[[], None]) -> None:
        """`deliver` happens later, perhaps twice, perhaps never."""
        rng, faults = self.clock.rng, self.faults
        if rng.random() < faults.message_lost:
            return
        self.clock.after(rng.expovariate(1 / faults.message_delay_ms), deliver)
        if rng.random() < faults.message_twice:
            self.clock.after(rng.expovariate(1 / (20 * faults.message_delay_ms)), deliver)
