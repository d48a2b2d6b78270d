"""What runs in the service's long-lived Ray processes: each class builds one of the parts from the settings, in place.

`deploy` makes them actors. Ray runs their constructor anew after a crash, so everything that has to happen at a start
happens there. A loop that ends by an error takes its process with it: a part that is half alive helps nobody.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from msgspec import structs

from taskservice.actors.archiver import Archiver
from taskservice.actors.callback_http import CallbackHttp
from taskservice.actors.callbacks import CallbackSender
from taskservice.actors.code_keeper import StoredCode
from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.far_lines import (
    line_to_dispatcher,
    line_to_runner,
    listen_to_dispatcher,
    listen_to_runners,
)
from taskservice.actors.fleet import Fleet, FleetOptions
from taskservice.actors.gateway import HttpServer
from taskservice.actors.keeper import Keeper
from taskservice.actors.line_ports import LineDispatcher, LineRunners, refuse_callers, serve_dispatcher, serve_runner
from taskservice.actors.log_keeper import KeeperOptions as LogKeeperOptions
from taskservice.actors.log_keeper import LogKeeper
from taskservice.actors.log_sweeper import LogSweeper
from taskservice.actors.network import Network, settings_on
from taskservice.actors.process_options import archiver_options, dispatcher_options, gateway_settings, keeper_options
from taskservice.actors.ray_port import RayCluster, RayRunner, ask_runners, restarted, this_node
from taskservice.actors.remover import Remover
from taskservice.actors.runner import LeaseLauncher, Runner
from taskservice.actors.scaling import autoscaler
from taskservice.actors.sweeper import Sweeper, SweeperOptions
from taskservice.actors.task_logs import ClusterNodes, LocalNodes, TaskLogs, read_waiting, session_of, watch_log
from taskservice.actors.tcp_line import Address
from taskservice.autoscaler.loop import Autoscaler
from taskservice.code.store import CodeStore, code_in
from taskservice.config import Settings
from taskservice.core.effects import StatusAnswer
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import RunnerId, TaskNo, TenantId, Token
from taskservice.errors import BackOffError
from taskservice.gateway.logs import LogReader
from taskservice.history.reader import HistoryReader
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.failures import check_room
from taskservice.journal.opening import open_state
from taskservice.journal.recovery import recover
from taskservice.journal.store.place import take_place
from taskservice.journal.tenure import Superseded, Tenure
from taskservice.objects.location import open_objects
from taskservice.values import Values, values_in

log = logging.getLogger(__name__)

DISPATCHER = "dispatcher"
"""Name of the dispatcher's actor."""
GATEWAY = "gateway"
"""Name of the gateway's actor."""

START_AGAIN_S = 2.0
"""Between two attempts to start again after a crash."""
DRAIN_MARGIN_S = 10.0
"""What a runner gets, besides the leases' grace, to end those that go on, and to make their last reports durable."""


