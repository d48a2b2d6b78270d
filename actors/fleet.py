"""Runners where there are machines: one on each node, watched, and replaced when it is lost.

Lives in the dispatcher's process and tells the core by events who has joined, drains, or is gone. A dispatcher that
has just started first finds the runners that outlived its predecessor and learns what they hold; only when each has
answered, or was given up, does it say `RunnersSettled`, which makes leases that nobody holds lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from taskservice.actors.ports import RunnerPort
from taskservice.core.events import Event, RunnerDraining, RunnerJoined, RunnerLost, RunnersSettled
from taskservice.core.lease_wire import HeldLease
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId
from taskservice.errors import BackOffError

log = logging.getLogger(__name__)

_PREFIX = "runner:"


class RunnerGone(BackOffError):
    """The runner is dead and does not come back."""


class NodeInfo(NamedTuple):
    """A machine that is up."""

    id: str
    capacity: Resources
    draining: bool
    labels: tuple[tuple[str, str], ...] = ()


class ClusterPort(Protocol):
    """The machines, as the fleet uses them. Raises BackOffError while the cluster does not answer."""

    async def nodes(self) -> list[NodeInfo]:
        """The nodes that are up."""

    async def runners(self) -> list[RunnerId]:
        """The runners that the cluster knows of, starting ones too, dead ones not."""

    async def start_runner(self, id: RunnerId, node: str) -> None:
        """A runner of this name starts on this node; it is ready once it answers."""

    def runner_port(self, id: RunnerId) -> RunnerPort:
        """Speaks to a runner. Its calls raise RunnerGone once that is known to be dead."""

    async def death_of(self, id: RunnerId) -> str:
        """Waits until the runner is known to be dead, and says why."""

    async def kill(self, id: RunnerId) -> None:
        """The runner and all that it runs are ended, if they can be reached; it is never started again."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """The fleet's limits."""

    generation: str = "1"
    """Part of the names of the runners that are started; of no meaning to the fleet."""
    silence_s: float = 15.0
    """A runner that has not reported for so long is lost."""
    join_timeout_s: float = 60.0
    """A runner that does not answer for so long after its start, or after ours, is given up."""
    ask_again_s: float = 0.25
    start_pause_s: float = 2.0
    """After a runner has failed, its node is left alone for so long."""
    leave_s: float = 60.0
    """After its runner was ended to make the machine go, a node is left alone for so long; then it may have another one."""
    interval_s: float = 0.5
    """Between two looks at the cluster, unless something is heard before."""


class FleetCounts(NamedTuple):
    """The fleet after one turn, and what the turn did."""

    runners: int
    """Runners that have joined."""
    joining: int
    joined: int
    """Runners that have joined in this turn."""
    lost: int
    """Runners that were given up in this turn."""


@dataclass(slots=True)
class _Member:
    id: RunnerId
    node: str
    found: bool
    """It was there before us."""
    joining: asyncio.Task[list[HeldLease]]
    death: asyncio.Task[str] | None = None
    """Done when it is dead; watched from the moment that it has joined."""
    joined_s: float | None = None
    draining: bool = False

    def stop_watching(self) -> None:
        self.joining.cancel()
        if self.death is not None:
            self.death.cancel()


