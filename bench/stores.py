"""The same service with its state on the local disk, and in a bucket, side by side: `python bench/stores.py [--quick]`.

The bucket is that of a real server on this machine (SeaweedFS), which takes its share of the processors, and counts what
it is asked. Both services are measured from outside, one after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from figures import Figure, console, load_before, show, write
from run import BENCH, bulk, drain, succeeded, timed

from taskservice import Client

sys.path.insert(0, str(BENCH.parent / "tests"))
sys.path.insert(0, str(BENCH.parent / "examples"))
from local_service import local_service

from helpers.seaweed import Seaweed

WARM_UP = 500
QUIET_S = 1.0
"""So long after the last task, what nobody waited for has been committed as well."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each thing is done."""

    bulk: int = 20_000
    singles: int = 500


QUICK = Sizes(bulk=1_000, singles=50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks: shows that it works, not how fast")
    parser.add_argument("--out", type=Path, metavar="DIR", default=BENCH.parent / "bench-out")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    load = load_before()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        figures = [*on_disk(Path(folder), sizes), *in_bucket(Path(folder), sizes)]
    show(figures)
    write(options.out / "stores.json", asdict(sizes), figures, load)


def on_disk(folder: Path, sizes: Sizes) -> Iterator[Figure]:
    with local_service("noop_app:app", home=folder / "local", code=BENCH) as client:
        yield from measure("local", client, sizes, Counter)


def in_bucket(folder: Path, sizes: Sizes) -> Iterator[Figure]:
    seaweed = Seaweed(folder / "seaweed")
    seaweed.start()
    os.environ.update(seaweed.environment)
    try:
        options = ("--state-dir", "s3://tests/bench")
        with local_service("noop_app:app", home=folder / "bucket", code=BENCH, options=options) as client:
            yield from measure("S3", client, sizes, seaweed.requests)
    finally:
        seaweed.kill()


def measure(store: str, client: Client, sizes: Sizes, requests: Callable[[], Counter[str]]) -> Iterator[Figure]:
    """Both ways to submit, and what the store was asked meanwhile, until all had ended and was on record."""
    bulk(client, "bench.noop", [{"i": i} for i in range(WARM_UP)])
    before = settled(requests)
    submit_s, whole_s = bulk(client, "bench.noop", [{"i": i} for i in range(sizes.bulk)])
    yield Figure(f"{store}: bulk submit", sizes.bulk / submit_s, "tasks/s")
    yield Figure(f"{store}: end to end, no-op", sizes.bulk / whole_s, "tasks/s")
    yield from asked(f"{store}: bulk", settled(requests) - before, sizes.bulk)
    before, ended = settled(requests), succeeded(client)
    times_ms = timed(sizes.singles, lambda i: client.submit("bench.noop", {"i": i}))
    drain(client, ended + sizes.singles)
    yield Figure(f"{store}: one at a time, p50", statistics.median(times_ms), "ms")
    yield Figure(f"{store}: one at a time, p99", statistics.quantiles(times_ms, n=100)[98], "ms")
    yield from asked(f"{store}: one at a time", settled(requests) - before, sizes.singles)


def settled(requests: Callable[[], Counter[str]]) -> Counter[str]:
    time.sleep(QUIET_S)
    return requests()


def asked(how: str, counted: Counter[str], tasks: int) -> Iterator[Figure]:
    if counted:
        console.print(f"{how}: {dict(counted)}")
        yield Figure(f"{how}, requests for 1,000 tasks", counted.total() / tasks * 1000, "requests")


if __name__ == "__main__":
    main()
