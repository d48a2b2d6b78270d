"""Leases: how many tasks go into one, and what its supervisor is told.

A lease is one long task, or a micro-batch of short ones of the same leaf: about `lease_target_ms` of work, so that the
price of a lease (some milliseconds) is shared, and small enough that nobody waits long behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from taskservice.core.costs import UNKNOWN_S
from taskservice.core.lease_wire import LeaseSpec, LeaseTask
from taskservice.core.limits import Limits
from taskservice.core.memory import resources_of
from taskservice.core.queues import LeafQueue
from taskservice.core.specs import FunctionSpec
from taskservice.core.speed import Speed
from taskservice.core.types import Leaf, Task, TaskNo, Token


def lease_size(queue: LeafQueue, slots: int, speed: Speed | None, function: FunctionSpec, limits: Limits) -> int:
    """How many of the queue's tasks to lease at once, when `slots` such leases are its part of the pool.

    1 while the function's speed is unknown or its attempts are long; never so many that one of its slots would stay empty,
    or that their payloads would be too much for one message.
    """
    if speed is None or speed.mean_us is None:
        wanted = 1
    else:
        wanted = int(limits.lease_target_ms * 1000.0 * function.concurrency / speed.mean_us)
    evenly = -(-queue.count // slots)
    portable = limits.lease_bytes_max * queue.count // max(1, queue.payload_bytes)
    return max(1, min(wanted, evenly, portable, limits.lease_tasks_max, queue.count))


def spread(room: int, slots: int, function: FunctionSpec) -> int:
    """How many tasks to lease at once if so many more may run, on a pool of so many slots: what waits in a lease for others of it
    counts as running, so the few that may are on as many slots as there are."""
    return min(room, max(function.concurrency, room // slots))


def lasts_ms(tasks: int, speed: Speed | None, function: FunctionSpec) -> int | None:
    """How long a lease of so many tasks is expected to last; None while nothing is known."""
    if speed is None or speed.mean_us is None:
        return None
    return ceil(speed.mean_us * tasks / function.concurrency / 1000.0)


def is_short(lasts_ms: int | None, limits: Limits) -> bool:
    """Whether a lease that is expected to last so long will be over soon."""
    return lasts_ms is not None and lasts_ms <= 2 * limits.lease_target_ms


def attempt_s(speed: Speed | None, function: FunctionSpec) -> float:
    """How long an attempt is expected to keep a place of its lease, in seconds."""
    if speed is None:
        return UNKNOWN_S
    known_us = speed.mean_us if speed.mean_us is not None else max(speed.least_us, UNKNOWN_S * 1e6)
    return known_us / 1e6 / function.concurrency


def launch_spec(
    token: Token,
    leaf: Leaf,
    function: FunctionSpec,
    tasks: Sequence[Task],
    limits: Limits,
    checkpoints: Mapping[TaskNo, bytes],
    *,
    apart: bool,
) -> LeaseSpec:
    """What the supervisor of the lease is told. `checkpoints`: those that the tasks have. `apart`: there are other tenants."""
    return LeaseSpec(
        token=token,
        tenant=leaf.tenant,
        function=leaf.function,
        bundle=function.bundle,
        resources=resources_of(function, leaf),
        is_async=function.is_async,
        concurrency=function.concurrency,
        slice_ms=limits.lease_slice_ms,
        tasks=tuple(
            [
                LeaseTask(
                    task.no,
                    task.id,
                    task.payload,
                    task.attempt,
                    task.run,
                    task.timeout_ms,
                    task.tags,
                    checkpoints.get(task.no, b""),
                    task.log,
                )
                for task in tasks
            ]
        ),
        grace_ms=function.grace_ms,
        apart=apart,
        secrets=function.secrets,
    )
