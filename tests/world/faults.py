"""Which faults a world has, and how likely each is. Drawn from the seed, so that some worlds are calm and some cruel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

STALL_MS = 700


@dataclass(frozen=True, slots=True)
class Faults:
    """Mean times between faults in ms (0: never), probabilities, and delays in ms."""

    dispatcher_crash_ms: float = 0
    zombie: float = 0.0
    """How often a dispatcher that is taken for dead is not."""
    runner_crash_ms: float = 0
    partition: float = 0.0
    """How often a runner that is taken for dead is not."""
    clock_jump_ms: float = 0
    message_lost: float = 0.0
    message_twice: float = 0.0
    message_delay_ms: float = 3.0
    commit_ms: float = 2.0
    slow_commit: float = 0.0
    """How often a commit takes a hundred times as long."""
    stall: float = 0.0
    """How often a dispatcher's turn comes `STALL_MS` late, as if its machine were busy with something else."""

    def healed(self) -> Faults:
        """The same world without its faults."""
        return Faults(message_delay_ms=self.message_delay_ms, commit_ms=self.commit_ms)


def draw(rng: Random) -> Faults:
    """A world's faults: each kind is there in about half of the worlds."""

    def maybe(value: float) -> float:
        return value * rng.uniform(0.3, 2.0) if rng.random() < 0.5 else 0.0

    return replace(
        Faults(),
        dispatcher_crash_ms=maybe(2_000),
        zombie=maybe(0.4),
        runner_crash_ms=maybe(2_500),
        partition=maybe(0.4),
        clock_jump_ms=maybe(3_000),
        message_lost=min(0.5, maybe(0.1)),
        message_twice=min(0.5, maybe(0.1)),
        message_delay_ms=rng.choice([1.0, 5.0, 50.0]),
        commit_ms=rng.choice([0.5, 5.0, 40.0]),
        slow_commit=min(0.5, maybe(0.05)),
        stall=min(0.05, maybe(0.005)),
    )