class DispatcherProcess(Dispatcher):
    """A dispatcher with its journal, its table and its fleet."""

    _autoscaler: Autoscaler | None = None

    async def __init__(  # type: ignore[misc]  # Ray awaits it, so that loops can be started here
        self,
        settings: Settings,
        spawn_runner: Callable[[Settings, RunnerId, str, Network | None], None],
        network: Network | None = None,
    ) -> None:
        """The shard is as its journal says, and the fleet's work has begun.

        Raises JournalError if this is the first start; after a crash it is tried again until it works.
        """
        _log_to_file(settings)
        only_node = None if network else this_node()
        cluster = RayCluster(lambda runner, node: spawn_runner(settings, runner, node, network), only_node)
        again = await asyncio.to_thread(restarted)
        try:
            await asyncio.to_thread(self._open, settings, again, network)
        except Superseded as error:
            log.warning("%s", error)
            whole = superseded_file(settings).with_suffix(".draft")
            whole.write_text(str(error))
            whole.rename(superseded_file(settings))
            self._server = await refuse_callers(run_dir(settings), BackOffError(str(error), code="superseded"))
            await asyncio.Event().wait()  # until the service ends, which looks at that file
        except Exception as error:
            if again:
                # Whoever started the service is not there to be told, and the disk may have room again soon.
                log.exception("the dispatcher cannot start, trying on")
                why = f"the dispatcher cannot start: {error}"
                refusal = BackOffError(why, retry_after_s=START_AGAIN_S, code="dispatcher_away")
                self._server = await refuse_callers(run_dir(settings), refusal)
                await asyncio.sleep(START_AGAIN_S)
                _die(error)
            raise
        freeze_heap()
        self.start()
        self._server = await serve_dispatcher(self, run_dir(settings))
        self._far_server, self._address = await listen_to_runners(self, network)
        self._settings = settings
        self._cluster = cluster
        fleet_options = FleetOptions(
            silence_s=settings.runner_silence_ms / 1000, join_timeout_s=settings.ready_timeout_s
        )
        self._fleet = Fleet(cluster, self.emit, self.heard, lambda: uuid.uuid4().hex[:8], fleet_options)
        self._fleet_loop = end_with(asyncio.create_task(self._fleet.run()))
        sweeper = Sweeper(
            self._values,
            self.references,
            self._state.ownership.check,
            SweeperOptions(age_s=settings.orphan_age_s),
            now_ms=now_ms,
        )
        self._sweeper_loop = end_with(asyncio.create_task(sweeper.run(_die)))
        code_sweeper = Sweeper(
            CodeStore(lambda: self._state.store),
            self.code_referred,
            self._state.ownership.check,
            SweeperOptions(age_s=settings.orphan_age_s),
            now_ms=now_ms,
        )
        self._code_sweeper_loop = end_with(asyncio.create_task(code_sweeper.run(_die)))
        archiver = Archiver(
            self.ask,
            self._state.store,
            self._state.journal.epoch,
            lambda: uuid.uuid4().hex[:8],
            archiver_options(settings),
        )
        self._archiver_loop = end_with(asyncio.create_task(archiver.run()))
        log_sweeper = LogSweeper(self._state.store, settings.logs_keep_s, now_ms)
        self._log_sweeper_loop = end_with(asyncio.create_task(log_sweeper.run()))
        if settings.autoscaler is not None:
            self._autoscaler = autoscaler(settings.autoscaler, self.backlog, self._fleet)
            self._autoscaler_loop = end_with(asyncio.create_task(self._autoscaler.run()))

    async def status(self, tenant: TenantId | None = None) -> StatusAnswer:
        """See `DispatcherPort`; with what the autoscaler wants."""
        answer = await super().status(tenant)
        if self._autoscaler is None:
            return answer
        plan = self._autoscaler.plan
        return structs.replace(answer, machines=plan.kinds, places=plan.shapes)

    async def where(self) -> Address | None:
        """Where runners of other machines call."""
        return self._address

    def _open(self, settings: Settings, again: bool, network: Network | None = None) -> None:
        for path in (settings.home, *([Path(settings.state_dir)] if settings.state_is_local else [])):
            check_room(path)
        if not again:
            superseded_file(settings).unlink(missing_ok=True)
        self._state = state = open_state(
            settings.state_dir,
            now_ms=now_ms,
            in_flight_max=settings.commits_max,
            file_bytes_max=settings.journal_file_bytes_max,
            proven=again,
            tenure=Tenure(run_dir(settings) / "claims", again=again),
        )
        self._values = Values(lambda: state.store, now_ms)
        journal, stop = self._state.journal, threading.Event()
        checkpointer = Checkpointer(self._state.store, journal, self._state.ownership, now_ms=now_ms, stop=stop)
        manifest = self._state.ownership.manifest
        path = take_place(settings.home, settings.state_dir, journal.epoch).path
        recovered = recover(journal, manifest, checkpointer, path, settings.core_limits(), now_ms())
        log.info("epoch %d: %s, and %d segments after it", journal.epoch, recovered.source, recovered.segments)
        runners = LineRunners(run_dir(settings), partial(line_to_runner, network))
        super().__init__(
            journal,
            recovered.shard,
            runners.launch,
            _die,
            dispatcher_options(settings),
            keeper=lambda wake, failed: Keeper(
                recovered.table, path, checkpointer, stop, wake, failed, keeper_options(settings)
            ),
            remover=Remover(self._values),
            order=runners.order,
        )

    async def drain(self) -> None:
        """No lease starts any more; those that ran have ended, by the end of their grace, and what they reported is
        durable."""
        self._fleet_loop.cancel()
        self._sweeper_loop.cancel()
        self._code_sweeper_loop.cancel()
        self._archiver_loop.cancel()
        self._log_sweeper_loop.cancel()
        if self._autoscaler is not None:
            self._autoscaler_loop.cancel()
            await self._autoscaler.close()
        grace_s = self._settings.stop_grace_s
        ports = [self._cluster.port(id) for id in self._fleet.drain_all()]
        results = await asyncio.gather(
            *(port.drain(round(grace_s * 1000), grace_s + DRAIN_MARGIN_S) for port in ports), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                log.warning("a runner could not be drained: %s", result)


class RunnerProcess(Runner):
    """A runner that starts leases as Ray tasks."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it, so that loops can be started here
        self,
        settings: Settings,
        id: RunnerId,
        node: str,
        launcher: Callable[[Settings, RunnerId, str, Path], LeaseLauncher],
        network: Network | None = None,
    ) -> None:
        """The runner reports to the dispatcher from now on."""
        settings = settings_on(node, settings, network)
        _log_to_file(settings)
        self._logs = LogKeeper(
            logs_dir(settings),
            session_of(id),
            partial(open_objects, settings.state_dir),
            now_ms,
            LogKeeperOptions(buffer_bytes_max=settings.log_buffer_bytes_max),
        )
        super().__init__(
            id,
            # The runner itself tries on, for as long as it takes.
            LineDispatcher(run_dir(settings), patience_s=0, line=line_to_dispatcher(DISPATCHER, node, network)),
            launcher(settings, id, node, self._logs.folder),
            heartbeat_ms=settings.runner_heartbeat_ms,
            salvage=self._logs.salvage,
        )
        self._server = await serve_runner(self, run_dir(settings))
        self._address = await listen_to_dispatcher(self._server, node, network)
        self._loop = end_with(asyncio.create_task(self.run()))
        self._logs_loop = end_with(asyncio.create_task(self._logs.run()))

    async def drain(self, grace_ms: int) -> None:
        """See `Runner.drain`. The logs are stored then, or wait on this machine."""
        await super().drain(grace_ms)
        self._logs_loop.cancel()
        await self._logs.close()

    async def where(self) -> Address | None:
        """Where a dispatcher on another machine calls."""
        return self._address

    async def read_waiting(self, place: str, no: TaskNo) -> bytes:
        """What a task has in a bundle that waits on this node, for `ClusterNodes`."""
        return await asyncio.to_thread(read_waiting, self._logs.folder.parent, place, no)

    async def watch_log(self, no: TaskNo, epoch: int, seq: int, at: int, wait_s: float) -> bytes:
        """What comes on the page of an attempt that runs here, for `ClusterNodes`."""
        return await watch_log(self._logs.folder, no, Token(epoch, seq), at, wait_s)

    async def until_death(self) -> None:
        """Never returns: the call ends with the process."""
        await asyncio.Event().wait()


class GatewayProcess(HttpServer):
    """The HTTP API."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it, as above
        self,
        settings: Settings,
        inspect: Callable[[Settings, str, Bundle], Awaitable[list[FunctionSpec]]],
        network: Network | None = None,
        alone: str = "",
    ) -> None:
        """Requests are answered from now on. Raises RequestError if the address cannot be had. `inspect`: looks into a bundle, by
        a task on this node. `alone`: see `GatewaySettings`."""
        _log_to_file(settings)
        dispatcher = LineDispatcher(run_dir(settings), patience_s=settings.commit_timeout_s)
        super().__init__(
            dispatcher,
            replace(gateway_settings(settings), tenant_alone=alone),
            logs_of(settings, network),
            values_in(settings.state_dir, settings.value_timeout_s),
            HistoryReader(partial(open_objects, settings.state_dir)),
            settings.host,
            settings.port,
            StoredCode(code_in(settings.state_dir), partial(inspect, settings, this_node())),
        )
        end_with(self.start())
        http = CallbackHttp(
            timeout_s=settings.callback_timeout_s,
            at_once_max=settings.callbacks_at_once_max,
            private_networks=settings.callback_private_networks,
        )
        sender = CallbackSender(dispatcher, http.post, settings.callbacks_at_once_max)
        self._callbacks_loop = end_with(asyncio.create_task(sender.run()))

    async def ready(self) -> None:
        """It is there to be called."""


