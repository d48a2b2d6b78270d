"""Which submitted tasks are accepted, which are known already, and which are refused, and why."""

from __future__ import annotations

from taskservice.core.decision import Decision
from taskservice.core.effects import ItemAnswer, ItemsAnswer, ItemStatus, Refusal
from taskservice.core.events import Submitted
from taskservice.core.past import Past
from taskservice.core.records import TasksAccepted
from taskservice.core.specs import FunctionSpec, Tenant
from taskservice.core.state import State
from taskservice.core.types import FunctionName, NewTask, Task, TaskId, TaskNo, TaskState
from taskservice.core.values import digest, same


def admit(state: State, event: Submitted, now_ms: int) -> Decision:
    """Each item is accepted, a duplicate, or refused with its reason; a bad one refuses itself alone."""
    tenant = state.tenants.get(event.tenant)
    if tenant is None:
        return Decision(answer=ItemsAnswer(tuple(_unknown_tenant(event, task) for task in event.tasks)))
    ids = [task.id for task in event.tasks]
    known: dict[TaskId, Task] = state.table.find(event.tenant, ids)
    past: dict[TaskId, Past] = state.table.past.find(event.tenant, [id for id in ids if id not in known])
    room = _room(state, tenant)
    accepted: list[Task] = []
    items: list[ItemAnswer] = []
    for new in event.tasks:
        before = known.get(new.id)
        if before is not None:
            items.append(_known(new, before, reject=event.reject_duplicates))
            continue
        gone = past.get(new.id)
        if gone is not None:
            items.append(_known_in_history(new, gone, reject=event.reject_duplicates))
            continue
        refused = _refusal(state, tenant, new, now_ms, full=room is not None and len(accepted) >= room)
        if refused is not None:
            items.append(refused)
            continue
        task = _task(state, tenant, new, TaskNo(state.next_no + len(accepted)), now_ms)
        accepted.append(task)
        known[new.id] = task
        items.append(ItemAnswer(new.id, ItemStatus.ACCEPTED, task))
    records = (TasksAccepted(now_ms, tuple(accepted)),) if accepted else ()
    return Decision(records, ItemsAnswer(tuple(items)))


def _room(state: State, tenant: Tenant) -> int | None:
    """How many tasks more the tenant may have unfinished; None: any number."""
    if tenant.queued_max is None:
        return None
    return tenant.queued_max - state.unfinished.get(tenant.id, 0)


def _unknown_tenant(event: Submitted, new: NewTask) -> ItemAnswer:
    message = f"there is no tenant {event.tenant!r}"
    return ItemAnswer(new.id, ItemStatus.REFUSED, refusal=Refusal.UNKNOWN_TENANT, message=message)


def _known(new: NewTask, before: Task, *, reject: bool) -> ItemAnswer:
    same_payload = same(before.payload, new.payload)
    refused = _conflict(new, before.function, same_payload=same_payload) or _rejected(new, reject=reject)
    return _with_task(new, refused, before, None)


def _known_in_history(new: NewTask, before: Past, *, reject: bool) -> ItemAnswer:
    same_payload = before.digest == digest(new.payload)
    refused = _conflict(new, before.function, same_payload=same_payload) or _rejected(new, reject=reject)
    return _with_task(new, refused, None, before)


def _conflict(new: NewTask, function: FunctionName, *, same_payload: bool) -> tuple[Refusal, str] | None:
    if new.function == function and same_payload:
        return None
    what = "payload" if new.function == function else "function"
    message = f"task {new.id!r} is known with another {what}; choose another id, or send what was sent first"
    return Refusal.CONFLICT, message


def _rejected(new: NewTask, *, reject: bool) -> tuple[Refusal, str] | None:
    return (Refusal.DUPLICATE, f"task {new.id!r} is known, and on_conflict is reject") if reject else None


def _with_task(new: NewTask, refused: tuple[Refusal, str] | None, task: Task | None, past: Past | None) -> ItemAnswer:
    if refused is None:
        return ItemAnswer(new.id, ItemStatus.DUPLICATE, task, past=past)
    return ItemAnswer(new.id, ItemStatus.REFUSED, task, *refused, past=past)


def _refusal(state: State, tenant: Tenant, new: NewTask, now_ms: int, *, full: bool) -> ItemAnswer | None:
    def refused(why: Refusal, message: str, limit: int | None = None) -> ItemAnswer:
        return ItemAnswer(new.id, ItemStatus.REFUSED, refusal=why, message=message, limit=limit)

    function = state.functions.get(new.function)
    if function is None:
        return refused(Refusal.UNKNOWN_FUNCTION, f"there is no function {new.function!r}")
    attempts_max = function.retry.max_attempts
    if new.max_attempts is not None and new.max_attempts > attempts_max:
        message = f"max_attempts {new.max_attempts} is above the function's limit of {attempts_max}"
        return refused(Refusal.ATTEMPTS_ABOVE_LIMIT, message, attempts_max)
    if new.timeout_ms is not None and new.timeout_ms > function.timeout_ms:
        message = f"timeout {new.timeout_ms} ms is above the function's limit of {function.timeout_ms} ms"
        return refused(Refusal.TIMEOUT_ABOVE_LIMIT, message, function.timeout_ms)
    ttl_ms, wait_ms = _ttl_ms(new, function), _due_ms(new, now_ms) - now_ms
    if ttl_ms is not None and wait_ms >= ttl_ms:
        whose = "its ttl" if new.ttl_ms is not None else "its function's ttl"
        message = f"it is due in {wait_ms} ms, and would have expired by then: {whose} is {ttl_ms} ms"
        return refused(Refusal.EXPIRES_UNDUE, message, ttl_ms)
    if full:
        message = f"tenant {tenant.id!r} has as many unfinished tasks as it may (queued_max {tenant.queued_max})"
        return refused(Refusal.QUEUED_MAX, message, tenant.queued_max)
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
        expires_ms=None if ttl_ms is None else now_ms + ttl_ms,
    )


def _due_ms(new: NewTask, now_ms: int) -> int:
    due_ms = now_ms if new.run_at_ms is None else new.run_at_ms
    if new.delay_ms is not None:
        due_ms = now_ms + new.delay_ms
    return max(now_ms, due_ms)


def _ttl_ms(new: NewTask, function: FunctionSpec) -> int | None:
    return function.ttl_ms if new.ttl_ms is None else new.ttl_ms
