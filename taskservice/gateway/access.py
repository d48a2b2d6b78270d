"""Who calls, and what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from taskservice.actors.ports import DispatcherPort
from taskservice.code.deploying import CodeKeeper
from taskservice.core.specs import ApiKey
from taskservice.core.types import TenantId
from taskservice.gateway.catalog import Catalog
from taskservice.gateway.following import Followers
from taskservice.gateway.history import HistoryReader
from taskservice.gateway.logs import LogReader
from taskservice.gateway.measured import Measures
from taskservice.gateway.problems import INVALID_KEY, MISSING_SCOPE, TENANT_FORBIDDEN, Problem
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.values import GatewayValues

_ADMIN = "admin"
BEARER = HTTPBearer(auto_error=False, description="An API key: `tsk_...`")


@dataclass(frozen=True, slots=True)
class Gateway:
    """What every route works with."""

    dispatcher: DispatcherPort
    settings: GatewaySettings
    logs: LogReader
    values: GatewayValues
    history: HistoryReader
    catalog: Catalog
    now_ms: Callable[[], int]
    measures: Measures
    followers: Followers = field(default_factory=Followers)
    code: CodeKeeper | None = None
    """None in tests of other things: then nothing can be deployed."""
    deploying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever deploys: one at a time, for each has an archive in RAM."""


async def gateway_of(request: Request) -> Gateway:
    """The gateway that the request came to."""
    gateway: Gateway = request.app.state.gateway
    return gateway


Here = Annotated[Gateway, Depends(gateway_of)]


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request was made with."""

    key: ApiKey

    @property
    def is_admin(self) -> bool:
        return _ADMIN in self.key.scopes

    def may(self, scope: str) -> bool:
        """Whether the key has the scope."""
        return self.is_admin or scope in self.key.scopes

    def acting_for(self, tenant: str | None) -> TenantId:
        """The tenant whose tasks are meant: the key's own, unless an admin names another. Raises a 403 Problem."""
        if tenant is None:
            return self.key.tenant
        if not self.is_admin:
            raise Problem(TENANT_FORBIDDEN, "Leave the parameter tenant out: it is the key's own.")
        return TenantId(tenant)


async def authenticate(
    gateway: Here,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
) -> Caller:
    """Who calls, with all the scopes that the route needs. Raises a 401 or 403 Problem."""
    if credentials is None:
        raise Problem(INVALID_KEY, "Send the header Authorization: Bearer tsk_...")
    key = await gateway.catalog.key_of(credentials.credentials)
    if key is None:
        raise Problem(INVALID_KEY, "The API key is unknown or revoked.")
    if _ADMIN not in key.scopes:
        for scope in needed.scopes:
            if scope not in key.scopes:
                raise Problem(MISSING_SCOPE, f"This needs a key with the scope {scope!r}; {key.id} has not got it.")
    return Caller(key)


Submitter = Annotated[Caller, Security(authenticate, scopes=["submit"])]
Reader = Annotated[Caller, Security(authenticate, scopes=["read"])]
Operator = Annotated[Caller, Security(authenticate, scopes=["operate"])]
Admin = Annotated[Caller, Security(authenticate, scopes=[_ADMIN])]
