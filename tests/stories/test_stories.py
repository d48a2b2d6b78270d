"""Stories: what happens to a shard, in words, and what it writes down because of that.

A line that begins with `>` is an event; the lines below it are the records and effects that follow. `UPDATE_STORIES=1`
writes what came out into the files: read the difference before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from taskservice.core import records as r
from taskservice.core.effects import (
    Answer,
    Deleted,
    Effect,
    Ended,
    ItemsAnswer,
    Launch,
    OperationAnswer,
    Ordered,
    ScheduleAnswer,
)
from taskservice.core.events import (
    BulkAsked,
    ChangeAsked,
    OperationTurn,
    RunnerReported,
    SchedulePut,
    ScheduleRemoveAsked,
    Submitted,
)
from taskservice.core.lease_wire import HeldLease, LeaseReport, Outcome, RunnerReport
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import OrdersGiven, TasksPreempted, TasksStopped
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.schedules import CatchUp, Overlap, Progress, ScheduleId
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Resources
from taskservice.core.types import (
    FunctionName,
    ListFilter,
    NewTask,
    OutcomeKind,
    Priority,
    RunnerId,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    Token,
)
from world.machine import START_MS, Machine, bad, function, ok, spec

HERE = Path(__file__).parent


class Teller:
    """Turns the words of a story into events, and what follows into words."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.register()
        self._told = len(self.machine.records)

    def tell(self, line: str) -> list[str]:
        verb, *words = line.split()
        tellers: dict[str, Callable[..., None]] = {
            "submit": self._submit,
            "delay": lambda ms, *ids: self._submit(*ids, delay_ms=int(ms)),
            "urgent": lambda *ids: self._submit(*ids, priority=Priority.CRITICAL),
            "ttl": lambda ms, *ids: self._submit(*ids, ttl_ms=int(ms)),
            "off_peak": lambda ms, *ids: self._submit(*ids, off_peak=True, deadline_in_ms=int(ms)),
            **{kind.value: partial(self._change, kind) for kind in OperationKind},
            "bulk": self._bulk,
            "step": lambda: self.machine.handle(OperationTurn()),
            "join": self._join,
            "lose": self.machine.lose,
            "settle": self.machine.settle,
            "dispatch": lambda: self.machine.shard.dispatch(self.machine.now_ms),
            "later": lambda ms: self.machine.later(int(ms)),
            "report": self._report,
            "every": self._every,
            "unschedule": self._unschedule,
            "tenant": lambda queued_max: self.machine.tenant(DEFAULT_TENANT, queued_max=int(queued_max)),
            "restart": self._restart,
            "function": lambda name, crashes: self.machine.register(function(name, max_crashes=int(crashes))),
        }
        before = len(self.machine.launches), len(self.machine.ended)
        tellers[verb](*words)
        effects = [effect for effect in self.machine.commit() if isinstance(effect, (Answer, Deleted, Ordered))]
        records = self.machine.records[self._told :]
        self._told = len(self.machine.records)
        told: list[Effect] = [*self.machine.launches[before[0] :], *self.machine.ended[before[1] :], *effects]
        return [_record(record) for record in records] + [_effect(effect) for effect in told]

    def _submit(self, *ids: str, **options: object) -> None:
        tasks = tuple(NewTask(TaskId(id), FunctionName("app.f"), b"{}", **options) for id in ids)  # type: ignore[arg-type]
        self.machine.handle(Submitted(self.machine.next_ref(), DEFAULT_TENANT, tasks))

    def _change(self, kind: OperationKind, *ids: str) -> None:
        wanted = tuple(TaskId(id) for id in ids)
        self.machine.handle(ChangeAsked(self.machine.next_ref(), DEFAULT_TENANT, kind, wanted))

    def _bulk(self, kind: str, *words: str) -> None:
        """States, and `for MS`: resumed after so long."""
        states, _, ms = " ".join(words).partition("for")
        wanted = ListFilter(DEFAULT_TENANT, tuple(map(TaskState, states.split())))
        resume_ms = self.machine.now_ms + int(ms) if ms else None
        asked = BulkAsked(self.machine.next_ref(), OperationKind(kind), wanted, resume_ms=resume_ms)
        self.machine.handle(asked)

    def _every(self, ms: str, id: str, *words: str) -> None:
        """`queue_one`, `skip` and the like are overlap policies, `catch:all` and the like are for catching up."""
        catch_up = [CatchUp(word.removeprefix("catch:")) for word in words if word.startswith("catch:")]
        overlap = [Overlap(word) for word in words if not word.startswith("catch:")]
        said = spec(interval_ms=int(ms), overlap=(*overlap, Overlap.ALLOW)[0], catch_up=(*catch_up, CatchUp.ONE)[0])
        self.machine.handle(SchedulePut(self.machine.next_ref(), DEFAULT_TENANT, ScheduleId(id), said, None))

    def _unschedule(self, id: str) -> None:
        self.machine.handle(ScheduleRemoveAsked(self.machine.next_ref(), DEFAULT_TENANT, ScheduleId(id)))

    def _join(self, runner: str, cpus: str, *held: str) -> None:
        self.machine.join(runner, int(cpus), tuple(HeldLease(_token(text), Resources()) for text in held))

    def _restart(self) -> None:
        self.machine.restart()
        self._told = 0

    def _report(self, runner: str, token: str, *news: str) -> None:
        outcomes: list[Outcome] = []
        handed_back: list[TaskNo] = []
        for word in news:
            what, _, no = word.partition(":")
            if what == "back":
                handed_back.append(TaskNo(int(no)))
            elif what == "ok":
                outcomes.append(ok(int(no)))
            elif what != "done":
                outcomes.append(bad(int(no), OutcomeKind(what), "boom"))
        report = LeaseReport(_token(token), tuple(outcomes), tuple(handed_back), "done" in news)
        self.machine.handle(RunnerReported(self.machine.next_ref(), RunnerReport(RunnerId(runner), (report,))))


