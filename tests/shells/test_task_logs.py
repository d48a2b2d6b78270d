"""Tasks' logs on their way: from attempts to their node's spool, from there to the store, and back to whoever asks."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from helpers.spooling import AT_ONCE, NOW_MS, NodeOfLogs, ended, logs_in, new_task, say, text
from helpers.unreliable_objects import UnreliableObjects
from taskservice.actors.log_keeper import LogKeeper
from taskservice.actors.log_sweeper import LogSweeper
from taskservice.actors.network import Network, node_of, settings_on
from taskservice.actors.task_logs import LOST, ClusterNodes, LocalNodes, TaskLogs, read_waiting, watch_log
from taskservice.config import Settings
from taskservice.core.types import OutcomeKind, RunnerId, TaskNo, TaskState, TenantId, Token
from taskservice.errors import BackOffError, ServiceBug
from taskservice.logs.chosen import Wanted
from taskservice.logs.stored import CUT_OFF
from taskservice.objects import ObjectStore, StoreError
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.memory import MemoryObjects

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return MemoryObjects() if request.param == "memory" else DirectoryObjects(tmp_path / "state")


@pytest.fixture
async def node(anyio_backend: str, tmp_path: Path, store: ObjectStore) -> NodeOfLogs:
    return NodeOfLogs(tmp_path / "node", store)


class Counted(MemoryObjects):
    """Counts what is asked of it, and the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {"put": 0, "get": 0, "bytes": 0}

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        self.calls["put"] += 1
        return super().put_if_absent(key, data)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        data = super().get(key, start, end)
        self.calls["get"] += 1
        self.calls["bytes"] += len(data)
        return data


async def test_a_log_outlives_its_node(node: NodeOfLogs) -> None:
    """Seconds after the attempt its folder may be lost: the log is in the store."""
    task = new_task()
    book = node.lease(task)
    say(book, "hello\n")
    task = ended(book, task)
    assert text(logs_in(node.store, node.root), task) == "hello\n", "before it is stored, from the node"
    assert await node.store_all() == 1
    shutil.rmtree(node.root)
    assert text(logs_in(node.store, node.root), task) == "hello\n"


async def test_what_was_not_stored_yet_is_lost_and_that_is_said(node: NodeOfLogs) -> None:
    task = new_task()
    book = node.lease(task)
    say(book, "hello\n")
    task = ended(book, task)
    shutil.rmtree(node.root)
    assert text(logs_in(node.store, node.root), task) == f"[{LOST}]\n"


async def test_ten_thousand_tasks_that_say_one_line_make_one_object(anyio_backend: str, tmp_path: Path) -> None:
    """And one of them is read with two requests and a block, whatever else is there."""
    store = Counted()
    node = NodeOfLogs(tmp_path / "node", store)
    tasks = [new_task(no) for no in range(1, 10_001)]
    for start in range(0, len(tasks), 100):
        batch = tasks[start : start + 100]
        book = node.lease(*batch, seq=start + 1)
        for task in batch:
            say(book, f"line of {task.no}\n", task.no)
        log = book.store([task.no for task in batch])
        tasks[start : start + 100] = [
            msgspec.structs.replace(task, log=log, state=TaskState.SUCCEEDED) for task in batch
        ]
    assert await node.store_all() == 1
    assert store.calls["put"] == 1
    for task in (tasks[0], tasks[5_555], tasks[-1]):
        store.calls.update(get=0, bytes=0)
        assert text(logs_in(store, tmp_path), task) == f"line of {task.no}\n"
        assert store.calls["get"] <= 2
        assert store.calls["bytes"] < 60_000


async def test_tasks_that_say_nothing_make_none(node: NodeOfLogs) -> None:
    task = new_task()
    assert ended(node.lease(task), task).log == ""
    assert await node.store_all() == 0
    assert list(node.store.list("")) == []


