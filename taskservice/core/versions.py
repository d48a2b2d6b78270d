"""Versions of apps: which code is current, which is tried on a share of the leases, and which one a lease runs.

    packed -> VersionAdded -> current                                  -> earlier (its tasks that run go on; pinned ones stay)
                           -> canary, for a share -> promoted: current
                                                  -> rolled back: earlier

A version never changes. What is current decides what functions are like for scheduling: resources, gates, schema. A lease
names the version whose code it runs; so one that was granted before goes on with what it began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from taskservice.core.lease_wire import Outcome
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName, Leaf, OutcomeKind, Task, TaskNo

NO_VERSION = 0
"""What code has that was registered by its folder, without versions."""

STOPPED = (
    OutcomeKind.PREEMPTED,
    OutcomeKind.CANCELLED,
    OutcomeKind.LOST,
    OutcomeKind.THROTTLED,
    OutcomeKind.STORE_AWAY,
)
"""Outcomes that say nothing about a version's code."""

SpecKey = tuple[FunctionName, int]
"""A function, and the number of a version."""


class Version(Struct, frozen=True, array_like=True):
    """An app's code as it was deployed once. Fields are added at the end with a default, never removed or moved."""

    app: str
    number: int
    """1 for the first one of the app, and never used twice."""
    at_ms: int
    bundle: Bundle
    functions: tuple[FunctionSpec, ...]
    from_no: TaskNo
    """Tasks below this number were there before it."""


class Rollout(Struct, frozen=True, array_like=True):
    """Which versions of an app new leases run. Fields are added at the end with a default, never removed or moved."""

    app: str
    last: int
    """The highest number that was given."""
    current: int
    before: int = 0
    """What was current before that; 0: nothing, or it is forgotten."""
    canary: int = 0
    """The version that is tried; 0: none."""
    share: float = 0.0
    """Of the tasks that are leased, those that the canary runs: above 0, at most 1."""


@dataclass(slots=True)
class Tally:
    """Attempts of one version that have ended, since this dispatcher started."""

    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class Dealt:
    """Tasks of one function that were leased while a canary has been tried."""

    all: int = 0
    canary: int = 0


@dataclass(slots=True)
class Apps:
    """The apps of a shard. `versions` and `rollouts` are durable."""

    versions: dict[str, dict[int, Version]] = field(default_factory=dict)
    """By app and number, in the order of the numbers."""
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    specs: dict[SpecKey, FunctionSpec] = field(default_factory=dict)
    """What each version says of each of its functions: the same as in `versions`."""

    # Volatile.
    tallies: dict[tuple[str, int], Tally] = field(default_factory=dict)
    dealt: dict[FunctionName, Dealt] = field(default_factory=dict)
    """Of functions whose app tries a canary."""

    def add(self, version: Version) -> None:
        """There is such a version."""
        self.versions.setdefault(version.app, {})[version.number] = version
        self.specs.update(((function.name, version.number), function) for function in version.functions)

    def forget(self, app: str, numbers: Sequence[int]) -> None:
        """There are no such versions any more."""
        for number in numbers:
            gone = self.versions[app].pop(number)
            for function in gone.functions:
                del self.specs[function.name, number]
            self.tallies.pop((app, number), None)

    def roll(self, rollout: Rollout) -> None:
        """New leases of the app are dealt out like that."""
        before = self.rollouts.get(rollout.app)
        self.rollouts[rollout.app] = rollout
        if before is None or (before.canary, before.share) != (rollout.canary, rollout.share):
            for name in [name for name in self.dealt if app_of(name) == rollout.app]:
                del self.dealt[name]

    def choose(self, leaf: Leaf, tasks: int) -> int:
        """The version that a lease of so many of the leaf's tasks runs. Changes nothing.

        The canary gets a lease whenever that brings its part of the function's tasks nearer to its share: no chance is in it,
        so of 100 tasks that are leased one by one, 10 % are exactly 10.
        """
        if leaf.pin:
            return leaf.pin
        rollout = self.rollouts.get(app_of(leaf.function))
        if rollout is None:
            return NO_VERSION
        if rollout.canary and (leaf.function, rollout.canary) in self.specs:
            dealt = self.dealt.get(leaf.function, Dealt())
            if rollout.share * (dealt.all + tasks) >= dealt.canary + tasks / 2:
                return rollout.canary
        return rollout.current if (leaf.function, rollout.current) in self.specs else NO_VERSION

    def granted(self, leaf: Leaf, version: int, tasks: int) -> None:
        """So many of the leaf's tasks were leased to the version."""
        rollout = self.rollouts.get(app_of(leaf.function))
        if rollout is None or not rollout.canary or leaf.pin:
            return
        dealt = self.dealt.setdefault(leaf.function, Dealt())
        dealt.all += tasks
        dealt.canary += tasks if version == rollout.canary else 0

    def learn(self, leaf: Leaf, version: int, outcomes: Sequence[Outcome]) -> None:
        """These attempts of the version have ended."""
        if not version:
            return
        tally = self.tallies.setdefault((app_of(leaf.function), version), Tally())
        good = sum(outcome.kind is OutcomeKind.SUCCEEDED for outcome in outcomes)
        tally.succeeded += good
        tally.failed += sum(outcome.kind not in STOPPED for outcome in outcomes) - good

    def pin_of(self, function: FunctionSpec) -> int:
        """The version that a new task of the function stays on; 0: none."""
        rollout = self.rollouts.get(app_of(function.name)) if function.pin else None
        return rollout.current if rollout is not None and (function.name, rollout.current) in self.specs else NO_VERSION


def app_of(function: FunctionName) -> str:
    """The name of the function's app. Neither has a dot in its own name."""
    return function.rpartition(".")[0]


def name_of(number: int) -> str:
    """What people call a version."""
    return f"v{number}"


def version_of(task: Task) -> str | None:
    """What the task's last attempt ran, or what it stays on if it has not run; None: neither is known."""
    number = task.version if task.attempt and task.version else task.pin
    return name_of(number) if number else None
