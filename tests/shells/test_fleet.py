"""A fleet over a cluster of fakes: who joins, who is given up and when, and what a restarted dispatcher finds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from taskservice.actors.fleet import Fleet, FleetCounts, FleetOptions, NodeInfo, RunnerGone
from taskservice.core.events import Event, RunnerDraining, RunnerJoined, RunnerLost, RunnersSettled
from taskservice.core.lease_wire import HeldLease
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId, Token
from taskservice.errors import BackOffError

BOUND_S = 10
CAPACITY = Resources(cpu_m=2000)
HELD = HeldLease(Token(1, 7), Resources())


class FakeRunner:
    """A runner that answers when the test lets it."""

    def __init__(self, node: str, held: tuple[HeldLease, ...] = ()) -> None:
        self.node = node
        self.held = held
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.failures: list[Exception] = []
        self.death: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def launch(self, epoch: int, body: bytes) -> bool:
        raise AssertionError("the fleet launches nothing")

    async def list_leases(self) -> list[HeldLease]:
        self.asked += 1
        await self.answers.wait()
        if self.failures:
            raise self.failures.pop(0)
        return list(self.held)


class FakeCluster:
    """Nodes and runners in the test's hands."""

    def __init__(self, *nodes: str) -> None:
        self.up = {node: NodeInfo(node, CAPACITY, draining=False) for node in nodes}
        self.alive: dict[RunnerId, FakeRunner] = {}
        self.killed: list[RunnerId] = []
        self.slow_start = False
        self.events: list[Event] = []

    async def nodes(self) -> list[NodeInfo]:
        return list(self.up.values())

    async def runners(self) -> list[RunnerId]:
        return list(self.alive)

    async def start_runner(self, id: RunnerId, node: str) -> None:
        runner = self.alive[id] = FakeRunner(node)
        if self.slow_start:
            runner.answers.clear()

    def runner_port(self, id: RunnerId) -> FakeRunner:
        return self.alive[id]

    async def death_of(self, id: RunnerId) -> str:
        return await self.alive[id].death

    async def kill(self, id: RunnerId) -> None:
        self.killed.append(id)
        self.events.append(f"killed {id}")  # type: ignore[arg-type]  # to see it among the events
        self.alive.pop(id, None)


class Bench:
    """A fleet on a bench; `now_s` and the nodes are in the test's hands."""

    def __init__(self, *nodes: str, cluster: FakeCluster | None = None, join_timeout_s: float = BOUND_S) -> None:
        self.cluster = cluster or FakeCluster(*nodes)
        self.cluster.events.clear()
        self.now_s = 1000.0
        self.heard: dict[RunnerId, float] = {}
        self.names = iter(f"i{n}" for n in range(100))
        options = FleetOptions(join_timeout_s=join_timeout_s, ask_again_s=0.001, silence_s=15, start_pause_s=2)
        self.fleet = Fleet(
            self.cluster, self.cluster.events.append, self.heard, self.names.__next__, options, lambda: self.now_s
        )

    @property
    def events(self) -> list[Event]:
        return self.cluster.events

    async def lost_within(self, seconds: int) -> int:
        """Turns once a second; gives how many runners were lost."""
        lost = 0
        for _ in range(seconds):
            self.now_s += 1
            lost += (await self.turn()).lost
        return lost

    async def turn(self) -> FleetCounts:
        """One turn, after all that is under way has got as far as it can."""
        counts = await self.fleet.run_once()
        for _ in range(20):
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(done.set_result, None)
            await done
        return counts

    async def joined(self) -> list[RunnerId]:
        """Two turns: start, and join."""
        await self.turn()
        await self.turn()
        return [event.runner for event in self.events if isinstance(event, RunnerJoined)]


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 3 * BOUND_S))


def test_the_labels_of_its_node_come_with_a_runner():
    async def scene() -> None:
        bench = Bench("a")
        bench.cluster.up["a"] = NodeInfo("a", CAPACITY, draining=False, labels=(("zone", "z1"),))
        (runner,) = await bench.joined()
        assert bench.events[-1] == RunnerJoined(runner, "a", CAPACITY, (), (("zone", "z1"),))
        bench.fleet.close()

    run(scene())


