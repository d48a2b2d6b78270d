"""What a shard keeps beside its tasks, as notes in the table: written when it changes, read when a state is restored."""

from __future__ import annotations

from heapq import merge

import msgspec
from msgspec import Struct

from taskservice.core.deadlines import Deadlines, Kept
from taskservice.core.deliveries import Endpoint, SigningSecret
from taskservice.core.operations import Operation, Operations
from taskservice.core.orders import Order
from taskservice.core.outbox import Outbox
from taskservice.core.schedules import Progress, Schedule, ScheduleKey, ScheduleState
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Tenant, policy_key
from taskservice.core.table import TaskTable
from taskservice.core.triggers import Trigger, TriggerKey, Triggers
from taskservice.core.types import FunctionName, Leaf, TenantId, Token
from taskservice.core.versions import Apps, Rollout, Version

TENANT = "tenant"
KEY = "key"
FUNCTION = "function"
POLICY = "policy"
SHARD = "shard"
OPERATIONS = "operations"
ORDERS = "orders"
SCHEDULE = "schedule"
DEADLINES = "deadlines"
ENDPOINT = "endpoint"
SECRET = "signing secret"
VERSION = "version"
ROLLOUT = "rollout"
TRIGGER = "trigger"
PROGRESS = "schedule progress"
"""Apart from the schedule: it changes with every task, and the payload is not written again."""

_encoder = msgspec.msgpack.Encoder()


class Numbers(Struct, frozen=True, array_like=True):
    """A shard's durable numbers. A field is added at the end with a default, never removed or moved."""

    epoch: int = 0
    next_no: int = 1
    next_lease: int = 1
    catalog_version: int = 0


def note_tenant(table: TaskTable, tenant: Tenant) -> None:
    table.note(TENANT, tenant.id, _encoder.encode(tenant))


def note_key(table: TaskTable, key: ApiKey) -> None:
    table.note(KEY, key.id, _encoder.encode(key))


def note_function(table: TaskTable, function: FunctionSpec) -> None:
    table.note(FUNCTION, function.name, _encoder.encode(function))


def note_policy(table: TaskTable, policy: Policy) -> None:
    table.note(POLICY, ":".join(policy_key(policy)), _encoder.encode(policy))


def note_operations(table: TaskTable, owner: TenantId | None, operations: list[Operation]) -> None:
    """All that are remembered of one owner."""
    table.note(OPERATIONS, owner or "", _encoder.encode(operations))


def note_deadlines(table: TaskTable, leaf: Leaf, kept: Kept) -> None:
    """What became of the deadlines of the tenant's tasks of the function."""
    table.note(DEADLINES, f"{leaf.tenant}/{leaf.function}", _encoder.encode(kept))


def note_orders(table: TaskTable, token: Token, orders: tuple[Order, ...]) -> None:
    """All that the lease has been told; nothing is noted of one that has no orders."""
    table.note(ORDERS, f"{token.epoch}.{token.seq}", _encoder.encode(orders) if orders else None)


def note_schedule(table: TaskTable, schedule: Schedule) -> None:
    table.note(SCHEDULE, _name(schedule.key), _encoder.encode(schedule))


def note_progress(table: TaskTable, key: ScheduleKey, progress: Progress) -> None:
    table.note(PROGRESS, _name(key), _encoder.encode(progress))


def forget_schedule(table: TaskTable, key: ScheduleKey) -> None:
    for kind in (SCHEDULE, PROGRESS):
        table.note(kind, _name(key), None)


def note_endpoint(table: TaskTable, endpoint: Endpoint) -> None:
    """Nothing is noted of one with which all is well."""
    well = endpoint == Endpoint(*endpoint.key)
    table.note(ENDPOINT, " ".join(endpoint.key), None if well else _encoder.encode(endpoint))


def note_secret(table: TaskTable, secret: SigningSecret) -> None:
    table.note(SECRET, secret.tenant, _encoder.encode(secret))


def outbox(table: TaskTable) -> Outbox:
    """Who is to be told of what has ended."""
    found = Outbox()
    for value in table.notes(SECRET).values():
        secret = msgspec.msgpack.decode(value, type=SigningSecret)
        found.secrets[secret.tenant] = secret
    for value in table.notes(ENDPOINT).values():
        found.set(msgspec.msgpack.decode(value, type=Endpoint))
    found.look_again(table, table.deliveries.endpoints())
    return found