def logs_of(settings: Settings, network: Network | None) -> LogReader:
    """The logs of tasks, wherever they ran."""
    here = LocalNodes(logs_dir(settings))
    nodes = here if network is None else ClusterNodes(here, ask_runners, _follow_log)
    return TaskLogs(partial(open_objects, settings.state_dir), nodes, settings.logs_keep_s)


async def _follow_log(runner: RunnerId, no: int, epoch: int, seq: int, at: int, wait_s: float) -> bytes:
    answer: bytes = await RayRunner(runner, patience_s=0.0).ask("watch_log", no, epoch, seq, at, wait_s)
    return answer


YOUNG_OBJECTS = 10_000
"""How many objects are made before the collector looks at them. With its own 700 it looked seven times while a batch of a
thousand tasks was handled, at objects that all stay: an eighth of the dispatcher's time (`bench/decisions.py`)."""


def freeze_heap() -> None:
    """What the process has made so far is never looked through for garbage again, and what it makes from now on less often.
    The 100,000 objects of what is imported made each full collection take 35 to 60 ms, in which nobody was served."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


def now_ms() -> int:
    """The time, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def run_dir(settings: Settings) -> Path:
    """Where the service's processes answer each other."""
    return settings.home / "run"


def superseded_file(settings: Settings) -> Path:
    """Says which other service has the state now; it is there only if one has."""
    return run_dir(settings) / "superseded"


def logs_dir(settings: Settings) -> Path:
    """Where the logs of tasks are."""
    return settings.home / "logs" / "tasks"


def end_with(loop: asyncio.Task[None]) -> asyncio.Task[None]:
    """If this task ends by an error, the process ends with it. Gives the task."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a loop has failed, and ends the process", exc_info=error)
            _die(error)

    loop.add_done_callback(ended)
    return loop


def _die(error: BaseException) -> None:
    """The process ends at once; Ray starts it again if it is one that is kept."""
    log.error("the process ends: %s", error)
    logging.shutdown()
    os._exit(1)


def _log_to_file(settings: Settings) -> None:
    """What this process logs goes to the service's log: Ray's own files are gone when the service has stopped."""
    settings.service_log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=settings.service_log,
        level=settings.log_level.upper(),
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for talkative in ("uvicorn", "botocore", "boto3", "urllib3"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
