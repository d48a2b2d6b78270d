"""What a dispatcher tells, as families of Prometheus metrics. Names and labels are what dashboards and alerts rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from taskservice.core.histogram import HistogramData
from taskservice.core.metrics import MetricsAnswer, OwnerMetrics, ShardMetrics, ShellMetrics

_OWNER = ("tenant", "function")
_PER_UNIT = {"CPU": 1000, "GPU": 1000, "memory": 1}


def families(answer: MetricsAnswer | None) -> Iterator[Metric]:
    """All of them; of a dispatcher that is away only that it is."""
    yield _gauge("dispatcher_up", "Whether the dispatcher has answered.", (), [((), float(answer is not None))])
    if answer is not None:
        yield from _owners(answer.shard.owners)
        yield from _pool(answer.shard)
        yield from _shell(answer.shell)


def _owners(owners: Sequence[OwnerMetrics]) -> Iterator[Metric]:
    def counter(name: str, text: str, label: str, of: Callable[[OwnerMetrics], Mapping[str, int]]) -> Metric:
        rows = [((each.tenant, each.function, key), count) for each in owners for key, count in of(each).items()]
        return _counter(name, text, (*_OWNER, label), rows)

    def histogram(name: str, text: str, of: Callable[[OwnerMetrics], HistogramData]) -> Metric:
        return _histogram(name, text, _OWNER, [((each.tenant, each.function), of(each)) for each in owners])

    yield _gauge(
        "tasks",
        "Tasks in the working table by state; those failed are the dead letters.",
        (*_OWNER, "state"),
        [((each.tenant, each.function, state), count) for each in owners for state, count in each.tasks.items()],
    )
    yield _gauge(
        "oldest_queued_seconds",
        "For how long the first queued task has been due; 0 if none is queued.",
        _OWNER,
        [((each.tenant, each.function), each.oldest_s) for each in owners],
    )
    yield counter(
        "submits",
        "Tasks that were submitted, or made by schedules, by what became of that.",
        "status",
        lambda each: {"accepted": each.accepted, "duplicate": each.duplicates, "refused": sum(each.refused.values())},
    )
    yield counter(
        "submit_refusals", "Submitted tasks that were refused, by reason.", "reason", lambda each: each.refused
    )
    yield counter("attempts", "Attempts that have ended, by how.", "outcome", lambda each: each.attempts)
    yield counter(
        "tasks_ended",
        "Tasks that have ended, by their last state.",
        "state",
        lambda each: {state.value: count for state, count in each.ended.items()},
    )
    yield counter("dead_letters", "Tasks that have become dead letters, by reason.", "reason", lambda each: each.dead)
    yield histogram(
        "queue_wait_seconds",
        "From when a task was due until its attempt began; counted when the attempt has ended.",
        lambda each: each.waits,
    )
    yield histogram("run_seconds", "What attempts took.", lambda each: each.runs)


def _pool(shard: ShardMetrics) -> Iterator[Metric]:
    yield _gauge("epoch", "The journal's epoch: one more for each start of a dispatcher.", (), [((), shard.epoch)])
    yield _gauge("queues", "Queues that have tasks.", (), [((), shard.queues)])
    yield _gauge("operations", "Bulk operations under way.", (), [((), shard.operations)])
    windows = [((each.name,), each.limit, each.in_flight) for each in shard.windows]
    yield _gauge(
        "window_limit", "AIMD window of a downstream.", ("downstream",), [(name, limit) for name, limit, _ in windows]
    )
    yield _gauge(
        "window_in_flight", "Tasks in that window.", ("downstream",), [(name, tasks) for name, _, tasks in windows]
    )
    runners = [((each.node, each.runner), each) for each in shard.runners]
    labels = ("node", "runner")
    yield _gauge("leases", "Leases that a runner has.", labels, [(name, each.leases) for name, each in runners])
    yield _gauge(
        "runner_draining", "Whether a runner gets no more.", labels, [(name, each.draining) for name, each in runners]
    )
    shown = [
        ("runner_capacity", "What a runner has: CPUs, GPUs, bytes of memory."),
        ("runner_used", "What its leases take."),
    ]
    for name, text in shown:
        rows = [
            ((*whose, resource), amount / _PER_UNIT.get(resource, 1000))
            for whose, each in runners
            for resource, amount in (each.used if name == "runner_used" else each.capacity).items()
        ]
        yield _gauge(name, text, (*labels, "resource"), rows)


def _shell(shell: ShellMetrics) -> Iterator[Metric]:
    yield _histogram("commit_seconds", "Time that appends to the journal took.", (), [((), shell.commits)])
    yield _histogram("segment_bytes", "About how large they were.", (), [((), shell.segments)])
    yield _gauge("commit_waiting_seconds", "Age of the oldest append under way.", (), [((), shell.waited_s)])
    yield _gauge("pending_records", "Records that are in no append yet.", (), [((), shell.pending_records)])
    yield _histogram("turn_seconds", "Time that turns of the dispatcher's loop took.", (), [((), shell.turns)])
    yield _gauge("waiting_callers", "Callers that wait for a task to end.", (), [((), shell.waits)])


Rows = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"taskservice_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"taskservice_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[tuple[str, ...], HistogramData]]
) -> Metric:
    family = HistogramMetricFamily(f"taskservice_{name}", text, labels=labels)
    for values, data in rows:
        counted, buckets = 0, []
        for bound, count in zip((*data.bounds, float("inf")), data.counts, strict=True):
            counted += count
            buckets.append((floatToGoString(bound), counted))  # type: ignore[no-untyped-call]
        family.add_metric(values, buckets, data.total)
    return family
