"""The part of `AsyncClient` that asks the scheduler to explain itself, and tells it how to treat tenants, functions, downstreams, classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar, Unpack

from taskservice.client import callbacks, deploys, settings
from taskservice.client.conversation import Talk
from taskservice.client.settings import ClassChanges, DownstreamChanges, FunctionChanges, TenantLimits
from taskservice.client.steps import Conversation, JsonObject, JsonObjects, Request

T = TypeVar("T")


class AsyncOperating(ABC):
    """For a client to inherit."""

    _talk: Talk

    @abstractmethod
    async def _run(self, conversation: Conversation[T]) -> T:
        """The conversation's end."""

    async def _object(self, request: Request) -> JsonObject:
        return await self._run(self._talk.ask_object(request))

    async def why(self, id: str) -> JsonObject:
        """See `Client.why`."""
        return await self._object(settings.why(id))

    async def timeline(self, id: str) -> JsonObject:
        """See `Client.timeline`."""
        return await self._object(settings.timeline(id))

    async def usage(self, *, tenant: str | None = None) -> JsonObject:
        """See `Client.usage`."""
        return await self._object(settings.usage(tenant))

    async def metrics(self) -> str:
        """See `Client.metrics`."""
        return await self._run(self._talk.ask_text(Request("GET", "/metrics")))

    async def function(self, name: str) -> JsonObject:
        """See `Client.function`."""
        return await self._object(settings.find("functions", name))

    async def change_function(self, name: str, **changes: Unpack[FunctionChanges]) -> JsonObject:
        """See `Client.change_function`."""
        return await self._object(settings.change("functions", name, changes))

    async def pause_function(self, name: str) -> JsonObject:
        """See `Client.pause_function`."""
        return await self.change_function(name, paused=True)

    async def resume_function(self, name: str) -> JsonObject:
        """See `Client.resume_function`."""
        return await self.change_function(name, paused=False)

    async def downstreams(self) -> JsonObjects:
        """See `Client.downstreams`."""
        return await self._run(self._talk.ask_list("downstreams"))

    async def downstream(self, name: str) -> JsonObject:
        """See `Client.downstream`."""
        return await self._object(settings.find("downstreams", name))

    async def change_downstream(self, name: str, **changes: Unpack[DownstreamChanges]) -> JsonObject:
        """See `Client.change_downstream`."""
        return await self._object(settings.change("downstreams", name, changes))

    async def classes(self) -> JsonObjects:
        """See `Client.classes`."""
        return await self._run(self._talk.ask_list("classes"))

    async def change_class(self, priority: str, **changes: Unpack[ClassChanges]) -> JsonObject:
        """See `Client.change_class`."""
        return await self._object(settings.change("classes", priority, changes))

    async def tenants(self) -> JsonObjects:
        """See `Client.tenants`."""
        return await self._run(self._talk.ask_list("tenants"))

    async def tenant(self, id: str) -> JsonObject:
        """See `Client.tenant`."""
        return await self._object(settings.find("tenants", id))

    async def create_tenant(self, id: str, **limits: Unpack[TenantLimits]) -> JsonObject:
        """See `Client.create_tenant`."""
        return await self._object(settings.create_tenant(id, limits))

    async def change_tenant(self, id: str, **limits: Unpack[TenantLimits]) -> JsonObject:
        """See `Client.change_tenant`."""
        return await self._object(settings.change("tenants", id, limits))

    async def deliveries(self, id: str) -> JsonObject:
        """See `Client.deliveries`."""
        return await self._object(callbacks.deliveries(id))

    async def redeliver(self, id: str) -> JsonObject:
        """See `Client.redeliver`."""
        return await self._object(callbacks.redeliver(id))

    async def callback_endpoints(self, *, tenant: str | None = None) -> JsonObjects:
        """See `Client.callback_endpoints`."""
        found: JsonObjects = (await self._object(callbacks.endpoints(tenant)))["endpoints"]
        return found

    async def enable_callback_endpoint(self, origin: str, *, tenant: str | None = None) -> JsonObject:
        """See `Client.enable_callback_endpoint`."""
        return await self._object(callbacks.enable_endpoint(origin, tenant))

    async def rotate_callback_secret(self, *, tenant: str | None = None) -> JsonObject:
        """See `Client.rotate_callback_secret`."""
        return await self._object(callbacks.rotate_secret(tenant))

    async def deploy(self, archive: bytes, app: str, *, canary: float | None = None) -> JsonObject:
        """The code in the archive (see `taskservice deploy`) is a version of its app `MODULE:NAME`: new leases run it, or the part of
        them that `canary` says. For admins. Raises RequestError, with a traceback in `detail`, if it cannot be loaded."""
        return await self._object(deploys.deploy(archive, app, canary))

    async def apps(self) -> JsonObjects:
        """All apps that have been deployed, with their versions. For admins."""
        found: JsonObjects = (await self._object(deploys.listing()))["apps"]
        return found

    async def app(self, name: str) -> JsonObject:
        """The app with its versions, the newest first. For admins. Raises NotFoundError."""
        return await self._object(deploys.find(name))

    async def promote(self, app: str) -> JsonObject:
        """The app's canary is current. For admins. Raises ConflictError if there is none."""
        return await self._object(deploys.promote(app))

    async def roll_back(self, app: str, version: str | None = None) -> JsonObject:
        """The app's canary is over; or the version that is named, or the one before, is current again. For admins."""
        return await self._object(deploys.roll_back(app, version))
