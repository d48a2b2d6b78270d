"""The environment of a child: the service's without what is its own, and with what holds a library to its quota."""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

_SERVICE_PREFIXES = ("RAY_", "AWS_", "TASKSERVICE_", "OTEL_")

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS",
    "TOKIO_WORKER_THREADS", "JULIA_NUM_THREADS", "PYTHON_CPU_COUNT",
)  # fmt: skip
"""What libraries read, once, when they are imported. Arrow's own pool goes by the first."""

Devices = tuple[tuple[str, str], ...]


def devices(environ: Mapping[str, str]) -> Devices:
    """What Ray has set in this process, for its lease, about GPUs; libraries read it once, at import."""
    return tuple((name, environ[name]) for name in sorted(environ) if "_VISIBLE_" in name)


def threads_for(cpu_m: int) -> int:
    """How many threads a function with so many thousandths of a CPU reckons with: as many as it has whole CPUs, at least one."""
    return max(1, cpu_m // 1000)


def child_environment(threads: int, folder: Path, *, own_user: bool) -> dict[str, str]:
    """This process's environment without the service's own: no credentials, tokens, or Ray addresses.

    `folder`: the child's, see `runtime.scratch`. A user of its own has its home there as well.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SERVICE_PREFIXES)}
    if kept.get("PYTHONBREAKPOINT", "").startswith("ray."):
        del kept["PYTHONBREAKPOINT"]  # a debugger that needs Ray
    kept |= dict.fromkeys(_THREADS, str(threads))
    kept |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(folder / "tmp"))
    if own_user:
        kept.setdefault(
            "PYTHONUSERBASE", site.getuserbase()
        )  # where libraries are that were installed for the service's user
        kept |= {"HOME": str(folder / "home"), "USER": "task", "LOGNAME": "task"}
        for name in [name for name in kept if name.startswith(("XDG_", "SSH_", "SUDO_", "DBUS_"))]:
            del kept[name]
    return kept