async def test_all_attempts_are_read_in_order_wherever_they_ran(
    tmp_path: Path, store: ObjectStore, node: NodeOfLogs
) -> None:
    """Two in one bundle, one on another node; one that said nothing stands in between."""
    other = NodeOfLogs(tmp_path / "other", store, "other")
    task = new_task()
    for seq, where, said in ((1, node, "one\n"), (2, node, "two\n"), (3, other, ""), (4, other, "four\n")):
        neighbour = new_task(2)
        book = where.lease(task, neighbour, seq=seq)
        say(book, "neighbour\n", 2)
        if said:
            say(book, said)
        book.close(_failed(2))
        task = _retrying(task, book.store([TaskNo(1), TaskNo(2)]))
    await node.store_all()
    await other.store_all()
    logs = logs_in(store, node.root)
    shown = "--- run 1, attempt 1 ---\none\n--- run 1, attempt 2 ---\ntwo\n--- run 1, attempt 4 ---\nfour\n"
    assert text(logs, task) == shown
    assert text(logs, task, Wanted(run=1, attempt=2)) == "two\n"
    assert text(logs, task, Wanted(tail=1)) == "four\n"


def _failed(no: int):
    from taskservice.core.lease_wire import Outcome  # noqa: PLC0415

    return Outcome(TaskNo(no), OutcomeKind.SUCCEEDED)


def _retrying(task, log: str):
    return msgspec.structs.replace(task, log=log, state=TaskState.RETRYING, attempt=task.attempt + 1)


async def test_a_part_of_the_time_is_read_and_no_more(anyio_backend: str, tmp_path: Path) -> None:
    """Attempts before it are not fetched."""
    store = Counted()
    node = NodeOfLogs(tmp_path / "node", store)
    task = new_task()
    for seq in range(1, 11):
        book = node.lease(task, seq=seq)
        say(book, f"attempt {seq}\n", at_ms=NOW_MS + seq * 1_000)
        task = _retrying(task, book.store([task.no]))
        await node.store_all()
    store.calls["get"] = 0
    wanted = Wanted(since_ms=NOW_MS + 10_000, until_ms=NOW_MS + 11_000)
    assert text(logs_in(store, node.root), task, wanted) == "attempt 10\n"
    assert store.calls["get"] == 2, "its own, and the first that is older"


async def test_a_long_attempt_is_stored_while_it_runs_and_in_one_piece_when_it_is_over(node: NodeOfLogs) -> None:
    """Piece by piece, of which the newest that is stored is told; the last one has it all."""
    task = new_task()
    book = node.lease(task, ages=AT_ONCE)
    told: list[tuple[TaskNo, str]] = []
    for line in range(40):
        say(book, f"line {line}\n")
        book.look()
        await node.store_all()
        told += book.stored()
    assert len(told) == 40
    assert told == sorted(told, key=lambda each: int(each[1].rpartition("-")[2]))
    lost = msgspec.structs.replace(task, log=told[-1][1], state=TaskState.RETRYING)
    lines = "".join(f"line {line}\n" for line in range(40))
    assert text(logs_in(node.store, node.root), lost) == f"{lines}[{CUT_OFF}]\n"
    say(book, "end\n")
    done = ended(book, task)
    await node.store_all()
    for info in node.store.list("tasklog/"):
        if not info.key.endswith(f"{int(done.log.rpartition('-')[2]):09d}"):
            node.store.delete([info.key])
    assert text(logs_in(node.store, node.root), done) == f"{lines}end\n", "the last piece is enough"
    assert list((node.keeper.folder / "live").iterdir()) == []


async def test_a_lost_attempt_costs_no_more_than_a_bounded_number_of_reads(anyio_backend: str, tmp_path: Path) -> None:
    """However many pieces there were: now and then they are put into one again."""
    store = Counted()
    node = NodeOfLogs(tmp_path / "node", store)
    task = new_task()
    book = node.lease(task, ages=AT_ONCE)
    for line in range(200):
        say(book, f"line {line}\n")
        book.look()
        await node.store_all()
    ((_, log),) = book.stored()
    store.calls["get"] = 0
    shown = text(logs_in(store, node.root), msgspec.structs.replace(task, log=log, state=TaskState.RETRYING))
    assert shown.count("line") == 200
    assert store.calls["get"] <= 2 * 17


async def test_a_page_is_followed_while_its_attempt_runs(node: NodeOfLogs) -> None:
    logs = logs_in(node.store, node.root)
    task = msgspec.structs.replace(new_task(), state=TaskState.RUNNING, token=Token(1, 1))
    book = node.lease(task)
    assert await logs.running(task, node.runner) is None
    assert await logs.live(task, node.runner, 0, 0.0) == await logs.live(task, None, 0, 0.0)
    say(book, "one\n")
    book.look()
    part = await logs.live(task, node.runner, 0, 0.0)
    assert [each.text for each in part.written] == [b"one\n"]
    say(book, "two\n")
    book.look()
    more = await logs.live(task, node.runner, part.at, 0.0)
    assert [each.text for each in more.written] == [b"two\n"]
    running = await logs.running(task, node.runner)
    assert running is not None
    assert [each.text for each in running.written] == [b"one\n", b"two\n"]
    ended(book, task)
    assert not (await logs.live(task, node.runner, more.at, 5.0)).there, "it does not wait for what is over"


