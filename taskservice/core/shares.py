"""What share of the pool everybody has, and what is their own: divided by weight among those who want it.

As the tree of turns divides it: among the classes, and of what a class has among its tenants. Who wants less than its part
leaves the rest to the others; who has more than that reserved has its reservation first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from taskservice.core.claims import Account, AccountKind, Share
from taskservice.core.demand import Demand
from taskservice.core.fair.waiting import Refused
from taskservice.core.turns import Turns
from taskservice.core.types import FunctionName, Priority, TenantId

K = TypeVar("K", bound=Hashable)

ROUNDING = 1e-9


class Wait(NamedTuple):
    """Work for which there is no room."""

    of: Refused
    leases: int
    """How many more it would be, at most."""

    @property
    def demand(self) -> Demand:
        return self.of.shape

    @property
    def accounts(self) -> tuple[Account, Account, Account]:
        return (
            Account(AccountKind.TENANT, self.of.tenant),
            Account(AccountKind.CLASS, self.of.priority),
            Account(AccountKind.FUNCTION, self.of.function),
        )


class Wish(NamedTuple):
    """What somebody would have of a whole."""

    weight: float
    wants: float
    floor: float = 0.0
    """So much of what it wants is reserved for it."""


def divided(total: float, wishes: Mapping[K, Wish]) -> dict[K, float]:
    """Parts of the whole by weight, none larger than is wanted; nobody has less than its floor if the whole has so much."""
    pinned: dict[K, float] = {}
    while True:
        others = {key: wish for key, wish in wishes.items() if key not in pinned}
        parts = _by_weight(max(0.0, total - sum(pinned.values())), others)
        short = {key: wish.floor for key, wish in others.items() if parts[key] < wish.floor - ROUNDING}
        if not short:
            return parts | pinned
        pinned |= short


def _by_weight(total: float, wishes: Mapping[K, Wish]) -> dict[K, float]:
    parts: dict[K, float] = {}
    weights = sum(wish.weight for wish in wishes.values())
    for key, wish in sorted(wishes.items(), key=lambda item: item[1].wants / item[1].weight):
        parts[key] = min(wish.wants, total * wish.weight / weights)
        total -= parts[key]
        weights -= wish.weight
        if weights <= 0.0:
            break
    return {key: parts.get(key, 0.0) for key in wishes}


@dataclass(slots=True)
class Shares:
    """As things stand now."""

    of: dict[Account, Share] = field(default_factory=dict)
    wants: dict[Account, float] = field(default_factory=dict)
    """What each would have if there was room for all: as much as that is the most that is its own."""

    def lacks(self, account: Account, lease: float) -> tuple[bool, bool]:
        """Whether the account has less than is reserved for it; and whether it has clearly less than is its own.

        Where somebody has no more than a part of what it wants, whole leases never come to that exactly, and leases end: so it
        lacks something if a whole lease more would still be its own, and a tenth; or if a class has nothing at all.
        """
        share = self.of.get(account)
        if share is None:
            return False, False
        reserved = share.used < min(share.reserved, self.wants.get(account, 0.0)) - ROUNDING
        lacking = share.own - share.used
        if account.kind is AccountKind.CLASS and share.used <= ROUNDING:
            return reserved, lacking > ROUNDING
        if share.own >= self.wants.get(account, 0.0) - ROUNDING:
            return reserved, lacking > ROUNDING
        return reserved, lacking >= max(lease, DEAD_ZONE * share.own) - ROUNDING


DEAD_ZONE = 0.1
"""Of what is somebody's own: who lacks no more claims nothing. As YARN's `max_ignored_over_capacity`."""


def shares_of(turns: Turns, capacity: Mapping[str, int], waits: Iterable[Wait]) -> Shares:
    """Of all who have something of the pool, or wait for it. Takes time with the tenants that are active, in each class."""
    return _Division(turns, capacity, waits).shares()


class _Division:
    def __init__(self, turns: Turns, capacity: Mapping[str, int], waits: Iterable[Wait]) -> None:
        self._turns = turns
        self._capacity = capacity
        self._used: dict[Priority, dict[TenantId, float]] = {}
        self._wants: dict[Priority, dict[TenantId, float]] = {}
        self._functions: dict[FunctionName, float] = {}
        for (priority, tenant), amounts in turns.usage.within.items():
            self._used.setdefault(priority, {})[tenant] = self.part(amounts)
        for priority, used in self._used.items():
            self._wants[priority] = dict(used)
        for wait in waits:
            self._wait(wait)

    def part(self, amounts: Mapping[str, int]) -> float:
        """The dominant share; of what the pool does not have, nobody has a share."""
        return max(
            (value / total for name, value in amounts.items() if (total := self._capacity.get(name))), default=0.0
        )

    def _wait(self, wait: Wait) -> None:
        more = wait.leases * self.part(dict(wait.demand.need))
        tenants = self._wants.setdefault(wait.of.priority, {})
        tenants[wait.of.tenant] = min(1.0, tenants.get(wait.of.tenant, 0.0) + more)
        self._functions[wait.of.function] = min(1.0, self._functions.get(wait.of.function, 0.0) + more)

    def shares(self) -> Shares:
        floors = self._floors()
        classes = divided(1.0, {priority: self._class(priority, floors.get(priority, {})) for priority in self._wants})
        fair: dict[TenantId, float] = {}
        wants: dict[TenantId, float] = {}
        for priority, tenants in self._wants.items():
            here = floors.get(priority, {})
            wishes = {
                tenant: Wish(self._turns.tree.weight_of((priority, tenant)), most, min(most, here.get(tenant, 0.0)))
                for tenant, most in tenants.items()
            }
            for tenant, part in divided(classes[priority], wishes).items():
                fair[tenant] = fair.get(tenant, 0.0) + part
                wants[tenant] = wants.get(tenant, 0.0) + tenants[tenant]
        found = Shares()
        for priority, part in classes.items():
            self._add(found, Account(AccountKind.CLASS, priority), part, sum(self._wants[priority].values()))
        for tenant, part in fair.items():
            self._add(found, Account(AccountKind.TENANT, tenant), part, wants[tenant])
        for kind, name in self._turns.reserved:
            if kind == "function":
                account = Account(AccountKind.FUNCTION, str(name))
                more = self._functions.get(FunctionName(account.name), 0.0)
                self._add(found, account, 0.0, self._used_by(account) + more)
        return found

    def _add(self, found: Shares, account: Account, fair: float, wants: float) -> None:
        used = self._used_by(account)
        found.of[account] = Share(used, self._reserved(account), fair)
        found.wants[account] = max(used, min(1.0, wants))

    def _used_by(self, account: Account) -> float:
        return self.part(self._turns.usage.used((account.kind.value, account.name)))

    def _reserved(self, account: Account) -> float:
        return self.part(self._turns.reserved.get((account.kind.value, account.name), {}))

    def _class(self, priority: Priority, floors: Mapping[TenantId, float]) -> Wish:
        wants = min(1.0, sum(self._wants[priority].values()))
        reserved = self._reserved(Account(AccountKind.CLASS, priority))
        return Wish(self._turns.tree.weight_of((priority,)), wants, min(wants, max(reserved, sum(floors.values()))))

    def _floors(self) -> dict[Priority, dict[TenantId, float]]:
        """What reservations of tenants come to in each class: those of more urgent tasks first."""
        floors: dict[Priority, dict[TenantId, float]] = {}
        for kind, name in self._turns.reserved:
            if kind != "tenant":
                continue
            tenant = TenantId(str(name))
            left = self._reserved(Account(AccountKind.TENANT, tenant))
            for priority in Priority:
                wants = min(left, self._wants.get(priority, {}).get(tenant, 0.0))
                if wants > 0.0:
                    floors.setdefault(priority, {})[tenant] = wants
                    left -= wants
        return floors
