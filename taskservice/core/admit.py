"""Which submitted tasks are accepted, which are known already, and which are refused, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from taskservice.core.bulk import make_way
from taskservice.core.decision import Decision
from taskservice.core.effects import ItemAnswer, ItemsAnswer, ItemStatus, Refusal
from taskservice.core.events import Submitted
from taskservice.core.fair.lines import Name
from taskservice.core.known import known_here, known_in_history, may_go
from taskservice.core.past import Past
from taskservice.core.press import Pressing
from taskservice.core.records import TasksAccepted
from taskservice.core.resubmit import Reruns
from taskservice.core.specs import FunctionSpec, Tenant
from taskservice.core.state import State
from taskservice.core.types import (
    TERMINAL_STATES,
    FunctionName,
    Lane,
    NewTask,
    OnConflict,
    Task,
    TaskId,
    TaskNo,
    TaskState,
)
from taskservice.core.versions import app_of


class Unfit(NamedTuple):
    """Why a task cannot be accepted."""

    refusal: Refusal
    message: str
    limit: int | None = None
    """The value of the limit that refused it."""


def admit(state: State, event: Submitted, now_ms: int) -> Decision:
    """Each item is accepted, a duplicate, or refused with its reason; a bad one refuses itself alone."""
    tenant = state.tenants.get(event.tenant)
    if tenant is None:
        return Decision(answer=ItemsAnswer(tuple(_unknown_tenant(event, task) for task in event.tasks)))
    accepted: list[Task] = []
    known = find(state, tenant, [task.id for task in event.tasks])
    way = make_way(state, *known, now_ms)
    reject = event.on_conflict is OnConflict.REJECT
    reruns = Reruns(state, now_ms) if event.on_conflict is OnConflict.RERUN else None
    admission = Admission(state, tenant, known, accepted, now_ms, rated=True, reruns=reruns)
    items = tuple(admission.take(new, reject=reject) for new in event.tasks)
    again = () if reruns is None else reruns.records()
    records = (TasksAccepted(now_ms, tuple(accepted)),) if accepted else ()
    return Decision((*way, *again, *records), ItemsAnswer(items))


class Known(NamedTuple):
    """What there is of the ids that are asked about."""

    here: dict[TaskId, Task]
    past: dict[TaskId, Past]


def find(state: State, tenant: Tenant, ids: Sequence[TaskId]) -> Known:
    """The tenant's tasks of these ids, in the table and in history."""
    here = state.table.find(tenant.id, ids)
    return Known(here, state.table.past.find(tenant.id, [id for id in ids if id not in here]))


