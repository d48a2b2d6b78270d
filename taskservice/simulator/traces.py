"""Work that was recorded: a row for each call, or counts for each minute; CSV or Parquet.

    traces:
      - rows: {file: calls.parquet, at: timestamp, tenant: user, function: name, took: duration_ms, took_unit: ms}
      - counts: {file: invocations.csv, tenant: HashOwner, function: HashFunction}      columns 480, 481 ... are minutes
        durations: {file: durations.csv, function: HashFunction, quantiles: {0: p0, 0.5: p50, 1: p100}}

The first moment of a trace is the run's beginning. What a row does not say is said for all: `tenant`, `function`, and how
long a function takes, where the scenario names it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, repeat
from pathlib import Path
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from taskservice.core.types import Priority
from taskservice.simulator.distributions import Curve
from taskservice.simulator.fields import Described, DurationMs, PositiveMs
from taskservice.simulator.parts import FunctionOptions, Name
from taskservice.simulator.tables import Table, bad

Unit = Literal["s", "ms", "us"]
US = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0}


class Rows(Described):
    """A table with a row for each call; what is named are its columns."""

    file: str
    at: str
    at_unit: Unit = "s"
    """Of plain numbers; a time with a date needs none."""
    tenant: str | None = None
    function: str | None = None
    took: str | None = None
    took_unit: Unit = "ms"


class Counts(Described):
    """A table with a row for each function, and a column for each interval, whose name is a number, with its calls."""

    file: str
    tenant: str | None = None
    function: str | None = None
    interval: PositiveMs = 60_000


class Durations(Described):
    """A table with a row for each function, and columns for quantiles of what its calls took."""

    file: str
    function: str
    quantiles: dict[float, str]
    unit: Unit = "ms"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.quantiles.keys() >= {0, 1} or not all(0 <= ratio <= 1 for ratio in self.quantiles):
            raise ValueError("quantiles are from 0 to 1, and these two have to be among them")
        return self


class Trace(Described):
    """Recorded work, and what the record does not say."""

    rows: Rows | None = None
    counts: Counts | None = None
    durations: Durations | None = None
    tenant: Name | None = None
    """Of all calls, if no column says whose they are."""
    function: Name | None = None
    """Likewise."""
    priority: Priority | None = Field(None, strict=False)
    starts: DurationMs = 0
    ends: DurationMs | None = None
    """What comes later in it is left out."""
    took_ratio: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """What durations are multiplied by, so that the work fits the fleet."""
    functions: FunctionOptions = FunctionOptions()
    """How functions are that the scenario does not name itself."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        table = self.rows or self.counts
        if table is None or (self.rows and self.counts):
            raise ValueError("give rows, or counts")
        for what in ("tenant", "function"):
            if (getattr(self, what) is None) == (getattr(table, what) is None):
                raise ValueError(f"say in one place what the {what} is: a column of the table, or one for all calls")
        return self


@dataclass(frozen=True, slots=True)
class Recorded:
    """One function's calls by one tenant."""

    tenant: str
    function: str
    times: Iterator[int]
    """In microseconds since the beginning of the run, in order."""
    takes: Callable[[], int] | None
    """None: the trace does not say how long they took."""


def read(trace: Trace, folder: Path, rng: Random) -> list[Recorded]:
    """What the trace says, in the order in which each tenant and function first comes in it.

    Raises RequestError if a file cannot be read, or does not hold what the scenario says of it.
    """
    curves = {} if trace.durations is None else _curves(trace.durations, folder, trace.took_ratio)
    if trace.rows is not None:
        return _of_rows(trace, trace.rows, folder, curves, rng)
    assert trace.counts is not None
    return _of_counts(trace, trace.counts, folder, curves, rng)


