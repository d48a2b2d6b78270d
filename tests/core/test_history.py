"""How tasks leave the table for history, what is answered about them then, and when they are forgotten."""

from __future__ import annotations

import pytest

from helpers.large import key, reference
from taskservice.core.effects import (
    AnswerValue,
    CountAnswer,
    EndedAnswer,
    FilesAnswer,
    ItemsAnswer,
    ItemStatus,
    KeysAnswer,
    ReferencesAnswer,
    Refusal,
    TaskAnswer,
    TasksAnswer,
)
from taskservice.core.events import (
    ChangeAsked,
    DropAsked,
    EndedAsked,
    Event,
    FileWritten,
    ForgetAsked,
    OldFileRead,
    ReferencesAsked,
    StrangersAsked,
    Submitted,
    TaskAsked,
    TasksListed,
    UnfinishedAsked,
)
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.past import DAY_MS, EndedKey, HistoryFile, WrittenTask
from taskservice.core.records import TasksArchived
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.story import story
from taskservice.core.types import FunctionName, ListFilter, NewTask, OnConflict, OutcomeKind, Task, TaskId, TaskState
from world.machine import Machine, bad, function, ok

LIMITS = Limits(retention_s=10, retention_failed_s=100, dedup_window_s=1_000, history_keep_s=2 * DAY_MS / 1000)


@pytest.fixture
def machine() -> Machine:
    machine = Machine(LIMITS)
    machine.register(function(), function("app.g"))
    machine.join(cpus=8)
    return machine


def ask(machine: Machine, kind: type, *arguments: object) -> AnswerValue:
    event: Event = kind(machine.next_ref(), *arguments)
    return machine.ask(event)


def ended(machine: Machine, *, dead: bool = False, after: EndedKey | None = None, limit: int = 100) -> tuple[Task, ...]:
    answer = ask(machine, EndedAsked, dead, after, limit, 10**9)
    assert isinstance(answer, EndedAnswer)
    return answer.tasks


