"""What functions an app has, without importing it here: a child imports it and tells."""

from __future__ import annotations

from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import TenantId
from taskservice.errors import RequestError
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import Child, LoadError

INSPECTOR = TenantId("")
"""No tenant has this name: what inspects never runs anybody's tasks."""


def inspect_bundle(bundle: Bundle, options: RuntimeOptions) -> list[FunctionSpec]:
    """The app's functions. Raises RequestError with the traceback in `detail` if it cannot be imported."""
    child = Child(INSPECTOR, bundle, options)
    try:
        child.load(options.load_timeout_s, meanwhile=lambda: None)
        return list(child.functions)
    except LoadError as error:
        raise RequestError(str(error), code="app_not_loaded", detail=error.detail) from None
    finally:
        child.close()
