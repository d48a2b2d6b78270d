"""Apps and their versions, as admins see them."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.deploying import AppStatus, VersionStatus
from taskservice.core.versions import Rollout, name_of
from taskservice.gateway.times import iso


class VersionView(Struct, frozen=True, kw_only=True):
    """An app's code as it was deployed once."""

    name: str
    state: str
    """`current`, `canary` or `earlier`."""
    deployed_at: str
    sha256: str
    """Of what is in its archive."""
    size_bytes: int
    functions: list[str]
    succeeded: int
    """Attempts that ended well, since the dispatcher started last."""
    failed: int
    """Those that did not, through no fault of machines or downstreams."""
    running: int
    """Tasks."""
    pinned: int
    """Unfinished tasks that stay on it."""


class MissingView(Struct, frozen=True):
    """A function that the current version has not got."""

    function: str
    waiting: int
    """Its tasks, which wait until a version has it again."""


class AppView(Struct, frozen=True, kw_only=True):
    """An app: what its new leases run, and what it can go back to."""

    app: str
    current: str
    canary: str | None
    canary_share: float | None
    """The part of the tasks that it runs."""
    waiting: int
    """Unfinished tasks that do not run: they take what is current when they are leased, but for those that are pinned."""
    missing: list[MissingView]
    versions: list[VersionView]
    """The newest first."""


class AppsView(Struct, frozen=True):
    apps: list[AppView]


class DeployView(Struct, frozen=True, kw_only=True):
    """What came of it. `known`: the version was there before, just like that."""

    version: str
    known: bool
    app: AppView


class RollbackRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to. Without a version: the canary ends; or, if there is none, what was current before is so again."""

    version: str | None = None


MODELS = (AppsView, AppView, DeployView, RollbackRequest)


def app_view(status: AppStatus) -> AppView:
    """The app as admins see it."""
    rollout = status.rollout
    return AppView(
        app=rollout.app,
        current=name_of(rollout.current),
        canary=name_of(rollout.canary) if rollout.canary else None,
        canary_share=rollout.share if rollout.canary else None,
        waiting=status.waiting,
        missing=[MissingView(each.function, each.tasks) for each in status.missing],
        versions=[_version_view(each, rollout) for each in reversed(status.versions)],
    )


def _version_view(status: VersionStatus, rollout: Rollout) -> VersionView:
    version = status.version
    states = {rollout.canary: "canary", rollout.current: "current"}
    return VersionView(
        name=name_of(version.number),
        state=states.get(version.number, "earlier"),
        deployed_at=iso(version.at_ms),
        sha256=version.bundle.sha256,
        size_bytes=version.bundle.size_bytes,
        functions=[function.name for function in version.functions],
        succeeded=status.succeeded,
        failed=status.failed,
        running=status.running,
        pinned=status.pinned,
    )