class Admission:
    """Tasks of a tenant that are taken one after another, each as if those before it were there already."""

    def __init__(
        self,
        state: State,
        tenant: Tenant,
        known: Known,
        accepted: list[Task],
        now_ms: int,
        *,
        rated: bool = False,
        bounded: bool = True,
        reruns: Reruns | None = None,
    ) -> None:
        """`known`: of all the ids that will be asked about. `accepted` is added to; there may be others' in it. `rated`: they may come
        only as fast as may be submitted. `bounded`: no more of them than the tenant has room for. `reruns`: what has ended begins its next run there."""
        self._state = state
        self._tenant = tenant
        self._accepted = accepted
        self._now_ms = now_ms
        self._known, self._past = known
        self._room = _room(state, tenant) if bounded else None
        self._rated = rated and bool(state.turns.gates.buckets)
        self._taken: Counter[Name] = Counter()
        self._bounded: dict[FunctionName, list[Name]] = {}
        """The gates before submits of each function, once that was asked."""
        self._pressing = Pressing(state)
        self._reruns = reruns

    def take(self, new: NewTask, *, reject: bool = False) -> ItemAnswer:
        """The task is accepted, known already (and refused if `reject`), or refused."""
        before = self._known.get(new.id)
        if before is not None:
            item = may_go(self._state, new, before) or known_here(new, before, reject=reject)
            return item if self._reruns is None else self._again(new, item, self._reruns)
        gone = self._past.get(new.id)
        if gone is not None:
            item = known_in_history(new, gone, reject=reject)
            return item if self._reruns is None else self._again(new, item, self._reruns)
        return self._refused(new) or self._taken_in(new, 1)

    def _again(self, new: NewTask, item: ItemAnswer, reruns: Reruns) -> ItemAnswer:
        """If the task that is known has ended: its next run, for which there has to be as much room as for a new task."""
        known, past = item.task, item.past
        ended = known or past
        if item.status is not ItemStatus.DUPLICATE or ended is None or ended.state not in TERMINAL_STATES:
            return item
        waits = None if known is None else reruns.refusal(known)
        if waits is not None:
            return ItemAnswer(new.id, ItemStatus.REFUSED, known, *waits)
        refused = self._refused(new)
        if refused is not None:
            return replace(refused, task=known, past=past)
        if past is not None:
            return self._taken_in(new, reruns.leave(past))
        assert known is not None, "what is known is here or in history"
        task = self._known[new.id] = reruns.begin(known)
        return ItemAnswer(new.id, ItemStatus.ACCEPTED, task)

    def _refused(self, new: NewTask) -> ItemAnswer | None:
        """Why there can be no run of it now; None: it has its place among those taken."""
        refused = unfit(self._state, new, self._now_ms) or self._no_room()
        if refused is not None:
            return ItemAnswer(new.id, ItemStatus.REFUSED, None, *refused)
        too_fast = self._too_fast(new) if self._rated else None
        if too_fast is None and self._room is not None:
            self._room -= 1
        return too_fast

    def _taken_in(self, new: NewTask, run: int) -> ItemAnswer:
        no = TaskNo(self._state.next_no + len(self._accepted))
        task = self._placed(_task(self._state, self._tenant, new, no, self._now_ms), new)
        if run > 1:
            task = replace(task, run=run)
        self._accepted.append(task)
        self._known[new.id] = task
        return ItemAnswer(new.id, ItemStatus.ACCEPTED, task)

    def unfinished(self, id: TaskId | None) -> bool:
        """Whether there is such a task, which has not ended."""
        task = None if id is None else self._known.get(id)
        return task is not None and task.state not in TERMINAL_STATES

    def _placed(self, task: Task, new: NewTask) -> Task:
        """The task, in an off-peak lane if it can wait, and if its deadline leaves time for that."""
        off_peak = self._state.functions[task.function].off_peak if new.off_peak is None else new.off_peak
        if not off_peak or not self._state.turns.gates.off_peak.limited:
            return task
        if task.deadline_ms is None:
            return replace(task, lane=Lane.OFF_PEAK)
        leaf = task.leaf._replace(lane=Lane.OFF_PEAK)
        press_ms = self._pressing.press_ms(leaf, task.deadline_ms, task.timeout_ms)
        return replace(task, lane=leaf.lane, press_ms=press_ms) if press_ms > task.due_ms else task

    def _too_fast(self, new: NewTask) -> ItemAnswer | None:
        """A refusal, or the task is counted among those taken."""
        gates = self._state.turns.gates
        bounded = self._bounded.get(new.function)
        if bounded is None:
            buckets = gates.submit_buckets(self._tenant.id, new.function)
            bounded = self._bounded[new.function] = [name for name, _ in buckets]
        if not bounded:
            return None
        reason = gates.submit_refusal(self._tenant.id, new.function, self._taken, self._now_ms)
        if reason is None:
            self._taken.update(bounded)
            return None
        message = f"tasks come faster than {reason.per_s:g} a second, and {reason.limit} at once ({reason.gate})"
        wait_ms = max(1, (reason.clears_ms or self._now_ms) - self._now_ms)
        why = (Refusal.SUBMIT_RATE, message, reason.limit)
        return ItemAnswer(new.id, ItemStatus.REFUSED, None, *why, retry_after_ms=wait_ms)

    def _no_room(self) -> Unfit | None:
        if self._room is None or self._room > 0:
            return None
        most = self._tenant.queued_max
        message = f"tenant {self._tenant.id!r} has as many unfinished tasks as it may (queued_max {most})"
        return Unfit(Refusal.QUEUED_MAX, message, most)