class Fleet:
    """One runner per node."""

    def __init__(
        self,
        cluster: ClusterPort,
        emit: Callable[[Event], None],
        heard: Mapping[RunnerId, float],
        new_incarnation: Callable[[], str],
        options: FleetOptions | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heard`: when each runner last reported, by the clock `now_s`. `new_incarnation`: a text that is never given
        twice, without a colon."""
        self._cluster = cluster
        self._emit = emit
        self._heard = heard
        self._new_incarnation = new_incarnation
        self._options = options or FleetOptions()
        self._now_s = now_s
        self._members: dict[RunnerId, _Member] = {}
        self._not_before_s: dict[str, float] = {}
        """Nodes that are left alone until then."""
        self._looked = False
        self._settled = False
        self._turn_s = now_s()
        """When the last turn was."""
        self._awake_since_s = self._turn_s
        """Since when we have been able to hear: silence before that is our own."""
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """`run_once` whenever a runner has answered or died, and every `interval_s`; for ever."""
        while True:
            self._changed.clear()
            try:
                await self.run_once()
            except BackOffError as error:
                log.warning("the cluster does not answer, trying on: %s", error)
            try:
                await asyncio.wait_for(self._changed.wait(), self._options.interval_s)
            except TimeoutError:
                continue

    async def run_once(self) -> FleetCounts:
        """Runners that answered have joined, those that are lost are given up, nodes without one get one."""
        nodes = {node.id: node for node in await self._cluster.nodes()}
        self._notice_own_absence()
        if not self._looked:
            for id in sorted(await self._cluster.runners()):
                self._find(id)
            self._looked = True
        joined = lost = 0
        for member in list(self._members.values()):
            why = self._why_lost(member, nodes)
            if why is not None:
                lost += 1
                await self._give_up(member, why)
            elif member.joined_s is None and member.joining.done():
                joined += 1
                self._join(member, nodes[member.node])
        self._drain(nodes)
        self._settle()
        self._start(nodes)
        members = len(self._members)
        runners = sum(member.joined_s is not None for member in self._members.values())
        return FleetCounts(runners, members - runners, joined, lost)

    def close(self) -> None:
        """Nobody is watched any more; the runners stay."""
        for member in self._members.values():
            member.stop_watching()

    def drain_all(self) -> list[RunnerId]:
        """No runner gets more leases; gives those that have joined."""
        members = [member for member in self._members.values() if member.joined_s is not None]
        for member in members:
            self._emit_draining(member)
        return [member.id for member in members]

    def retire(self, id: RunnerId) -> None:
        """The runner gets no more leases; nothing happens if it is not there."""
        member = self._members.get(id)
        if member is not None and member.joined_s is not None:
            self._emit_draining(member)

    async def end(self, id: RunnerId) -> None:
        """The runner, which has no leases, is ended, and its node is left alone for a while."""
        member = self._members.get(id)
        if member is not None:
            log.info("runner %s ends: its machine is not needed", member.id)
            await self._end(member, self._options.leave_s)

    def _find(self, id: RunnerId) -> None:
        parts = id.split(":")
        if id.startswith(_PREFIX) and len(parts) == 4:
            self._add(id, parts[2], found=True)

    def _start(self, nodes: Mapping[str, NodeInfo]) -> None:
        served = {member.node for member in self._members.values()}
        for node in nodes.values():
            useful = node.capacity.cpu_m or node.capacity.gpu_m or node.capacity.custom_m
            wait = self._now_s() < self._not_before_s.get(node.id, 0.0)
            if useful and not wait and not node.draining and node.id not in served:
                name = f"{_PREFIX}{self._options.generation}:{node.id}:{self._new_incarnation()}"
                self._add(RunnerId(name), node.id, found=False)

    def _add(self, id: RunnerId, node: str, found: bool) -> None:
        joining = asyncio.create_task(self._meet(id, node, start=not found))
        joining.add_done_callback(lambda _: self._changed.set())
        self._members[id] = _Member(id, node, found, joining)

    async def _meet(self, id: RunnerId, node: str, start: bool) -> list[HeldLease]:
        """What the runner holds, once it answers. Raises TimeoutError, or RunnerGone."""
        async with asyncio.timeout(self._options.join_timeout_s):
            if start:
                await self._cluster.start_runner(id, node)
            while True:
                try:
                    return await self._cluster.runner_port(id).list_leases()
                except RunnerGone:
                    raise
                except BackOffError:
                    await asyncio.sleep(self._options.ask_again_s)

    def _why_lost(self, member: _Member, nodes: Mapping[str, NodeInfo]) -> str | None:
        if member.node not in nodes:
            return "its node is gone"
        if member.joined_s is None:
            error = member.joining.exception() if member.joining.done() else None
            if isinstance(error, TimeoutError):
                return f"it did not answer within {self._options.join_timeout_s} s"
            return str(error) if error else None
        if member.death is not None and member.death.done():
            return member.death.result()
        silent_s = self._now_s() - max(member.joined_s, self._heard.get(member.id, 0.0), self._awake_since_s)
        return f"silent for {silent_s:.1f} s" if silent_s > self._options.silence_s else None

    def _notice_own_absence(self) -> None:
        """A process that was stopped or starved has not listened: nobody is lost because of that."""
        now_s = self._now_s()
        if now_s - self._turn_s > self._options.silence_s / 2:
            self._awake_since_s = now_s
        self._turn_s = now_s

    async def _give_up(self, member: _Member, why: str) -> None:
        log.warning("runner %s is given up: %s", member.id, why)
        await self._end(member, self._options.start_pause_s)

    async def _end(self, member: _Member, alone_s: float) -> None:
        """The runner is killed first, so that its leases do not run beside those that replace them. Its node is left alone for a
        while."""
        member.stop_watching()
        await self._cluster.kill(member.id)
        self._members.pop(member.id, None)
        self._not_before_s[member.node] = self._now_s() + alone_s
        if member.joined_s is not None:
            self._emit(RunnerLost(member.id))

    def _join(self, member: _Member, node: NodeInfo) -> None:
        member.joined_s = self._now_s()
        member.death = asyncio.create_task(self._cluster.death_of(member.id))
        member.death.add_done_callback(lambda _: self._changed.set())
        held = tuple(member.joining.result())
        self._emit(RunnerJoined(member.id, member.node, node.capacity, held, node.labels))

    def _drain(self, nodes: Mapping[str, NodeInfo]) -> None:
        """A runner whose node leaves gets no more leases, nor does a second one on a node: it would count twice."""
        serving: dict[str, RunnerId] = {}
        for member in self._members.values():
            if member.joined_s is None or member.draining:
                continue
            if nodes[member.node].draining or serving.setdefault(member.node, member.id) != member.id:
                self._emit_draining(member)

    def _emit_draining(self, member: _Member) -> None:
        if not member.draining:
            member.draining = True
            self._emit(RunnerDraining(member.id))

    def _settle(self) -> None:
        if not self._settled and all(member.joined_s is not None for member in self._members.values() if member.found):
            self._settled = True
            self._emit(RunnersSettled())