def test_each_node_gets_one_runner_and_it_joins_when_it_answers():
    async def scene() -> None:
        bench = Bench("a", "b")
        bench.cluster.slow_start = True
        assert await bench.turn() == FleetCounts(runners=0, joining=2, joined=0, lost=0)
        assert await bench.turn() == FleetCounts(runners=0, joining=2, joined=0, lost=0)
        assert bench.events == [RunnersSettled()], "nothing was found, so nothing is waited for"
        first, second = bench.cluster.alive
        assert (first, second) == ("runner:1:a:i0", "runner:1:b:i1")
        bench.cluster.alive[second].answers.set()
        await bench.turn()
        assert await bench.turn() == FleetCounts(runners=1, joining=1, joined=1, lost=0)
        assert bench.events[1:] == [RunnerJoined(second, "b", CAPACITY, ())]
        bench.fleet.close()

    run(scene())


def test_a_node_without_anything_to_lease_gets_no_runner():
    async def scene() -> None:
        bench = Bench()
        bench.cluster.up["head"] = NodeInfo("head", Resources(cpu_m=0, memory_bytes=1 << 30), draining=False)
        assert (await bench.turn()).joining == 0

    run(scene())


def test_a_runner_that_dies_is_lost_at_once_and_replaced_after_a_pause():
    async def scene() -> None:
        bench = Bench("a")
        (first,) = await bench.joined()
        bench.cluster.alive[first].death.set_result("segmentation fault")
        await bench.turn()
        assert await bench.turn() == FleetCounts(runners=0, joining=0, joined=0, lost=1)
        assert bench.events[-2:] == [f"killed {first}", RunnerLost(first)]
        bench.now_s += 2.1
        assert await bench.joined() == [first, "runner:1:a:i1"]
        bench.fleet.close()

    run(scene())


def test_the_loop_notices_a_death_without_waiting_for_its_next_look():
    async def scene() -> None:
        bench = Bench("a")
        (first,) = await bench.joined()
        loop = asyncio.create_task(bench.fleet.run())
        lost = asyncio.create_task(until(lambda: RunnerLost(first) in bench.events))
        bench.cluster.alive[first].death.set_result("killed")
        await asyncio.wait_for(lost, FleetOptions().interval_s)
        loop.cancel()
        bench.fleet.close()

    async def until(condition: Any) -> None:
        while not condition():
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(done.set_result, None)
            await done

    run(scene())


def test_a_silent_runner_is_killed_before_it_is_called_lost():
    async def scene() -> None:
        bench = Bench("a")
        (first,) = await bench.joined()
        assert await bench.lost_within(14) == 0
        bench.heard[first] = bench.now_s
        assert await bench.lost_within(15) == 0, "it reported in time"
        assert await bench.lost_within(1) == 1
        assert bench.events[-2:] == [f"killed {first}", RunnerLost(first)]
        bench.fleet.close()

    run(scene())


def test_nobody_is_lost_because_we_were_not_there_to_listen():
    """The dispatcher's process was stopped, or the machine starved it, for a minute."""

    async def scene() -> None:
        bench = Bench("a")
        await bench.joined()
        bench.now_s += 60
        assert (await bench.turn()).lost == 0
        assert await bench.lost_within(15) == 0
        assert await bench.lost_within(1) == 1
        bench.fleet.close()

    run(scene())


def test_a_node_that_is_gone_takes_its_runner_with_it():
    async def scene() -> None:
        bench = Bench("a", "b")
        first, _ = await bench.joined()
        del bench.cluster.up["a"]
        counts = await bench.turn()
        assert (counts.lost, counts.runners) == (1, 1)
        assert bench.events[-1] == RunnerLost(first)
        bench.fleet.close()

    run(scene())


def test_a_draining_node_gets_no_more_leases_and_no_new_runner():
    async def scene() -> None:
        bench = Bench("a")
        (first,) = await bench.joined()
        for node in ("a", "b"):
            bench.cluster.up[node] = NodeInfo(node, CAPACITY, draining=True)
        await bench.turn()
        counts = await bench.turn()
        assert bench.events[-1] == RunnerDraining(first)
        assert bench.events.count(RunnerDraining(first)) == 1
        assert (counts.runners, counts.joining) == (1, 0)
        bench.fleet.close()

    run(scene())


