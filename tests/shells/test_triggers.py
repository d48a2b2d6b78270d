"""Triggers in the dispatcher's shell: over the line, and under the process that follows."""

from __future__ import annotations

from pathlib import Path

from shells.test_dispatcher import Bench, run
from taskservice.actors.line_ports import LineDispatcher, serve_dispatcher
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.trigger_events import TriggerRefusal
from taskservice.core.triggers import TextFilter, TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import FunctionName, Priority
from taskservice.journal.memory import MemoryStore

ID = TriggerId("t")
SPEC = TriggerSpec(
    FunctionName("app.f"), (("source", TextFilter(prefix="/s")), ("type", TextFilter("placed"))), b"{}", Priority.LOW
)


def test_triggers_are_spoken_of_over_the_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with Bench() as bench:
            server = await serve_dispatcher(bench.dispatcher, tmp_path)
            line = LineDispatcher(tmp_path)
            made = await line.put_trigger(DEFAULT_TENANT, ID, SPEC)
            assert made.found is not None
            assert made.found.spec == SPEC
            assert await line.trigger(DEFAULT_TENANT, ID) == made
            page = await line.triggers(None, TriggerKey(DEFAULT_TENANT, TriggerId("a")), 10)
            assert (page.triggers, page.more) == ((made.found,), False)
            assert (await line.triggers_met(DEFAULT_TENANT, ["paid", "placed"])).triggers == (made.found,)
            assert await line.remove_trigger(DEFAULT_TENANT, ID) == made
            assert (await line.trigger(DEFAULT_TENANT, ID)).refusal is TriggerRefusal.NOT_FOUND
            line.close()
            await server.stop()

    run(test)


def test_the_next_dispatcher_has_the_same_triggers() -> None:
    async def test() -> None:
        store = MemoryStore()
        async with Bench(store) as bench:
            made = await bench.dispatcher.put_trigger(DEFAULT_TENANT, ID, SPEC)
        async with Bench(store) as successor:
            assert await successor.dispatcher.trigger(DEFAULT_TENANT, ID) == made

    run(test)
