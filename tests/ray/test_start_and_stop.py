"""Starting and stopping: what is refused, what is left behind, and what a later start finds."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from msgspec.structs import replace

from helpers.on_ray import APP, Gate, asked, runs
from helpers.ports import free_port
from taskservice.actors import deploy
from taskservice.actors.ray_env import RayFolder
from taskservice.config import Settings
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, NewTask, Task, TaskId, TaskState
from taskservice.errors import BackOffError, RequestError
from taskservice.journal.local import LocalJournal


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", port=free_port(), cpus=1, runner_heartbeat_ms=100, stop_grace_s=0.1, lease_ahead_max=0
    )


@pytest.fixture(autouse=True)
def _nothing_is_left(settings: Settings) -> object:
    """No process, no folder, no lock, whatever the test did."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process not in before and runs(process)]
    assert not left
    deploy.listening_socket(settings.host, settings.port).close()
    assert not any(folder.is_dir() for folder in Path("/tmp").glob("taskservice-*/ray/session_*") if mine(folder))


def mine(folder: Path) -> bool:
    """Whether this process has started that Ray: its id is the end of the session's name."""
    return folder.name.endswith(f"_{psutil.Process().pid}")


def ask_for(id: TaskId) -> Task | None:
    return asked("get", DEFAULT_TENANT, id, 20.0).task


def test_stopped_in_the_midst_of_work_it_continues_after_the_next_start(settings: Settings, gate: Gate) -> None:
    """The task that ran is stopped after its grace and handed back uncharged; the one that waited waits on."""
    service = deploy.start(settings, [APP])
    try:
        key = service.ensure_key(None)
        running = NewTask(TaskId("running"), FunctionName("chores.hold"), json.dumps({"gate": gate.folder}).encode())
        waiting = NewTask(TaskId("waiting"), FunctionName("chores.double"), b'{"x": 4}')
        asked("submit", DEFAULT_TENANT, [running])
        worker = gate.arrived()
        asked("submit", DEFAULT_TENANT, [waiting])
        with pytest.raises(BackOffError, match="another service is running from"):
            RayFolder(settings.home)
    finally:
        service.stop()
    gate.closed()
    assert not runs(worker)

    service = deploy.start(settings, [])
    try:
        assert service.ensure_key(key) == key
        gate.arrived()
        gate.release()
        first, second = ask_for(running.id), ask_for(waiting.id)
        assert first is not None
        assert second is not None
        assert (first.state, first.result, first.attempt, first.losses) == (TaskState.SUCCEEDED, b'"through"', 1, 0)
        assert (second.state, second.result) == (TaskState.SUCCEEDED, b"8")
    finally:
        service.stop()


def test_a_port_in_use_is_refused_before_anything_is_started(settings: Settings) -> None:
    in_use = f"port {settings.port} of 127.0.0.1 is in use"
    with socket.create_server((settings.host, settings.port)), pytest.raises(RequestError, match=in_use):
        deploy.start(settings, [APP])
    assert not settings.home.exists()


def test_an_app_that_cannot_be_loaded_is_refused_with_its_traceback(settings: Settings) -> None:
    with pytest.raises(RequestError) as refused:
        deploy.start(settings, [replace(APP, module="no_such_module")])
    assert "no_such_module" in refused.value.message + refused.value.detail


def test_a_journal_that_another_process_has_is_refused_in_words(settings: Settings) -> None:
    other = LocalJournal(Path(settings.state_dir) / "journal")
    try:
        with pytest.raises(RequestError, match=r"the dispatcher could not start.*JournalLocked") as refused:
            deploy.start(settings, [APP])
    finally:
        other.close()
    assert refused.value.detail == "", "an error in words needs no traceback"


def test_a_dispatcher_that_waits_for_its_store_is_given_up_with_what_to_look_at(settings: Settings) -> None:
    async def wait() -> None:
        silent = SimpleNamespace(status=SimpleNamespace(remote=asyncio.get_running_loop().create_future))
        await deploy._ready(silent, "status", "dispatcher", impatient)

    impatient = settings.model_copy(update={"ready_timeout_s": 0.05, "state_dir": "s3://bucket/prod"})
    with pytest.raises(BackOffError, match=r"ready_timeout_s.*doctor --state-dir s3://bucket/prod"):
        asyncio.run(wait())


SERVE = """
import sys, threading
from taskservice.actors import deploy
from taskservice.config import Settings
deploy.start(Settings.model_validate_json(sys.argv[1]), [])
print("ready", flush=True)
threading.Event().wait()
"""


def test_after_a_service_was_killed_the_next_start_ends_what_it_left(settings: Settings) -> None:
    """Ray's processes outlive their driver for a while, the dispatcher among them, which has the journal."""
    first = subprocess.Popen([sys.executable, "-c", SERVE, settings.model_dump_json()], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"ready\n"
    others = psutil.Process(first.pid).children(recursive=True)
    first.stdout.close()
    first.kill()
    first.wait()
    service = deploy.start(settings, [])
    try:
        assert not any(runs(process) for process in others)
    finally:
        service.stop()
