"""How many places work needs: for what arrives by Erlang's delay formula, for what waits by Little's law.

Whoever keeps machines at a fixed utilisation pays too much for a large fleet and too little for a small one: the spare places
that keep waits short grow with the square root of the load (Halfin and Whitt, "Heavy-traffic limits for queues with many
exponential servers", Operations Research 1981). Erlang's formula (1917) says how many exactly.
"""

from __future__ import annotations

from math import ceil, exp, sqrt

WAITS_RATIO = 0.01
"""Of all tasks, those that may wait for longer than is wanted."""

EXACT_MAX = 2_000.0
"""Erlangs up to which the formula is computed; above that, the square root of the load stands for it."""


def for_arrivals(rate: float, each_s: float, wait_s: float) -> int:
    """The fewest places with which, of what arrives, 99 in a hundred wait for at most `wait_s`. `rate`: in Erlangs."""
    if rate <= 0:
        return 0
    if rate > EXACT_MAX:
        return ceil(rate + 2 * sqrt(rate))
    blocked, places = 1.0, 0
    while True:
        places += 1
        blocked = rate * blocked / (places + rate * blocked)
        spare = places - rate
        if spare <= 0:
            continue
        waits = blocked / (1 - rate / places * (1 - blocked))
        if waits * exp(-spare * wait_s / max(each_s, 1e-6)) <= WAITS_RATIO:
            return places


def for_backlog(tasks: float, work_s: float, within_s: float) -> float:
    """Places with which all of these tasks have begun within that time: no more than there are tasks."""
    return min(tasks, work_s / within_s)
