"""What a child is for, and the box that fits it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.specs import Bundle
from taskservice.core.types import TenantId
from taskservice.runtime.boxes import Box
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process_env import Devices, threads_for
from taskservice.runtime.scratch import Scratch
from taskservice.runtime.users import NoUser, Users, covers_of, is_apart, why_not_apart


class ChildKey(NamedTuple):
    """What a child can be used for. No child ever serves two tenants, bundles, sets of devices, numbers of threads or sets of
    secrets: libraries learn of devices and threads once, and what a process has read it may keep."""

    tenant: TenantId
    bundle: Bundle
    devices: Devices
    threads: int = 1
    secrets: tuple[str, ...] = ()
    apart: bool = False
    """Whether it runs as a system user of its tenant's own."""


def key_of(spec: LeaseSpec, devices_: Devices, options: RuntimeOptions) -> ChildKey:
    """What the child of this lease is for."""
    apart = is_apart(options, others=spec.apart)
    return ChildKey(spec.tenant, spec.bundle, devices_, threads_for(spec.resources.cpu_m), spec.secrets, apart)


def box_for(key: ChildKey, options: RuntimeOptions, scratch: Scratch) -> tuple[Box, Path]:
    """What the child is closed in, and its folder. Raises NoUser if it needs a user of its own and cannot have one, OSError
    without a folder."""
    uid = _uid(key, options) if key.apart else 0
    folder = scratch.make(uid)
    box = Box(
        str(folder / "tmp"),
        uid,
        covers_of(key.bundle, folder) if uid else (),
        hides=bool(key.secrets),
        file_bytes_max=options.file_bytes_max,
        open_files_max=options.open_files_max,
        tenant_processes_max=options.tenant_processes_max,
    )
    return box, folder


def _uid(key: ChildKey, options: RuntimeOptions) -> int:
    """One for a tenant, and others for its functions with secrets: not even those of its other functions can look at them."""
    why = _why_not_apart(options)
    if why:
        raise NoUser(f"handlers of several tenants need users of their own (tenant_users): {why}")
    users = _users(options.uid_file, options.uid_min, options.uid_max)
    return users.uid(options.home, key.tenant, *key.secrets)


@cache
def _users(file: str, first: int, last: int) -> Users:
    return Users(Path(file), range(first, last + 1))


@cache
def _why_not_apart(options: RuntimeOptions) -> str:
    return why_not_apart(options)