def note_version(table: TaskTable, version: Version) -> None:
    table.note(VERSION, f"{version.app}/{version.number}", _encoder.encode(version))


def forget_version(table: TaskTable, app: str, number: int) -> None:
    table.note(VERSION, f"{app}/{number}", None)


def note_rollout(table: TaskTable, rollout: Rollout) -> None:
    table.note(ROLLOUT, rollout.app, _encoder.encode(rollout))


def note_trigger(table: TaskTable, trigger: Trigger) -> None:
    table.note(TRIGGER, _name(trigger.key), _encoder.encode(trigger))


def forget_trigger(table: TaskTable, key: TriggerKey) -> None:
    table.note(TRIGGER, _name(key), None)


def _name(key: ScheduleKey | TriggerKey) -> str:
    return f"{key.tenant}/{key.id}"


def note_numbers(table: TaskTable, numbers: Numbers) -> None:
    table.note(SHARD, "", _encoder.encode(numbers))


def tenants(table: TaskTable) -> dict[TenantId, Tenant]:
    """All tenants, in the order in which they were first set."""
    return {TenantId(id): msgspec.msgpack.decode(value, type=Tenant) for id, value in table.notes(TENANT).items()}


def keys(table: TaskTable) -> dict[str, ApiKey]:
    """All keys, in the order in which they were first set."""
    return {id: msgspec.msgpack.decode(value, type=ApiKey) for id, value in table.notes(KEY).items()}


def functions(table: TaskTable) -> dict[FunctionName, FunctionSpec]:
    """All functions, in the order in which they were first set."""
    noted = table.notes(FUNCTION)
    return {FunctionName(name): msgspec.msgpack.decode(value, type=FunctionSpec) for name, value in noted.items()}


def policies(table: TaskTable) -> dict[tuple[str, str], Policy]:
    """What operators have set, by what it is about."""
    noted = [msgspec.msgpack.decode(value, type=Policy) for value in table.notes(POLICY).values()]
    return {policy_key(policy): policy for policy in noted}


def operations(table: TaskTable) -> Operations:
    """The bulk operations, under way and done. Each owner's are noted in the order in which they began; of two owners', the
    one that means later tasks began later."""
    noted = [msgspec.msgpack.decode(value, type=list[Operation]) for value in table.notes(OPERATIONS).values()]
    found = Operations()
    for operation in merge(*noted, key=lambda each: each.upto_no):
        found.put(operation)
    return found


def deadlines(table: TaskTable) -> Deadlines:
    """What became of all deadlines. A tenant's name has no slash."""
    found = Deadlines()
    for name, value in table.notes(DEADLINES).items():
        tenant, _, function = name.partition("/")
        found.by_owner[TenantId(tenant), FunctionName(function)] = msgspec.msgpack.decode(value, type=Kept)
    return found


def apps(table: TaskTable) -> Apps:
    """All apps, with their versions in the order in which they were deployed."""
    found = Apps()
    for value in table.notes(VERSION).values():
        found.add(msgspec.msgpack.decode(value, type=Version))
    for value in table.notes(ROLLOUT).values():
        found.roll(msgspec.msgpack.decode(value, type=Rollout))
    return found


def orders(table: TaskTable) -> dict[Token, tuple[Order, ...]]:
    """The orders of each lease that has any."""
    noted = [msgspec.msgpack.decode(value, type=tuple[Order, ...]) for value in table.notes(ORDERS).values()]
    return {each[0].token: each for each in noted}


def schedules(table: TaskTable) -> list[ScheduleState]:
    """All schedules, in the order in which they were first set."""
    progress = table.notes(PROGRESS)
    return [
        ScheduleState(
            msgspec.msgpack.decode(value, type=Schedule), msgspec.msgpack.decode(progress[name], type=Progress)
        )
        for name, value in table.notes(SCHEDULE).items()
    ]


def triggers(table: TaskTable) -> Triggers:
    """All triggers, in the order in which they were first set."""
    found = Triggers()
    for value in table.notes(TRIGGER).values():
        found.put(msgspec.msgpack.decode(value, type=Trigger))
    return found


def numbers(table: TaskTable) -> Numbers:
    """The shard's numbers, as of the last commit; those of a new shard if there was none."""
    noted = table.notes(SHARD).get("")
    return Numbers() if noted is None else msgspec.msgpack.decode(noted, type=Numbers)
