"""A world in virtual time: sources submit, the shard decides, machines run, and meters count.

    turn:   what is durable is performed   reports, submits, what is due -> handle   dispatch   cut
            |<--------------------- a commit ---------------------->| next turn, if there is anything to do

The shard takes a turn when something has arrived, and at most one in the time of a commit: what is cut in one turn is durable
at the next. So events gather as they do in production, where they wait for the commit before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace
from random import Random

from taskservice.core.demanded import backlog
from taskservice.core.effects import Answer, Effect, Ended, ItemsAnswer, Launch, Ordered, ScheduleAnswer
from taskservice.core.events import (
    Event,
    FunctionsRegistered,
    PolicyPut,
    RunnerDraining,
    RunnerJoined,
    RunnerLost,
    RunnerReported,
    SchedulePut,
    Submitted,
    TenantPut,
    Ticked,
)
from taskservice.core.restore import restore
from taskservice.core.schedules import ScheduleId, ScheduleSpec
from taskservice.core.shard import Shard
from taskservice.core.specs import ClassPolicy, Policy
from taskservice.core.state import State
from taskservice.core.table import Mark, TaskTable
from taskservice.core.ticks import next_tick_ms
from taskservice.core.turns import CLASS_WEIGHTS
from taskservice.core.types import NewTask, RunnerId, TaskId, TenantId
from taskservice.errors import RequestError
from taskservice.simulator.agenda import Agenda
from taskservice.simulator.archive import ARCHIVE_REF, Archive
from taskservice.simulator.downstream import Called, Series
from taskservice.simulator.machines import START_MS, Machines, decode_payload, nominal_us
from taskservice.simulator.meters import Meter
from taskservice.simulator.observer import Observer
from taskservice.simulator.plan import Plan
from taskservice.simulator.scaling import Scaling
from taskservice.simulator.scenario import Scenario
from taskservice.simulator.sources import Source

SCHEDULES_REF = 2
"""Whose answers are about schedules."""


class Feed:
    """A source of work in a world."""

    __slots__ = ("meter", "number", "source")

    def __init__(self, number: int, source: Source, meter: Meter) -> None:
        self.number = number
        """The first part of the ids of its tasks."""
        self.source = source
        self.meter = meter


class World:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, plan: Plan, table: TaskTable) -> None:
        """`table` is empty, and this world's alone."""
        self.plan = plan
        self.end_us = scenario.duration * 1000
        self._commit = Series(scenario.service.commit.steps())
        self._t_us = 0
        """When the last turn was."""
        self._rng = Random(f"{scenario.seed}/core")
        self._table, self._limits = table, scenario.service.limits()
        self.shard = Shard(State(table, self._limits))
        self._up_us = 0
        """When there is a dispatcher (again)."""
        self._agenda = Agenda()
        self._feeds = [Feed(number, source, plan.meter(source)) for number, source in enumerate(plan.sources)]
        self._arrivals = [
            (t_us, feed.number) for feed in self._feeds if (t_us := next(feed.source.times, None)) is not None
        ]
        """When each source that has one submits next: a heap."""
        heapify(self._arrivals)
        self._submits: dict[TenantId, tuple[list[NewTask], list[Feed]]] = {}
        """Tasks that the next turn hands over, and whose they are."""
        self._asked: dict[int, list[Feed]] = {}
        """Whose tasks those submits are of that are not answered yet, by their refs."""
        self._mailbox: list[Event] = [FunctionsRegistered(0, tuple(one.spec for one in plan.handlers.values()))]
        self._mailbox += [TenantPut(0, tenant) for tenant in plan.tenants.values()]
        for said in scenario.policies:
            self._agenda.at(said.at * 1000, self._say, said.policy)
        for feed in self._feeds:
            self._mailbox += _schedules(feed)
        for restart in scenario.faults.restarts:
            self._agenda.at(restart.at * 1000, self._stop, restart.lasts * 1000)
        self._cut: int | None = None
        """The segment that is on its way to the disk."""
        self._refs = SCHEDULES_REF
        self._ids = 0
        self._archive = Archive(self._handle_near)
        self.downstreams = [Called(one) for one in scenario.downstreams]
        self.machines = Machines(
            self._agenda,
            Random(f"{scenario.seed}/machines"),
            {one.name: one for one in self.downstreams},
            scenario.service.lease_start * 1000,
            self._mailbox.append,
            self._fleet_changes,
            scenario.faults.reports,
            self._node_ended,
        )
        self.machines.plan(scenario.fleet)
        meters = [feed.meter for feed in self._feeds]
        self.observer = Observer(scenario, plan, meters, self.machines, self.downstreams, table)
        self.observer.plan(self._agenda)
        self.scaling: Scaling | None = None
        if scenario.autoscaler is not None:
            self.scaling = Scaling(scenario.autoscaler, self.machines, self._agenda)
            self._agenda.at(scenario.warm_up * 1000, self.scaling.begin_anew, None)
            self._agenda.at(0, self._scale, None)

    def run(self) -> None:
        """It has come to its end."""
        self.shard.open(Mark("", "", 1, -1), START_MS)
        t_us: int | None = 0
        while t_us is not None:
            self._agenda.run(t_us)
            self._arrive(t_us)
            if t_us < self._up_us:
                pass
            elif self._cut is not None or self._mailbox or self._submits or self.machines.talks or self._due(t_us):
                self._turn(t_us)
            t_us = self._next_us()
        self._agenda.run(self.end_us)

    def _next_us(self) -> int | None:
        """When something happens next, but not before a commit's time has passed since the last turn; None: not before the
        end."""
        next_us = max(self._up_us, self._t_us + int(self._commit.value))
        if self._cut is None:
            moments = (self._agenda.next_us, self._arrivals[0][0] if self._arrivals else None, self._due_us)
            known = [moment for moment in moments if moment is not None]
            if not known:
                return None
            next_us = max(next_us, min(known))
        return next_us if next_us <= self.end_us else None

    # What arrives

    def _arrive(self, t_us: int) -> None:
        """What sources submit up to now is handed over in the next turn."""
        arrivals = self._arrivals
        while arrivals and arrivals[0][0] <= t_us:
            at_us, number = arrivals[0]
            feed = self._feeds[number]
            self._submit(at_us, feed)
            next_us = next(feed.source.times, None)
            if next_us is None:
                heappop(arrivals)
            else:
                heapreplace(arrivals, (next_us, number))

    def _submit(self, t_us: int, feed: Feed) -> None:
        """A client of this source submits. Submits of one tenant between two turns are one: nobody could tell."""
        source = feed.source
        found = self._submits.get(source.tenant)
        if found is None:
            found = self._submits[source.tenant] = ([], [])
        due_us = t_us + source.delay_us
        for _ in range(source.tasks):
            self._ids += 1
            payload = b"[%d,%d]" % (due_us, source.takes())
            id = TaskId(f"{feed.number}.{self._ids}")
            delay_ms = source.delay_us // 1000 if source.delay_us else None
            key = source.key() if source.key is not None else ""
            found[0].append(NewTask(id, source.function, payload, source.priority, delay_ms=delay_ms, key=key))
            found[1].append(feed)
        feed.meter.counts.submitted += source.tasks

    def _think(self, t_us: int, feed: Feed) -> None:
        """A client of a closed loop goes on."""
        source = feed.source
        assert source.thinks is not None
        next_us = t_us + source.thinks()
        if next_us < source.until_us:
            self._agenda.at(next_us, self._submit, feed)

    def _feed_of(self, id: TaskId) -> Feed:
        return self._feeds[int(id[: id.index(".")])]

    # Turns

    def _turn(self, t_us: int) -> None:
        """As `Dispatcher.run_once`."""
        shard, rng, now_ms = self.shard, self._rng, START_MS + t_us // 1000
        self._t_us = t_us
        self._commit.pass_to(t_us)
        if self._cut is not None:
            shard.durable(self._cut)
            self._cut = None
            self._perform(shard.release())
            self._archive.run_once()
        for event in self._mailbox:
            shard.handle(event, now_ms, rng)
        self._mailbox.clear()
        for report in self.machines.take_reports(t_us):
            shard.handle(RunnerReported(0, report), now_ms, rng)
        self._hand_over(now_ms)
        if self._due(t_us):
            shard.handle(Ticked(), now_ms, rng)
        shard.dispatch(now_ms)
        while (cut := shard.cut()) is not None:
            self._cut = cut.number
        self._perform(shard.release())

    def _say(self, _t_us: int, policy: Policy) -> None:
        """An operator says it in the next turn."""
        self._mailbox.append(PolicyPut(0, policy))
        if isinstance(policy, ClassPolicy):
            self.observer.class_weights[policy.name] = policy.weight or CLASS_WEIGHTS[policy.name]

    def _stop(self, t_us: int, lasts_us: int) -> None:
        """The dispatcher ends. The segment that was on its way is on the disk, and what it brings about is told by whoever is asked
        next; but what was to be launched after it is not. After a while there is another dispatcher, with what the table holds."""
        self._up_us = t_us + lasts_us
        if self._cut is not None:
            self.shard.durable(self._cut)
            self._cut = None
        self._perform(effect for effect in self.shard.release() if not isinstance(effect, Launch))
        self._agenda.at(self._up_us, self._start, None)

    def _start(self, t_us: int, _: None) -> None:
        epoch = self.shard.state.epoch + 1
        self.shard = Shard(restore(self._table, self._limits))
        self.shard.recover(())
        self.shard.open(Mark("", "", epoch, -1), START_MS + t_us // 1000)
        told = (RunnerJoined, RunnerDraining, RunnerLost)
        self._mailbox[:] = [*self.machines.rejoin(), *(event for event in self._mailbox if not isinstance(event, told))]

    def _hand_over(self, now_ms: int) -> None:
        submits, self._submits = self._submits, {}
        for tenant, (tasks, feeds) in submits.items():
            self._refs += 1
            self._asked[self._refs] = feeds
            self.shard.handle(Submitted(self._refs, tenant, tuple(tasks)), now_ms, self._rng)

    @property
    def _due_us(self) -> int | None:
        """When the clock brings something about next: a waiting task is due, or a gate opens."""
        moments = (next_tick_ms(self.shard.state), self.shard.opens_ms)
        due_ms = min([ms for ms in moments if ms is not None], default=None)
        return None if due_ms is None else (due_ms - START_MS) * 1000

    def _due(self, t_us: int) -> bool:
        due_us = self._due_us
        return due_us is not None and due_us <= t_us

    def _handle_near(self, event: Event) -> list[Answer]:
        """The event is handled; gives the answers that the archive waits for, which no commit holds up."""
        self.shard.handle(event, START_MS + self._t_us // 1000, self._rng)
        released = self.shard.release()
        self._perform(effect for effect in released if not _is_archives(effect))
        return [effect for effect in released if isinstance(effect, Answer) and _is_archives(effect)]

    # Effects

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Launch):
                feed = self._feed_of(effect.lease.tasks[0].id)
                handler = self.plan.handlers[feed.source.function]
                self.machines.launch(self._t_us, effect.runner, effect.lease, handler, feed.meter)
            elif isinstance(effect, Ordered):
                self.machines.order(self._t_us, effect.runner, effect.order)
            elif isinstance(effect, Ended):
                self._ended(effect)
            elif isinstance(effect, Answer) and isinstance(effect.value, ScheduleAnswer):
                if effect.value.refusal is not None:
                    raise RequestError(f"A schedule is refused: {effect.value.message}", code="bad_scenario")
            elif isinstance(effect, Answer) and isinstance(effect.value, ItemsAnswer):
                self._answered(self._asked.pop(effect.ref), effect.value)

    def _answered(self, feeds: list[Feed], answer: ItemsAnswer) -> None:
        for feed, item in zip(feeds, answer.items, strict=True):
            if item.refusal is not None:
                refused = feed.meter.counts.refused
                refused[item.refusal] = refused.get(item.refusal, 0) + 1
                if feed.source.thinks is not None:
                    self._think(self._t_us, feed)

    def _ended(self, effect: Ended) -> None:
        for _, id in effect.tasks:
            feed = self._feed_of(id)
            ended = feed.meter.counts.ended
            ended[effect.state] = ended.get(effect.state, 0) + 1
            if feed.source.thinks is not None:
                self._think(self._t_us, feed)
        self.machines.forget(id for _, id in effect.tasks)
        self._archive.ended(len(effect.tasks))

    def still_waits(self, id: TaskId, payload: bytes) -> None:
        """The task could have begun: it counts with its wait so far, if it never has."""
        if not self.machines.has_begun(id):
            due_us, _ = decode_payload(payload)
            if due_us < 0:
                due_us = nominal_us(id)
                self._feed_of(id).meter.counts.submitted += 1
            self._feed_of(id).meter.counts.waits.add(max(0, self.end_us - due_us))

    def _fleet_changes(self, t_us: int) -> None:
        self.observer.flush(t_us)
        if self.scaling is not None:
            self.scaling.flush(t_us)

    def _node_ended(self, id: RunnerId) -> None:
        if self.scaling is not None:
            self.scaling.ended(id)

    def _scale(self, t_us: int, _: None) -> None:
        """The autoscaler looks, if there is a dispatcher to ask."""
        assert self.scaling is not None
        if t_us >= self._up_us:
            self.scaling.look(t_us, backlog(self.shard.state, START_MS + t_us // 1000))
        if t_us + self.scaling.interval_us <= self.end_us:
            self._agenda.at(t_us + self.scaling.interval_us, self._scale, None)


def _schedules(feed: Feed) -> Iterable[Event]:
    """The service makes the tasks of such a source by itself."""
    source = feed.source
    for number in range(source.tasks if source.cron is not None else 0):
        key = source.key() if source.key is not None else ""
        task = NewTask(TaskId(""), source.function, b"[-1,%d]" % source.takes(), source.priority, key=key)
        spec = ScheduleSpec(task, cron=source.cron)
        yield SchedulePut(SCHEDULES_REF, source.tenant, ScheduleId(f"{feed.number}.{number}"), spec, None)


def _is_archives(effect: Effect) -> bool:
    return isinstance(effect, Answer) and effect.ref == ARCHIVE_REF
