"""Bodies that are sent compressed."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard

from taskservice.gateway.encodings import unpacked
from taskservice.gateway.problems import Problem

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
MIB = 1 << 20


@pytest.mark.parametrize("encoding", PACKED)
async def test_tasks_may_come_compressed(service: Service, encoding: str) -> None:
    lines = b"\n".join(msgspec.json.encode({"id": f"t{n}", "function": "media.echo"}) for n in range(5))
    headers = {"content-encoding": encoding, "content-type": "application/x-ndjson"}
    answer = await service.client().post("/v1/tasks/batch", content=PACKED[encoding](lines), headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 5)
    assert sorted(await service.tasks()) == [f"t{n}" for n in range(5)]


@pytest.mark.parametrize("encoding", PACKED)
async def test_what_unfolds_above_the_limit_is_refused(service: Service, encoding: str) -> None:
    bomb = PACKED[encoding](b" " * 100_000)
    assert len(bomb) < service.settings.body_bytes_max / 10
    answer = await service.client().post("/v1/tasks/batch", content=bomb, headers={"content-encoding": encoding})
    assert (answer.status_code, answer.json()["limit"]) == (413, "body_bytes_max")


@pytest.mark.parametrize("encoding", PACKED)
def test_a_bomb_is_not_unfolded_to_see_how_large_it_is(encoding: str) -> None:
    bomb = PACKED[encoding](b"0" * 200 * MIB)
    tracemalloc.start()
    with pytest.raises(Problem):
        unpacked(bomb, encoding, "body_bytes_max", MIB)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 40 * MIB


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
def test_what_fits_is_unpacked_whole(encoding: str, size: int) -> None:
    assert unpacked(PACKED[encoding](b"x" * size), encoding, "body_bytes_max", MIB) == b"x" * size


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_that_was_cut_off_or_damaged_is_refused(encoding: str) -> None:
    """Half of the lines of a batch would be a batch as well."""
    whole = PACKED[encoding](bytes(range(256)) * 40)
    for bad in (whole[:-1], whole[: len(whole) // 2], whole[:6], b"plain text", whole + b"more"):
        with pytest.raises(Problem) as refused:
            unpacked(bad, encoding, "body_bytes_max", MIB)
        assert refused.value.document.code == "malformed_body"


async def test_other_encodings_are_named_as_unknown(service: Service) -> None:
    answer = await service.client().post("/v1/tasks", content=b"{}", headers={"content-encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "gzip, zstd" in answer.json()["detail"]
