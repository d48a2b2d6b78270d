"""What is learnt of what functions call: how much of it a downstream bears, and how much retrying is fair. Volatile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskservice.core.flow.retry_budget import RetryBudget
from taskservice.core.flow.running import Running
from taskservice.core.flow.window import CEILING, Ended, Window
from taskservice.core.lease_wire import Outcome
from taskservice.core.specs import DownstreamPolicy, FunctionSpec, Policy
from taskservice.core.types import RETRY_LANES, FunctionName, Leaf, OutcomeKind

_CONGESTED = (OutcomeKind.THROTTLED, OutcomeKind.TIMEOUT)
"""What says that a downstream has too much to do."""

_SILENT = (
    OutcomeKind.LOST,
    OutcomeKind.PREEMPTED,
    OutcomeKind.CANCELLED,
    OutcomeKind.STORE_AWAY,
    OutcomeKind.VALUE_LOST,
    OutcomeKind.IMPORT_FAILED,
)
"""What says nothing about a downstream, for it was perhaps not called."""


@dataclass(slots=True)
class Downstreams:
    """The windows of downstreams, and the retry budgets of functions."""

    functions: Mapping[FunctionName, FunctionSpec]
    policies: Mapping[tuple[str, str], Policy]
    running: Running
    windows: dict[str, Window] = field(default_factory=dict)
    """By downstream. A function that names none has one of its own, under its own name, once it has been throttled."""
    _budgets: dict[FunctionName, RetryBudget] = field(default_factory=dict)

    def name_of(self, function: FunctionName) -> str:
        """What the function's window is called."""
        return self.functions[function].downstream or function

    def window_of(self, function: FunctionName, now_ms: int) -> Window | None:
        """The window that the function's tasks pass; None if it names no downstream, has never been
        throttled, and no operator has spoken of it."""
        named = self.functions[function].downstream or ("downstream", function) in self.policies
        return self.open_window(function, now_ms) if named else self.windows.get(function)

    def budget_of(self, function: FunctionName, now_ms: int) -> RetryBudget:
        """What the function's retries may still cost."""
        budget = self._budgets.get(function)
        if budget is None:
            share = self.functions[function].retry_share
            budget = self._budgets[function] = RetryBudget("function.retries", now_ms, share)
        return budget

    def known_budget(self, function: FunctionName) -> RetryBudget | None:
        """The function's budget, if one has been asked for."""
        return self._budgets.get(function)

    def function_changed(self, name: FunctionName) -> None:
        """The function's share of retries may be another."""
        if name in self._budgets:
            self._budgets[name].change(self.functions[name].retry_share)

    def policy_changed(self, policy: DownstreamPolicy, now_ms: int) -> None:
        """The window is as the operator says now."""
        window = self.windows.get(policy.name)
        if window is not None:
            window.bound(policy.ceiling or CEILING, now_ms)
            window.freeze(policy.frozen, now_ms)

    def started(self, leaf: Leaf, tasks: int, now_ms: int) -> None:
        """So many of the leaf's tasks have started."""
        window = self.window_of(leaf.function, now_ms)
        if window is not None:
            window.started(tasks, now_ms)
        budget = self.budget_of(leaf.function, now_ms)
        if leaf.lane in RETRY_LANES.values():
            budget.take(tasks, now_ms)
        else:
            budget.first(tasks, now_ms)

    def ended(self, leaf: Leaf, outcomes: Sequence[Outcome], back: int, vanished: int, now_ms: int) -> None:
        """These attempts of the leaf have ended, so many were handed back before they began, and of so many others nothing is known."""
        succeeded = failed = 0
        for each in outcomes:
            if each.kind is OutcomeKind.SUCCEEDED:
                succeeded += 1
            elif each.kind not in _SILENT:
                failed += 1
        silent = back + vanished + len(outcomes) - succeeded - failed
        self._pay(leaf, succeeded, failed, back, silent, now_ms)
        window = self.window_of(leaf.function, now_ms)
        if window is None:
            return
        throttled = [each for each in outcomes if each.kind is OutcomeKind.THROTTLED]
        window.ended(
            Ended(
                [_ms(each) for each in outcomes if each.kind not in _SILENT and each.kind not in _CONGESTED],
                [(_ms(each), each.retry_after_ms or 0) for each in throttled],
                [_ms(each) for each in outcomes if each.kind is OutcomeKind.TIMEOUT],
                silent,
            ),
            now_ms,
        )

    def _pay(self, leaf: Leaf, succeeded: int, failed: int, back: int, silent: int, now_ms: int) -> None:
        """The function's budget knows what became of its calls: what was handed back deposits nothing, and a retry that perhaps called
        nobody costs nothing."""
        budget = self.budget_of(leaf.function, now_ms)
        if leaf.lane in RETRY_LANES.values():
            budget.give_back(0, silent)
            budget.succeeded(0, succeeded)
            budget.failed(failed)
        else:
            if back:
                budget.give_back(back, 0)
            budget.succeeded(succeeded, 0)

    def open_window(self, function: FunctionName, now_ms: int) -> Window:
        """The window that the function's tasks pass from now on; those that run are in flight already."""
        name = self.name_of(function)
        window = self.windows.get(name)
        if window is None:
            window = self.windows[name] = Window("downstream.window", now_ms)
            callers = [each for each in self.functions if self.name_of(each) == name]
            window.started(sum(self.running.functions.get(each, 0) for each in callers), now_ms)
            policy = self.policies.get(("downstream", name))
            if isinstance(policy, DownstreamPolicy):
                self.policy_changed(policy, now_ms)
        return window


def _ms(outcome: Outcome) -> int:
    return outcome.duration_us // 1000