def _room(state: State, tenant: Tenant) -> int | None:
    """How many tasks more the tenant may have unfinished; None: any number."""
    if tenant.queued_max is None:
        return None
    return tenant.queued_max - state.unfinished.get(tenant.id, 0)


def _unknown_tenant(event: Submitted, new: NewTask) -> ItemAnswer:
    message = f"there is no tenant {event.tenant!r}"
    return ItemAnswer(new.id, ItemStatus.REFUSED, refusal=Refusal.UNKNOWN_TENANT, message=message)


def unfit(state: State, new: NewTask, now_ms: int) -> Unfit | None:
    """Why the service cannot run such a task, however much room there is; None if it can."""
    function = state.functions.get(new.function)
    if function is None:
        return Unfit(Refusal.UNKNOWN_FUNCTION, f"there is no function {new.function!r}")
    if function.missing:
        message = f"the current version of app {app_of(new.function)!r} has no function {new.function!r} any more"
        return Unfit(Refusal.UNKNOWN_FUNCTION, message)
    attempts_max = function.retry.max_attempts
    if new.max_attempts is not None and new.max_attempts > attempts_max:
        message = f"max_attempts {new.max_attempts} is above the function's limit of {attempts_max}"
        return Unfit(Refusal.ATTEMPTS_ABOVE_LIMIT, message, attempts_max)
    if new.timeout_ms is not None and new.timeout_ms > function.timeout_ms:
        message = f"timeout {new.timeout_ms} ms is above the function's limit of {function.timeout_ms} ms"
        return Unfit(Refusal.TIMEOUT_ABOVE_LIMIT, message, function.timeout_ms)
    ttl_ms, wait_ms = _ttl_ms(new, function), _due_ms(new, now_ms) - now_ms
    if ttl_ms is not None and wait_ms >= ttl_ms:
        whose = "its ttl" if new.ttl_ms is not None else "its function's ttl"
        message = f"it is due in {wait_ms} ms, and would have expired by then: {whose} is {ttl_ms} ms"
        return Unfit(Refusal.EXPIRES_UNDUE, message, ttl_ms)
    deadline_ms = _deadline_ms(new, function, now_ms)
    if deadline_ms is not None and wait_ms > 0 and deadline_ms <= now_ms + wait_ms:
        message = f"it is due in {wait_ms} ms, and its deadline is in {max(0, deadline_ms - now_ms)} ms"
        return Unfit(Refusal.DEADLINE_UNDUE, message)
    return None


def _task(state: State, tenant: Tenant, new: NewTask, no: TaskNo, now_ms: int) -> Task:
    function: FunctionSpec = state.functions[new.function]
    due_ms, ttl_ms = _due_ms(new, now_ms), _ttl_ms(new, function)
    return Task(
        no=no,
        id=TaskId(new.id),
        tenant=tenant.id,
        function=new.function,
        priority=new.priority or function.priority,
        state=TaskState.QUEUED if due_ms <= now_ms else TaskState.SCHEDULED,
        payload=new.payload,
        tags=new.tags,
        created_ms=now_ms,
        due_ms=due_ms,
        max_attempts=new.max_attempts or function.retry.max_attempts,
        timeout_ms=new.timeout_ms or function.timeout_ms,
        key=new.key if function.key_max_running is not None else "",
        expires_ms=None if ttl_ms is None else now_ms + ttl_ms,
        deadline_ms=_deadline_ms(new, function, now_ms),
        hooks=new.hooks,
        pin=state.apps.pin_of(function),
    )


def _due_ms(new: NewTask, now_ms: int) -> int:
    due_ms = now_ms if new.run_at_ms is None else new.run_at_ms
    if new.delay_ms is not None:
        due_ms = now_ms + new.delay_ms
    return max(now_ms, due_ms)


def _deadline_ms(new: NewTask, function: FunctionSpec, now_ms: int) -> int | None:
    if new.deadline_ms is not None:
        return new.deadline_ms
    in_ms = function.deadline_ms if new.deadline_in_ms is None else new.deadline_in_ms
    return None if in_ms is None else now_ms + in_ms


def _ttl_ms(new: NewTask, function: FunctionSpec) -> int | None:
    return function.ttl_ms if new.ttl_ms is None else new.ttl_ms
