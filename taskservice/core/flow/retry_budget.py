"""Retries only as a share of the traffic, so that a downstream that is in trouble is not kept there by those who try again.

Retries that feed the overload which causes them are what keeps many outages alive after their cause has gone (Bronson, Aghayev,
Charapko, Zhu, "Metastable Failures in Distributed Systems", HotOS 2021). Back-off only spreads them; a budget bounds their sum:
calls deposit a share of a credit, a retry costs one (the retry budget of Twitter's Finagle, 2016, and of Google's clients: Ulrich,
"Addressing Cascading Failures", in Beyer et al., "Site Reliability Engineering", 2016). A retry that succeeds has done no harm and is
refunded, so that what waits after an outage is tried as fast as it succeeds; until one in ten fails.
"""

from __future__ import annotations

from taskservice.core.flow.gate import Reason

UNIT = 1_000_000
"""Parts of a credit: sums of whole numbers do not drift."""
SHARE = 0.1
CREDIT_FIRST = 10
"""What a new function has, so that its first failures do not wait for traffic."""
CREDIT_MAX = 50
"""What quiet times may save up for bad ones. In an outage it comes on top of the share, so it is small beside the traffic for
which a budget matters; and it bounds how many retries start at once."""
REFUNDS_LOST = 9
"""A retry that fails takes the refunds of as many others that are under way. Else retries would be added until those that fail eat up
what first attempts deposit, and that is a lot when the capacity that is left over is small: a downstream would be held where a third of
all calls fail. So it is held where a few in a hundred do."""
TRICKLE_MS = 10_000
"""After as long without any call a retry is allowed that nothing has paid for: else a function without traffic would keep its
last failures for ever."""


class RetryBudget:
    """What the retries of one function may still cost its downstream.

    A first attempt deposits half the share and a success the other half: so retries are the full share of what succeeds, and in an
    outage, when nothing does, half of it. What was saved up before then has room below the full share, too.
    """

    __slots__ = ("_called_ms", "_credit", "_deposit", "_under_way", "_unrefunded", "gate")

    def __init__(self, gate: str, now_ms: int, share: float = SHARE) -> None:
        """`gate`: what users know it by, e.g. `function.retries`. `share`: retries that fail for each call, 0 to 1."""
        self.gate = gate
        self._called_ms = now_ms
        self._credit = CREDIT_FIRST * UNIT
        self._under_way = 0
        """Retries that have started and not ended."""
        self._unrefunded = 0
        """How many of them get no refund."""
        self.change(share)

    def change(self, share: float) -> None:
        """From now on calls deposit this share."""
        if not 0 <= share <= 1:
            raise ValueError(f"the share of {self.gate} must be 0 to 1, not {share}")
        self._deposit = round(share * UNIT / 2)

    def room(self, now_ms: int) -> int:
        whole = self._credit // UNIT
        return whole if whole or now_ms < self._trickles_ms(now_ms) else 1

    def first(self, tasks: int, now_ms: int) -> None:
        """So many first attempts have started."""
        self._called_ms = now_ms
        self._add(tasks * self._deposit)

    def take(self, tasks: int, now_ms: int) -> bool:
        """Whether so many retries may start; then they are paid for, else nothing is."""
        if tasks > self.room(now_ms):
            return False
        self._called_ms = now_ms
        self._credit = max(0, self._credit - tasks * UNIT)
        self._under_way += tasks
        return True

    def give_back(self, first: int, retries: int) -> None:
        """So many first attempts were counted, and so many retries paid for, that then were not made."""
        self._end(retries)
        self._add(retries * UNIT - first * self._deposit)

    def succeeded(self, first: int, retries: int) -> None:
        """So many first attempts and retries have succeeded."""
        refunded = 0
        if retries:
            refunded = max(0, retries - self._unrefunded)
            self._unrefunded -= retries - refunded
            self._end(retries)
        self._add((first + retries) * self._deposit + refunded * UNIT)

    def failed(self, retries: int) -> None:
        """So many retries have failed."""
        self._end(retries)
        self._unrefunded = min(self._under_way, self._unrefunded + retries * REFUNDS_LOST)

    def opens_ms(self, now_ms: int) -> int | None:
        return now_ms if self._credit >= UNIT else max(now_ms, self._trickles_ms(now_ms))

    def reason(self, now_ms: int) -> Reason:
        return Reason(self.gate, CREDIT_MAX, CREDIT_MAX - self.room(now_ms), self.opens_ms(now_ms))

    def _trickles_ms(self, now_ms: int) -> int:
        """When the next retry goes that nothing has paid for. The clock may have been put back since the last call."""
        self._called_ms = min(self._called_ms, now_ms)
        return self._called_ms + TRICKLE_MS

    def _end(self, retries: int) -> None:
        """Those that were under way before a restart are not known of."""
        self._under_way = max(0, self._under_way - retries)
        self._unrefunded = min(self._unrefunded, self._under_way)

    def _add(self, parts: int) -> None:
        credit = self._credit + parts
        credit = min(credit, CREDIT_MAX * UNIT)
        self._credit = max(0, credit)
