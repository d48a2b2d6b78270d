"""What is installed: every module under its import name, nothing else, and importable from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sources import ROOT, files, shipped


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the repository's files: the checkout stays as it is, and nothing stale gets in."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist), ".", cwd=source)
    (built,) = dist.glob("taskservice-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the package as the wheel has it."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished process. Fails with its output if its exit code is not 0."""
    done = attempt(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def attempt(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=everything, check=False, capture_output=True, text=True, timeout=100)


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [entry for entry in archive.namelist() if entry.endswith(f".dist-info/{name}")]
        return archive.read(path).decode()


def test_wheel_holds_what_git_has(wheel):
    """If a file is missing: name its package, or its data file, under [tool.setuptools] in pyproject.toml."""
    assert names(wheel) == {str(path) for path in shipped().values()}


def test_wheel_says_that_it_is_typed(wheel):
    assert "taskservice/py.typed" in names(wheel)


def test_wheel_has_one_top_level_name(wheel):
    """`actors` and `autoscaler` are names that a user's own repository may have."""
    assert metadata(wheel, "top_level.txt").split() == ["taskservice"]


def test_wheel_brings_its_license_and_command(wheel):
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")
    assert "taskservice = taskservice.cli.main:main" in metadata(wheel, "entry_points.txt")


IMPORT_ALL = """
import importlib, sys
from pathlib import Path
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(sys.argv[1]), f"{name} came from {module.__file__}"
"""


def test_every_module_imports_from_anywhere(installed):
    """From the root directory, and without the checkout: what is imported is the installed file."""
    modules = [".".join(path.with_suffix("").parts) for path in shipped().values() if path.suffix == ".py"]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    assert "taskservice.actors.ports" in modules
    run(sys.executable, "-c", IMPORT_ALL, str(installed), *modules, cwd=Path("/"), PYTHONPATH=str(installed))


@pytest.mark.parametrize("folder", ["actors", "autoscaler"])
def test_the_other_name_is_refused(folder):
    """Imported under two names, one file would give two classes that are not equal."""
    done = attempt(sys.executable, "-c", f"import {folder}", cwd=ROOT)
    assert done.returncode != 0
    assert f"import taskservice.{folder}, not {folder}" in done.stderr


def test_a_users_own_actors_folder_is_theirs(tmp_path):
    """Ray puts the driver's folder first on every worker's path: both names must work there."""
    (tmp_path / "actors.py").write_text("MINE = True\n")
    run(sys.executable, "-c", "import actors, taskservice.actors.ports; assert actors.MINE", cwd=tmp_path)
