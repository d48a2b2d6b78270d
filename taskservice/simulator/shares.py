"""Who is entitled to how much of what was given out: by weight, class by class, and in each tenant by tenant.

Nobody is entitled to more than they ask for. What those leave who ask for little is shared among the others by weight
(max-min fairness, or water-filling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskservice.core.turns import CLASS_WEIGHTS
from taskservice.core.types import Priority, TenantId


class Demand(NamedTuple):
    """What a tenant asked for in one class."""

    used: float
    asked: float
    """What it used, and would have used beside that."""
    weight: float


def fill(amount: float, wants: Sequence[tuple[float, float]]) -> list[float]:
    """What each gets of the amount; `wants`: (weight, at most so much)."""
    given = [0.0] * len(wants)
    left, open_ = amount, [at for at in range(len(wants)) if wants[at][1] > 0]
    while open_:
        level = left / sum(wants[at][0] for at in open_)
        content = [at for at in open_ if wants[at][1] <= level * wants[at][0]]
        for at in content or open_:
            given[at] = wants[at][1] if content else level * wants[at][0]
        if not content:
            break
        left = max(0.0, left - sum(wants[at][1] for at in content))
        full = frozenset(content)
        open_ = [at for at in open_ if at not in full]
    return given


def entitled(
    demands: Mapping[tuple[Priority, TenantId], Demand], weights: Mapping[Priority, float] = CLASS_WEIGHTS
) -> dict[tuple[Priority, TenantId], float]:
    """What each tenant is entitled to in each class, of all that was used. `weights`: those of the classes."""
    classes: dict[Priority, list[tuple[Priority, TenantId]]] = {}
    for place in demands:
        classes.setdefault(place[0], []).append(place)
    total = sum(demand.used for demand in demands.values())
    wants = [(weights[each], sum(demands[place].asked for place in classes[each])) for each in classes]
    shares: dict[tuple[Priority, TenantId], float] = {}
    for places, amount in zip(classes.values(), fill(total, wants), strict=True):
        within = fill(amount, [(demands[place].weight, demands[place].asked) for place in places])
        shares.update(zip(places, within, strict=True))
    return shares