def _token(text: str) -> Token:
    epoch, _, seq = text.partition(".")
    return Token(int(epoch), int(seq))


def _record(record: r.Record) -> str:
    match record:
        case r.TasksAccepted(tasks=tasks):
            return "accepted " + " ".join(f"{task.id}#{task.no}({task.state}{_lane(task)})" for task in tasks)
        case TasksPressed(nos=nos):
            return f"pressed {_nos(nos)}"
        case PressesPutOff(at_ms=at_ms, rows=later):
            return "put off " + " ".join(f"#{no}(by {press_ms - at_ms} ms)" for no, press_ms in later)
        case r.LeaseGranted(token=token, runner=runner, nos=nos):
            return f"lease {token.epoch}.{token.seq} to {runner}: {_nos(nos)}"
        case r.TasksSucceeded(rows=rows):
            return f"succeeded {_nos([row[0] for row in rows])}"
        case r.TasksFailed(rows=dead):
            return "failed " + " ".join(f"#{row.no}({row.error.reason}, crashes {row.crashes})" for row in dead)
        case r.TasksRetrying(at_ms=at_ms, rows=retries):
            return "retrying " + " ".join(
                f"#{row.no}(in {row.due_ms - at_ms} ms, {row.attempt} charged)" for row in retries
            )
        case r.TasksDue(nos=nos):
            return f"due {_nos(nos)}"
        case OrdersGiven(orders=orders):
            told = [f"{order.kind} {order.token.epoch}.{order.token.seq}: {order.why}" for order in orders]
            return f"orders {', '.join(told)}"
        case TasksPreempted(nos=nos):
            return f"preempted {_nos(nos)}"
        case TasksStopped(nos=nos):
            return f"stopped and cancelled {_nos(nos)}"
        case r.TasksHandedBack(nos=nos):
            return f"handed back {_nos(nos)}"
        case r.TasksCancelled(nos=nos):
            return f"cancelled {_nos(nos)}"
        case r.TasksChanged(action=kind, nos=nos):
            return f"{kind} {_nos(nos)}"
        case r.TasksExpired(nos=nos):
            return f"expired {_nos(nos)}"
        case r.HistoryForgotten(nos=nos):
            return f"forgotten {_nos(nos)}"
        case r.OperationBegun(action=kind, filter=wanted, upto_no=upto_no):
            return f"{kind} all that are {' or '.join(wanted.states)}, up to #{upto_no}"
        case r.OperationStep(to_no=to_no, done=done):
            return f"step up to #{to_no}" + (", done" if done else "")
        case r.OperationCaught(nos=nos):
            return f"caught {_nos(nos)}"
        case r.ScheduleSet(schedule=schedule, progress=progress):
            return f"schedule {schedule.id}: {_progress(progress)}"
        case r.ScheduleFired(id=id, progress=progress):
            return f"{id} has come so far: {_progress(progress)}"
        case r.ScheduleRemoved(id=id):
            return f"no schedule {id}"
        case r.EpochOpened(epoch=epoch):
            return f"epoch {epoch}"
        case _:
            return type(record).__name__


