"""When to ask a store again: after a pause with full jitter, until a deadline.

The pause is drawn evenly between nothing and a bound that doubles with each failure ("Exponential Backoff And Jitter",
AWS Architecture Blog, 2015): callers that failed together do not come back together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from taskservice.objects import StoreError, StoreUnavailable

Answer = TypeVar("Answer")
Left = Callable[[], float]
"""How many seconds are left."""


class Undecided(Exception):
    """The attempt had no answer that counts. What has happened is unknown, and the message says what was seen of it."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause."""

    first_s: float = 0.05
    most_s: float = 2.0

    def pause_s(self, failures: int, rng: Random) -> float:
        """The pause after so many failures in a row, at least one."""
        doublings = min(failures - 1, 32)
        return rng.uniform(0, min(self.most_s, self.first_s * 2**doublings))


class Retries:
    """Asks again and again, for at most `deadline_s`; no attempt begins later."""

    def __init__(
        self,
        deadline_s: float,
        *,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        rng: Random | None = None,
    ) -> None:
        self.trouble = ""
        """What the last attempt saw, if it had no answer that counts."""
        self._deadline_s = deadline_s
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or Random()

    def until_decided(self, what: str, attempt: Callable[[Left], Answer]) -> Answer:
        """The first answer of `attempt`, which is told how long it may take. Raises StoreUnavailable if there is none."""
        end = self._clock() + self._deadline_s

        def left_s() -> float:
            return end - self._clock()

        failures = 0
        while True:
            try:
                answer = attempt(left_s)
            except Undecided as undecided:
                failures += 1
                self.trouble = f"{what}: {undecided}"
                left = left_s()
                if left <= 0:
                    raise StoreUnavailable(
                        f"{what}: {undecided} ({failures} attempts in {self._deadline_s - left:.1f} s)"
                    ) from undecided
                self._sleep(min(left, self._backoff.pause_s(failures, self._rng)))
            except StoreError:
                self.trouble = ""
                raise
            else:
                self.trouble = ""
                return answer
