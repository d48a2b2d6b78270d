"""What belongs to the repository, and where each file of the package ends up when it is installed.

One place for what the type check (`typecheck.py`) and the tests about the code (`tests/test_tidy.py`,
`tests/test_packaging.py`) need to agree on.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = {"taskservice": "taskservice", "actors": "taskservice/actors", "autoscaler": "taskservice/autoscaler"}
"""Folders of the repository that ship, and their place in the installed package. As in pyproject.toml."""


@cache
def files() -> list[Path]:
    """All files of the repository, relative to its root: what git has, and what is new and not ignored."""
    # Command-line safe.directory: a checkout that belongs to another user (containers, CI) is read all the same.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = sorted(set(filter(None, listing.split("\0"))))
    return [Path(name) for name in names if (ROOT / name).is_file()]


@cache
def shipped() -> dict[Path, Path]:
    """The package's files: path in the repository -> path when installed."""
    return {path: Path(FOLDERS[path.parts[0]], *path.parts[1:]) for path in files() if path.parts[0] in FOLDERS}


def repository_path(installed: str) -> str:
    """The path in the repository of a path in the installed package."""
    for folder in ("actors", "autoscaler"):
        if installed.startswith(f"taskservice/{folder}/"):
            return installed.removeprefix("taskservice/")
    return installed
