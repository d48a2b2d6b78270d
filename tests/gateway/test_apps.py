"""Apps over HTTP: who may deploy, what is looked at before anything is kept, and what one is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from taskservice.code.archive import Entry, pack
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName
from taskservice.errors import RequestError

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

NOWHERE = Bundle("", "", "")
ZSTD = {"content-type": "application/zstd"}


def spec(name: str, schema: bytes = b"{}") -> FunctionSpec:
    return FunctionSpec(FunctionName(name), NOWHERE, schema)


def archive(number: int) -> bytes:
    return pack([Entry("shop/tasks.py", b"%d" % number)]).data


async def deploy(
    service: Service, body: bytes, owner: str = "admin", functions: tuple[str, ...] = ("shop.f",), **query: str
) -> httpx.Response:
    if not isinstance(service.code.found, RequestError):
        service.code.found = [spec(name) for name in functions]
    params = {"app": "shop.tasks:app", **query}
    return await service.client(owner).post("/v1/apps", params=params, content=body, headers=ZSTD)


async def test_an_app_is_deployed_and_shown(service: Service) -> None:
    made = await deploy(service, archive(1))
    assert made.status_code == 201, made.text
    told = made.json()
    assert (told["version"], told["known"]) == ("v1", False)
    app = told["app"]
    assert (app["app"], app["current"], app["canary"], app["missing"]) == ("shop", "v1", None, [])
    (version,) = app["versions"]
    assert (version["state"], version["functions"]) == ("current", ["shop.f"])
    assert version["sha256"] == pack([Entry("shop/tasks.py", b"1")]).sha256
    admin = service.client("admin")
    assert (await admin.get("/v1/apps/shop")).json() == app
    assert (await admin.get("/v1/apps")).json() == {"apps": [app]}
    await service.submit("t1", function="shop.f")


async def test_the_same_code_is_kept_once_and_is_the_same_version(service: Service) -> None:
    await deploy(service, archive(1))
    again = await deploy(service, archive(1))
    assert (again.status_code, again.json()["known"], again.json()["version"]) == (200, True, "v1")
    assert len(service.code.kept) == 1


@pytest.mark.parametrize("owner", ["submit", "read", "operate", "user"])
async def test_only_admins_may(service: Service, owner: str) -> None:
    assert (await deploy(service, archive(1))).status_code == 201
    client = service.client(owner)
    answers = [
        await deploy(service, archive(2), owner),
        await client.get("/v1/apps"),
        await client.get("/v1/apps/shop"),
        await client.post("/v1/apps/shop/promote"),
        await client.post("/v1/apps/shop/rollback", json={}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert len(service.code.kept) == 1


async def test_what_is_too_long_is_refused_by_its_limit(service: Service) -> None:
    refused = await deploy(service, bytes(4_001))
    assert (refused.status_code, refused.json()["limit"], refused.json()["value"]) == (413, "code_bytes_max", 4_000)
    swollen = await deploy(service, pack([Entry("a", bytes(30_000))]).data)
    assert (swollen.status_code, swollen.json()["code"]) == (422, "bad_archive")
    assert "20000 bytes" in swollen.json()["detail"]
    assert service.code.kept == []


async def test_what_is_no_archive_is_never_kept_nor_looked_into(service: Service) -> None:
    refused = await deploy(service, b"PK\x03\x04 a zip")
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_archive")
    assert (service.code.kept, service.code.looked_into) == ([], [])


async def test_another_type_of_body_is_not_understood(service: Service) -> None:
    admin = service.client("admin")
    refused = await admin.post("/v1/apps", params={"app": "a:b"}, content=archive(1))
    assert refused.status_code == 415


@pytest.mark.parametrize(
    "query", [{"app": "shop/tasks.py"}, {"app": "a:b:c"}, {"canary": "2"}, {"canary": "0"}, {"x": "1"}]
)
async def test_what_cannot_be_meant_is_refused(service: Service, query: dict[str, str]) -> None:
    assert (await deploy(service, archive(1), **query)).status_code == 422
    assert service.code.kept == []


async def test_an_app_that_cannot_be_loaded_is_told_with_its_trace(service: Service) -> None:
    service.code.found = RequestError("it cannot be loaded", detail="Traceback ...")
    refused = await deploy(service, archive(1))
    assert (refused.status_code, refused.json()["code"], refused.json()["trace"]) == (
        422,
        "app_not_loaded",
        "Traceback ...",
    )
    assert (await service.client("admin").get("/v1/apps")).json() == {"apps": []}


async def test_an_app_without_functions_is_refused(service: Service) -> None:
    refused = await deploy(service, archive(1), functions=())
    assert (refused.status_code, "no functions" in refused.json()["detail"]) == (422, True)


async def test_one_at_a_time(service: Service) -> None:
    service.code.gate = asyncio.Event()
    first = asyncio.create_task(deploy(service, archive(1)))
    while not service.code.looked_into:
        await asyncio.wait([first], timeout=0.01)
    busy = await deploy(service, archive(2))
    assert (busy.status_code, busy.json()["code"], "retry-after" in busy.headers) == (503, "busy", True)
    service.code.gate.set()
    assert (await first).status_code == 201


async def test_a_canary_is_tried_promoted_and_rolled_back(service: Service) -> None:
    admin = service.client("admin")
    await deploy(service, archive(1))
    tried = (await deploy(service, archive(2), canary="0.25")).json()["app"]
    assert (tried["current"], tried["canary"], tried["canary_share"]) == ("v1", "v2", 0.25)
    promoted = await admin.post("/v1/apps/shop/promote")
    assert (promoted.status_code, promoted.json()["app"]["current"]) == (200, "v2")
    back = (await admin.post("/v1/apps/shop/rollback", json={})).json()
    assert (back["version"], back["app"]["current"]) == ("v1", "v1")
    named = (await admin.post("/v1/apps/shop/rollback", json={"version": "v2"})).json()
    assert named["app"]["current"] == "v2"


async def test_what_is_not_there_cannot_be_gone_to(service: Service) -> None:
    admin = service.client("admin")
    await deploy(service, archive(1))
    answers = [
        await admin.get("/v1/apps/none"),
        await admin.post("/v1/apps/none/promote"),
        await admin.post("/v1/apps/shop/promote"),
        await admin.post("/v1/apps/shop/rollback", json={"version": "v9"}),
        await admin.post("/v1/apps/shop/rollback", json={"version": "nine"}),
    ]
    codes = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert codes == [
        (404, "app_not_found"),
        (404, "app_not_found"),
        (409, "no_canary"),
        (404, "version_not_found"),
        (422, "invalid_request"),
    ]


async def test_a_function_that_is_missing_is_told_everywhere(service: Service) -> None:
    admin = service.client("admin")
    await deploy(service, archive(1), functions=("shop.f", "shop.g"))
    await service.submit("t1", function="shop.g")
    told = (await deploy(service, archive(2))).json()["app"]
    assert (told["missing"], told["waiting"]) == ([{"function": "shop.g", "waiting": 1}], 1)
    assert (await admin.get("/v1/functions/shop.g")).json()["missing"] is True
    why = (await service.client().get("/v1/tasks/t1/why")).json()
    assert (why["gate"], "no such function" in why["text"]) == ("function.missing", True)
    refused = await service.client().post("/v1/tasks", json={"function": "shop.g"})
    assert (refused.status_code, "current version" in refused.json()["detail"]) == (422, True)


async def test_a_task_says_which_version_it_ran(service: Service) -> None:
    await deploy(service, archive(1))
    await service.submit("t1", function="shop.f")
    before = (await service.client().get("/v1/tasks/t1")).json()
    await service.start("t1")
    await deploy(service, archive(2))
    await service.succeed("t1")
    after = (await service.client().get("/v1/tasks/t1")).json()
    assert (before["version"], after["version"]) == (None, "v1")
    stages = (await service.client().get("/v1/tasks/t1/timeline")).json()["stages"]
    assert [stage["version"] for stage in stages if stage["stage"] == "running"] == ["v1"]
    await service.archive()
    assert (await service.client().get("/v1/tasks/t1")).json()["version"] == "v1"
