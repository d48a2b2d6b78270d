"""/v1/apps: code is deployed, promoted and rolled back. For admins.

The archive comes as one bounded body and is looked through before anything is kept; what is in it is imported by a process for
user code, never here. One at a time, for each has an archive in RAM.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from taskservice.code.archive import BadArchive, Packed, content_sha256
from taskservice.code.deploying import Code, CodeKeeper, deploy
from taskservice.core.deploying import DeployRefusal, RolloutAnswer, RolloutMove
from taskservice.errors import BackOffError, RequestError
from taskservice.gateway.access import Admin, Gateway, Here
from taskservice.gateway.answers import json_answer
from taskservice.gateway.app_views import AppsView, AppView, DeployView, RollbackRequest, app_view
from taskservice.gateway.body import media_type, read_body, read_json
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import (
    APP_NOT_FOUND,
    APP_NOT_LOADED,
    BAD_ARCHIVE,
    CANARY_UNLIKE,
    NO_CANARY,
    VERSION_NOT_FOUND,
    VERSIONS_MAX,
    Problem,
    invalid,
)

routes = APIRouter(prefix="/v1", tags=["apps"])

ARCHIVE = "application/zstd"
BUSY_RETRY_S = 5.0
_APP = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_ROLLBACK = msgspec.json.Decoder(RollbackRequest)

_KINDS = {
    DeployRefusal.APP_NOT_FOUND: APP_NOT_FOUND,
    DeployRefusal.VERSION_NOT_FOUND: VERSION_NOT_FOUND,
    DeployRefusal.NO_CANARY: NO_CANARY,
    DeployRefusal.CANARY_UNLIKE: CANARY_UNLIKE,
    DeployRefusal.VERSIONS_MAX: VERSIONS_MAX,
}

AppInPath = Annotated[str, Path(description="The app's name, as its code says.")]


class DeployQuery(BaseModel):
    """What is in the archive, and how much is to run it."""

    model_config = ConfigDict(extra="forbid")
    app: str = Field(max_length=500, description="MODULE:NAME, as it is imported once the archive is on sys.path.")
    canary: float | None = Field(
        None, gt=0, lt=1, description="The part of the tasks that the version runs until it is promoted, such as 0.1."
    )


@routes.post(
    "/apps",
    **documented(
        {200: DeployView, 201: DeployView},
        (400, 404, 409, 413, 415),
        body={ARCHIVE: {"type": "string", "format": "binary"}},
    ),
)
async def deploy_app(
    request: Request, gateway: Here, caller: Admin, query: Annotated[DeployQuery, Query()]
) -> Response:
    """The code is a version of its app: 201; 200 if it was one before. New leases run it, or a part of them; what runs goes on."""
    match = _APP.fullmatch(query.app)
    if match is None:
        raise invalid("app", "write MODULE:NAME, the module with dots, such as shop.tasks:app")
    media_type(request, ARCHIVE)
    assert gateway.code is not None, "only tests have gateways without"
    if gateway.deploying.locked():
        raise BackOffError("Another app is being deployed; send this again.", retry_after_s=BUSY_RETRY_S, code="busy")
    async with gateway.deploying:
        archive = await _archive(request, gateway)
        deployed = await _deploy(gateway, gateway.code, Code(match[1], match[2], archive), query.canary or 1.0)
    await gateway.catalog.run_once()
    return _told(deployed, 200 if deployed.known else 201)


@routes.get("/apps", **documented({200: AppsView}))
async def list_apps(gateway: Here, caller: Admin) -> Response:
    """All apps that have versions."""
    found = await gateway.dispatcher.apps(None)
    return json_answer(AppsView([app_view(each) for each in found.apps]))


@routes.get("/apps/{app}", **documented({200: AppView}, (404,)))
async def get_app(gateway: Here, caller: Admin, app: AppInPath) -> Response:
    """The app with its versions."""
    found = await gateway.dispatcher.apps(app[:200])
    if not found.apps:
        raise Problem(APP_NOT_FOUND, f"No app {app[:200]!r} has been deployed.")
    return json_answer(app_view(found.apps[0]))


@routes.post("/apps/{app}/promote", **documented({200: DeployView}, (404, 409)))
async def promote(gateway: Here, caller: Admin, app: AppInPath) -> Response:
    """The canary is current."""
    return _told(await _roll(gateway, app, RolloutMove.PROMOTE, 0), 200)


@routes.post("/apps/{app}/rollback", **documented({200: DeployView}, (400, 404, 409, 413, 415), body=RollbackRequest))
async def roll_back(request: Request, gateway: Here, caller: Admin, app: AppInPath) -> Response:
    """The version that is named is current again; or, without one, the canary ends, or what was current before is so again."""
    wanted = await read_json(request, _ROLLBACK, gateway.settings)
    number = 0
    if wanted.version is not None:
        match = _VERSION.fullmatch(wanted.version)
        if match is None:
            raise invalid("$.version", "write the name of a version, such as v3")
        number = int(match[1])
    return _told(await _roll(gateway, app, RolloutMove.ROLL_BACK, number), 200)


async def _archive(request: Request, gateway: Gateway) -> Packed:
    """The body, which is an archive that may be unpacked."""
    data = await read_body(request, "code_bytes_max", gateway.settings.code_bytes_max)
    try:
        sha256 = await asyncio.to_thread(content_sha256, data, gateway.settings.code_unpacked_bytes_max)
    except BadArchive as error:
        raise Problem(BAD_ARCHIVE, f"{error}.") from None
    return Packed(data, sha256)


async def _deploy(gateway: Gateway, keeper: CodeKeeper, code: Code, share: float) -> RolloutAnswer:
    try:
        return (await deploy(gateway.dispatcher, keeper, code, share)).answer
    except RequestError as error:
        raise Problem(APP_NOT_LOADED, f"{error.message}.", trace=error.detail or None) from None


async def _roll(gateway: Gateway, app: str, move: RolloutMove, number: int) -> RolloutAnswer:
    answer = await gateway.dispatcher.roll(app[:200], move, number)
    await gateway.catalog.run_once()
    return answer


def _told(answer: RolloutAnswer, status: int) -> Response:
    if answer.refusal is not None or answer.app is None:
        assert answer.refusal is not None, "what is not refused shows the app"
        message = f"{answer.message[:1].upper()}{answer.message[1:]}."
        raise Problem(_KINDS[answer.refusal], message, value=answer.limit)
    view = DeployView(version=f"v{answer.version}", known=answer.known, app=app_view(answer.app))
    return json_answer(view, status)
