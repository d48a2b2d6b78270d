"""A Ray cluster with Ray's own autoscaler on this machine, as a program: `autoscaled.py FOLDER PORT` says when it is there.

The head has no CPUs; a worker has one, and is a raylet that the autoscaler starts and ends as it would start machines. It ends with its
input, and takes all its processes along. It is made of the parts of Ray's `AutoscalingCluster`, which ends every Ray on a machine when it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from taskservice.actors import ray_env

KIND = "worker"
END_WITHIN_S = 30
OBJECT_STORE_BYTES = ray_env.OBJECT_STORE_BYTES_MIN


class Autoscaled:
    """The cluster, in the hands of a test."""

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.environment = {**environment, **ray_env.local_ray_env(folder / "token")}
        """What a process needs to join it, too."""
        self.address = f"127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the cluster has not started"

    def end(self) -> None:
        self._process.communicate(timeout=2 * END_WITHIN_S)


def config(address: str, head_id: str) -> dict[str, object]:
    """What Ray's autoscaler is told."""
    worker = {"CPU": 1, "object_store_memory": OBJECT_STORE_BYTES}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "autoscaled",
        "max_workers": 4,
        "upscaling_speed": 100,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": head_id,
            "gcs_address": address,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            KIND: {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 3},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in commands},
    }


def main(folder: Path, port: int) -> None:
    ray_env.ensure_token(folder / "token")
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID  # noqa: PLC0415

    address = f"127.0.0.1:{port}"
    said = folder / "autoscaling.json"
    said.write_text(json.dumps(config(address, FAKE_HEAD_NODE_ID)))
    own = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_raylet_start_wait_time_s": "150",
    }
    ray = str(Path(sys.executable).parent / "ray")
    words = [
        "start", "--head", f"--port={port}", "--num-cpus=0", "--node-ip-address=127.0.0.1", f"--autoscaling-config={said}",
        "--include-dashboard=false", "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={folder / 'r'}",
    ]  # fmt: skip
    try:
        subprocess.run([ray, *words], check=True, env={**os.environ, **own}, stdout=sys.stderr)
        print("up", flush=True)
        sys.stdin.read()
    finally:
        end(folder)


def end(folder: Path) -> None:
    """Every process that says the folder in its command line is gone: Ray's say it, and they are not children of this one."""
    ours = [one for one in psutil.process_iter(["cmdline"]) if _says(one, str(folder)) and one.pid != os.getpid()]
    children = [child for one in ours if one.is_running() for child in one.children(recursive=True)]
    for process in {*ours, *children}:
        if process.is_running():
            process.kill()
    psutil.wait_procs([*ours, *children], timeout=END_WITHIN_S)


def _says(process: psutil.Process, word: str) -> bool:
    return any(word in part for part in process.info["cmdline"] or ())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