def _curves(durations: Durations, folder: Path, took_ratio: float) -> dict[str, Curve]:
    """How long each function takes."""
    table = Table(folder / durations.file)
    quantiles = dict(sorted(durations.quantiles.items()))
    unit_us = US[durations.unit] * took_ratio
    curves: dict[str, Curve] = {}
    for row, (function, *values) in enumerate(table.rows([durations.function, *quantiles.values()]), 1):
        took = [
            table.number(value, row, column) * unit_us for value, column in zip(values, quantiles.values(), strict=True)
        ]
        curves[str(function)] = Curve(list(quantiles), list(accumulate(took, max)))
    return curves


def _of_rows(trace: Trace, rows: Rows, folder: Path, curves: dict[str, Curve], rng: Random) -> list[Recorded]:
    table = Table(folder / rows.file)
    wanted = [column for column in (rows.at, rows.tenant, rows.function, rows.took) if column is not None]
    calls: dict[tuple[str, str], tuple[array[int], array[int]]] = {}
    at_us, took_us = US[rows.at_unit], US[rows.took_unit] * trace.took_ratio
    for number, values in enumerate(table.rows(wanted), 1):
        at, *rest = values
        tenant = str(rest.pop(0)) if rows.tenant else str(trace.tenant)
        function = str(rest.pop(0)) if rows.function else str(trace.function)
        times, took = calls.setdefault((tenant, function), (array("q"), array("q")))
        times.append(table.time_us(at, number, rows.at, at_us))
        if rows.took is not None:
            took.append(int(table.number(rest[0], number, rows.took) * took_us))
    if not calls:
        raise bad(f"{table.path} has no rows.")
    late_us = trace.starts * 1000 - min(min(times) for times, _ in calls.values())
    return [
        _recorded(tenant, function, (times, took), late_us, _sampler(curves.get(function), rng))
        for (tenant, function), (times, took) in calls.items()
    ]


def _recorded(
    tenant: str,
    function: str,
    calls: tuple[array[int], array[int]],
    late_us: int,
    otherwise: Callable[[], int] | None,
) -> Recorded:
    """`calls`: when they were, in any order, and how long they took, if that is known; `otherwise` says it then."""
    times, took = calls
    order = sorted(range(len(times)), key=times.__getitem__)
    takes = partial(next, (took[at] for at in order)) if took else otherwise
    return Recorded(tenant, function, (times[at] + late_us for at in order), takes)


def _of_counts(trace: Trace, counts: Counts, folder: Path, curves: dict[str, Curve], rng: Random) -> list[Recorded]:
    table = Table(folder / counts.file)
    intervals = sorted((column for column in table.columns if column.isdecimal()), key=int)
    if not intervals:
        raise bad(f"{table.path} has no columns of counts: their names are whole numbers.")
    named = [column for column in (counts.tenant, counts.function) if column is not None]
    recorded = []
    for number, values in enumerate(table.rows([*named, *intervals]), 1):
        names, numbers = list(values[: len(named)]), values[len(named) :]
        tenant = str(names.pop(0)) if counts.tenant else str(trace.tenant)
        function = str(names.pop(0)) if counts.function else str(trace.function)
        calls = array("l", (int(table.number(*each)) for each in zip(numbers, repeat(number), intervals)))
        own = Random(rng.getrandbits(64))
        times = spread(own, calls, trace.starts * 1000, counts.interval * 1000)
        recorded.append(Recorded(tenant, function, times, _sampler(curves.get(function), own)))
    return recorded


def spread(rng: Random, calls: Sequence[int], from_us: int, interval_us: int) -> Iterator[int]:
    """So many calls in each interval, each at a random moment of it."""
    draw = rng.random
    for at, number in enumerate(calls):
        begin_us = from_us + at * interval_us
        if number:
            yield from sorted([begin_us + int(draw() * interval_us) for _ in range(number)])


def _sampler(curve: Curve | None, rng: Random) -> Callable[[], int] | None:
    return None if curve is None else curve.sampler(Random(rng.getrandbits(64)))