def test_a_runner_that_never_answers_is_given_up_and_was_never_there():
    async def scene() -> None:
        bench = Bench("a", join_timeout_s=0.01)
        bench.cluster.slow_start = True
        await bench.turn()
        (member,) = bench.fleet._members.values()
        await asyncio.wait([member.joining], timeout=BOUND_S)
        assert (await bench.turn()).lost == 1
        assert bench.cluster.killed == [member.id]
        assert bench.events == [RunnersSettled(), f"killed {member.id}"]

    run(scene())


def test_what_was_there_before_joins_with_its_leases_and_only_then_is_all_settled():
    async def scene() -> None:
        cluster = FakeCluster("a", "b", "c")
        old_a, old_b = RunnerId("runner:1:a:x"), RunnerId("runner:1:b:y")
        cluster.alive = {old_a: FakeRunner("a", (HELD,)), old_b: FakeRunner("b")}
        cluster.alive[old_b].answers.clear()
        cluster.alive[old_b].failures.append(BackOffError("not yet"))
        bench = Bench(cluster=cluster)
        await bench.turn()
        await bench.turn()
        new_c = RunnerId("runner:1:c:i0")
        joined = [RunnerJoined(old_a, "a", CAPACITY, (HELD,)), RunnerJoined(new_c, "c", CAPACITY)]
        assert bench.events == joined, "the second one has not answered: nothing is settled"
        cluster.alive[old_b].answers.set()
        await asyncio.wait([bench.fleet._members[old_b].joining], timeout=BOUND_S)
        await bench.turn()
        assert bench.events[2:] == [RunnerJoined(old_b, "b", CAPACITY), RunnersSettled()]
        assert cluster.alive[old_b].asked == 2
        await bench.turn()
        assert bench.events.count(RunnersSettled()) == 1
        bench.fleet.close()

    run(scene())


def test_a_runner_that_was_there_and_is_dead_does_not_hold_up_the_rest():
    async def scene() -> None:
        cluster = FakeCluster("a")
        old = RunnerId("runner:1:a:x")
        cluster.alive = {old: FakeRunner("a")}
        cluster.alive[old].failures.append(RunnerGone("dead"))
        bench = Bench(cluster=cluster)
        await bench.turn()
        assert (await bench.turn()).lost == 1
        assert bench.events == [f"killed {old}", RunnersSettled()]

    run(scene())


def test_of_two_runners_on_a_node_one_gets_no_leases():
    """A dispatcher that dies between starting and knowing a runner can leave two; the node's room counts once."""

    async def scene() -> None:
        cluster = FakeCluster("a")
        cluster.alive = {RunnerId(f"runner:1:a:{name}"): FakeRunner("a") for name in "xy"}
        bench = Bench(cluster=cluster)
        assert await bench.joined() == ["runner:1:a:x", "runner:1:a:y"]
        assert [event for event in bench.events if isinstance(event, RunnerDraining)] == [
            RunnerDraining(RunnerId("runner:1:a:y"))
        ]
        bench.fleet.close()

    run(scene())


def test_draining_all_names_those_that_have_joined():
    async def scene() -> None:
        bench = Bench("a")
        joined = await bench.joined()
        assert bench.fleet.drain_all() == joined
        assert bench.events[-1] == RunnerDraining(joined[0])
        bench.fleet.close()

    run(scene())


def test_a_retired_runner_drains_and_its_node_is_left_alone_once_it_has_ended():
    async def scene() -> None:
        bench = Bench("a", "b")
        first, second = await bench.joined()
        bench.fleet.retire(first)
        bench.fleet.retire(first)
        bench.fleet.retire(RunnerId("runner:1:x:none"))
        assert bench.events[-1] == RunnerDraining(first)
        assert [event for event in bench.events if isinstance(event, RunnerDraining)] == [RunnerDraining(first)]
        await bench.fleet.end(first)
        assert bench.events[-2:] == [f"killed {first}", RunnerLost(first)]
        await bench.turn()
        bench.now_s += 30
        bench.heard[second] = bench.now_s
        await bench.turn()
        assert list(bench.cluster.alive) == [second], "the machine is about to go"
        bench.now_s += 31
        bench.heard[second] = bench.now_s
        await bench.turn()
        assert len(bench.cluster.alive) == 2, "it has not gone: it is used again"
        bench.fleet.close()

    run(scene())
