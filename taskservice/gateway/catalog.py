"""A gateway's replica of the tenants, keys, functions and policies, so that a request is judged without asking anybody."""

from __future__ import annotations

import asyncio
import difflib
import hmac
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import jsonschema_rs
import msgspec

from taskservice.core.effects import CatalogAnswer
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Tenant, policy_key
from taskservice.core.types import FunctionName, TenantId
from taskservice.errors import BackOffError, ServiceBug
from taskservice.gateway.keys import hash_secret, may_be_secret
from taskservice.gateway.problems import UNKNOWN_FUNCTION, FieldError, Problem
from taskservice.gateway.settings import GatewaySettings

_LOG = logging.getLogger(__name__)
_MESSAGE_CHARS_MAX = 300
_NAMES_MAX = 20
_NAMES_COMPARED_MAX = 500
_PAUSE_S_MAX = 5.0


class KnownFunction:
    """A function and its payload's validator, compiled when it is first needed."""

    __slots__ = ("spec", "validator")

    def __init__(self, spec: FunctionSpec, known: KnownFunction | None) -> None:
        self.spec = spec
        self.validator: jsonschema_rs.Validator | None = None
        if known is not None and known.spec.payload_schema == spec.payload_schema:
            self.validator = known.validator

    def payload_errors(self, payload: object, errors_max: int) -> list[FieldError]:
        """What is wrong with the payload by the function's JSON Schema, at most `errors_max` things; empty: nothing."""
        if self.validator is None:
            self.validator = self._compile()
        if self.validator.is_valid(payload):
            return []
        errors = itertools.islice(self.validator.iter_errors(payload), errors_max)
        return [FieldError(_json_path(one.instance_path), one.message[:_MESSAGE_CHARS_MAX]) for one in errors]

    def _compile(self) -> jsonschema_rs.Validator:
        try:
            # Offline: a schema that refers to a URL must not make the gateway fetch it.
            return jsonschema_rs.validator_for(msgspec.json.decode(self.spec.payload_schema), offline=True)
        except (ValueError, msgspec.DecodeError) as error:
            message = f"The payload schema of {self.spec.name} cannot be used: deploy the function again."
            raise ServiceBug(message, code="bad_schema", detail=str(error)) from error


def _json_path(path: Sequence[str | int]) -> str:
    return "$.payload" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


class CatalogSource(Protocol):
    """The part of `DispatcherPort` that a replica is made from."""

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> CatalogAnswer | None: ...


class Catalog:
    """The replica. `run` keeps it fresh; what it does not know, it asks for once a second at most before it says no."""

    def __init__(
        self, source: CatalogSource, settings: GatewaySettings, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._settings = settings
        self._clock_s = clock_s
        self._lock = asyncio.Lock()
        self._refreshed_s: float | None = None
        self._asked = 0
        self._answered = 0
        self._reachable = False
        self.version = -1
        self.tenants: dict[TenantId, Tenant] = {}
        self.keys: dict[str, ApiKey] = {}
        self.functions: dict[FunctionName, KnownFunction] = {}
        self.policies: dict[tuple[str, str], Policy] = {}
        """What operators have set: see `specs.policy_key`."""
        self.changing = asyncio.Lock()
        """Held by whoever changes something by what it was before."""
        self._keys_by_hash: dict[bytes, ApiKey] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a catalog and the dispatcher answered when it was last asked."""
        return self._answered > 0 and self._reachable

    async def run(self) -> None:
        """Keeps the replica fresh until it is cancelled."""
        while True:
            try:
                await self.run_once(self._settings.catalog_wait_s)
            except BackOffError as error:
                await asyncio.sleep(min(error.retry_after_s, _PAUSE_S_MAX))
            except Exception:
                _LOG.exception("the catalog could not be fetched; trying again")
                await asyncio.sleep(_PAUSE_S_MAX)

    async def run_once(self, wait_s: float = 0.0) -> int:
        """The replica is as new as the dispatcher's catalog; 1 if that took a change, which is waited for at most `wait_s`.

        An answer to an earlier question never replaces the answer to a later one.
        """
        self._asked += 1
        question = self._asked
        try:
            answer = await self._source.catalog(self.version, wait_s)
        except Exception:
            self._reachable = False
            raise
        self._reachable = True
        if answer is None or question < self._answered:
            return 0
        self._answered = question
        self._install(answer)
        return 1

    async def refresh(self) -> None:
        """The replica is at most `catalog_refresh_interval_s` old, however many ask for it at once."""
        async with self._lock:
            now_s = self._clock_s()
            last_s = self._refreshed_s
            if last_s is not None and now_s - last_s < self._settings.catalog_refresh_interval_s:
                return
            self._refreshed_s = now_s
            await self.run_once()

    def _install(self, answer: CatalogAnswer) -> None:
        self.version = answer.version
        self.tenants = {tenant.id: tenant for tenant in answer.tenants}
        self.keys = {key.id: key for key in answer.keys}
        self._keys_by_hash = {key.secret_sha256: key for key in answer.keys}
        self.policies = {policy_key(policy): policy for policy in answer.policies}
        self.functions = {spec.name: KnownFunction(spec, self.functions.get(spec.name)) for spec in answer.functions}

    async def key_of(self, secret: str) -> ApiKey | None:
        """The valid key that `secret` proves, if any. Raises BackOffError if nobody can tell at the moment."""
        if not may_be_secret(secret):
            return None
        sha256 = hash_secret(secret)
        key = self._keys_by_hash.get(sha256)
        if key is None:
            await self.refresh()
            key = self._keys_by_hash.get(sha256)
        if self._answered == 0:
            raise BackOffError("The gateway has not heard from its dispatcher yet.", code="not_ready")
        if key is None or key.revoked or not hmac.compare_digest(key.secret_sha256, sha256):
            return None
        return key

    async def function(self, name: str) -> KnownFunction | None:
        """The function of that name, if there is one."""
        known = self.functions.get(FunctionName(name))
        if known is None:
            await self.refresh()
            known = self.functions.get(FunctionName(name))
        return known

    def unknown_function(self, name: str, *, explain: bool = True) -> Problem:
        """A 422 that says which functions there are; `explain` also looks for the one that was meant."""
        names = sorted(self.functions)
        close = difflib.get_close_matches(name, names[:_NAMES_COMPARED_MAX], n=1) if explain else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        listed = ", ".join(names[:_NAMES_MAX]) + (", ..." if len(names) > _NAMES_MAX else "")
        known = f" Known functions: {listed}." if names else " No function is deployed yet."
        return Problem(UNKNOWN_FUNCTION, f"There is no function {name!r}.{hint}{known}")