async def test_of_a_process_that_died_its_runner_keeps_what_was_on_the_page(node: NodeOfLogs) -> None:
    task = new_task()
    book = node.lease(task)
    say(book, "last words\n")
    book.look()
    ((no, log),) = node.keeper.salvage(Token(1, 1), [task.no, TaskNo(2)])
    await node.store_all()
    assert no == task.no
    assert text(logs_in(node.store, node.root), _retrying(task, log)) == "last words\n"
    assert node.keeper.salvage(Token(1, 1), [task.no]) == []


async def test_what_a_dead_runner_left_is_stored_by_the_next_one(
    tmp_path: Path, store: ObjectStore, node: NodeOfLogs
) -> None:
    """Under the place that was told; and its folder is gone. A runner that lives is left alone."""
    task = new_task()
    book = node.lease(task)
    say(book, "left behind\n")
    task = ended(book, task)
    living = NodeOfLogs(node.root, store, "next")
    await living.keeper.run_once()
    assert list(store.list("tasklog/")) == []
    node.keeper._spool.close()
    living.seconds += 100
    assert (await living.keeper.run_once()).stored == 1
    assert not node.keeper.folder.exists()
    assert text(logs_in(store, node.root), task) == "left behind\n"


async def test_at_its_end_a_runner_stores_all_there_is(node: NodeOfLogs) -> None:
    task = new_task()
    book = node.lease(task)
    say(book, "bye\n")
    task = ended(book, task)
    await node.keeper.close()
    assert not node.keeper.folder.exists()
    assert text(logs_in(node.store, node.root), task) == "bye\n"


async def test_while_the_store_is_away_logs_wait_and_the_oldest_are_dropped_with_a_mark(
    anyio_backend: str, tmp_path: Path
) -> None:
    """The task, and others, have their logs in their places when it is back; only the text of the oldest is gone."""
    store = UnreliableObjects()
    node = NodeOfLogs(tmp_path / "node", store, buffer_bytes_max=25_000)
    store.refusing.add("put")
    tasks = []
    for no in range(1, 6):
        task = new_task(no)
        book = node.lease(task, seq=no)
        say(book, f"{no}" * 10_000 + "\n", no)
        tasks.append(ended(book, task))
        with suppress(StoreError):
            await node.keeper.run_once()
        node.seconds += 5.0
        with pytest.raises(StoreError):
            await node.keeper.run_once()
    store.refusing.clear()
    assert (await node.keeper.run_once()).stored == 5
    shown = [text(logs_in(store, node.root), task) for task in tasks]
    mark = "[10001 bytes of this log were dropped: the store was away, and log_buffer_bytes_max is 25000]\n"
    assert shown == [mark, mark, mark, "4" * 10_000 + "\n", "5" * 10_000 + "\n"]


async def test_a_store_that_is_away_is_no_empty_log(anyio_backend: str, tmp_path: Path) -> None:
    store = UnreliableObjects()
    store.away = 1
    with pytest.raises(BackOffError, match="logs cannot be read now"):
        logs_in(store, tmp_path).stored(new_task(log="20261130-abc-1"), Wanted())


async def test_old_logs_are_removed_and_that_is_said(node: NodeOfLogs) -> None:
    """By the day of their bundles: no others are looked at."""
    task = new_task()
    book = node.lease(task)
    say(book, "old\n")
    task = ended(book, task)
    await node.store_all()
    keep_s = 86_400.0 * 3
    assert await LogSweeper(node.store, 0.0, lambda: NOW_MS + 99 * DAY_MS).run_once() == 0
    assert await LogSweeper(node.store, keep_s, lambda: NOW_MS + 3 * DAY_MS).run_once() == 0
    assert await LogSweeper(node.store, keep_s, lambda: NOW_MS + 4 * DAY_MS).run_once() == 1
    later = logs_in(node.store, node.root, keep_s, NOW_MS + 4 * DAY_MS)
    assert text(later, task) == "[this log was removed: logs are kept for 3 days (logs_keep_s)]\n"


