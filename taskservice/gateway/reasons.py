"""Why a task waits, in words: each gate's name, value and limit, and a sentence that says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from taskservice.core.flow.gate import Reason
from taskservice.core.insight import Estimate
from taskservice.core.room import NO_RUNNER
from taskservice.gateway.amounts import amount_view, resource_word
from taskservice.gateway.times import iso

_QUOTAS = ("class.maximum", "tenant.maximum", "function.maximum")
_OF_RESOURCES = (*_QUOTAS, "pool.room", "pool.too_large")
_WHOSE = {"tenant": "its tenant", "function": "its function", "class": "its priority class", "key": "its key"}


class ReasonView(Struct, frozen=True, kw_only=True):
    """A gate that is closed: its name, how much of its limit is taken, and when the clock opens it, if it does."""

    gate: str
    text: str
    """The same in words."""
    limit: float | None
    value: float | None
    """How much of the limit is taken."""
    clears_at: str | None
    """Null: not by the clock alone."""
    per_s: float | None
    """Of a rate: how many come back each second."""
    cause: str | None
    """What keeps it closed where the numbers do not say: a resource, `frozen`, `retry_after`, an operation, an error's reason."""


def reason_view(reason: Reason) -> ReasonView:
    """The gate as users see it."""
    limit, value = _numbers(reason)
    return ReasonView(
        gate=reason.gate,
        text=text_of(reason),
        limit=limit,
        value=value,
        clears_at=None if reason.clears_ms is None else iso(reason.clears_ms),
        per_s=reason.per_s,
        cause=(resource_word(reason.cause) if reason.gate in _OF_RESOURCES else reason.cause) or None,
    )


def _numbers(reason: Reason) -> tuple[float | None, float | None]:
    if reason.gate in _QUOTAS or (reason.gate == "pool.too_large" and reason.limit + reason.used):
        return amount_view(reason.cause, reason.limit), amount_view(reason.cause, reason.used)
    if reason.gate == "turn":
        return None, reason.used
    if reason.limit or reason.used:
        return reason.limit, reason.used
    return None, None


def text_of(reason: Reason) -> str:
    """A sentence for whoever waits."""
    if reason.cause.startswith("line "):
        return f"{reason.gate} lets others through first: {reason.cause[5:]} stand before it in the line there."
    special = _TEXTS.get(reason.gate)
    if special is not None:
        return special(reason)
    whose = _WHOSE.get(reason.gate.partition(".")[0], "it")
    if reason.per_s is not None:
        return f"The rate of {whose} is used up: {reason.per_s:g} a second, {reason.limit} at once{_until(reason)}."
    if reason.gate in _QUOTAS:
        limit, value = _numbers(reason)
        return f"{whose.capitalize()} has {value:g} of at most {limit:g} {resource_word(reason.cause)}; there is no room for one task more."
    if reason.limit:
        return f"As many tasks of {whose} run as may: {reason.used} of {reason.limit}{_until(reason)}."
    return f"{reason.gate} is closed{_until(reason)}."


def _until(reason: Reason) -> str:
    return "" if reason.clears_ms is None else f", until {iso(reason.clears_ms)}"


def _retrying(reason: Reason) -> str:
    after = f"Its last attempt ended ({reason.cause})" if reason.cause else "Its last attempt ended"
    return f"{after}; it is tried again{'' if reason.clears_ms is None else f' at {iso(reason.clears_ms)}'}."


def _window(reason: Reason) -> str:
    if reason.cause == "retry_after":
        return f"What it calls has asked to be left alone{_until(reason)}."
    why = ", as an operator has set it" if reason.cause == "frozen" else ""
    return f"As many tasks call the same downstream as it is thought to bear: {reason.used} of {reason.limit}{why}."


def _too_large(reason: Reason) -> str:
    if reason.cause == NO_RUNNER:
        return "There is no machine to run it."
    if not reason.limit + reason.used:
        return "No machine has all that it asks for at once."
    word, most, need = resource_word(reason.cause), *_numbers(reason)
    return f"No machine is large enough: it needs {need:g} {word}, and the largest has {most:g}."


def _room(reason: Reason) -> str:
    scarce = f" ({resource_word(reason.cause)})" if reason.cause else ""
    kept = "" if reason.clears_ms is None else f"; one is kept for such tasks, about free at {iso(reason.clears_ms)}"
    return f"All machines are full{scarce}: they could run {reason.limit} such leases at once{kept}."


_TEXTS: Mapping[str, Callable[[Reason], str]] = {
    "task.paused": lambda reason: f"It is paused{_until(reason)}.",
    "task.due": lambda reason: (
        f"It is not due{'' if reason.clears_ms is None else f' before {iso(reason.clears_ms)}'}."
    ),
    "task.retrying": _retrying,
    "task.expired": lambda reason: "Its time to live is over: it ends as expired.",
    "off_peak": lambda reason: f"It waits for off-peak hours, or for the machines to be idle{_until(reason)}.",
    "function.paused": lambda reason: "Its function is paused by an operator.",
    "function.missing": lambda reason: (
        "The current version of its app has no such function: it waits until one has it, or is cancelled."
    ),
    "function.retries": lambda reason: f"The budget for retries of its function is used up{_until(reason)}.",
    "downstream.window": _window,
    "pool.too_large": _too_large,
    "pool.room": _room,
    "pool.reserved": lambda reason: "What is free is kept for others whose turn came first.",
    "operation": lambda reason: f"A bulk operation is about to change it: {reason.cause}.",
    "journal.behind": lambda reason: "The journal does not keep up: nothing is started meanwhile.",
    "turn": lambda reason: f"{_tasks(reason.used)} before it in turn.",
}


def _tasks(count: int) -> str:
    return "1 task is" if count == 1 else f"{count} tasks are"


def how_of(estimate: Estimate) -> str:
    """How an estimate was reckoned, in words."""
    if estimate.bound == "turn":
        return "nothing is closed to it: it starts when scheduling comes to it"
    if estimate.at_once is None and estimate.per_s is None:
        return f"it passes {estimate.bound} by the clock"
    before = f"{_tasks(estimate.tasks)} before it at {estimate.bound}"
    if estimate.per_s is not None:
        return f"{before}, at {estimate.per_s:g} a second"
    return f"{before}, {estimate.at_once:g} at a time, each for {estimate.each_s:.3g} s on average"
