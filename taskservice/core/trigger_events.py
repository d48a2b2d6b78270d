"""What is asked of the shard about triggers, and what it answers. Part of `events` and `effects`, and under their rules."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from taskservice.core.triggers import Trigger, TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import TenantId


class TriggerPut(Struct, frozen=True, tag=True):
    """A tenant wants a new trigger."""

    ref: int
    tenant: TenantId
    id: TriggerId
    spec: TriggerSpec


class TriggerRemoveAsked(Struct, frozen=True, tag=True):
    """A tenant does not want a trigger any more."""

    ref: int
    tenant: TenantId
    id: TriggerId


class TriggerAsked(Struct, frozen=True, tag=True):
    """Somebody wants to see one trigger."""

    ref: int
    tenant: TenantId
    id: TriggerId


class TriggersListed(Struct, frozen=True, tag=True):
    """Somebody wants to see triggers, the tenant's or everybody's, after that one if one is given."""

    ref: int
    tenant: TenantId | None
    after: TriggerKey | None
    limit: int


class TriggersMet(Struct, frozen=True, tag=True):
    """Events of these types have come: which triggers may they match?"""

    ref: int
    tenant: TenantId
    types: tuple[str, ...]


TriggerEvent = TriggerPut | TriggerRemoveAsked | TriggerAsked | TriggersListed | TriggersMet


class TriggerRefusal(StrEnum):
    """Why there is no such trigger."""

    NOT_FOUND = "trigger_not_found"
    EXISTS = "trigger_exists"
    MAX = "triggers_max"
    UNKNOWN_TENANT = "unknown_tenant"
    UNKNOWN_FUNCTION = "unknown_function"


class TriggerAnswer(Struct, frozen=True):
    """A trigger as it is now, or as it was last; None: there is none of that id, or it was refused."""

    found: Trigger | None
    refusal: TriggerRefusal | None = None
    message: str = ""
    limit: int | None = None
    """The value of the limit that refused it."""
    known: bool = False
    """It was there before."""


class TriggersAnswer(Struct, frozen=True):
    """Triggers: a page by tenant and id, or all that may match."""

    triggers: tuple[Trigger, ...]
    more: bool = False
    """Whether there are others after them."""