def file_of(tasks: tuple[Task, ...], key: str = "history/a") -> HistoryFile:
    nos = [task.no for task in tasks]
    last_ms = max(task.ended_ms or 0 for task in tasks)
    return HistoryFile(key, last_ms // DAY_MS, min(nos), max(nos), len(nos), 100, last_ms)


def written(tasks: tuple[Task, ...], first_row: int = 0) -> tuple[WrittenTask, ...]:
    return tuple(WrittenTask(task.no, first_row + row, task.run, task.state) for row, task in enumerate(tasks))


def tell(machine: Machine, file: HistoryFile, rows: tuple[WrittenTask, ...], *, last: bool = True) -> int:
    answer = ask(machine, FileWritten, file, rows, last)
    assert isinstance(answer, CountAnswer)
    return answer.count


def archived(machine: Machine, *ids: str, key: str = "history/a") -> HistoryFile:
    """These tasks succeed, their time passes, and they are in history."""
    machine.run(*ids[:1])
    if ids[1:]:
        machine.submit(*ids[1:])
        machine.dispatch()
    for launch in machine.launches[-len(ids) :]:
        machine.succeed(launch.lease)
    machine.later(10_000)
    tasks = ended(machine)
    assert sorted(task.id for task in tasks) == sorted(ids)
    file = file_of(tasks, key)
    assert tell(machine, file, written(tasks)) == len(ids)
    return file


def look(machine: Machine, id: str) -> TaskAnswer:
    answer = ask(machine, TaskAsked, DEFAULT_TENANT, TaskId(id))
    assert isinstance(answer, TaskAnswer)
    return answer


def listed(machine: Machine, limit: int, before_no: int | None = None) -> tuple[list[int], int | None]:
    answer = ask(machine, TasksListed, ListFilter(), before_no, limit)
    assert isinstance(answer, TasksAnswer)
    page = [task.no for task in answer.tasks] + [task.no for task in answer.past]
    return sorted(page, reverse=True), answer.next_before_no


def test_a_task_stays_for_its_retention(machine: Machine) -> None:
    machine.succeed(machine.run("a"))
    machine.later(9_999)
    assert ended(machine) == ()
    machine.later(1)
    assert [task.id for task in ended(machine)] == ["a"]
    assert ended(machine, dead=True) == ()


def test_a_dead_letter_stays_for_longer(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    machine.later(99_999)
    assert ended(machine, dead=True) == ()
    machine.later(1)
    assert [task.id for task in ended(machine, dead=True)] == ["a"]
    assert ended(machine) == ()


def test_what_is_given_at_once_ended_on_one_day(machine: Machine) -> None:
    machine.later(DAY_MS - machine.now_ms % DAY_MS - 1)
    machine.submit("a")
    ask(machine, ChangeAsked, DEFAULT_TENANT, OperationKind.CANCEL, (TaskId("a"),))
    machine.later(1)
    machine.submit("b", "c")
    ask(machine, ChangeAsked, DEFAULT_TENANT, OperationKind.CANCEL, (TaskId("b"), TaskId("c")))
    machine.later(10_000)
    first = ended(machine)
    assert [task.id for task in first] == ["a"]
    assert ended(machine, after=EndedKey(first[0].ended_ms or 0, first[0].no)) == ()
    tell(machine, file_of(first), written(first))
    second = ended(machine, limit=1)
    assert [task.id for task in second] == ["b"]
    assert [task.id for task in ended(machine, after=EndedKey(second[0].ended_ms or 0, second[0].no))] == ["c"]


def test_a_task_in_history_is_answered_by_its_place(machine: Machine) -> None:
    file = archived(machine, "a", "b")
    answer = look(machine, "b")
    assert answer.task is None
    assert answer.past is not None
    assert (answer.past.state, answer.past.file, answer.past.row) == (TaskState.SUCCEEDED, file.key, 1)
    assert look(machine, "never") == TaskAnswer(None)
    machine.close()


def test_the_same_submit_is_a_duplicate_and_another_a_conflict(machine: Machine) -> None:
    archived(machine, "a")
    (same,) = machine.submit("a")
    assert (same.status, same.task, same.past) == (ItemStatus.DUPLICATE, None, look(machine, "a").past)
    (other,) = machine.submit("a", payload=b'"other"')
    assert (other.status, other.refusal) == (ItemStatus.REFUSED, Refusal.CONFLICT)
    assert "payload" in other.message
    (elsewhere,) = machine.submit("a", function="app.g")
    assert (elsewhere.refusal, "function" in elsewhere.message) == (Refusal.CONFLICT, True)
    new = NewTask(TaskId("a"), FunctionName("app.f"), b"{}")
    rejected = ask(machine, Submitted, DEFAULT_TENANT, (new,), OnConflict.REJECT)
    assert isinstance(rejected, ItemsAnswer)
    assert rejected.items[0].refusal is Refusal.DUPLICATE
    machine.close()


def test_a_batch_may_be_new_known_and_in_history(machine: Machine) -> None:
    archived(machine, "a")
    machine.submit("b")
    items = machine.submit("c", "a", "b", "c", "d")
    assert [item.status for item in items] == ["accepted", "duplicate", "duplicate", "duplicate", "accepted"]
    machine.close()


def test_cancelling_what_is_in_history(machine: Machine) -> None:
    archived(machine, "a")
    machine.submit("b")
    ask(machine, ChangeAsked, DEFAULT_TENANT, OperationKind.CANCEL, (TaskId("b"),))
    machine.later(10_000)
    tasks = ended(machine)
    tell(machine, file_of(tasks, "history/b"), written(tasks))
    answer = ask(machine, ChangeAsked, DEFAULT_TENANT, OperationKind.CANCEL, (TaskId("a"), TaskId("b"), TaskId("c")))
    assert isinstance(answer, ItemsAnswer)
    assert [(item.status, item.refusal) for item in answer.items] == [
        (ItemStatus.REFUSED, Refusal.ENDED),
        (ItemStatus.CANCELLED, None),
        (ItemStatus.REFUSED, Refusal.NOT_FOUND),
    ]
    assert answer.items[1].past is not None


def test_what_is_not_any_more_as_the_file_says_stays(machine: Machine) -> None:
    machine.run("a")
    machine.submit("b", "c")
    machine.dispatch()
    for launch in machine.launches[-3:]:
        machine.succeed(launch.lease)
    machine.later(10_000)
    tasks = ended(machine)
    a, b, c = written(tasks)
    rows = (a._replace(run=2), b._replace(state=TaskState.CANCELLED), c, WrittenTask(99, 3, 1, TaskState.SUCCEEDED))
    assert tell(machine, file_of(tasks), rows) == 1
    assert machine.states() == {"a": "succeeded", "b": "succeeded"}
    machine.close()


def test_a_file_that_was_half_told_is_told_again_to_the_end(machine: Machine) -> None:
    machine.run("a")
    machine.submit("b", "c")
    machine.dispatch()
    for launch in machine.launches[-3:]:
        machine.succeed(launch.lease)
    machine.later(10_000)
    tasks = ended(machine)
    file = file_of(tasks)
    assert ask(machine, UnfinishedAsked) == FilesAnswer(())
    assert tell(machine, file, written(tasks)[:2], last=False) == 2
    machine.restart()
    assert ask(machine, UnfinishedAsked) == FilesAnswer((file,))
    assert tell(machine, file, written(tasks)[:2], last=False) == 0
    assert tell(machine, file, written(tasks)[2:]) == 1
    assert ask(machine, UnfinishedAsked) == FilesAnswer(())
    assert tell(machine, file, written(tasks)[2:]) == 0, "told twice, it says nothing new"
    assert [record.last for record in machine.records if isinstance(record, TasksArchived)] == [True]
    machine.close()


def test_a_finished_file_takes_no_more(machine: Machine) -> None:
    machine.run("a")
    machine.submit("b")
    machine.dispatch()
    for launch in machine.launches[-2:]:
        machine.succeed(launch.lease)
    machine.later(10_000)
    tasks = ended(machine)
    assert tell(machine, file_of(tasks), written(tasks)[:1]) == 1
    assert tell(machine, file_of(tasks), written(tasks)[1:]) == 0
    assert machine.states() == {"b": "succeeded"}
    machine.close()


def test_tasks_for_history_are_given_before_all_else_is_durable_and_the_rest_after_it(machine: Machine) -> None:
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (NewTask(TaskId("a"), FunctionName("app.f"), b"{}"),)))
    machine.handle(EndedAsked(machine.next_ref(), False, None, 9, 9))
    machine.handle(UnfinishedAsked(machine.next_ref()))
    assert [type(effect.value) for effect in machine.shard.release()] == [EndedAnswer]
    assert [type(effect.value) for effect in machine.commit()] == [ItemsAnswer, FilesAnswer]


