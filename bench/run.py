"""What the service itself costs, on this machine, from outside: HTTP in, results out, handlers that do nothing.

    make bench                           (or: python bench/run.py [--quick] [--out DIR])

Starts a service of its own in a temporary folder, prints a table, and writes results.json with the versions and the
machine, without which the figures mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from figures import Figure, console, load_before, show, write

from taskservice import Client, TaskServiceError

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "examples"))
from local_service import CommandFailed, local_service  # noqa: E402 (a neighbour's helper, found by the line above)

POLL_S = 0.02
DRAIN_TIMEOUT_S = 300.0
NAP_MS = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each thing is done."""

    bulk: int = 20_000
    warm_up: int = 200
    round_trips: int = 200
    submits: int = 500
    naps: int = 2_000


QUICK = Sizes(bulk=1_000, warm_up=20, round_trips=20, submits=50, naps=100)


def main() -> int:
    """Prints and writes the figures. 0 if all could be measured, whether or not the targets were met."""
    parser = argparse.ArgumentParser(description="Measure the service on this machine.")
    parser.add_argument("--quick", action="store_true", help="few tasks: shows that it works, not how fast")
    parser.add_argument("--out", type=Path, metavar="DIR", default=BENCH.parent / "bench-out")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    load = load_before()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as home,
            local_service("noop_app:app", home=Path(home), code=BENCH) as client,
        ):
            figures = list(measure(client, sizes))
    except (CommandFailed, DidNotFinish, TaskServiceError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    show(figures)
    write(options.out / "results.json", asdict(sizes), figures, load)
    return 0


class DidNotFinish(Exception):
    """Tasks were accepted and had not all succeeded in `DRAIN_TIMEOUT_S`."""


def measure(client: Client, sizes: Sizes) -> Iterable[Figure]:
    """All figures, one after the other, on an otherwise idle service."""
    bulk(client, "bench.noop", [{"i": i} for i in range(sizes.warm_up)])
    yield from round_trips(client, sizes.round_trips)
    yield from sequential_submits(client, sizes.submits)
    submit_s, whole_s = bulk(client, "bench.noop", [{"i": i} for i in range(sizes.bulk)])
    yield Figure("bulk submit", sizes.bulk / submit_s, "tasks/s")
    yield Figure("end to end, no-op", sizes.bulk / whole_s, "tasks/s", target=3_000)
    cpus = sum(runner["cpus"] for runner in client.status()["runners"])
    _, whole_s = bulk(client, "bench.sleep_ms", [{"ms": NAP_MS}] * sizes.naps)
    yield Figure(f"end to end, {NAP_MS} ms", sizes.naps / whole_s, "tasks/s")
    yield Figure(f"{NAP_MS} ms tasks, part of ideal", sizes.naps * NAP_MS / 1000 / cpus / whole_s, "of 1")
    _, whole_s = bulk(client, "bench.sleep_ms_async", [{"ms": NAP_MS}] * sizes.naps)
    yield Figure(f"end to end, {NAP_MS} ms, async", sizes.naps / whole_s, "tasks/s")


def round_trips(client: Client, count: int) -> Iterable[Figure]:
    """How long a producer waits for one result when nothing else is going on."""
    times_ms = timed(count, lambda i: client.submit("bench.noop", {"i": i}).result(timeout=60))
    yield Figure("submit + result, p50", statistics.median(times_ms), "ms", target=15)
    yield Figure("submit + result, p99", statistics.quantiles(times_ms, n=100)[98], "ms")


def sequential_submits(client: Client, count: int) -> Iterable[Figure]:
    """How fast a producer is that waits for each answer before it sends the next task."""
    before = succeeded(client)
    times_ms = timed(count, lambda i: client.submit("bench.noop", {"i": i}))
    drain(client, before + count)
    yield Figure("submits, one at a time", count / (sum(times_ms) / 1000), "tasks/s")
    yield Figure("submit, p50", statistics.median(times_ms), "ms")


def timed(count: int, call: Callable[[int], object]) -> list[float]:
    """The milliseconds that each of `count` calls took."""
    times_ms = []
    for i in range(count):
        started_s = time.perf_counter()
        call(i)
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return times_ms


def bulk(client: Client, function: str, payloads: list[dict[str, float]]) -> tuple[float, float]:
    """Seconds from the start until all are accepted, and until the results of all are recorded."""
    before = succeeded(client)
    started_s = time.perf_counter()
    client.submit_many(payloads, function=function).raise_for_refused()
    accepted_s = time.perf_counter() - started_s
    drain(client, before + len(payloads))
    return accepted_s, time.perf_counter() - started_s


def succeeded(client: Client) -> int:
    count = client.status()["counts"].get("succeeded", 0)
    assert isinstance(count, int)
    return count


def drain(client: Client, expected: int) -> None:
    """`expected` tasks have succeeded. Raises DidNotFinish if they do not."""
    give_up_s = time.monotonic() + DRAIN_TIMEOUT_S
    while (count := succeeded(client)) < expected:
        if time.monotonic() > give_up_s:
            raise DidNotFinish(f"{count:,} of {expected:,} tasks succeeded within {DRAIN_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
