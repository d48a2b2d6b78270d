"""From an archive to a version: kept on the store, looked into where user code may run, told to the dispatcher."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple, Protocol

from taskservice.code.archive import Packed
from taskservice.core.deploying import AppsAnswer, RolloutAnswer
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.versions import app_of
from taskservice.errors import RequestError


class Code(NamedTuple):
    """An app's code, and where in it the app is."""

    module: str
    attribute: str
    archive: Packed


class Versions(Protocol):
    """The part of the dispatcher that is asked."""

    async def deploy(
        self, app: str, bundle: Bundle, functions: Sequence[FunctionSpec], share: float = 1.0
    ) -> RolloutAnswer: ...

    async def apps(self, app: str | None = None) -> AppsAnswer: ...


class CodeKeeper(Protocol):
    """Where code is kept, and where it is looked into: never in a process of the control plane."""

    async def keep(self, archive: Packed) -> str:
        """The archive is durable, under the key that is given. Raises BackOffError."""

    async def functions_of(self, bundle: Bundle) -> list[FunctionSpec]:
        """The functions of the bundle's app. Raises RequestError, with a traceback in `detail`, if it cannot be imported."""


class Deployed(NamedTuple):
    """What came of it. `functions`: those of the app."""

    answer: RolloutAnswer
    functions: tuple[FunctionSpec, ...]


async def deploy(
    versions: Versions, keeper: CodeKeeper, code: Code, share: float = 1.0, taken: Container[str] = ()
) -> Deployed:
    """The code is a version of its app; `share` below 1: a canary. Raises RequestError if it is no app with functions, or its
    name is `taken`."""
    bundle = await _bundle(versions, keeper, code)
    functions = await keeper.functions_of(bundle)
    if not functions:
        message = f"{code.module}:{code.attribute} has no functions: decorate some with @{code.attribute}.task"
        raise RequestError(message, code="app_empty", status=422)
    app = app_of(functions[0].name)
    if app in taken:
        message = (
            f"{code.module}:{code.attribute} has the name {app!r}, and so has another: an app is one App of one module"
        )
        raise RequestError(message, code="app_twice", status=422)
    answer = await versions.deploy(app, bundle, functions, share)
    return Deployed(answer, tuple(functions))


async def _bundle(versions: Versions, keeper: CodeKeeper, code: Code) -> Bundle:
    """The code as it is kept: once, however often it is deployed. An archive is removed hours after the last version that
    named it is gone, so that one which is found here is there for as long as this takes."""
    archive = code.archive
    known = [status.version.bundle for app in (await versions.apps()).apps for status in app.versions]
    for bundle in known:
        if bundle.sha256 == archive.sha256:
            return Bundle(code.module, code.attribute, "", bundle.sha256, bundle.key, bundle.size_bytes)
    key = await keeper.keep(archive)
    return Bundle(code.module, code.attribute, "", archive.sha256, key, len(archive.data))
