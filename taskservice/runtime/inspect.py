"""What functions an app has, without importing it here: a child imports it and tells."""

from __future__ import annotations

from pathlib import Path

from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import TenantId
from taskservice.errors import RequestError
from taskservice.runtime.fitting import ChildKey
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import Child, LoadError
from taskservice.runtime.scratch import Scratch, scratch_root
from taskservice.runtime.secret_files import NoSecret, SecretFiles
from taskservice.runtime.users import is_apart

INSPECTOR = TenantId("")
"""No tenant has this name: what inspects never runs anybody's tasks."""


def inspect_bundle(bundle: Bundle, options: RuntimeOptions) -> list[FunctionSpec]:
    """The app's functions. Raises RequestError with the traceback in `detail` if it cannot be imported, or if
    a secret that one of them needs is not there."""
    scratch = Scratch(scratch_root(options))
    child: Child | None = None
    try:
        child = Child(ChildKey(INSPECTOR, bundle, (), apart=is_apart(options, others=False)), options, scratch)
        child.load(options.load_timeout_s, meanwhile=lambda: None)
        SecretFiles(Path(options.secrets_dir)).check(child.functions)
        return list(child.functions)
    except NoSecret as error:
        raise RequestError(str(error), code="secret_missing") from None
    except LoadError as error:
        raise RequestError(str(error), code="app_not_loaded", detail=error.detail) from None
    finally:
        if child is not None:
            child.close()
        scratch.close()
