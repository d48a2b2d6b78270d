"""From an archive to a version, without a service: what is kept, and what is refused before anything is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from taskservice.code.archive import Entry, Packed, pack
from taskservice.code.deploying import Code, deploy
from taskservice.core.deploying import AppsAnswer, RolloutAnswer
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName
from taskservice.errors import RequestError

CODE = Code("shop.tasks", "app", pack([Entry("shop/tasks.py", b"")]))


class Everything:
    """A dispatcher, and a keeper whose apps have one function."""

    def __init__(self, function: str = "shop.f") -> None:
        self.function = function
        self.kept: list[Packed] = []
        self.deployed: list[tuple[str, Bundle, float]] = []

    async def deploy(
        self, app: str, bundle: Bundle, functions: Sequence[FunctionSpec], share: float = 1.0
    ) -> RolloutAnswer:
        self.deployed.append((app, bundle, share))
        return RolloutAnswer()

    async def apps(self, app: str | None = None) -> AppsAnswer:
        return AppsAnswer(())

    async def keep(self, archive: Packed) -> str:
        self.kept.append(archive)
        return "code/key"

    async def functions_of(self, bundle: Bundle) -> list[FunctionSpec]:
        return [FunctionSpec(FunctionName(self.function), bundle, b"{}")]


def test_the_app_is_named_by_its_functions():
    one = Everything("store.f")
    found = asyncio.run(deploy(one, one, CODE, 0.5))
    bundle = Bundle("shop.tasks", "app", "", CODE.archive.sha256, "code/key", len(CODE.archive.data))
    assert one.deployed == [("store", bundle, 0.5)]
    assert [function.name for function in found.functions] == ["store.f"]


def test_two_apps_of_one_name_do_not_replace_each_other():
    one = Everything()
    with pytest.raises(RequestError, match="has the name 'shop', and so has another"):
        asyncio.run(deploy(one, one, CODE, taken=["shop"]))
    assert one.deployed == []
