"""What is asked and told about versions of apps, and the records of them. The records are part of `records`, under its rules."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName
from taskservice.core.versions import Rollout, Version

# Questions


class AppDeployed(Struct, frozen=True, tag=True):
    """The app is to run this code, which has these functions; `share` below 1: a canary, for that part of its tasks."""

    ref: int
    app: str
    bundle: Bundle
    functions: tuple[FunctionSpec, ...]
    share: float = 1.0


class RolloutMove(StrEnum):
    """What can be done with an app's versions."""

    PROMOTE = "promote"
    """The canary becomes current."""
    ROLL_BACK = "roll_back"
    """The canary ends; or, if another version is named or there is no canary, an earlier version becomes current."""


class RolloutAsked(Struct, frozen=True, tag=True):
    """An app's versions are to change their places. `version` 0: the one that the move means by itself."""

    ref: int
    app: str
    move: RolloutMove
    version: int = 0


class AppsAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know the versions of an app, or of all."""

    ref: int
    app: str | None = None


Deploying = AppDeployed | RolloutAsked | AppsAsked

# Answers


class DeployRefusal(StrEnum):
    """Why nothing was changed."""

    APP_NOT_FOUND = "app_not_found"
    VERSION_NOT_FOUND = "version_not_found"
    NO_CANARY = "no_canary"
    CANARY_UNLIKE = "canary_unlike"
    """It asks for other machines than what it would run beside."""
    VERSIONS_MAX = "versions_max"
    """All that there are, are in use."""


class VersionStatus(Struct, frozen=True):
    """A version, and what came of it."""

    version: Version
    succeeded: int
    """Attempts, since this dispatcher started; so is `failed`."""
    failed: int
    running: int
    """Tasks."""
    pinned: int
    """Unfinished tasks that stay on it."""


class Waiting(Struct, frozen=True):
    """Unfinished tasks of a function that do not run."""

    function: FunctionName
    tasks: int


class AppStatus(Struct, frozen=True):
    """An app as it is."""

    rollout: Rollout
    versions: tuple[VersionStatus, ...]
    """The oldest first."""
    missing: tuple[Waiting, ...] = ()
    """Functions that the current version has not got."""
    waiting: int = 0
    """Unfinished tasks of all its functions that do not run."""


class RolloutAnswer(Struct, frozen=True):
    """The app as it is now; or why nothing was changed."""

    app: AppStatus | None = None
    version: int = 0
    """The version that was deployed, or is meant."""
    known: bool = False
    """It was there before, just like that."""
    refusal: DeployRefusal | None = None
    message: str = ""
    limit: int | None = None


class AppsAnswer(Struct, frozen=True):
    """Apps that have versions."""

    apps: tuple[AppStatus, ...]


DeployAnswer = RolloutAnswer | AppsAnswer

# Records


class VersionAdded(Struct, frozen=True, array_like=True, tag="version"):
    """There is a new version."""

    at_ms: int
    version: Version


class RolloutSet(Struct, frozen=True, array_like=True, tag="rollout"):
    """An app's new leases run these versions. What its functions are like by that is in a record of the same segment."""

    at_ms: int
    rollout: Rollout


class VersionsForgotten(Struct, frozen=True, array_like=True, tag="versions_forgotten"):
    """Nobody can go back to these versions of an app any more. No task runs on them, or stays on them."""

    at_ms: int
    app: str
    numbers: tuple[int, ...]


DeployRecord = VersionAdded | RolloutSet | VersionsForgotten
