"""The dispatcher's calls over the line: what each takes and gives there is what `DispatcherPort` says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
from msgspec.structs import replace

from shells.test_dispatcher import Bench, new, run
from taskservice.actors.line_ports import DISPATCHER_METHODS, LineDispatcher, serve_dispatcher
from taskservice.actors.ports import DispatcherPort
from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.operations import OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import OnConflict, TaskId

SPOKEN = [name for name in DISPATCHER_METHODS if hasattr(DispatcherPort, name)]


def as_sent(kind: object) -> object:
    """What is a sequence in Python is a list on the line."""
    return list[get_args(kind)] if get_origin(kind) is Sequence else kind  # type: ignore[misc]


@pytest.mark.parametrize("name", SPOKEN)
def test_what_a_call_takes_and_gives_is_what_its_port_says(name: str) -> None:
    hints = get_type_hints(getattr(DispatcherPort, name))
    answer, method = hints.pop("return"), DISPATCHER_METHODS[name]
    assert [as_sent(kind) for kind in hints.values()] == [kind for kind in get_args(method.arguments) if kind != ()]
    assert (None if answer is type(None) else answer) == method.result


def test_a_known_task_is_submitted_over_the_line_with_each_wish(tmp_path: Path) -> None:
    async def test() -> None:
        async with Bench() as bench:
            server = await serve_dispatcher(bench.dispatcher, tmp_path)
            line = LineDispatcher(tmp_path)
            later = replace(new("a"), delay_ms=60_000)
            await line.submit(DEFAULT_TENANT, [later])
            await line.change(DEFAULT_TENANT, OperationKind.CANCEL, [TaskId("a")])
            found = {wish: (await line.submit(DEFAULT_TENANT, [later], wish)).items[0] for wish in OnConflict}
            assert found[OnConflict.RETURN].status is ItemStatus.DUPLICATE
            assert found[OnConflict.REJECT].refusal is Refusal.DUPLICATE
            assert found[OnConflict.RERUN].status is ItemStatus.ACCEPTED
            line.close()
            await server.stop()

    run(test)
