"""The children of one worker process, kept warm between leases."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from taskservice.code.cache import CodeCache, HeldCode
from taskservice.code.store import code_in
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind
from taskservice.runtime.fitting import ChildKey, key_of
from taskservice.runtime.memory import OomKills
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import MEANWHILE_S, Child, LoadError
from taskservice.runtime.process_env import devices
from taskservice.runtime.scratch import Scratch, scratch_root
from taskservice.runtime.secret_files import NoSecret, SecretFiles
from taskservice.values import ValueLost, ValuesAway

CROWD_S_MIN = 0.02
"""A lease that was over sooner has not left many processes or threads behind."""


class ChildPool:
    """Idle children by what they can be used for, the least recently used first."""

    def __init__(self, options: RuntimeOptions) -> None:
        """What supervisors before have left of their children's files is removed meanwhile."""
        self._options = options
        store = code_in(options.state_dir)
        self._code = CodeCache(Path(options.code_dir), store, options.code_unpacked_bytes_max, options.code_unused_s)
        self._idle: dict[ChildKey, Child] = {}
        self._secrets = SecretFiles(Path(options.secrets_dir))
        self._scratch = Scratch(scratch_root(options))
        self.oom_kills = OomKills()
        threading.Thread(target=self._scratch.sweep, daemon=True).start()

    def take(self, spec: LeaseSpec, meanwhile: Callable[[], None]) -> Child:
        """A child for this lease with the bundle's app imported: a warm one that has most left of what the lease may use, or a new
        one. It knows the secrets that the function has declared. Raises as `Child.load` does."""
        key = key_of(spec, devices(os.environ), self._options)
        try:
            secrets = self._secrets.values(spec.tenant, spec.secrets)
        except NoSecret as error:
            raise LoadError(str(error), "") from None
        child = self._warm(key, spec.resources.memory_bytes) or self.new(key, meanwhile)
        child.taken_s = time.monotonic()
        if secrets:
            child.give_secrets(secrets)
        return child

    def _warm(self, key: ChildKey, memory_bytes: int) -> Child | None:
        child = self._idle.pop(key, None)
        if child is not None and not (child.alive() and child.has_left(memory_bytes)):
            child.close()
            return None
        return child

    def new(self, key: ChildKey, meanwhile: Callable[[], None]) -> Child:
        """A new child with the bundle's app imported. Raises as `Child.load` does."""
        child = Child(key, self._options, self._scratch, self._held(key.bundle, meanwhile))
        try:
            child.load(self._options.load_timeout_s, meanwhile)
        except BaseException:
            child.close()
            raise
        return child

    def _held(self, bundle: Bundle, meanwhile: Callable[[], None]) -> HeldCode | None:
        """The bundle's code on this machine, fetched if need be; None if it has a folder of its own."""
        if not bundle.sha256:
            return None
        held = self._code.here(bundle)
        if held is not None:
            return held
        threads = ThreadPoolExecutor(1, "code")
        try:
            fetching = threads.submit(self._code.fetch, bundle)
            while not wait([fetching], MEANWHILE_S).done:
                meanwhile()
            return fetching.result()
        except ValuesAway as error:
            raise LoadError(f"its code cannot be fetched: {error}", "", OutcomeKind.STORE_AWAY) from error
        except ValueLost as error:
            raise LoadError(f"its code is lost, deploy it again: {error}", "") from error
        except OSError as error:
            raise LoadError(f"its code cannot be unpacked on this machine: {error}", "") from error
        finally:
            threads.shutdown(wait=False)

    def give(self, child: Child) -> None:
        """The child is idle, and may be taken again, unless others would have too little room beside what was left in it."""
        if time.monotonic() - child.taken_s > CROWD_S_MIN and child.is_crowded(self._options.processes_max):
            child.close()
            return
        child.slots.wipe()
        self._idle[child.key] = child
        while len(self._idle) > self._options.children_max:
            oldest = next(iter(self._idle))
            self._idle.pop(oldest).close()

    def close(self) -> None:
        """All idle children have ended, and their files are gone."""
        for child in self._idle.values():
            child.close()
        self._idle.clear()
        self._scratch.close()
