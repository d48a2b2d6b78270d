"""A Ray cluster of two nodes on this machine, as a program: `two_nodes.py FOLDER` says its address on standard output.

A line `remove` on standard input crashes the second node, which has two of a resource `red`, a label that says so, and a GPU as far
as Ray knows; `add` starts it anew; each is answered by a line. It ends with its input. In a process of its own, for Ray's `Cluster` does not always start in one
that was part of another cluster before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from taskservice.actors import ray_env

NODE = {"num_cpus": 1, "object_store_memory": ray_env.OBJECT_STORE_BYTES_MIN, "include_log_monitor": False}
RED = {**NODE, "num_gpus": 1, "resources": {"red": 2}, "labels": {"colour": "red"}}


def main(folder: Path) -> None:
    # `Cluster` writes down its address in Ray's usual folder, and fails where no Ray has made that before.
    os.environ["RAY_TMPDIR"] = str(folder)
    (folder / "ray").mkdir()
    ray_env.ensure_token(folder / "token")
    ray_env.apply(ray_env.local_ray_env(folder / "token"))
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - only now does it see its environment

    head = {**NODE, "include_dashboard": False, "temp_dir": str(folder / "r")}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    red = cluster.add_node(**RED)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(red)
        else:
            red = cluster.add_node(**RED)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
