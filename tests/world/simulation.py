"""A whole service in virtual time: the real core, simulated machines, and faults. Two phases: safety, then liveness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from taskservice.core.effects import AnswerValue, Deleted, Ended, Launch, Ordered, ReportAck
from taskservice.core.events import (
    BulkAsked,
    Event,
    FunctionsRegistered,
    RunnerJoined,
    RunnerLost,
    RunnerReported,
    RunnersSettled,
    TenantPut,
)
from taskservice.core.lease_wire import RunnerReport
from taskservice.core.operations import OperationKind
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import ListFilter, RunnerId, TaskNo
from taskservice.journal.memory import MemoryStore
from taskservice.objects.memory import MemoryObjects
from world.client import TENANTS, SimClient
from world.clock import Clock
from world.dispatcher import SimDispatcher
from world.durable import Disk
from world.faults import Faults, draw
from world.network import Network
from world.runner import SimRunner
from world.saves import Saves
from world.workload import FUNCTIONS

FAULTY_MS = 12_000
HEAL_MS = 24 * 3_600_000
"""Long enough for what was due by a clock that ran hours ahead."""
NOTICED_MS = 1_500


class Simulation:
    """The world of one seed."""

    def __init__(
        self, seed: int, *, checked: bool = True, runners: int = 3, clients: int = 4, disk: Disk | None = None
    ) -> None:
        self.checked = checked
        """Whether the invariants are checked in every turn."""
        rng = Random(seed)
        self.clock = Clock(rng)
        self.faults: Faults = draw(rng)
        self.network = Network(self.clock, self.faults)
        self.store = MemoryStore()
        self.objects = MemoryObjects()
        """Where history is."""
        self.archived: Counter[str] = Counter()
        self.said: set[tuple[TaskNo, str]] = set()
        """Tasks of which a producer was told that they are known, each with a deletion that was under way then."""
        """What archivers did."""
        self.disk = disk or Disk(Random(rng.getrandbits(64)))
        self.dispatcher = self._boot()
        self.saves = Saves()
        self.runners: dict[RunnerId, SimRunner] = {}
        self._runners_made = 0
        for _ in range(runners):
            self._start_runner()
        self.clients = [
            SimClient(f"c{n}", TENANTS[n % len(TENANTS)].id, self.clock, self.network, self.ask) for n in range(clients)
        ]
        self._set_up()

    # The service's processes

    def ask(self, make: Callable[[int], Event], answered: Callable[[AnswerValue], None]) -> None:
        """Somebody asks whoever is the dispatcher when the message arrives."""
        self.network.send(lambda: self.dispatcher.ask(make, answered))

    def _set_up(self) -> None:
        """Functions and tenants are there before anything goes wrong."""
        self.dispatcher.tell(FunctionsRegistered(0, FUNCTIONS))
        for tenant in TENANTS:
            self.dispatcher.tell(TenantPut(0, tenant))
        self.network.faults = self.faults.healed()
        self.clock.run(2_000)
        self.network.faults = self.faults

    def _boot(self) -> SimDispatcher:
        return SimDispatcher(
            self.clock,
            self.network,
            self.store,
            self.disk,
            self.objects,
            self.archived,
            self.said,
            self._launch,
            self._ended,
            self._order,
            checked=self.checked,
        )

    def _launch(self, epoch: int, launch: Launch) -> None:
        runner = self.runners.get(launch.runner)
        if runner is not None:
            # The dispatcher launches until the runner has it: a lost message is only a late one.
            self.clock.after(self.clock.rng.expovariate(1 / 5), lambda: runner.launch(epoch, [launch.lease]))

    def _order(self, epoch: int, ordered: Ordered) -> None:
        runner = self.runners.get(ordered.runner)
        if runner is not None:
            self.clock.after(self.clock.rng.expovariate(1 / 5), lambda: runner.order(epoch, ordered.order))
            if self.clock.rng.random() < self.network.faults.message_twice:
                self.clock.after(self.clock.rng.expovariate(1 / 100), lambda: runner.order(epoch, ordered.order))

    def _ended(self, ended: Ended | Deleted) -> None:
        how = ended.state.value if isinstance(ended, Ended) else "deleted"
        self.clock.note("ended", how, [id for _, id in ended.tasks])

    def _start_runner(self) -> None:
        self._runners_made += 1
        runner = SimRunner(f"r{self._runners_made}", self.clock, self.network, self._report, self.saves)
        self.runners[runner.id] = runner
        self._join(self.dispatcher, runner)

    def _join(self, dispatcher: SimDispatcher, runner: SimRunner) -> None:
        held = runner.list_leases()
        delay_ms = self.clock.rng.expovariate(1 / 20)
        self.clock.after(delay_ms, lambda: dispatcher.tell(RunnerJoined(runner.id, "node", runner.capacity, held)))

    def _report(self, report: RunnerReport, acknowledged: Callable[[ReportAck], None]) -> None:
        def answered(value: AnswerValue) -> None:
            assert isinstance(value, ReportAck)
            acknowledged(value)

        self.ask(lambda ref: RunnerReported(ref, report), answered)

    # Faults

    def _later(self, mean_ms: float, what: Callable[[], None]) -> None:
        """`what` happens again and again while the world is faulty."""
        if not mean_ms:
            return

        def happen() -> None:
            if self.network.faults is self.faults:
                what()
                self._later(mean_ms, what)

        self.clock.after(self.clock.rng.expovariate(1 / mean_ms), happen)

    def replace_dispatcher(self) -> None:
        """The dispatcher is gone, or is taken to be; another one opens the journal and finds the runners."""
        self.clock.note("dispatcher", self.dispatcher.epoch)
        if self.clock.rng.random() >= self.faults.zombie:
            self.dispatcher.crash()
        self.dispatcher = successor = self._boot()
        for runner in self.runners.values():
            self._join(successor, runner)
        self.clock.after(500, lambda: successor.tell(RunnersSettled()))

    def replace_runner(self) -> None:
        """A runner is gone, or is taken to be; another one comes."""
        if not self.runners:
            return
        runner = self.clock.rng.choice(list(self.runners.values()))
        self.clock.note("runner", runner.id)
        if self.clock.rng.random() >= self.faults.partition:
            runner.crash()
        del self.runners[runner.id]
        self.clock.after(NOTICED_MS, lambda: self._lose(runner))

    def _lose(self, runner: SimRunner) -> None:
        self.dispatcher.tell(RunnerLost(runner.id))
        self._start_runner()

    def _jump(self) -> None:
        self.clock.wall_off_ms += self.clock.rng.choice([-3_600_000, -2_000, -50, 50, 2_000, 3_600_000])

    # The phases

    def run(self) -> None:
        """Faults and work for a while; then no faults, and everything that was promised must come to its end."""
        self._later(self.faults.dispatcher_crash_ms, self.replace_dispatcher)
        self._later(self.faults.runner_crash_ms, self.replace_runner)
        self._later(self.faults.clock_jump_ms, self._jump)
        for client in self.clients:
            self._act(client, self.clock.true_ms + FAULTY_MS)
        self.clock.run(FAULTY_MS)
        self.network.faults = self.faults.healed()
        self.clock.wall_off_ms = max(self.clock.wall_off_ms, 0)
        self._resume_all(1_000)
        assert self.clock.run(HEAL_MS, until=self._quiet), self._stuck()

    def _act(self, client: SimClient, end_ms: int) -> None:
        client.act()
        wait_ms = self.clock.rng.expovariate(1 / 500)
        if self.clock.true_ms + wait_ms < end_ms:
            self.clock.after(wait_ms, lambda: self._act(client, end_ms))

    def _resume_all(self, after_ms: int) -> None:
        """Somebody resumes whatever is paused: now, and again if a late message has paused more."""
        if self.dispatcher.paused:
            self.ask(lambda ref: BulkAsked(ref, OperationKind.RESUME, ListFilter()), lambda _: None)
        self.clock.after(after_ms, lambda: self._resume_all(min(2 * after_ms, HEAL_MS // 100)))

    def _quiet(self) -> bool:
        state = self.dispatcher.shard.state
        unfinished = sum(state.unfinished.values())
        outstanding = sum(client.outstanding for client in self.clients)
        operating = self.dispatcher.shard.operating
        scheduled = bool(state.schedules.turns)
        return not unfinished and not outstanding and not operating and not scheduled and self.dispatcher.idle

    def _stuck(self) -> str:
        state = self.dispatcher.shard.state
        return (
            f"not quiet {HEAL_MS} ms after the last fault: unfinished {state.unfinished}, leases {list(state.leases)}, "
            f"submits {[client.outstanding for client in self.clients]}, next tick {next_tick_ms(state)}, "
            f"now {self.clock.wall_ms}"
        )
