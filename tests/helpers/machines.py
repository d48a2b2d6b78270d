"""A Ray cluster of several "machines" on this one, as a program: `machines.py FOLDER COUNT` says its address on standard output.

Each machine has one CPU, a folder for temporary files of its own, `FOLDER/0` and so on, where the service keeps what is a
machine's, and its number as the variable MACHINE, by which handlers know it. A line `kill N` on standard input kills the raylet
of machine N with SIGKILL, `add N` starts another in its place; each is answered by a line. It ends with its input. In a process
of its own, for the same reason as `two_nodes`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from taskservice.actors import ray_env

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": ray_env.OBJECT_STORE_BYTES_MIN,
    "include_log_monitor": False,
}
FAST = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A dead machine is known to be dead after seconds."""
END_WITHIN_S = 60


class Machines:
    """The cluster, in the hands of a test."""

    def __init__(self, folder: Path, count: int, environment: Mapping[str, str]) -> None:
        """`environment`: of every machine, besides that of this process."""
        self.folder = folder
        self.environment = {**environment, **ray_env.local_ray_env(folder / "token")}
        """What a process needs to join it, too."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment, **FAST},
        )
        try:
            self.address = self._line()
        except BaseException:
            self.end()
            raise

    def kill(self, machine: int) -> None:
        """Its raylet is dead, and what ran there with it."""
        self._say(f"kill {machine}")

    def add(self, machine: int) -> None:
        """It is there again, as a node that Ray does not know, with its old folder."""
        self._say(f"add {machine}")

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def processes(self, kind: str) -> dict[int, psutil.Process]:
        """The actors of that class, by their machines."""
        found = {}
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if f"::{kind}" in "".join(process.cmdline()):
                    found[int(process.environ()["MACHINE"])] = process
            except psutil.NoSuchProcess:
                continue
        return found

    def end(self) -> None:
        self._process.communicate(timeout=END_WITHIN_S)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the cluster has ended"
        return line


def main(folder: Path, count: int) -> None:
    # `Cluster` writes down its address in Ray's usual folder, and fails where no Ray has made that before.
    os.environ["RAY_TMPDIR"] = str(folder)
    (folder / "ray").mkdir()
    ray_env.ensure_token(folder / "token")
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - only now does it see its environment

    head = {**NODE, "include_dashboard": False, "temp_dir": str(folder / "r"), "env_vars": _own(folder, 0)}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.head_node]
    nodes += [cluster.add_node(**NODE, env_vars=_own(folder, machine)) for machine in range(1, count)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        command, machine = line.split()[0], int(line.split()[1])
        if command == "kill":
            cluster.remove_node(nodes[machine], allow_graceful=False)
        else:
            nodes[machine] = cluster.add_node(**NODE, env_vars=_own(folder, machine))
        print("done", flush=True)
    cluster.shutdown()


def _own(folder: Path, machine: int) -> dict[str, str]:
    own = folder / str(machine)
    own.mkdir(exist_ok=True)
    return {"TMPDIR": str(own), "MACHINE": str(machine)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
