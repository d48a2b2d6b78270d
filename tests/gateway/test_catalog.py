"""The replica of the catalog, with a source that answers when the test says so."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from taskservice.core.effects import CatalogAnswer
from taskservice.core.specs import ApiKey, Tenant
from taskservice.core.types import TenantId
from taskservice.errors import BackOffError
from taskservice.gateway.catalog import Catalog
from taskservice.gateway.keys import hash_secret
from taskservice.gateway.settings import GatewaySettings

pytestmark = pytest.mark.anyio

USER = ApiKey("key_1", TenantId("acme"), ("read",), hash_secret("tsk_user"))
SETTINGS = GatewaySettings(catalog_wait_s=20.0)


class Question(NamedTuple):
    """What a replica asked, and where the answer goes."""

    known_version: int
    wait_s: float
    answer: asyncio.Future[CatalogAnswer | None]


class Source:
    """Whoever asks waits until the test answers."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[Question] = asyncio.Queue()

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> CatalogAnswer | None:
        question = Question(known_version, wait_s, asyncio.get_running_loop().create_future())
        self.questions.put_nowait(question)
        return await question.answer

    async def asked(self) -> Question:
        """The next question."""
        return await asyncio.wait_for(self.questions.get(), 5)


def version(number: int, *tenants: str) -> CatalogAnswer:
    """A catalog of that version."""
    return CatalogAnswer(number, tuple(Tenant(TenantId(name)) for name in tenants), (USER,), ())


async def test_run_once_asks_for_news_and_counts_what_it_changed() -> None:
    """1 for a new version, 0 if there is none."""
    source = Source()
    catalog = Catalog(source, SETTINGS)
    for answer, known, counted in ((version(3, "acme"), -1, 1), (None, 3, 0), (version(4), 3, 1)):
        running = asyncio.create_task(catalog.run_once(7.0))
        question = await source.asked()
        assert (question.known_version, question.wait_s) == (known, 7.0)
        question.answer.set_result(answer)
        assert await running == counted
    assert not catalog.tenants


async def test_the_loop_goes_on_after_a_dispatcher_that_was_away() -> None:
    """It asks again when it was told to, and is ready only while it gets answers."""
    source = Source()
    catalog = Catalog(source, SETTINGS)
    loop = asyncio.create_task(catalog.run())
    (await source.asked()).answer.set_exception(BackOffError("starting", retry_after_s=0))
    question = await source.asked()
    assert not catalog.ready
    question.answer.set_result(version(1))
    question = await source.asked()
    assert catalog.ready
    assert (question.known_version, question.wait_s) == (1, 20.0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_many_who_ask_at_once_are_one_question() -> None:
    """All of them see its answer."""
    source = Source()
    catalog = Catalog(source, SETTINGS, lambda: 5.0)
    asking = [asyncio.create_task(catalog.key_of("tsk_user")) for _ in range(50)]
    (await source.asked()).answer.set_result(version(1))
    assert await asyncio.gather(*asking) == [USER] * 50
    assert source.questions.empty()


async def test_an_old_answer_never_replaces_a_newer_one() -> None:
    """Two questions at once may be answered in the other order."""
    source = Source()
    catalog = Catalog(source, SETTINGS)
    first = asyncio.create_task(catalog.run_once(20.0))
    first_question = await source.asked()
    second = asyncio.create_task(catalog.run_once())
    (await source.asked()).answer.set_result(version(2, "acme", "newco"))
    assert await second == 1
    first_question.answer.set_result(version(1, "acme"))
    assert await first == 0
    assert (catalog.version, TenantId("newco") in catalog.tenants) == (2, True)