async def test_a_tenant_reads_none_but_its_own(node: NodeOfLogs) -> None:
    """Even if a task's row said where another's log is; stored or not."""
    task = new_task()
    book = node.lease(task)
    say(book, "secret\n")
    task = ended(book, task)
    thief = msgspec.structs.replace(task, tenant=TenantId("thief"))
    logs = logs_in(node.store, node.root)
    assert (text(logs, task), text(logs, thief)) == ("secret\n", "")
    await node.store_all()
    assert (text(logs, task), text(logs, thief)) == ("secret\n", "")


async def test_other_machines_are_asked_for_what_is_not_stored(
    tmp_path: Path, store: ObjectStore, node: NodeOfLogs
) -> None:
    here = LocalNodes(tmp_path / "here")

    def ask(wanted, method, place, no):
        assert (method, wanted(node.runner), wanted(RunnerId("runner:1:node:xyz"))) == ("read_waiting", True, False)
        return {node.runner: answer if answer is not None else read_waiting(node.root, place, no)}

    async def follow(runner, no, epoch, seq, at, wait_s):
        assert runner == node.runner
        return await watch_log(node.keeper.folder, TaskNo(no), Token(epoch, seq), at, wait_s)

    logs = TaskLogs(lambda: store, ClusterNodes(here, ask, follow), 0.0)
    answer = None
    task = new_task()
    book = node.lease(task)
    say(book, "far away\n")
    book.look()
    running = msgspec.structs.replace(task, state=TaskState.RUNNING, token=Token(1, 1))
    assert [each.text for each in (await logs.live(running, node.runner, 0, 0.0)).written] == [b"far away\n"]
    task = ended(book, task)
    assert text(logs, task) == "far away\n"
    answer = "no answer"
    assert text(logs, task) == "[what runner:1:node:abc has of this log cannot be read now: no answer]\n"


async def test_a_bundle_is_named_by_the_day_on_which_it_is_written(anyio_backend: str, tmp_path: Path) -> None:
    """An idle node opens another one each day: or what it writes then would be removed too early."""
    now_ms = [NOW_MS]
    store = MemoryObjects()
    keeper = LogKeeper(tmp_path, "abc", lambda: store, lambda: now_ms[0])
    await keeper.run_once()
    before = (keeper.folder / "open").readlink()
    now_ms[0] += DAY_MS
    await keeper.run_once()
    after = (keeper.folder / "open").readlink()
    assert (str(before), str(after)) == ("20261130-abc-1", "20261201-abc-2")
    await keeper.run_once()
    assert sorted(path.name for path in keeper.folder.iterdir()) == sorted([str(after), "live", "open", "owner"])


async def test_a_spool_that_somebody_removes_is_made_again(node: NodeOfLogs) -> None:
    """Seen by hand: the runner had ended with an error, and with it all its tasks."""
    for seq, gone in enumerate([node.root / "abc", node.keeper.folder / "open", node.keeper.folder], 1):
        shutil.rmtree(gone.resolve() if gone.name == "open" else gone)
        await node.keeper.run_once()
        task = new_task(seq)
        book = node.lease(task, seq=seq)
        say(book, "hello\n", seq)
        task = ended(book, task)
        await node.store_all()
        assert text(logs_in(node.store, node.root), task) == "hello\n"


def test_other_machines_keep_their_files_in_a_folder_of_their_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", state_dir="s3://bucket/prefix")
    network = Network("near", b"secret")
    assert settings_on("near", settings, network) == settings_on("far", settings, None) == settings
    far = settings_on("far", settings, network, tmp_path)
    assert far.home.parent == tmp_path
    assert far.home.stat().st_mode & 0o777 == 0o700
    assert (far.state_dir, far.service_log) == (settings.state_dir, far.home / "logs" / "service.log")
    assert settings_on("further", settings, network, tmp_path) == far
    far.home.chmod(0o755)
    with pytest.raises(ServiceBug, match="only this user can enter"):
        settings_on("far", settings, network, tmp_path)


def test_a_token_is_not_shown_and_a_runners_name_says_its_node() -> None:
    assert "secret" not in repr(Network("near", b"secret"))
    assert node_of(RunnerId("runner:1:far:b")) == "far"
