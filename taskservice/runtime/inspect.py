"""What functions an app has, without importing it here: a child imports it and tells."""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import OutcomeKind, TenantId
from taskservice.errors import BackOffError, RequestError
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.process import LoadError

INSPECTOR = TenantId("")
"""No tenant has this name: what inspects never runs anybody's tasks."""


def inspect_bundle(bundle: Bundle, options: RuntimeOptions) -> list[FunctionSpec]:
    """The app's functions. Raises RequestError with the traceback in `detail` if it cannot be imported, BackOffError if its
    code cannot be fetched at the moment."""
    try:
        child = ChildPool(options).take(INSPECTOR, bundle, meanwhile=lambda: None)
    except LoadError as error:
        if error.kind is OutcomeKind.STORE_AWAY:
            raise BackOffError(str(error), code="store_away") from None
        raise RequestError(str(error), code="app_not_loaded", detail=error.detail) from None
    try:
        return [replace(function, bundle=bundle) for function in child.functions]
    finally:
        child.close()
