"""Triggers: which events come to a task, of which function, and with which payload.

    event --type--> the triggers that may match --filters--> those that do --template--> payload, and a task's id

A task's id is made of the trigger's and of the event's source and id: an event that is delivered twice makes one task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple, NewType, TypeVar

import msgspec
from msgspec import Struct

from taskservice.core.types import FunctionName, Priority, TaskId, TenantId

TriggerId = NewType("TriggerId", str)
"""What users call a trigger; unique within its tenant."""


K = TypeVar("K")


class TriggerKey(NamedTuple):
    """A trigger among those of all tenants."""

    tenant: TenantId
    id: TriggerId


class TextFilter(Struct, frozen=True, array_like=True):
    """What a text has to be like; what is None may be anything."""

    exact: str | None = None
    prefix: str | None = None
    suffix: str | None = None

    def passes(self, text: str) -> bool:
        """Whether the text is like that."""
        if self.exact is not None and text != self.exact:
            return False
        return text.startswith(self.prefix or "") and text.endswith(self.suffix or "")


class TriggerSpec(Struct, frozen=True, array_like=True):
    """What a user says of a trigger. A field is added at the end with a default, never removed or moved."""

    function: FunctionName
    filters: tuple[tuple[str, TextFilter], ...] = ()
    """Of attributes, `type`, `source` and `subject` among them, by their names. An event that lacks one does not match."""
    template: bytes | None = None
    """The payload as JSON, with references into the event; None: the payload is the event's data."""
    priority: Priority | None = None

    @property
    def type(self) -> str | None:
        """The one type of event that can match; None: several may."""
        return next((wanted.exact for name, wanted in self.filters if name == "type"), None)


class Trigger(Struct, frozen=True, array_like=True):
    """A trigger as it is set. A field is added at the end with a default, never removed or moved."""

    id: TriggerId
    tenant: TenantId
    spec: TriggerSpec
    created_ms: int

    @property
    def key(self) -> TriggerKey:
        return TriggerKey(self.tenant, self.id)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An event that has happened elsewhere."""

    attributes: Mapping[str, str]
    """`id`, `source` and `type` are there; extensions are as well."""
    data: object
    """A JSON value."""

    def matches(self, spec: TriggerSpec) -> bool:
        """Whether the event passes all filters."""
        return all(name in self.attributes and wanted.passes(self.attributes[name]) for name, wanted in spec.filters)

    def task_id(self, trigger: TriggerId) -> TaskId:
        """The id of the task that the event comes to by the trigger, however often it is delivered."""
        named = msgspec.json.encode((self.attributes["source"], self.attributes["id"]))
        return TaskId(f"{trigger}@{blake2b(named, digest_size=16).hexdigest()}")


@dataclass(slots=True)
class Triggers:
    """Triggers by tenant and by type: an event meets those that name its type, and those that name none."""

    by_tenant: dict[TenantId, dict[TriggerId, Trigger]] = field(default_factory=dict)
    by_type: dict[tuple[TenantId, str | None], dict[TriggerId, Trigger]] = field(default_factory=dict)

    def find(self, key: TriggerKey) -> Trigger | None:
        return self.by_tenant.get(key.tenant, {}).get(key.id)

    def put(self, trigger: Trigger) -> None:
        """The trigger is there, in the place of one of its id."""
        self.remove(trigger.key)
        self.by_tenant.setdefault(trigger.tenant, {})[trigger.id] = trigger
        self.by_type.setdefault((trigger.tenant, trigger.spec.type), {})[trigger.id] = trigger

    def remove(self, key: TriggerKey) -> None:
        """There is no such trigger."""
        known = self.find(key)
        if known is not None:
            _drop(self.by_tenant, key.tenant, key.id)
            _drop(self.by_type, (key.tenant, known.spec.type), key.id)

    def of(self, tenant: TenantId | None) -> list[Trigger]:
        """The tenant's, or everybody's."""
        owners = self.by_tenant.values() if tenant is None else [self.by_tenant.get(tenant, {})]
        return [trigger for owned in owners for trigger in owned.values()]

    def for_types(self, tenant: TenantId, types: Iterable[str]) -> list[Trigger]:
        """The tenant's triggers that events of these types can match."""
        wanted = (None, *dict.fromkeys(types))
        return [trigger for type in wanted for trigger in self.by_type.get((tenant, type), {}).values()]

    def matching(self, tenant: TenantId, event: CloudEvent) -> list[Trigger]:
        """The tenant's triggers that the event matches, by their ids."""
        met = self.for_types(tenant, [event.attributes["type"]])
        return sorted((each for each in met if event.matches(each.spec)), key=lambda each: each.id)


def _drop(groups: dict[K, dict[TriggerId, Trigger]], group: K, id: TriggerId) -> None:
    """The trigger is not in the group, and no group is empty: a type that was named once is not kept for ever."""
    del groups[group][id]
    if not groups[group]:
        del groups[group]