def _lane(task: Task) -> str:
    pressed = f", pressed in {task.press_ms - task.created_ms} ms" if task.press_ms is not None else ""
    return f", {task.lane}{pressed}" if task.lane else ""


def _progress(progress: Progress) -> str:
    """Times in ms after the start."""
    late, overlap, refused = progress.skipped.late, progress.skipped.overlap, progress.skipped.refused
    said = [
        f"next {None if progress.next_ms is None else progress.next_ms - START_MS}",
        f"{progress.fired} fired",
        f"skipped {late} late {overlap} overlapping {refused} refused" if late or overlap or refused else "",
        "" if progress.waiting_ms is None else f"{progress.waiting_ms - START_MS} waits",
        "" if progress.retry_ms is None else f"again at {progress.retry_ms - START_MS}",
        "" if progress.error is None else progress.error.reason,
    ]
    return ", ".join(filter(None, said))


def _nos(nos: list[TaskNo] | tuple[TaskNo, ...]) -> str:
    return " ".join(f"#{no}" for no in nos)


def _effect(effect: Effect) -> str:
    match effect:
        case Launch(runner, lease):
            return f"-> {runner} launches {' '.join(f'{task.id}({task.attempt})' for task in lease.tasks)}"
        case Ordered(runner, order):
            return f"-> {runner} is told: {order.kind} {order.token.epoch}.{order.token.seq} within {order.grace_ms} ms"
        case Ended(state, tasks):
            return f"-> ended {state}: {' '.join(id for _, id in tasks)}"
        case Deleted(tasks):
            return f"-> deleted {' '.join(id for _, id in tasks)}"
        case Answer(_, ItemsAnswer(items)):
            return f"-> answer {' '.join(f'{item.id}={item.refusal or item.status}' for item in items)}"
        case Answer(_, OperationAnswer(Operation(matched=matched, changed=changed))):
            return f"-> answer {matched} match, {changed} changed"
        case Answer(_, ScheduleAnswer(found)) if found is not None:
            return f"-> answer {found.schedule.id}, version {found.schedule.version}"
        case Answer(_, value):
            return f"-> answer {value}"
        case _:
            return f"-> {effect}"


@pytest.mark.parametrize("path", sorted(HERE.glob("*.story")), ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    """What follows from each event is what the story says."""
    teller = Teller()
    told: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line:
            told.append(line)
        elif line.startswith(">"):
            told.append(line)
            told.extend(f"    {said}" for said in teller.tell(line[1:]))
    teller.machine.close()
    text = "\n".join(told) + "\n"
    if os.environ.get("UPDATE_STORIES") == "1":
        path.write_text(text)
    assert text == path.read_text()
