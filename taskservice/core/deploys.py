"""What follows when an app is deployed, promoted or rolled back.

Nothing that runs is touched. Queued tasks take what is current when they are leased, unless they are pinned; those of a function
that the current version has not got wait behind the gate `function.missing`, until a version has it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from taskservice.core.decision import Decision
from taskservice.core.deploying import (
    AppDeployed,
    AppsAnswer,
    AppsAsked,
    AppStatus,
    DeployRefusal,
    RolloutAnswer,
    RolloutAsked,
    RolloutMove,
    RolloutSet,
    VersionAdded,
    VersionsForgotten,
    VersionStatus,
    Waiting,
)
from taskservice.core.records import FunctionsSet, Record
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, FunctionName, TaskNo, TaskState
from taskservice.core.versions import Rollout, Tally, Version, app_of, name_of

NO_BUNDLE = Bundle("", "", "")


def deploy(state: State, event: AppDeployed, now_ms: int) -> Decision:
    """The code is a version of the app, and new leases run it: all, or a canary's share of them."""
    rollout = state.apps.rollouts.get(event.app, Rollout(event.app, 0, 0))
    version = _known(state, event)
    known = version is not None
    if version is None:
        first = TaskNo(state.next_no)
        version = Version(event.app, rollout.last + 1, now_ms, event.bundle, event.functions, first)
    canary = event.share < 1.0
    refused = _unfit(state, rollout, version) if canary else None
    if refused is not None:
        return Decision(answer=refused)
    wanted = replace(rollout, last=max(rollout.last, version.number), canary=0, share=0.0)
    if canary and version.number != rollout.current:
        wanted = replace(wanted, canary=version.number, share=event.share)
    elif version.number != rollout.current:
        wanted = replace(wanted, current=version.number, before=rollout.current)
    old = _old(state, wanted)
    if old is None:
        most = state.limits.versions_max
        message = (
            f"app {event.app!r} has {most} versions that are in use (versions_max); wait until their tasks have ended"
        )
        return Decision(answer=RolloutAnswer(refusal=DeployRefusal.VERSIONS_MAX, message=message, limit=most))
    records: list[Record] = [] if known else [VersionAdded(now_ms, version)]
    records += _moved(state, rollout, wanted, version, now_ms)
    if old:
        records.append(VersionsForgotten(now_ms, event.app, old))
    return _answered(state, records, event.app, version, known=known)


def move(state: State, event: RolloutAsked, now_ms: int) -> Decision:
    """The canary is current, or is over; or an earlier version is current again."""
    rollout, versions = state.apps.rollouts.get(event.app), state.apps.versions.get(event.app, {})
    if rollout is None:
        message = f"no app {event.app!r} has been deployed"
        return Decision(answer=RolloutAnswer(refusal=DeployRefusal.APP_NOT_FOUND, message=message))
    number = event.version or _meant(rollout, event.move)
    version = versions.get(number)
    if event.move is RolloutMove.PROMOTE and (not rollout.canary or number != rollout.canary):
        message = (
            f"{name_of(number)} is no canary of app {event.app!r}" if number else f"app {event.app!r} has no canary"
        )
        return Decision(answer=RolloutAnswer(refusal=DeployRefusal.NO_CANARY, message=message))
    if version is None:
        what = name_of(number) if number else "earlier version"
        message = f"app {event.app!r} has no {what}; it has {', '.join(map(name_of, versions))}"
        return Decision(answer=RolloutAnswer(refusal=DeployRefusal.VERSION_NOT_FOUND, message=message))
    wanted = replace(rollout, canary=0, share=0.0)
    if number != rollout.current:
        wanted = replace(wanted, current=number, before=rollout.current)
    return _answered(state, list(_moved(state, rollout, wanted, version, now_ms)), event.app, version, known=True)


def listing(state: State, event: AppsAsked) -> AppsAnswer:
    """The app with its versions, or all apps."""
    wanted = [app for app in state.apps.rollouts if event.app in (None, app)]
    return AppsAnswer(tuple(_status(state, app) for app in wanted))


def _meant(rollout: Rollout, move: RolloutMove) -> int:
    if move is RolloutMove.PROMOTE:
        return rollout.canary
    return rollout.current if rollout.canary else rollout.before


def _known(state: State, event: AppDeployed) -> Version | None:
    """A version that is just like that, the newest first: the same code, which says the same of the same functions."""
    for version in reversed(state.apps.versions.get(event.app, {}).values()):
        if _code(version.bundle) == _code(event.bundle) and _said(version.functions) == _said(event.functions):
            return version
    return None


def _code(bundle: Bundle) -> tuple[str, str, str, str]:
    return bundle.module, bundle.attribute, bundle.path, bundle.sha256


def _said(functions: Iterable[FunctionSpec]) -> list[FunctionSpec]:
    return [replace(function, bundle=NO_BUNDLE) for function in functions]


