"""Listings with payloads and results, and files in and out through the SDK, against the real gateway."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pyarrow.parquet as pq
import pytest

from taskservice.client import AsyncClient, TransferProgress
from taskservice.client.exporting import Exporter, ExportOptions, ExportSummary
from taskservice.client.flights import carry_out_async
from taskservice.client.requests import ListFilters
from taskservice.errors import RequestError

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


def sdk(service: Service, owner: str = "user") -> AsyncClient:
    """The SDK, with that owner's key."""
    return AsyncClient("http://gateway", f"tsk_{owner}", transport=httpx.ASGITransport(service.app))


async def export(client: AsyncClient, path: Path, page_tasks: int = 4, **filters: object) -> ExportSummary:
    """The summary of an export in small pages."""
    options = ExportOptions(page_tasks=page_tasks)
    wanted = ListFilters(**filters)  # type: ignore[typeddict-item]
    exporter = Exporter(client._talk, path, wanted, options, lambda _: None)
    return await carry_out_async(exporter.run(), client._do, client._run)


async def page(service: Service, **params: object) -> list[dict[str, object]]:
    """The tasks of one page."""
    answer = await service.client().get("/v1/tasks", params={**params})
    assert answer.status_code == 200, answer.text
    return answer.json()["tasks"]


async def test_a_listing_has_values_if_they_are_asked_for(service: Service) -> None:
    """Here and in history alike; a task that has no result has none."""
    await service.submit("old", payload={"n": 1})
    await service.succeed("old", b'{"r":1}')
    await service.archive()
    await service.submit("new", payload={"n": 2})
    new, old = await page(service, values=True)
    assert (new["payload"], "result" in new) == ({"n": 2}, False)
    assert (old["payload"], old["result"]) == ({"n": 1}, {"r": 1})
    assert all("payload" not in task and "result" not in task for task in await page(service))


async def test_a_listing_leaves_out_large_values(service: Service) -> None:
    """A page would have no bound."""
    await service.submit("t", payload={"text": "x" * 150})
    await service.succeed("t", b'"small"')
    (task,) = await page(service, values=True)
    assert ("payload" in task, task["result"]) == (False, "small")


async def test_rows_become_tasks(service: Service, tmp_path: Path) -> None:
    """In batches as small as this gateway takes; what is wrong is told with the service's own words."""
    path = tmp_path / "rows.csv"
    path.write_text(
        "source_url,sizes,order,who\n" + "".join(f"u{n},[{n}],o-{n},c{n % 2}\n" for n in range(12)) + "u,x,o-x,c\n"
    )
    told: list[TransferProgress] = []
    async with sdk(service) as client:
        for known in (0, 12):
            summary = await client.import_tasks(
                path,
                "media.thumbnail",
                columns={"url": "source_url", "sizes": "sizes"},
                task_columns={"id": "order", "tags.who": "who"},
                priority="low",
                progress=told.append,
            )
            assert (summary.accepted, summary.known, summary.refused) == (12 - known, known, 1)
    assert (summary.refusals[0].row, summary.refusals[0].code) == (13, "payload_invalid")
    tasks = await service.tasks()
    assert not summary.refusals[0].message.startswith("Line "), "a line of the request is none of the file"
    assert len(tasks) == 12
    assert json.loads(tasks["o-3"].payload) == {"url": "u3", "sizes": [3]}
    assert (tasks["o-3"].tags, tasks["o-3"].priority.value) == ((("who", "c1"),), "low")
    assert told[-1].done_ratio == 1.0


async def test_a_key_that_may_not_submit_ends_an_import(service: Service, tmp_path: Path) -> None:
    """And does not fill a report with it."""
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n' * 100)
    async with sdk(service, "read") as client:
        with pytest.raises(RequestError, match="scope"):
            await client.import_tasks(tmp_path / "rows.jsonl", "media.echo", report=tmp_path / "report", progress=False)
    assert not (tmp_path / "report").exists()


