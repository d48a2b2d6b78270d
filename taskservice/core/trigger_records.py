"""Records of triggers. Part of `records`, and under its rules."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.triggers import Trigger, TriggerId, TriggerKey
from taskservice.core.types import TenantId


class TriggerSet(Struct, frozen=True, array_like=True, tag="trigger"):
    """There is such a trigger."""

    at_ms: int
    trigger: Trigger


class TriggerRemoved(Struct, frozen=True, array_like=True, tag="trigger_removed"):
    """There is no such trigger any more. The tasks that it made go on."""

    at_ms: int
    tenant: TenantId
    id: TriggerId

    @property
    def key(self) -> TriggerKey:
        return TriggerKey(self.tenant, self.id)


TriggerRecord = TriggerSet | TriggerRemoved
