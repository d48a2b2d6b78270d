"""What a golden journal comes to, as its file says it: by the names of fields, so that later fields do not matter."""

from __future__ import annotations

from typing import Any

import msgspec

from taskservice.core.state import State
from taskservice.journal.folding import tasks_of


def described(state: State) -> dict[str, Any]:
    """All that is durable in a state, in JSON's types."""
    found = {
        "numbers": [state.epoch, state.next_no, state.next_lease, state.catalog_version],
        "tenants": [_named(each) for each in state.tenants.values()],
        "keys": [_named(each) for each in state.keys.values()],
        "functions": [_named(each) for each in state.functions.values()],
        "leases": [
            {"token": list(token), "runner": lease.runner, "nos": list(lease.open)}
            for token, lease in state.leases.items()
        ],
        "tasks": [_named(task) for task in tasks_of(state.table)],
    }
    return msgspec.json.decode(msgspec.json.encode(found))


def without_later_fields(found: dict[str, Any], golden: dict[str, Any]) -> dict[str, Any]:
    """What was found, without the fields that the version that made the golden one did not have."""
    return {
        name: [_only(one, like[0]) if like and isinstance(one, dict) else one for one in found[name]]
        for name, like in golden.items()
    }


def _only(one: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in one.items() if name in like}
    if "bundle" in like:  # the only field that is a struct to which fields were added
        kept["bundle"] = kept["bundle"][: len(like["bundle"])]
    return kept


def _named(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
