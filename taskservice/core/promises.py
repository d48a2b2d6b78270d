"""What preemption has begun: who has waited since when, who was told to stop, and whose room that will be. Volatile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from taskservice.core.claims import Account, Eviction, Owner, Promise
from taskservice.core.demand import Demand
from taskservice.core.dues import Dues
from taskservice.core.orders import Order
from taskservice.core.preempt import CLAIM_AGAIN_MS
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.types import Leaf, RunnerId, Token

PROMISE_MS = 5_000
"""How long room is kept for a claim after it should be there."""


class Told(NamedTuple):
    """A lease that was told to stop."""

    owner: Owner
    demand: Demand
    runner: RunnerId


def owner_of(leaf: Leaf) -> Owner:
    """Whose the leaf's leases are."""
    return Owner(leaf.tenant, leaf.priority, leaf.function)


@dataclass(slots=True)
class Preemption:
    """Of one shard."""

    due_ms: int | None = None
    """When the next round is to be; None: not before something happens."""
    looked_ms: int | None = None
    """When the last one was."""
    rest_ms: int = ROUND_MS
    """How long after that the next one may be."""
    since_ms: dict[Account, int] = field(default_factory=dict)
    """Who has less than its own, and since when."""
    hurries: bool = False
    """Whether anybody has less than is reserved for it, or a class less than its own."""
    dues: Dues = field(default_factory=Dues)
    stopped_ms: dict[Owner, int] = field(default_factory=dict)
    """When a lease of each was last stopped."""
    told: dict[Token, Told] = field(default_factory=dict)
    """Leases that were told to stop, and perhaps some that have."""
    _promises: dict[tuple[Owner, Demand], list[Promise]] = field(default_factory=dict)

    def restore(
        self, leases: Iterable[tuple[Token, Told, Order]], demand_of: Callable[[Leaf], Demand], now_ms: int
    ) -> None:
        """What the orders say that leases were given before this dispatcher began: who is leaving, and for whom."""
        for token, told, order in leases:
            self.told[token] = told
            if order.heir is not None:
                key = owner_of(order.heir), demand_of(order.heir)
                promises = self._promises.setdefault(key, [])
                if all(each.runner != told.runner for each in promises):
                    promises.append(Promise(*key, told.runner, now_ms + order.grace_ms + PROMISE_MS))

    def evicts(self, eviction: Eviction, victims: dict[Token, Told], now_ms: int) -> None:
        """The victims have been told, and their room is promised."""
        self.told |= victims
        self.stopped_ms |= {victim.owner: now_ms for victim in victims.values()}
        claim = eviction.claim
        promise = Promise(claim.owner, claim.demand, eviction.runner, eviction.ready_ms + PROMISE_MS)
        self._promises.setdefault((claim.owner, claim.demand), []).append(promise)

    def promised(self, owner: Owner, demand: Demand) -> int:
        """For how many leases of the owner's room is being made."""
        return len(self._promises.get((owner, demand), ()))

    def promises(self) -> Iterator[Promise]:
        """All that hold."""
        return (promise for each in self._promises.values() for promise in each)

    def heirs(self) -> list[tuple[Owner, Demand]]:
        """Those for whom room is being made: their turns come first."""
        return list(self._promises)

    def granted(self, leaf: Leaf, demand: Demand, runner: RunnerId) -> None:
        """A lease of the leaf was placed there: one promise is kept, if there was any."""
        if not self._promises:
            return
        key = owner_of(leaf), demand
        promises = self._promises.get(key)
        if promises:
            promises.remove(next((each for each in promises if each.runner == runner), promises[0]))
            if not promises:
                del self._promises[key]

    def forget(self, known: Callable[[Token], bool], now_ms: int) -> None:
        """What is over by now is forgotten."""
        self.told = {token: told for token, told in self.told.items() if known(token)}
        self.stopped_ms = {owner: ms for owner, ms in self.stopped_ms.items() if now_ms - ms < CLAIM_AGAIN_MS}
        for key, promises in list(self._promises.items()):
            promises[:] = [promise for promise in promises if now_ms < promise.until_ms]
            if not promises:
                del self._promises[key]
