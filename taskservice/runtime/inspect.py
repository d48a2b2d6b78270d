"""What functions an app has, without importing it here: a child imports it and tells."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import OutcomeKind, TenantId
from taskservice.errors import BackOffError, RequestError
from taskservice.runtime.fitting import ChildKey
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.process import LoadError
from taskservice.runtime.secret_files import NoSecret, SecretFiles
from taskservice.runtime.users import is_apart

INSPECTOR = TenantId("")
"""No tenant has this name: what inspects never runs anybody's tasks."""


def inspect_bundle(bundle: Bundle, options: RuntimeOptions) -> list[FunctionSpec]:
    """The app's functions. Raises RequestError with the traceback in `detail` if it cannot be imported, or if
    a secret that one of them needs is not there; BackOffError if its code cannot be fetched at the moment."""
    pool = ChildPool(options)
    try:
        child = pool.new(ChildKey(INSPECTOR, bundle, (), apart=is_apart(options, others=False)), meanwhile=lambda: None)
        try:
            SecretFiles(Path(options.secrets_dir)).check(child.functions)
            return [replace(function, bundle=bundle) for function in child.functions]
        finally:
            child.close()
    except NoSecret as error:
        raise RequestError(str(error), code="secret_missing") from None
    except LoadError as error:
        if error.kind is OutcomeKind.STORE_AWAY:
            raise BackOffError(str(error), code="store_away") from None
        raise RequestError(str(error), code="app_not_loaded", detail=error.detail) from None
    finally:
        pool.close()
