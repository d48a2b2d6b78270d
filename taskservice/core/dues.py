"""What everybody has had beyond its own while others wanted it, in machine time; and what has been thrown away for that.

A share of the pool at one moment is not yet unfair: whole leases never come to it exactly, and the queues even it out over
time (start-time fair queueing in machine time). So one fair share is a claim against another only as far as it has been
passed for long: no more work is thrown away than twice what the victim's owner has had beyond its own, nor than twice what the
claimant has not had. It counts once: what has been thrown away for it is settled. So all that is lost between equals is at most twice
what some had too much, and nobody who has had less than its own over that time is a victim, whatever it has at the moment.

Who is stopped has paid for what it lost: the machine time was its own. Would the claimant pay for it, it would have less than
its own again; and if nobody did, the victim's turn would come at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from taskservice.core.claims import Account, Share

LOST_PER_DUE = 2.0
"""Work that may be lost for as much that was had beyond one's own. With 1, the last lease that is too many would never be stopped where
all are equally old: its work grows as fast as what is due for it."""

ROUNDING = 1e-6


@dataclass(slots=True)
class Dues:
    """By account, in shares of the pool times milliseconds. Volatile."""

    beyond: dict[Account, float] = field(default_factory=dict)
    """Less than 0: so much is still to come. Whoever neither has nor wants anything is left out, and begins anew."""
    _rates: dict[Account, float] = field(default_factory=dict)
    """What each has beyond its own since then."""
    _since_ms: int = 0

    def clear(self) -> None:
        """Nobody wants what others have."""
        self.beyond.clear()
        self._rates.clear()

    def reckon(self, shares: Mapping[Account, Share], now_ms: int) -> None:
        """It is `now_ms`, and the shares are these from now on."""
        lasted_ms = max(0, now_ms - self._since_ms)
        self._since_ms = now_ms
        self.beyond = {
            account: self.beyond.get(account, 0.0) + lasted_ms * self._rates.get(account, 0.0) for account in shares
        }
        self._rates = {account: share.used - share.own for account, share in shares.items()}

    def cover(
        self, theirs: Iterable[Account], mine: Iterable[Account], lost: Mapping[Account, float], more: float
    ) -> bool:
        """Whether so much more may be lost of what `theirs` did, for the good of one of `mine`, when so much is `lost` already."""
        had = {account: LOST_PER_DUE * self.beyond.get(account, 0.0) + ROUNDING for account in theirs}
        lacked = {account: ROUNDING - LOST_PER_DUE * self.beyond.get(account, 0.0) for account in mine}
        return all(lost.get(account, 0.0) + more <= most for account, most in had.items()) and any(
            lost.get(account, 0.0) + more <= most for account, most in lacked.items()
        )

    def settle(self, theirs: Iterable[Account], mine: Iterable[Account], lost: float) -> None:
        """So much of what `theirs` did is lost for the good of `mine`."""
        for account in theirs:
            self.beyond[account] = self.beyond.get(account, 0.0) - lost / LOST_PER_DUE
        for account in mine:
            self.beyond[account] = self.beyond.get(account, 0.0) + lost / LOST_PER_DUE
