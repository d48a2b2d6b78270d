"""The loop between a shard, runners and a provider: from no machine to some and back, and no lease is cut."""

from __future__ import annotations

import asyncio

from helpers.scaling import CPU, runner
from taskservice.autoscaler.fake import FakeProvider
from taskservice.autoscaler.kinds import ScaleOptions
from taskservice.autoscaler.loop import Autoscaler, ScaleCounts
from taskservice.autoscaler.policy import BacklogPolicy
from taskservice.core.backlog import BacklogAnswer, RunnerUse, Work
from taskservice.core.types import FunctionName, RunnerId, TenantId


class Scene:
    """A service with one machine for each runner; `queued` tasks of an hour wait."""

    def __init__(self) -> None:
        self.provider = FakeProvider()
        self.runners: dict[str, RunnerUse] = {}
        self.queued = 0
        self.now_s = 0.0
        self.ended: list[str] = []
        self.autoscaler = Autoscaler(
            self.look, BacklogPolicy(ScaleOptions((CPU,))), self.provider, self, now_s=lambda: self.now_s
        )

    async def look(self) -> BacklogAnswer:
        work = Work(
            TenantId("a"),
            FunctionName("f"),
            "a/f",
            (("CPU", 1000),),
            (),
            self.queued,
            (),
            3600.0,
            True,
            1,
            0,
            None,
            False,
            (),
        )
        return BacklogAnswer((work,) if self.queued else (), (), tuple(self.runners.values()), False)

    def retire(self, id: RunnerId) -> None:
        was = self.runners[id]
        self.runners[id] = runner(id, leases=was.leases, busy_ms=was.busy_ms, draining=True)

    async def end(self, id: RunnerId) -> None:
        assert not self.runners.pop(id).leases, "a runner with leases was ended"
        self.ended.append(id)

    def start(self) -> None:
        """What was requested has come, and has runners."""
        self.runners.update((name, runner(name)) for name in self.provider.start())

    def turn(self, seconds: float = 1.0) -> ScaleCounts:
        self.now_s += seconds
        return asyncio.run(self.autoscaler.run_once())


def test_from_nothing_to_what_the_backlog_is_worth():
    scene = Scene()
    assert scene.turn() == ScaleCounts(0, 0, 0)
    scene.queued = 9
    assert scene.turn() == ScaleCounts(3, 0, 0)
    assert scene.provider.requested == {"cpu": 3}
    assert scene.autoscaler.plan.kinds[0].there == 0
    scene.start()
    assert scene.turn() == ScaleCounts(3, 0, 0)


def test_a_runner_that_is_not_needed_gets_no_work_then_ends_and_then_its_machine_is_released():
    scene = Scene()
    scene.queued = 5
    scene.turn()
    scene.start()
    busy, idle = scene.runners
    scene.runners[busy] = runner(busy, leases=1, busy_ms=5_000)
    scene.queued = 0
    scene.turn()
    assert scene.turn(61) == ScaleCounts(2, 2, 0), (
        "both leave: until they have gone, they are no part of what is wanted"
    )
    assert scene.turn() == ScaleCounts(1, 0, 1)
    assert (scene.ended, scene.provider.up) == ([idle], {busy: "cpu"})
    assert scene.turn() == ScaleCounts(1, 0, 0), "the other one has work"
    scene.runners[busy] = runner(busy, draining=True)
    assert scene.turn() == ScaleCounts(0, 0, 1)
    assert (scene.ended, scene.provider.up) == ([idle, busy], {})
    assert scene.turn() == ScaleCounts(0, 0, 0)


def test_a_machine_that_leaves_is_no_substitute_for_one_that_is_wanted():
    scene = Scene()
    scene.queued = 4
    scene.turn()
    scene.start()
    (first,) = scene.runners
    scene.runners[first] = runner(first, leases=1, busy_ms=5_000)
    scene.queued = 0
    scene.turn()
    scene.turn(61)
    scene.queued = 4
    scene.turn()
    assert scene.provider.requested == {"cpu": 2}, "the one that leaves, and another one"


def test_a_retired_runner_that_dies_takes_its_machine_along():
    scene = Scene()
    scene.queued = 4
    scene.turn()
    scene.start()
    scene.queued = 0
    scene.turn()
    scene.turn(61)
    scene.runners.clear()
    scene.turn()
    assert (scene.ended, scene.provider.up) == ([], {})


def test_nothing_is_requested_any_more_when_the_service_ends():
    scene = Scene()
    scene.queued = 4
    scene.turn()
    asyncio.run(scene.autoscaler.close())
    assert scene.provider.requested == {}
