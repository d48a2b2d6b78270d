"""The part of `Client` that asks the scheduler to explain itself, and tells it how to treat tenants, functions, downstreams, classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar, Unpack

from taskservice.client import callbacks, deploys, settings
from taskservice.client.conversation import Talk
from taskservice.client.settings import ClassChanges, DownstreamChanges, FunctionChanges, TenantLimits
from taskservice.client.steps import Conversation, JsonObject, JsonObjects, Request

T = TypeVar("T")


class Operating(ABC):
    """For a client to inherit."""

    _talk: Talk

    @abstractmethod
    def _run(self, conversation: Conversation[T]) -> T:
        """The conversation's end."""

    def _object(self, request: Request) -> JsonObject:
        return self._run(self._talk.ask_object(request))

    def why(self, id: str) -> JsonObject:
        """Why the task does not run yet: `gate` names what keeps it, `reasons` all that is closed to it; `rank`, `before`, and
        `estimated_start` (`p50`, `p90`, `how`). Raises NotFoundError."""
        return self._object(settings.why(id))

    def timeline(self, id: str) -> JsonObject:
        """What the task has gone through: `stages`, each time of waiting with its cause, and `spent_s`. Raises NotFoundError."""
        return self._object(settings.timeline(id))

    def usage(self, *, tenant: str | None = None) -> JsonObject:
        """Shares, quotas, rates, windows, budgets and queues: one's own, or for admins everybody's or that tenant's."""
        return self._object(settings.usage(tenant))

    def metrics(self) -> str:
        """What is counted, of all tenants, in Prometheus's text format. For keys with the scope metrics or admin."""
        return self._run(self._talk.ask_text(Request("GET", "/metrics")))

    def function(self, name: str) -> JsonObject:
        """The function's schema, its limits, and what an operator has set. Raises NotFoundError."""
        return self._object(settings.find("functions", name))

    def change_function(self, name: str, **changes: Unpack[FunctionChanges]) -> JsonObject:
        """The function is treated like that from now on; what is not named stays. For admins. Raises NotFoundError."""
        return self._object(settings.change("functions", name, changes))

    def pause_function(self, name: str) -> JsonObject:
        """None of the function's tasks starts; what runs goes on. For admins. Raises NotFoundError."""
        return self.change_function(name, paused=True)

    def resume_function(self, name: str) -> JsonObject:
        """The function's tasks start again. For admins. Raises NotFoundError."""
        return self.change_function(name, paused=False)

    def downstreams(self) -> JsonObjects:
        """All downstreams with their windows."""
        return self._run(self._talk.ask_list("downstreams"))

    def downstream(self, name: str) -> JsonObject:
        """The downstream's window, and what an operator has set. Raises NotFoundError."""
        return self._object(settings.find("downstreams", name))

    def change_downstream(self, name: str, **changes: Unpack[DownstreamChanges]) -> JsonObject:
        """Its window is bounded, or frozen, like that; what is not named stays. For admins. Raises NotFoundError."""
        return self._object(settings.change("downstreams", name, changes))

    def classes(self) -> JsonObjects:
        """All priority classes, the most urgent first."""
        return self._run(self._talk.ask_list("classes"))

    def change_class(self, priority: str, **changes: Unpack[ClassChanges]) -> JsonObject:
        """The priority class has that weight and quota; what is not named stays. For admins."""
        return self._object(settings.change("classes", priority, changes))

    def tenants(self) -> JsonObjects:
        """All tenants. For admins."""
        return self._run(self._talk.ask_list("tenants"))

    def tenant(self, id: str) -> JsonObject:
        """One tenant. For admins. Raises NotFoundError."""
        return self._object(settings.find("tenants", id))

    def create_tenant(self, id: str, **limits: Unpack[TenantLimits]) -> JsonObject:
        """The tenant exists. For admins. Raises ConflictError if it did before."""
        return self._object(settings.create_tenant(id, limits))

    def change_tenant(self, id: str, **limits: Unpack[TenantLimits]) -> JsonObject:
        """The tenant has these limits; what is not named stays. For admins. Raises NotFoundError."""
        return self._object(settings.change("tenants", id, limits))

    def deliveries(self, id: str) -> JsonObject:
        """The callbacks of the task (`deliveries`), with each attempt and when the next one is, and their `endpoint`. Raises NotFoundError."""
        return self._object(callbacks.deliveries(id))

    def redeliver(self, id: str) -> JsonObject:
        """The end of the task is told again, under the same `webhook-id`. Raises NotFoundError, and ConflictError if nobody is to be told."""
        return self._object(callbacks.redeliver(id))

    def callback_endpoints(self, *, tenant: str | None = None) -> JsonObjects:
        """The endpoints of callbacks that fail or are disabled, and why; for admins `*`: of all tenants."""
        found: JsonObjects = (self._object(callbacks.endpoints(tenant)))["endpoints"]
        return found

    def enable_callback_endpoint(self, origin: str, *, tenant: str | None = None) -> JsonObject:
        """The endpoint is told again what it is owed."""
        return self._object(callbacks.enable_endpoint(origin, tenant))

    def rotate_callback_secret(self, *, tenant: str | None = None) -> JsonObject:
        """A new `secret` that callbacks are signed with, which is shown this once; the one before signs as well until `previous_until`."""
        return self._object(callbacks.rotate_secret(tenant))

    def deploy(self, archive: bytes, app: str, *, canary: float | None = None) -> JsonObject:
        """The code in the archive (see `taskservice deploy`) is a version of its app `MODULE:NAME`: new leases run it, or the part of
        them that `canary` says. For admins. Raises RequestError, with a traceback in `detail`, if it cannot be loaded."""
        return self._object(deploys.deploy(archive, app, canary))

    def apps(self) -> JsonObjects:
        """All apps that have been deployed, with their versions. For admins."""
        found: JsonObjects = (self._object(deploys.listing()))["apps"]
        return found

    def app(self, name: str) -> JsonObject:
        """The app with its versions, the newest first. For admins. Raises NotFoundError."""
        return self._object(deploys.find(name))

    def promote(self, app: str) -> JsonObject:
        """The app's canary is current. For admins. Raises ConflictError if there is none."""
        return self._object(deploys.promote(app))

    def roll_back(self, app: str, version: str | None = None) -> JsonObject:
        """The app's canary is over; or the version that is named, or the one before, is current again. For admins."""
        return self._object(deploys.roll_back(app, version))
