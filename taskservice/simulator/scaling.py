"""Machines that an autoscaler starts and ends in the course of a run. What one costs, it costs from the moment that it is asked for."""

from __future__ import annotations

from taskservice.autoscaler.kinds import GROUP_LABEL
from taskservice.core.backlog import BacklogAnswer
from taskservice.core.types import RunnerId
from taskservice.simulator.agenda import Agenda
from taskservice.simulator.machines import Machines, Node
from taskservice.simulator.scaled import Autoscaler, ScaledMachine

US_PER_H = 3_600_000_000


class Scaling:
    """The machines of one run, and what they cost."""

    def __init__(self, said: Autoscaler, machines: Machines, agenda: Agenda) -> None:
        self.policy = said.made()
        self.interval_us = said.interval * 1000
        self._said = {machine.name: machine for machine in said.machines}
        self._machines = machines
        self._agenda = agenda
        self._starting = dict.fromkeys(self._said, 0)
        self._alive: dict[str, dict[RunnerId, bool]] = {name: {} for name in self._said}
        """Those that are up, and whether they stay."""
        self._made = 0
        self._at_us = 0
        self.machine_us = dict.fromkeys(self._said, 0)
        """What was paid for, by kind."""
        self.machines_max = 0
        self.started = 0
        self._begin()

    def _begin(self) -> None:
        """The least that is kept is there at the beginning."""
        for said in self._said.values():
            for _ in range(said.min):
                self._start(0, said, 0)

    def look(self, t_us: int, answer: BacklogAnswer) -> None:
        """The policy is asked, and obeyed."""
        self.flush(t_us)
        plan = self.policy.plan(answer, t_us / 1e6)
        for leaving in plan.retire:
            self._alive[leaving.kind][leaving.runner] = False
            self._machines.retire(t_us, leaving.runner)
        for kind in plan.kinds:
            missing = kind.wanted - self._starting[kind.kind] - sum(self._alive[kind.kind].values())
            for _ in range(missing):
                self._start(t_us, self._said[kind.kind], self._said[kind.kind].starts_in * 1000)

    def _start(self, t_us: int, said: ScaledMachine, starts_us: int) -> None:
        self._made += 1
        self.started += 1
        self._starting[said.name] += 1
        node = Node(RunnerId(f"{said.name}-{self._made}"), said.amount, ((GROUP_LABEL, said.name),))
        self._agenda.at(t_us + starts_us, self._joined, (node, said))

    def _joined(self, t_us: int, joined: tuple[Node, ScaledMachine]) -> None:
        node, said = joined
        self.flush(t_us)
        self._starting[said.name] -= 1
        self._alive[said.name][node.id] = True
        self._machines.join(t_us, node)

    def flush(self, t_us: int) -> None:
        """What was paid for up to now is counted; what has ended in the meantime is not there any more."""
        for name, alive in self._alive.items():
            count = len(alive) + self._starting[name]
            self.machine_us[name] += count * (t_us - self._at_us)
        self.machines_max = max(self.machines_max, sum(map(len, self._alive.values())))
        self._at_us = t_us

    def ended(self, id: RunnerId) -> None:
        """The machine is there no more. What it cost until now has been counted."""
        for alive in self._alive.values():
            alive.pop(id, None)

    def begin_anew(self, t_us: int, _: object) -> None:
        """What was before does not count."""
        self.flush(t_us)
        self.machine_us = dict.fromkeys(self._said, 0)
        self.machines_max = self.started = 0

    def figures(self, end_us: int) -> dict[str, float]:
        """What it came to."""
        self.flush(end_us)
        price = sum(self._said[name].price_per_h * us for name, us in self.machine_us.items()) / US_PER_H
        hours = sum(self.machine_us.values()) / US_PER_H
        return {
            "node_hours": round(hours, 4),
            "price": round(price, 4),
            "nodes_max": self.machines_max,
            "nodes_started": self.started,
        }
