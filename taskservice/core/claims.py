"""What preemption decides by: who has what share of the pool, who claims room, and which leases might be stopped for it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Protocol

from taskservice.core.demand import Demand
from taskservice.core.resources import Amounts
from taskservice.core.types import FunctionName, Priority, RunnerId, TenantId, Token


class AccountKind(StrEnum):
    """What shares of the pool are counted for."""

    TENANT = "tenant"
    CLASS = "class"
    FUNCTION = "function"


class Account(NamedTuple):
    """Somebody who has a share of the pool."""

    kind: AccountKind
    name: str


class Share(NamedTuple):
    """What an account has of `Pool.capacity`, and what is its own: dominant shares, 0 to 1."""

    used: float
    """By all its leases, those that are leaving included."""
    reserved: float
    """What it is to have whenever it wants it."""
    fair: float
    """What it would have if the pool were divided by weight among those who want it now."""

    @property
    def own(self) -> float:
        return max(self.reserved, self.fair)


class Owner(NamedTuple):
    """Whose leases they are."""

    tenant: TenantId
    priority: Priority
    function: FunctionName

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What its leases are counted for."""
        return (
            Account(AccountKind.TENANT, self.tenant),
            Account(AccountKind.CLASS, self.priority),
            Account(AccountKind.FUNCTION, self.function),
        )


class RunningLease(NamedTuple):
    """A lease that might be stopped, or is being."""

    token: Token
    runner: RunnerId
    owner: Owner
    need: Amounts
    started_ms: int
    checkpoint_ms: int | None
    """When what it had done was last kept."""
    preemptible: bool
    times_preempted: int
    """Of its tasks, that of the one which was stopped most often."""
    grace_ms: int
    """How long it may take to stop."""
    leaving: bool = False
    """It was told to stop before, or will be over at once: its room is as good as free."""


class LeaseBook(Protocol):
    """The leases of a pool, as a plan wants to know them."""

    def on(self, runner: RunnerId) -> Iterable[RunningLease]:
        """All that the runner has."""

    def leaving(self) -> Iterable[tuple[Owner, Demand, RunnerId]]:
        """All that were told to stop, wherever they are: whose they are, what they take, and where."""


class Claim(NamedTuple):
    """Somebody has less than its own and waits for room."""

    owner: Owner
    demand: Demand
    since_ms: int
    wanted: int = 1
    """How many such leases wait."""


class Promise(NamedTuple):
    """Room that was made for one lease of a claim, and is not taken yet."""

    owner: Owner
    demand: Demand
    runner: RunnerId
    until_ms: int
    """When it is nobody's any more: it was not needed after all."""


class Eviction(NamedTuple):
    """Room on one runner for one lease of a claim: stop the victims, and keep the runner for it (`Pool.clear`)."""

    claim: Claim
    runner: RunnerId
    victims: tuple[Token, ...]
    ready_ms: int
    """When the last of them will be gone."""
