"""Checks the types of what ships: installs the package into build/ship and runs mypy --strict on it there.

In the repository mypy sees neither actors/ nor autoscaler/, whose import names differ from their paths, and reports
success all the same. So the number of files it looked at is compared with the number that git has.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from sources import ROOT, repository_path, shipped

SHIP = ROOT / "build" / "ship"


def install() -> None:
    """build/ship holds the package as it would be installed, and nothing older."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--target", str(SHIP), "."], cwd=ROOT, check=True)


def mypy() -> tuple[int, str]:
    """The exit code and the findings, with the paths of the repository."""
    config, cache = str(ROOT / "pyproject.toml"), str(ROOT / ".mypy_cache" / "ship")
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", cache, "-p", "taskservice"]
    run = subprocess.run(command, cwd=SHIP, check=False, capture_output=True, text=True)
    return run.returncode, "\n".join(map(repository_path, (run.stdout + run.stderr).splitlines()))


def main() -> int:
    """0 if every file of the package was looked at and nothing was found."""
    install()
    code, findings = mypy()
    print(findings)
    expected = sum(path.suffix == ".py" for path in shipped())
    counted = re.search(r"(\d+) source files?", findings)
    if counted is None or int(counted.group(1)) != expected:
        print(f"typecheck: the package has {expected} files, and mypy did not say that it looked at as many.")
        print("typecheck: is a package missing from [tool.setuptools] packages in pyproject.toml?")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