def test_an_end_without_a_task_finishes_a_file_that_is_known(machine: Machine) -> None:
    file = HistoryFile("history/none", 0, 1, 1, 1, 1, 1)
    tell(machine, file, (), last=True)
    assert ask(machine, StrangersAsked, (file.key,)) == KeysAnswer((file.key,))
    machine.succeed(machine.run("a"))
    machine.later(10_000)
    tasks = ended(machine)
    tell(machine, file_of(tasks), written(tasks), last=False)
    tell(machine, file_of(tasks), (), last=True)
    assert ask(machine, UnfinishedAsked) == FilesAnswer(())
    machine.close()


def test_ids_are_forgotten_after_the_window_and_new_then(machine: Machine) -> None:
    archived(machine, "a", "b", "c")
    machine.later(989_999)
    assert ask(machine, ForgetAsked, 9) == CountAnswer(0)
    machine.later(1)
    assert ask(machine, ForgetAsked, 2) == CountAnswer(2)
    assert ask(machine, ForgetAsked, 2) == CountAnswer(1)
    assert ask(machine, ForgetAsked, 2) == CountAnswer(0)
    assert look(machine, "a") == TaskAnswer(None)
    (again,) = machine.submit("a", payload=b'"other"')
    assert again.status is ItemStatus.ACCEPTED
    machine.close()