async def test_an_export_has_each_task_once_with_its_values(service: Service, tmp_path: Path) -> None:
    """From the table and from history, large values too; also while others are submitted."""
    for n in range(6):
        await service.submit(f"old-{n}", payload={"n": n, "text": "x" * (150 if n % 2 else 1)})
        await service.succeed(f"old-{n}", json.dumps({"made": n, "text": "y" * (150 if n % 3 else 1)}).encode())
    await service.archive()
    for n in range(7):
        await service.submit(f"new-{n}", payload={"n": n})
    async with sdk(service) as client:
        summary = await export(client, tmp_path / "a.parquet")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"new-{n}" for n in range(6, -1, -1)] + [
        f"old-{n}" for n in range(5, -1, -1)
    ]
    assert [json.loads(row["payload"])["n"] for row in rows] == [6, 5, 4, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0]
    assert [row["result"] and json.loads(row["result"])["made"] for row in rows] == [None] * 7 + [5, 4, 3, 2, 1, 0]
    assert (summary.rows, summary.files, summary.lost) == (13, 1, 0)


async def test_what_is_submitted_meanwhile_is_not_in_an_export(service: Service, tmp_path: Path) -> None:
    """Pages go from the newest to the oldest, so nothing moves to a later one."""
    for n in range(9):
        await service.submit(f"t-{n}")
    async with sdk(service) as client:
        inner, seen = client._do, 0

        async def do(step: object) -> object:
            nonlocal seen
            seen += 1
            answer = await inner(step)  # type: ignore[arg-type]
            await service.submit(f"late-{seen}")
            return answer

        client._do = do  # type: ignore[method-assign,assignment]
        summary = await export(client, tmp_path / "a.jsonl")
    ids = [json.loads(line)["id"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert ids == [f"t-{n}" for n in range(8, -1, -1)]
    assert summary.rows == 9
    assert seen == 3


async def test_a_lost_value_is_counted_and_its_task_is_there(service: Service, tmp_path: Path) -> None:
    await service.submit("t", payload={"text": "x" * 150})
    for info in list(service.objects.list("value/")):
        service.objects.delete([info.key])
    async with sdk(service) as client:
        summary = await export(client, tmp_path / "a.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (row["id"], row["payload"], summary.lost) == ("t", None, 1)


async def test_filters_say_which_tasks(service: Service, tmp_path: Path) -> None:
    await service.submit("a", tags={"k": "v"})
    await service.submit("b")
    await service.client().post("/v1/tasks/b/cancel")
    async with sdk(service) as client:
        assert (await export(client, tmp_path / "a.csv", state=["cancelled"])).rows == 1
        assert (await export(client, tmp_path / "b.csv", tag="k=v")).rows == 1
        assert (await export(client, tmp_path / "c.csv", function="media.thumbnail")).rows == 0
        with pytest.raises(TypeError, match="sate"):
            await client.export_tasks(tmp_path / "d.csv", sate="queued")  # type: ignore[call-arg]
    assert "cancelled" in (tmp_path / "a.csv").read_text()


async def test_an_export_that_fails_leaves_nothing(service: Service, tmp_path: Path) -> None:
    for n in range(9):
        await service.submit(f"t-{n}")
    async with sdk(service) as client:
        with pytest.raises(RequestError, match="make a page"):
            await export(client, tmp_path / "a.parquet", page_tasks=1_000)
        with pytest.raises(RequestError, match="parted by"):
            await client.export_tasks(tmp_path / "out", partition_by=["colour"])
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a Path would be said to block


async def test_an_admin_exports_all_tenants(service: Service, tmp_path: Path) -> None:
    """With the large values of each."""
    await service.submit("t", payload={"text": "x" * 150})
    await service.submit("t", "rival", payload={"text": "y" * 150})
    async with sdk(service, "admin") as client:
        await export(client, tmp_path / "a.jsonl", tenant="*")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(row["tenant"], row["payload"]["text"][0]) for row in rows] == [("rival", "y"), ("acme", "x")]
