"""A service on several machines: what its processes know each other by, and what each machine keeps.

Dispatcher and gateway are on one node, the home node, and call each other and that node's runner over unix sockets, as they do
without a network. Runners of other nodes and the dispatcher call each other over TCP (`tcp_line`), and ask Ray where the other
listens, so a dispatcher that starts again on another port is found. Supervisors are where their runner is.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from taskservice.config import Settings
from taskservice.core.types import RunnerId
from taskservice.errors import ServiceBug


@dataclass(frozen=True, slots=True)
class Network:
    """Handed to the service's actors when Ray makes them; never in a command line, a file or a log."""

    home_node: str
    """Ray's id of the node with the dispatcher and the gateway."""
    token: bytes = field(repr=False)
    """Made by `up`; see `tcp_line`."""


def settings_on(node: str, settings: Settings, network: Network | None, folder: Path | None = None) -> Settings:
    """The settings as they hold on this node: other machines need not have the folder that `home` is.

    `folder`: where a node that is not the home node keeps its own; by default where its temporary files are.
    """
    if network is None or node == network.home_node:
        return settings
    return settings.model_copy(update={"home": _node_home(settings.state_dir, folder or Path(tempfile.gettempdir()))})


def node_of(id: RunnerId) -> str:
    """The node that a runner is on, as its name says."""
    return id.split(":")[2]


def _node_home(state_dir: str, folder: Path) -> Path:
    """A folder of this machine that belongs to the service with this state, and that only this user can enter.

    It stays, with the tasks' logs in it, when the service has stopped. Raises ServiceBug if somebody else's is in its place.
    """
    mark = hashlib.sha256(state_dir.encode()).hexdigest()[:8]
    path = folder / f"taskservice-node-{os.getuid()}-{mark}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ServiceBug(f"{path} is not a folder that only this user can enter: remove it")
    return path
