"""What records about tenants, keys, functions and policies make true: a part of `apply`."""

from __future__ import annotations

from taskservice.core import records as r
from taskservice.core.effects import CatalogChanged, Held
from taskservice.core.notes import note_function, note_key, note_policy, note_tenant
from taskservice.core.specs import policy_key
from taskservice.core.state import State


def tenant_set(state: State, record: r.TenantSet) -> list[Held]:
    """The tenant is as the record says."""
    state.tenants[record.tenant.id] = record.tenant
    note_tenant(state.table, record.tenant)
    state.turns.tenant_changed(record.tenant.id)
    return _catalog_changed(state)


def key_set(state: State, record: r.KeySet) -> list[Held]:
    """The key is."""
    state.keys[record.key.id] = record.key
    note_key(state.table, record.key)
    return _catalog_changed(state)


def functions_set(state: State, record: r.FunctionsSet) -> list[Held]:
    """The functions are."""
    for function in record.functions:
        state.functions[function.name] = function
        note_function(state.table, function)
        state.turns.function_changed(function.name)
    return _catalog_changed(state)


def policy_set(state: State, record: r.PolicySet) -> list[Held]:
    """What an operator has said is."""
    state.policies[policy_key(record.policy)] = record.policy
    note_policy(state.table, record.policy)
    state.turns.policy_changed(record.policy)
    return _catalog_changed(state)


def _catalog_changed(state: State) -> list[Held]:
    state.catalog_version += 1
    return [(state.segment, CatalogChanged(state.catalog_version))]
