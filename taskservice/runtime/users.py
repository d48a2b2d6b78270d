"""A system user for each tenant: a number that nobody else on this machine has, given out once and never again.

The users are in no password file, own nothing, and can reach nothing but what everybody can. Their numbers are on record
in one file for all services of the machine, so that no two of them ever mean different tenants by the same number: what
a handler left somewhere must not become another tenant's.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from taskservice.core.specs import Bundle
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.view import Cover, Unreachable, covers_for

SHARED, OWN, AUTO = "shared", "own", "auto"
"""Whether tenants have users of their own (`tenant_users`): never, always, as soon as there is more than one."""

_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
}
"""What root needs to give a process to another user, to end it, and to tidy up behind it."""
_CAP_SYS_ADMIN = 21


class NoUser(Exception):
    """The tenant cannot have a user of its own here; the message says why, and what to do about it."""


class Users:
    """The users that are on record in `file`, with numbers of a range."""

    def __init__(self, file: Path, range_: range) -> None:
        self._file = file
        self._range = range_
        self._known: dict[str, int] = {}

    def uid(self, *owner: str) -> int:
        """The number of this owner's user, on record for good. Raises NoUser if there is none left, OSError without a file."""
        name = json.dumps(owner)
        if name not in self._known:
            self._known[name] = self._on_record(name)
        return self._known[name]

    def _on_record(self, name: str) -> int:
        self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            owners = _owners(whole := _whole_lines(file.read()))
            for uid, owner in owners.items():
                if owner == name and uid in self._range:
                    return uid
            free = (uid for uid in self._range if uid not in owners)
            given = next((uid for uid in free if not _in_password_file(uid)), None)
            if given is None:
                first, last = self._range[0], self._range[-1]
                raise NoUser(f"all users from {first} to {last} are given out (uid_min, uid_max, {self._file})")
            file.seek(len(whole.encode()))
            file.truncate()
            file.write(f"{given} {name}\n")
            file.flush()
            os.fsync(file.fileno())
            return given


def _whole_lines(text: str) -> str:
    """Without a last line that was being written when the power failed: its number was never used."""
    return text[: text.rfind("\n") + 1]


def _owners(lines: str) -> dict[int, str]:
    return {int(uid): owner for uid, _, owner in (line.partition(" ") for line in lines.splitlines())}


def _in_password_file(uid: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(uid))
    return False


def is_apart(options: RuntimeOptions, *, others: bool) -> bool:
    """Whether a tenant's handlers run as a user of its own. `others`: there are other tenants."""
    return options.tenant_users == OWN or (options.tenant_users == AUTO and others)


def covers_of(bundle: Bundle, *others: Path) -> tuple[Cover, ...]:
    """What a user of its own needs to see the app's code, Python's, and these folders. Raises NoUser if it cannot."""
    try:
        covers = covers_for([Path(bundle.path), *_python_folders(), *others])
    except Unreachable as error:
        raise NoUser(f"{error}, and handlers need it: chmod -R o+rX {error.path}") from None
    if covers and not _may_mount():
        folders = " and ".join(cover.folder for cover in covers)
        example = covers[0].shown[0]
        raise NoUser(
            f"{folders} is closed to other users, and {example} in it is needed: chmod o+x {folders}, or put it elsewhere"
        )
    return covers


def _python_folders() -> Iterable[Path]:
    """Where Python's own code is, the libraries', and ours."""
    named = [sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), *site.getsitepackages()]
    named += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if site.ENABLE_USER_SITE:
        named.append(site.getusersitepackages())
    return [Path(sys.executable).parent, Path(__file__).parents[2], *map(Path, named)]


def why_not_apart(options: RuntimeOptions, bundles: Iterable[Bundle] = ()) -> str:
    """Why this process cannot give tenants users of their own, with what to do about it; empty if it can."""
    try:
        _check_rights()
        _check_numbers(options)
        _check_file(Path(options.uid_file))
        _check_code(options)
        for bundle in bundles:
            covers_of(bundle)
    except NoUser as error:
        return str(error)
    return ""


def _check_rights() -> None:
    if not Path("/proc/self/status").exists():
        raise NoUser("this system has no /proc: it is no Linux")
    if os.geteuid() != 0:
        raise NoUser(f"the service runs as user {os.geteuid()}, and only root can start processes of other users")
    missing = [name for name, number in _CAPABILITIES.items() if not _has(number)]
    if missing:
        raise NoUser(f"root has no {' '.join(missing)} here: give it to the container")


def _check_numbers(options: RuntimeOptions) -> None:
    first, last = options.uid_min, options.uid_max
    for name in ("uid_map", "gid_map"):
        ranges = [line.split() for line in Path(f"/proc/self/{name}").read_text().splitlines()]
        if not any(int(start) <= first and last < int(start) + int(count) for start, _, count in ranges):
            raise NoUser(f"users {first} to {last} are not in this container's {name}: set uid_min and uid_max")


def _check_file(file: Path) -> None:
    place = next(each for each in (file, *file.parents) if each.exists())
    if not os.access(place, os.W_OK):
        raise NoUser(f"{place} cannot be written, where it is kept who has which user (uid_file)")


def _check_code(options: RuntimeOptions) -> None:
    if options.code_dir and not _may_mount():
        raise NoUser(
            f"the code of apps is unpacked in {options.code_dir}, which is closed to other users as all of the service's home is,"
            " and root has no CAP_SYS_ADMIN here to show it to them: give it to the container"
        )


def _has(capability: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> capability & 1)


@cache
def _may_mount() -> bool:
    """Whether a process of ours may have mounts of its own: tried in one that ends at once."""
    tried = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x20000) != 0)"
    return _has(_CAP_SYS_ADMIN) and subprocess.run([sys.executable, "-ISc", tried], check=False).returncode == 0
