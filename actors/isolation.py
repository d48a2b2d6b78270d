"""How handlers are kept apart, from the settings: what their supervisors are told, and whether there may be several tenants."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from taskservice.config import Settings
from taskservice.core.specs import Bundle
from taskservice.errors import RequestError
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.scratch import Scratch, scratch_root
from taskservice.runtime.users import OWN, SHARED, why_not_apart


def runtime_options(settings: Settings) -> RuntimeOptions:
    """What supervisors are bounded by, from the settings of the same names."""
    names = set(RuntimeOptions.__struct_fields__) & set(Settings.model_fields)
    same = {name: getattr(settings, name) for name in names}
    home = settings.home
    places = {"home": str(home), "logs_dir": str(home / "logs" / "tasks"), "code_dir": str(home / "code")}
    return RuntimeOptions(**{**same, **places})


def why_alone(settings: Settings) -> str:
    """Why there can be one tenant only: two could not be kept apart on this machine, and nobody has said that they need not be.
    Empty if there can be more. Raises RequestError if even one is to be kept apart, and cannot be."""
    if settings.tenant_users == SHARED:
        return ""
    options = runtime_options(settings)
    why = why_not_apart(options, [Bundle("", "", options.code_dir)])
    if why and settings.tenant_users == OWN:
        message = f"tenants cannot have users of their own here, as tenant_users: own demands: {why}"
        raise RequestError(message, code="tenants_not_apart")
    return why


def advice_alone(why: str) -> str:
    """What somebody is told who wants a second tenant."""
    return (
        f"Handlers of two tenants could read each other's files and the service's: here they would run as one system user, because"
        f" {why}. If that may be, set tenant_users: shared (TASKSERVICE_TENANT_USERS=shared) and start the service again."
    )


def said_of_tenants(settings: Settings, why: str) -> str:
    """Who handlers run as, for whoever starts the service. `why`: see `why_alone`."""
    mine = f"user {_user_name()}, the service's own"
    if settings.tenant_users == SHARED:
        return f"all tenants' handlers run as {mine} (tenant_users: shared)"
    if settings.tenant_users == OWN:
        return "each tenant's handlers run as a user of its own"
    if why:
        return f"one only, whose handlers run as {mine}: {why}"
    return f"as long as there is one, its handlers run as {mine}; from the second on, each tenant has a user of its own"


def sweep_files(settings: Settings) -> None:
    """No temporary files are left on this machine of handlers whose supervisors have ended."""
    Scratch(scratch_root(runtime_options(settings))).sweep()


def _user_name() -> str:
    with suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())
