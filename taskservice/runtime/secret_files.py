"""The operator's secrets: a file each, which only the service can read.

    <secrets_dir>/STRIPE_KEY                   for all tenants
    <secrets_dir>/tenants/acme/STRIPE_KEY      for this one, before the other

As container platforms mount them. Read anew for each lease, so a value that was changed is the next lease's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from taskservice.core.specs import FunctionSpec
from taskservice.core.types import TenantId

SECRET_BYTES_MAX = 64 * 1024
_TENANTS = "tenants"


class NoSecret(Exception):
    """A secret cannot be had. The message says where it is to be, and never what it is."""


class SecretFiles:
    """The secrets below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def values(self, tenant: TenantId, names: Sequence[str]) -> dict[str, str]:
        """The values of these secrets for this tenant, without a line's end. Raises NoSecret for the first that cannot be had."""
        return {name: self._value(tenant, name) for name in names}

    def check(self, functions: Iterable[FunctionSpec]) -> None:
        """Each secret that they declare is there, for all tenants or for one. Raises NoSecret for the first that is not."""
        for function in functions:
            for name in function.secrets:
                for_some = (self._folder / _TENANTS).glob(f"*/{name}")
                try:
                    _read(next(for_some, None) or self._folder / name)
                except FileNotFoundError:
                    raise NoSecret(f"{function.name} needs the secret {name}: {self._advice(name)}") from None

    def _value(self, tenant: TenantId, name: str) -> str:
        own = self._folder / _TENANTS / quote(tenant, safe="").replace(".", "%2E") / name
        for path in (own, self._folder / name):
            with suppress(FileNotFoundError):
                return _read(path)
        raise NoSecret(f"there is no secret {name} for tenant {tenant}: {self._advice(name)}")

    def _advice(self, name: str) -> str:
        return f"put its value into {self._folder / name}, mode 0600 (secrets_dir)"


def _read(path: Path) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise NoSecret(f"{path} is no file")
            if found.st_mode & 0o077:
                raise NoSecret(f"others can read the secret in {path}: chmod 600 {path}")
            value = file.read(SECRET_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NoSecret(f"{path} cannot be read: {error.strerror}") from None
    if len(value) > SECRET_BYTES_MAX:
        raise NoSecret(f"{path} has more than {SECRET_BYTES_MAX} bytes")
    try:
        return value.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise NoSecret(f"{path} is no UTF-8") from None
