"""Who has how much of the pool while a plan is made, and what they can spare.

Kept for tenants, classes and functions alike (`claims.Account`). What is leaving counts for its owners' claims, but is nothing that
they could lose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import floor

from taskservice.core.claims import Account, Owner, Share

ROUNDING = 1e-9
"""Shares that differ by less are the same."""


class Standing:
    """What each account has, less what is stopped and more what is promised so far."""

    def __init__(self, shares: Mapping[Account, Share]) -> None:
        self._shares = shares
        self._used = {account: share.used for account, share in shares.items()}
        """Without what is leaving, and what is stopped."""
        self._more = dict.fromkeys(shares, 0.0)
        """What comes to that for who claims: what is leaving and still there, and what its claims will have got."""
        self._counted: dict[Owner, tuple[Account, ...]] = {}

    def counted(self, owner: Owner) -> tuple[Account, ...]:
        """The accounts that the owner's leases are counted for, of those that have a share."""
        known = self._counted.get(owner)
        if known is None:
            known = tuple(account for account in owner.accounts if account in self._shares)
            self._counted[owner] = known
        return known

    def leaving(self, owner: Owner, share: float) -> None:
        """So much of what the owner has is leaving."""
        self.stopped(owner, share)
        self.promised(owner, share)

    def stopped(self, owner: Owner, share: float) -> None:
        """The owner will have so much less."""
        for account in self.counted(owner):
            self._used[account] -= share

    def promised(self, owner: Owner, share: float) -> None:
        """A claim of the owner will be met with so much."""
        for account in self.counted(owner):
            self._more[account] += share

    def below(self, accounts: Iterable[Account]) -> bool:
        """Whether any of them will have less than its own."""
        return any(self._lacks(account, self._shares[account].own) for account in accounts)

    def below_reservation(self, accounts: Iterable[Account]) -> bool:
        """Whether any of them will have less than is reserved for it."""
        return any(self._lacks(account, self._shares[account].reserved) for account in accounts)

    def spares(self, account: Account, lease: float, spent: float, gained: float, *, whole_leases: bool) -> bool:
        """Whether the account can lose a lease of that share besides what is `spent`, when `gained` comes back to it.

        Who has more than its own keeps that; who has less loses nothing on balance. `whole_leases`: a fair share gives way by
        what it has beyond whole leases, to reservations and to more urgent work: else neither could be had while many have a
        fraction of a lease too much. Neither is claimed back.
        """
        has, share = self._used[account], self._shares[account]
        keeps = max(share.reserved, floor(share.fair / lease + ROUNDING) * lease) if whole_leases else share.own
        return has - spent - lease + gained >= min(has, keeps) - ROUNDING

    def _lacks(self, account: Account, of: float) -> bool:
        return self._used[account] + self._more[account] < of - ROUNDING
