"""The folder, the token and the flags of an embedded Ray, without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from taskservice.actors.ray_env import RayFolder, ensure_token, local_ray_env
from taskservice.errors import BackOffError, ServiceBug

SOCKET_PATH_BYTES_MAX = 107
LONGEST_SESSION = "session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"


def test_a_folder_is_held_by_one_at_a_time_and_is_empty_each_time(tmp_path: Path) -> None:
    folder = RayFolder(tmp_path)
    folder.ray.mkdir()
    with pytest.raises(BackOffError, match="another service is running"):
        RayFolder(tmp_path)
    assert folder.ray.exists(), "he who came too late touches nothing"
    folder.remove()
    assert not folder.path.exists()
    RayFolder(tmp_path).remove()


def test_what_a_killed_service_left_is_removed(tmp_path: Path) -> None:
    script = "import sys, pathlib, os, subprocess; from taskservice.actors.ray_env import RayFolder\n"
    script += "folder = RayFolder(pathlib.Path(sys.argv[1])); (folder.ray / 'session').mkdir(parents=True)\n"
    script += "print(subprocess.Popen(['sleep', '600'], cwd=folder.empty, stdout=-3).pid, flush=True); os._exit(9)"
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, stdout=subprocess.PIPE)
    left = psutil.Process(int(killed.stdout))
    folder = RayFolder(tmp_path)
    assert not folder.ray.exists()
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    folder.remove()


def test_each_home_has_a_folder_of_its_own_that_only_its_user_can_enter(tmp_path: Path) -> None:
    folders = [RayFolder(tmp_path / name) for name in ("a", "b")]
    assert folders[0].path != folders[1].path
    for folder in folders:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        folder.remove()


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    folder = RayFolder(tmp_path)
    folder.remove()
    folder.path.mkdir()
    folder.path.chmod(0o755)
    try:
        with pytest.raises(ServiceBug, match="only this user can enter"):
            RayFolder(tmp_path)
    finally:
        folder.path.rmdir()


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = RayFolder(tmp_path)
    folder.remove()
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    folder.path.symlink_to(target)
    try:
        with pytest.raises(ServiceBug, match="only this user can enter"):
            RayFolder(tmp_path)
    finally:
        folder.path.unlink()


def test_the_longest_socket_path_fits(tmp_path: Path) -> None:
    folder = RayFolder(tmp_path)
    longest = str(folder.ray / LONGEST_SESSION).replace(f"-{os.getuid()}-", "-4294967295-")
    folder.remove()
    assert len(longest.encode()) <= SOCKET_PATH_BYTES_MAX


def test_a_token_is_made_once_and_only_its_user_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "ray_token"
    ensure_token(file)
    token = file.read_text()
    ensure_token(file)
    assert file.read_text() == token
    assert len(bytes.fromhex(token)) == 32
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_embedded_ray_never_goes_without_a_token_or_off_loopback(tmp_path: Path) -> None:
    env = local_ray_env(tmp_path / "token")
    assert env["RAY_AUTH_MODE"] == "token"
    assert env["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_ray_imported_too_early_is_refused(tmp_path: Path) -> None:
    """It would have read its environment already, and listen on every interface."""
    script = "import sys, pathlib; sys.modules['ray'] = sys; from taskservice.actors import ray_env\n"
    script += "ray_env.apply(ray_env.local_ray_env(pathlib.Path('token')))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, env=env)
    assert "ServiceBug: ray was imported before" in run.stderr
