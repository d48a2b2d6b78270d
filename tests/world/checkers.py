"""What must hold at the end of a simulation, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from taskservice.core import records as r
from taskservice.core.check import check
from taskservice.core.operations import OperationKind
from taskservice.core.orders import OrderKind, OrdersGiven, TasksPreempted, TasksStopped
from taskservice.core.preempt_round import PREEMPTED_MAX
from taskservice.core.recurrence import times_after
from taskservice.core.report import POISON
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleState
from taskservice.core.state import State
from taskservice.core.story import story
from taskservice.core.types import ListFilter, OutcomeKind, Task, TaskNo, TaskState, Token
from taskservice.core.values import digest
from taskservice.history.reader import HistoryReader
from taskservice.journal.codec import decode
from taskservice.journal.memory import MemoryJournal
from world.dispatcher import LIMITS
from world.durable import all_tasks, check_same, folded
from world.promises import Promises
from world.saves import check_restored
from world.simulation import Simulation
from world.workload import BRIEF, MAX_ATTEMPTS, MAX_CRASHES, Behaviour, behaviour


def everything(simulation: Simulation) -> Counter[OperationKind]:
    """All checks; a failure prints the story of the task that shows it. Gives how many tasks bulk operations held."""
    state = simulation.dispatcher.shard.state
    check(state)
    records = records_of(simulation)
    promises = Promises(records, simulation.said)
    promises.check()
    _each_task_is_in_one_place(records)
    everywhere = [*all_tasks(state), *_in_history(simulation, state)]
    tasks = {(task.tenant, task.id): task for task in everywhere}
    assert len(tasks) == len(everywhere)
    for client in simulation.clients:
        for new in client.promised.values():
            task = tasks.get((client.tenant, new.id))
            if task is None:
                assert new.function == BRIEF, f"{client.tenant}/{new.id} was accepted and is lost"
            else:
                _promise_kept(task, client.ended.get((task.no, task.run)), records)
        for id, removed in client.scheduled.items():
            assert removed or state.schedules.find(ScheduleKey(client.tenant, id)), f"{id} was set and is lost"
    _ends_are_to_be_told(state, everywhere)
    schedules_are_accounted_for(records)
    stops(records)
    cancels(records)
    check_restored(records, simulation.saves)
    _replay_equals_live(simulation, state)
    return promises.held


def records_of(simulation: Simulation) -> list[r.Record]:
    return [record for epoch in simulation.store.epochs for body in epoch for record in decode(body)]


def _in_history(simulation: Simulation, state: State) -> list[Task]:
    """What the files say, at the places that the shard knows: each of its tasks as the shard knows it."""
    places = state.table.past.listing(ListFilter(), None, 1_000_000)
    tasks = HistoryReader(lambda: simulation.objects).read(places, whole=True)
    assert [(task.no, task.tenant, task.id, task.state, digest(task.payload)) for task in tasks] == [
        (place.no, place.tenant, place.id, place.state, place.digest) for place in places
    ]
    return tasks


def _ends_are_to_be_told(state: State, tasks: list[Task]) -> None:
    """Whoever wants to be told of an end is owed that, of tasks that are still there: of every run that has ended, once."""
    for task in tasks:
        if task.hooks is not None:
            told = [one.run for one in state.table.deliveries.of_task(task.no)]
            assert told == list(range(1, task.run + 1)), f"{task.id} is in run {task.run}, told are {told}"


def _each_task_is_in_one_place(records: list[r.Record]) -> None:
    """No task leaves for history twice."""
    left = Counter(no for record in records if isinstance(record, r.TasksArchived) for no, _ in record.rows)
    twice = [no for no, count in left.items() if count > 1]
    assert not twice, "\n".join(story(records, twice[0]))


def stops(records: list[r.Record]) -> Counter[tuple[TaskNo, int]]:
    """No task is stopped more than `PREEMPTED_MAX` times in a run, whatever dispatchers and runners there were; and only leases
    that were told. Gives how often each was."""
    runs: Counter[TaskNo] = Counter()
    found: Counter[tuple[TaskNo, int]] = Counter()
    told: dict[Token, None] = {}
    for record in records:
        if isinstance(record, r.TasksChanged) and record.action is OperationKind.RETRY:
            runs.update(record.nos)
        elif isinstance(record, r.OperationStep) and record.action is OperationKind.RETRY:
            runs.clear()  # whichever it was: each may be in another run than before
            found.clear()
        elif isinstance(record, OrdersGiven):
            told.update(dict.fromkeys(order.token for order in record.orders))
        elif isinstance(record, TasksPreempted):
            assert record.token in told, "\n".join(story(records, record.nos[0]))
            for no in record.nos:
                found[no, runs[no]] += 1
                assert found[no, runs[no]] <= PREEMPTED_MAX, "\n".join(story(records, no))
    return found


def cancels(records: list[r.Record]) -> Counter[str]:
    """Whoever was to be cancelled while it ran has succeeded in that attempt or is cancelled, and nobody else is; gives how many
    of each."""
    asked: dict[TaskNo, Token] = {}
    found: Counter[str] = Counter()
    for record in records:
        if isinstance(record, OrdersGiven):
            for order in record.orders:
                if order.kind is OrderKind.CANCEL:
                    assert order.nos
                    asked.update(dict.fromkeys(order.nos, order.token))
        elif isinstance(record, TasksStopped):
            for no in record.nos:
                assert asked.pop(no, None) == record.token, "\n".join(story(records, no))
            found["stopped"] += len(record.nos)
        elif isinstance(record, r.TasksSucceeded):
            found["succeeded"] += sum(asked.pop(row[0], None) is not None for row in record.rows)
        else:
            for no in _moved(record):
                assert no not in asked, "\n".join(story(records, no))
    assert not asked, "\n".join(story(records, next(iter(asked))))
    return found


def _moved(record: r.Record) -> list[TaskNo]:
    """Those that have come back from a lease, or gone into one."""
    match record:
        case r.TasksRetrying(rows=rows) | r.TasksFailed(rows=rows):
            return [row.no for row in rows]
        case r.TasksHandedBack(nos=nos) | TasksPreempted(nos=nos) | r.LeaseGranted(nos=nos):
            return list(nos)
        case _:
            return []


def schedules_are_accounted_for(records: list[r.Record]) -> Counter[str]:
    """No task of a schedule is early or made twice, and each time came to a task or is counted; gives what came of them."""
    schedules: dict[ScheduleKey, ScheduleState] = {}
    made: Counter[ScheduleKey] = Counter()
    came_of: Counter[str] = Counter()
    for record in records:
        if isinstance(record, r.TasksAccepted):
            made.update(_not_early(schedules, task) for task in record.tasks if "@" in task.id)
        elif isinstance(record, r.ScheduleSet):
            schedules[record.schedule.key] = ScheduleState(record.schedule, record.progress)
        elif isinstance(record, r.ScheduleFired):
            schedule, waiting_ms = schedules[record.key].schedule, record.progress.waiting_ms
            if waiting_ms not in (None, schedules[record.key].progress.waiting_ms):
                assert record.at_ms >= schedule.fires_ms(waiting_ms), f"{waiting_ms} of {record.key} waits already"
            schedules[record.key] = ScheduleState(schedule, record.progress)
    for key, (schedule, progress) in ((key, (each.schedule, each.progress)) for key, each in schedules.items()):
        spec, skipped = schedule.spec, progress.skipped
        assert spec.starts_ms is not None
        assert spec.ends_ms is not None
        assert spec.interval_ms is not None
        first_ms = next(times_after(schedule, schedule.created_ms))
        times = range(first_ms, progress.next_ms or spec.ends_ms, spec.interval_ms)
        waiting = progress.waiting_ms is not None
        assert made[key] == progress.fired, key
        assert len(times) == progress.fired + skipped.late + skipped.overlap + waiting, (schedule, progress)
        came_of.update(fired=progress.fired, late=skipped.late, overlap=skipped.overlap)
    return came_of


def _not_early(schedules: dict[ScheduleKey, ScheduleState], task: Task) -> ScheduleKey:
    id, _, moment = task.id.partition("@")
    known = schedules[ScheduleKey(task.tenant, ScheduleId(id))]
    nominal_ms = round(datetime.fromisoformat(moment).timestamp() * 1000)
    # What has waited for the end of another task was not early when it began to: the clock may have been set back since.
    if known.progress.waiting_ms != nominal_ms:
        assert task.created_ms >= known.schedule.fires_ms(nominal_ms), f"{task.id} was made at {task.created_ms}"
    return known.schedule.key


def _promise_kept(task: Task, seen: TaskState | None, records: list[r.Record]) -> None:
    def told() -> str:
        return "\n".join([f"{task.tenant}/{task.id} is {behaviour(task.id)}:", *story(records, task.no)])

    assert seen in (None, task.state), f"somebody was told {seen}, it is {task.state}\n{told()}"
    if task.state is TaskState.CANCELLED:
        return
    if task.state is TaskState.EXPIRED:
        assert task.expires_ms is not None, told()
        assert task.ended_ms is not None, told()
        assert (task.ended_ms >= task.expires_ms, task.attempt, task.started_ms) == (True, 0, None), told()
        return
    reason = task.error.reason if task.error else ""
    match behaviour(task.id):
        case Behaviour.OK | Behaviour.THROTTLED | Behaviour.FLAKY:
            assert task.state is TaskState.SUCCEEDED, told()
            assert task.result == b'"%d"' % task.no, told()
            assert task.attempt == (2 if behaviour(task.id) is Behaviour.FLAKY else 1), told()
            assert task.preempted <= PREEMPTED_MAX, told()
        case Behaviour.HOPELESS:
            assert (task.state, reason, task.attempt) == (
                TaskState.FAILED,
                OutcomeKind.HANDLER_ERROR,
                MAX_ATTEMPTS,
            ), told()
        case Behaviour.REFUSED:
            assert (task.state, reason, task.attempt) == (TaskState.FAILED, OutcomeKind.NON_RETRYABLE, 1), told()
        case Behaviour.CRASHER:
            assert (task.state, reason, task.crashes) == (TaskState.FAILED, POISON, MAX_CRASHES), told()


def _replay_equals_live(simulation: Simulation, live: State) -> None:
    """Folding the journal gives what the living shard has come to."""
    replayed = folded(MemoryJournal(simulation.store), LIMITS).state
    check(replayed)
    check_same(replayed, live)
