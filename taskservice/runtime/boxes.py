"""What a handler's process is closed in: told to it by its supervisor, and done by itself before it imports anything of the user's.

The process begins with the rights of the service and gives them up for good: its user, its groups and capabilities,
the way back to any (no_new_privs), and what it may use of the machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import tempfile
from contextlib import suppress

from msgspec import Struct

from taskservice.runtime.view import Cover, show

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38


class Box(Struct, frozen=True):
    """The bounds of one child."""

    temp_dir: str
    """Where its temporary files are; emptied when no attempt runs."""
    uid: int = 0
    """The system user that it becomes, who has nothing else; 0: it stays the service's own."""
    covers: tuple[Cover, ...] = ()
    """Folders that are closed to that user, on the way to its code."""
    hides: bool = False
    """Whether others of the same user must not look into its memory: it holds secrets."""
    file_bytes_max: int = 1 << 34
    open_files_max: int = 16_384
    tenant_processes_max: int = 4_096
    """Processes and threads of its user on this machine; only for a user of its own."""


def enter(box: Box, parent: int) -> bool:
    """This process is in the box, and ends with its parent; False if that has ended. Called before user code is there."""
    if box.covers:
        show(box.covers)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, box.file_bytes_max)
    _limit(resource.RLIMIT_NOFILE, box.open_files_max)
    if box.uid:
        _limit(resource.RLIMIT_NPROC, box.tenant_processes_max)
        os.umask(0o077)
        os.setgroups([])
        os.setresgid(box.uid, box.uid, box.uid)
        os.setresuid(box.uid, box.uid, box.uid)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if box.uid or box.hides:
        _prctl(_PR_SET_DUMPABLE, 0 if box.hides else 1)  # a change of user had set it to 0
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what leaves its session is found among its children nevertheless
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of user takes it back
    return os.getppid() == parent


def renew(box: Box) -> None:
    """Temporary files are made in the box's folder, whatever the attempt before has told Python."""
    tempfile.tempdir = box.temp_dir


def hint(error: BaseException, box: Box) -> str:
    """Which of the box's bounds the error comes of, and its setting; empty if of none."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EFBIG:
        return f"a file of a handler may have {box.file_bytes_max} bytes (file_bytes_max)"
    if code == errno.EMFILE:
        return f"a handler's process may have {box.open_files_max} files open (open_files_max)"
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no more room; temporary files are in {box.temp_dir} (temp_dir)"
    if box.uid and (code == errno.EAGAIN or "can't start new thread" in str(error)):
        return f"a tenant may have {box.tenant_processes_max} processes and threads on a machine (tenant_processes_max)"
    if box.uid and code in (errno.EACCES, errno.EPERM):
        return f"handlers of this tenant run as user {box.uid}, which has nothing but their code (tenant_users)"
    return ""


def _limit(kind: int, most: int) -> None:
    """No more than `most`, nor than there was before: for good."""
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (bound, bound))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")