def test_files_are_dropped_a_whole_day_after_they_were_to_be_kept(machine: Machine) -> None:
    file = archived(machine, "a")
    machine.later(DAY_MS * 3 - machine.now_ms % DAY_MS - 1)
    assert ask(machine, DropAsked, 9) == FilesAnswer(()), "its tasks are known"
    ask(machine, ForgetAsked, 9)
    assert ask(machine, DropAsked, 9) == FilesAnswer(()), "its day is not over for long enough"
    machine.later(1)
    assert ask(machine, StrangersAsked, (file.key, "history/x")) == KeysAnswer(("history/x",))
    assert ask(machine, DropAsked, 9) == FilesAnswer((file,))
    assert ask(machine, OldFileRead, file.key, (), True) == CountAnswer(1)
    assert ask(machine, StrangersAsked, (file.key,)) == KeysAnswer((file.key,))
    assert ask(machine, DropAsked, 9) == FilesAnswer(())
    machine.close()


def test_large_values_stay_with_their_task_and_go_with_its_file(machine: Machine) -> None:
    keys = (key(1), key(2))
    lease = machine.run("a", payload=reference(1))
    machine.report(lease.token, ok(lease.tasks[0].no, reference(2)))
    machine.later(10_000)
    tasks = ended(machine)
    file = file_of(tasks)
    tell(machine, file, written(tasks))
    again = machine.submit("a", payload=reference(3))[0]
    assert (again.status, again.past and again.past.id) == (ItemStatus.DUPLICATE, "a"), "it is the same text elsewhere"
    assert ask(machine, OldFileRead, file.key, keys, True) == CountAnswer(0), "its task is known"
    assert ask(machine, ReferencesAsked, keys) == ReferencesAnswer(keys)
    machine.later(3 * DAY_MS)
    ask(machine, ForgetAsked, 9)
    assert ask(machine, OldFileRead, file.key, keys[:1], False) == CountAnswer(0)
    assert ask(machine, ReferencesAsked, keys) == ReferencesAnswer(keys[1:])
    assert ask(machine, DropAsked, 9) == FilesAnswer((file,)), "a crash between the two leaves it to be read again"
    assert ask(machine, OldFileRead, file.key, keys, True) == CountAnswer(1)
    assert ask(machine, ReferencesAsked, keys) == ReferencesAnswer(())
    assert ask(machine, OldFileRead, file.key, keys, True) == CountAnswer(0)
    machine.close()


def test_files_are_kept_for_ever_unless_said_otherwise() -> None:
    machine = Machine(Limits(retention_s=0, dedup_window_s=0))
    machine.register()
    machine.join()
    machine.succeed(machine.run("a"))
    tasks = ended(machine)
    tell(machine, file_of(tasks), written(tasks))
    assert ask(machine, ForgetAsked, 9) == CountAnswer(1)
    machine.later(1_000 * DAY_MS)
    assert ask(machine, DropAsked, 9) == FilesAnswer(())


def test_pages_go_on_into_history(machine: Machine) -> None:
    archived(machine, "a", "b", "c")
    machine.submit("d", "e")
    assert listed(machine, 2) == ([5, 4], 4)
    assert listed(machine, 3) == ([5, 4, 3], 3)
    assert listed(machine, 5) == ([5, 4, 3, 2, 1], None)
    assert listed(machine, 2, 4) == ([3, 2], 2)
    assert listed(machine, 2, 2) == ([1], None)


def test_the_story_of_a_task_goes_to_its_end(machine: Machine) -> None:
    file = archived(machine, "a")
    machine.later(1_000_000)
    ask(machine, ForgetAsked, 9)
    lines = story(machine.records, 1)
    assert f"archived as row 0 of {file.key}" in lines[-2]
    assert "forgotten" in lines[-1]
