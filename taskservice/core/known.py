"""What is said of a submitted task whose id is known already."""

from __future__ import annotations

from taskservice.core.bulk import deletions, may_come_to
from taskservice.core.effects import ItemAnswer, ItemStatus, Refusal
from taskservice.core.past import Past
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, FunctionName, NewTask, Task
from taskservice.core.values import digest, same


def may_go(state: State, new: NewTask, before: Task) -> ItemAnswer | None:
    """A refusal if an operation may still delete the task, though not as it is now: nobody can say yet that it is known."""
    if before.state in TERMINAL_STATES:
        return None
    operation = next((each for each in deletions(state) if may_come_to(each, before)), None)
    if operation is None:
        return None
    message = f"operation {operation.id} may still delete task {new.id!r}; submit it again when that is done"
    return ItemAnswer(new.id, ItemStatus.REFUSED, before, Refusal.OPERATION_AHEAD, message, retry_after_ms=1_000)


def known_here(new: NewTask, before: Task, *, reject: bool) -> ItemAnswer:
    """A duplicate of a task in the table, or a refusal."""
    same_payload = same(before.payload, new.payload)
    refused = _conflict(new, before.function, same_payload=same_payload) or _rejected(new, reject=reject)
    return _with_task(new, refused, before, None)


def known_in_history(new: NewTask, before: Past, *, reject: bool) -> ItemAnswer:
    """A duplicate of a task in history, or a refusal."""
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
