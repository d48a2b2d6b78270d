"""A service in the foreground, from its start to its end. What runs it (Ray) is handed in."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from taskservice.cli.daemon import ServiceReady, claimed, write_client_file
from taskservice.cli.sample import sample_command
from taskservice.client.discovery import read_client_file
from taskservice.config import Settings
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.errors import RequestError

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - recognised here, not bound to
"""Addresses to listen on that cannot be connected to, and the one that can."""


class RunningService(Protocol):
    """What `actors.deploy.Service` is to us."""

    @property
    def url(self) -> str: ...

    @property
    def functions(self) -> Sequence[FunctionSpec]: ...

    @property
    def tenants(self) -> str: ...

    @property
    def ray_temp_dir(self) -> Path | None: ...

    def ensure_key(self, secret: str | None) -> str: ...

    def wait(self, stop: threading.Event) -> None: ...

    def stop(self) -> None: ...


Start = Callable[[Settings, Sequence[Bundle]], RunningService]


def serve(
    settings: Settings, bundles: Sequence[Bundle], start: Start, on_ready: Callable[[ServiceReady], None]
) -> None:
    """The service has run until a signal said stop, and nothing of it is left.

    Raises ConflictError if the home has a running service already, and whatever `start` and the service raise.
    """
    with own_signals(), claimed(settings) as claim:
        stop = threading.Event()
        stop_on_signals(stop, ready=False)
        try:
            service = start(settings, bundles)
        except SystemExit as error:  # of Ray's handler for SIGTERM, which it puts in the place of ours
            raise KeyboardInterrupt from error
        stop_on_signals(stop, ready=True)  # again: Ray has put its own handler there
        try:
            known_key = _known_key(settings)
            key = service.ensure_key(known_key)
            url = _reachable(settings, service.url)
            write_client_file(settings, url, key)
            claim.tell(url, None if service.ray_temp_dir is None else str(service.ray_temp_dir))
            on_ready(_ready(url, service, None if key == known_key else key))
            service.wait(stop)
        finally:
            log.info("stopping")
            service.stop()


@contextmanager
def own_signals() -> Generator[None]:
    """What happens at SIGINT and SIGTERM may be changed meanwhile; afterwards it is what it was."""
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def stop_on_signals(stop: threading.Event, *, ready: bool) -> None:
    """SIGINT and SIGTERM set `stop`. Before the service is ready, and the second time, they interrupt at once."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not ready or stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


def _known_key(settings: Settings) -> str | None:
    """The key that this machine's clients have from last time; what they have is kept if it still opens."""
    try:
        place = read_client_file(settings.client_file)
    except RequestError as error:
        log.warning("%s It is written anew.", error)
        return None
    return None if place is None else place.api_key


def _reachable(settings: Settings, url: str) -> str:
    """The URL for clients of this machine."""
    reachable = EVERY_INTERFACE.get(settings.host)
    return url if reachable is None else f"http://{reachable}:{settings.port}"


def _ready(url: str, service: RunningService, new_key: str | None) -> ServiceReady:
    functions = service.functions
    first = functions[0] if functions else None
    try_next = "" if first is None else sample_command(first.name, json.loads(first.payload_schema))
    return ServiceReady(url, tuple(function.name for function in functions), try_next, new_key, service.tenants)