def _unfit(state: State, rollout: Rollout, version: Version) -> RolloutAnswer | None:
    """Why the version cannot be a canary: its leases take the places of the current one's."""
    if not rollout.current:
        message = f"app {rollout.app!r} has no version yet that a canary could run beside; deploy it without --canary"
        return RolloutAnswer(refusal=DeployRefusal.VERSION_NOT_FOUND, message=message)
    for function in version.functions:
        current = state.functions.get(function.name)
        if current is not None and _place(current) != _place(function):
            message = (
                f"{function.name} asks for other machines (resources, labels, spread) than the current version, whose places"
                " a canary takes; deploy it without --canary"
            )
            return RolloutAnswer(refusal=DeployRefusal.CANARY_UNLIKE, message=message)
    return None


def _place(function: FunctionSpec) -> tuple[object, ...]:
    return function.resources, function.labels, function.spread


def _moved(state: State, before: Rollout, after: Rollout, version: Version, now_ms: int) -> Iterator[Record]:
    """What makes `after` true; if `version` becomes current, its functions are as it says."""
    if after.current != before.current:
        has = {function.name: function for function in version.functions}
        changed = [function for name, function in has.items() if state.functions.get(name) != function]
        others = [each for each in state.functions.values() if app_of(each.name) == after.app and each.name not in has]
        changed += [replace(each, missing=True) for each in others if not each.missing]
        if changed:
            yield FunctionsSet(now_ms, tuple(changed))
    if after != before:
        yield RolloutSet(now_ms, after)


def _old(state: State, wanted: Rollout) -> tuple[int, ...] | None:
    """The oldest versions, as far as there are too many with this one; None if too few of them can be spared."""
    versions = state.apps.versions.get(wanted.app, {})
    count = len(versions.keys() | {wanted.current, wanted.canary} - {0})
    too_many = count - state.limits.versions_max
    if too_many <= 0:
        return ()
    kept = {wanted.current, wanted.before, wanted.canary, *_in_use(state, wanted.app)}
    spared = tuple(number for number in versions if number not in kept)[:too_many]
    return spared if len(spared) == too_many else None


def _in_use(state: State, app: str) -> Iterator[int]:
    """Versions that some task runs on, or would if it were tried again."""
    for lease in state.leases.values():
        if app_of(lease.leaf.function) == app:
            yield lease.version
    for (leaf, task_state), count in state.table.counts().items():
        if count and leaf.pin and app_of(leaf.function) == app and task_state is not TaskState.SUCCEEDED:
            yield leaf.pin


def _answered(state: State, records: list[Record], app: str, version: Version, *, known: bool) -> Decision:
    """The answer shows the app as it will be when the records are true."""
    apps = state.apps
    added = [version] if not known else []
    rollout, gone = apps.rollouts.get(app), ()  # type: tuple[Rollout | None, tuple[int, ...]]
    missing: list[FunctionName] | None = None
    for record in records:
        if isinstance(record, RolloutSet):
            rollout = record.rollout
        elif isinstance(record, VersionsForgotten):
            gone = record.numbers
        elif isinstance(record, FunctionsSet):
            missing = _missing(state, app, record.functions)
    assert rollout is not None, "it has been there, or is set"
    there = [each for each in [*apps.versions.get(app, {}).values(), *added] if each.number not in gone]
    if missing is None:
        missing = _missing(state, app, ())
    return Decision(tuple(records), RolloutAnswer(_shown(state, rollout, there, missing), version.number, known))


def _missing(state: State, app: str, changed: Iterable[FunctionSpec]) -> list[FunctionName]:
    """The app's functions that the current version has not got, once some have been changed."""
    after = {**state.functions, **{function.name: function for function in changed}}
    return [name for name, function in after.items() if function.missing and app_of(name) == app]


def _status(state: State, app: str) -> AppStatus:
    versions = list(state.apps.versions.get(app, {}).values())
    return _shown(state, state.apps.rollouts[app], versions, _missing(state, app, ()))


def _shown(state: State, rollout: Rollout, versions: list[Version], missing: Iterable[FunctionName]) -> AppStatus:
    running: Counter[int] = Counter()
    for lease in state.leases.values():
        if app_of(lease.leaf.function) == rollout.app:
            running[lease.version] += len(lease.open)
    pinned: Counter[int] = Counter()
    waiting: Counter[FunctionName] = Counter()
    for (leaf, task_state), count in state.table.counts().items():
        if app_of(leaf.function) != rollout.app or task_state in TERMINAL_STATES:
            continue
        pinned[leaf.pin] += count
        waiting[leaf.function] += 0 if task_state is TaskState.RUNNING else count
    shown = []
    for version in versions:
        tally = state.apps.tallies.get((rollout.app, version.number), Tally())
        number = version.number
        shown.append(VersionStatus(version, tally.succeeded, tally.failed, running[number], pinned[number]))
    lacking = tuple(Waiting(name, waiting[name]) for name in missing)
    return AppStatus(rollout, tuple(shown), lacking, sum(waiting.values()))
