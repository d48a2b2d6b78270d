"""What a lease asks of a machine: one value for all leases that ask for the same. A service has few of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from taskservice.core.resources import amounts
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName

PACK = "pack"
"""The setting `placement` that makes whole nodes free; otherwise leases go where there is most room."""


class Demand(NamedTuple):
    """What a lease needs, and which of the runners that have it suit best."""

    need: tuple[tuple[str, int], ...]
    """As `Amounts`, sorted by name, without zeros."""
    labels: tuple[tuple[str, str], ...] = ()
    """What a runner must have among its labels."""
    spread: FunctionName | None = None
    """Runners with the fewest leases of this function suit best, not those with the least load."""
    pack: bool = False
    """The runner with the least room that is enough suits best, so that whole nodes become free."""


@lru_cache(maxsize=4096)
def demand_for(
    resources: Resources,
    labels: tuple[tuple[str, str], ...] = (),
    spread: FunctionName | None = None,
    *,
    pack: bool = False,
) -> Demand:
    """The demand of a lease that needs these resources."""
    return Demand(tuple(sorted(amounts(resources).items())), labels, spread, pack)
