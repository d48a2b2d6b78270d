"""Rates, quotas and resources in the words of the API, both ways: what is shown can be sent back as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from taskservice.core.flow.bucket import RateLimit
from taskservice.core.specs import Quota, Rate
from taskservice.gateway.problems import invalid
from taskservice.units import default_burst, parse_bytes, parse_rate

AMOUNT_MAX = 10**12
KINDS_MAX = 32
_WORDS = {"CPU": "cpus", "GPU": "gpus"}
_NAMES = {word: name for name, word in _WORDS.items()}

MEMORY = "memory"


class RateObject(Struct, frozen=True, forbid_unknown_fields=True):
    """So many tasks a second, and so many at once after a pause."""

    per_s: float
    burst: int | None = None
    """As many as come in a second, if it is not said."""


RateText = Annotated[str, Meta(max_length=60, examples=["100/s", "30/m", "100/s burst 500"])]
RateSaid = RateText | RateObject

Amount = Annotated[str | int | float, Meta(description='A number; of memory also text such as "8GiB".')]


class QuotaSaid(Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody may have of the pool at once, by resource: cpus, gpus, memory, or a custom one."""

    reserved: dict[str, Amount] = {}
    """It has as much as soon as it has work; while it has none, others have it."""
    maximum: dict[str, Amount] = {}
    """A resource that is not named has no bound."""


class RateView(Struct, frozen=True):
    """So many tasks a second, and so many at once after a pause."""

    per_s: float
    burst: int


class QuotaView(Struct, frozen=True):
    """What somebody may have of the pool at once: cpus, gpus, memory in bytes, custom resources."""

    reserved: dict[str, float]
    maximum: dict[str, float]


def rate_of(path: str, said: RateSaid, gate: str) -> Rate:
    """The rate that was said there. Raises a 422 Problem if it cannot be."""
    try:
        if isinstance(said, str):
            per_s, burst = parse_rate(said)
        else:
            per_s = said.per_s
            burst = default_burst(per_s) if said.burst is None else said.burst
        RateLimit(gate, per_s, burst)
    except ValueError as error:
        raise invalid(path, str(error)) from None
    return Rate(per_s, burst)


def quota_of(path: str, said: QuotaSaid) -> Quota:
    """The quota that was said there. Raises a 422 Problem if it cannot be."""
    reserved, maximum = _amounts(f"{path}.reserved", said.reserved), _amounts(f"{path}.maximum", said.maximum)
    most = dict(maximum)
    for name, amount in reserved:
        if name in most and most[name] < amount:
            raise invalid(f"{path}.reserved.{resource_word(name)}", "more is reserved than the maximum allows")
    return Quota(reserved, maximum)


def rate_view(rate: Rate | None) -> RateView | None:
    return None if rate is None else RateView(rate.per_s, rate.burst)


def quota_view(quota: Quota) -> QuotaView:
    return QuotaView(amounts_view(quota.reserved), amounts_view(quota.maximum))


def amounts_view(amounts: tuple[tuple[str, int], ...]) -> dict[str, float]:
    """Amounts of the core as users write them."""
    return {resource_word(name): amount_view(name, amount) for name, amount in amounts}


def amount_view(name: str, amount: int) -> float:
    return amount if name == MEMORY else amount / 1000


def resource_word(name: str) -> str:
    """What users call the resource."""
    return _WORDS.get(name, name)


def _amounts(path: str, said: Mapping[str, Amount]) -> tuple[tuple[str, int], ...]:
    if len(said) > KINDS_MAX:
        raise invalid(path, f"name at most {KINDS_MAX} resources")
    found: dict[str, int] = {}
    for word, amount in said.items():
        name = _NAMES.get(word, word)
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise invalid(path, f"{word[:50]!r} cannot be the name of a resource")
        found[name] = _amount(f"{path}.{word}", name, amount)
    return tuple(sorted(found.items()))


def _amount(path: str, name: str, said: Amount) -> int:
    try:
        amount = _bytes(said) if name == MEMORY else _thousandths(said)
    except (ValueError, OverflowError) as error:
        raise invalid(path, str(error)) from None
    if not 0 <= amount <= AMOUNT_MAX * 1000:
        raise invalid(path, f"it must be 0 to {AMOUNT_MAX}")
    return amount


def _thousandths(said: Amount) -> int:
    try:
        return round(float(said) * 1000)
    except ValueError:
        raise ValueError(f"{said!r} is not a number") from None


def _bytes(said: Amount) -> int:
    return parse_bytes(round(said) if isinstance(said, float) else said)
