"""What functions call: it takes so many calls at a time, or in a second, and throttles the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from taskservice.simulator.parts import Downstream


class Series:
    """A number that changes at given moments."""

    __slots__ = ("_later", "_since_us", "value")

    def __init__(self, steps: Sequence[tuple[int, float]]) -> None:
        """`steps`: (moment in microseconds, the number from then on), in order, the first at 0."""
        (_, self.value), *later = steps
        self._later = deque(later)
        self._since_us = 0

    def pass_to(self, t_us: int) -> float:
        """It is what it is at this moment, not before the last one; gives its integral since then."""
        area = 0.0
        while self._later and self._later[0][0] <= t_us:
            at_us, value = self._later.popleft()
            area += self.value * (at_us - self._since_us)
            self._since_us, self.value = at_us, value
        area += self.value * (t_us - self._since_us)
        self._since_us = t_us
        return area


class Called:
    """A downstream while a world runs."""

    def __init__(self, spec: Downstream) -> None:
        self.name = spec.name
        self.refuses_us = spec.refuses_in * 1000
        self.retry_after_ms = spec.retry_after
        self.calls = 0
        self.throttled = 0
        self._concurrent = None if spec.concurrent is None else Series(spec.concurrent.steps())
        self._per_s = None if spec.per_s is None else Series(spec.per_s.steps())
        self._free_us = 0.0
        """When the next call comes without being too early for the rate."""
        self._in_flight = 0
        self._present = 0
        """Calls under way, those included that it throttles."""
        self._present_max = 0
        self._over_max = 0.0
        """The most of them that there were when one came, for each that it takes."""
        self._area_us = 0
        """Call-microseconds."""
        self._room_us = 0.0
        """Call-microseconds that there was room for."""
        self._since_us = 0

    def enter(self, t_us: int) -> bool:
        """Whether the call is taken. In any case it has to `leave`."""
        self._pass(t_us)
        self.calls += 1
        self._present += 1
        self._present_max = max(self._present_max, self._present)
        if self._concurrent is not None and self._concurrent.value:
            self._over_max = max(self._over_max, self._present / self._concurrent.value)
        if self._concurrent is not None and self._in_flight >= self._concurrent.value:
            self.throttled += 1
            return False
        if self._per_s is not None and not self._in_time(t_us, self._per_s):
            self.throttled += 1
            return False
        self._in_flight += 1
        return True

    def leave(self, t_us: int, *, taken: bool) -> None:
        """The call, which was `taken` or throttled, is over."""
        self._pass(t_us)
        self._present -= 1
        self._in_flight -= taken

    @property
    def in_flight(self) -> int:
        """Calls that it has taken and that are not over."""
        return self._in_flight

    def reset(self, t_us: int) -> None:
        """What was counted up to now does not count."""
        self._pass(t_us)
        self.calls = self.throttled = self._area_us = self._present_max = 0
        self._room_us = self._over_max = 0.0

    def figures(self, t_us: int, since_us: int) -> dict[str, float | int | None]:
        """What was counted between the two moments."""
        self._pass(t_us)
        busy = self._area_us / (t_us - since_us)
        return {
            "calls": self.calls,
            "throttled": self.throttled,
            "throttled_ratio": self.throttled / self.calls if self.calls else 0.0,
            "in_flight_mean": busy,
            "at_once_max": self._present_max,
            "at_once_ratio": self._over_max,
            "used_ratio": self._area_us / self._room_us if self._room_us else None,
        }

    def _in_time(self, t_us: int, per_s: Series) -> bool:
        """Whether the call is not too early for the rate; as many as a tenth of a second's may come at once."""
        per_s.pass_to(t_us)
        if not per_s.value:
            return False
        gap_us = 1e6 / per_s.value
        if self._free_us - t_us > max(0.0, 1e5 - gap_us):
            return False
        self._free_us = max(self._free_us, float(t_us)) + gap_us
        return True

    def _pass(self, t_us: int) -> None:
        self._area_us += self._in_flight * (t_us - self._since_us)
        self._since_us = t_us
        if self._concurrent is not None:
            self._room_us += self._concurrent.pass_to(t_us)
