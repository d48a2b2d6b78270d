"""The lines between the dispatcher and runners of other nodes: which ends listen over TCP, and how they are found."""

from __future__ import annotations

from functools import partial

from taskservice.actors.line import Line, LineServer
from taskservice.actors.line_ports import DISPATCHER_METHODS, RUNNER_METHODS
from taskservice.actors.network import Network, node_of
from taskservice.actors.ports import DispatcherPort
from taskservice.actors.ray_port import node_host, where
from taskservice.actors.tcp_line import Address, Gate, TcpLine
from taskservice.core.types import RunnerId


async def listen_to_runners(
    dispatcher: DispatcherPort, network: Network | None
) -> tuple[LineServer | None, Address | None]:
    """Runners of other nodes can report, and nothing else; where. None without a network."""
    if network is None:
        return None, None
    server = LineServer({"report": dispatcher.report}, DISPATCHER_METHODS)
    return server, await Gate(server, network.token).open(node_host())


async def listen_to_dispatcher(server: LineServer, node: str, network: Network | None) -> Address | None:
    """A dispatcher on another node can call this node's runner; where. None if there is no other."""
    if network is None or node == network.home_node:
        return None
    return await Gate(server, network.token).open(node_host())


def line_to_dispatcher(name: str, node: str, network: Network | None) -> Line | None:
    """The way from this node to the dispatcher, an actor of this name; None if that is on the same node."""
    if network is None or node == network.home_node:
        return None
    return TcpLine(partial(where, name), network.token, DISPATCHER_METHODS)


def line_to_runner(network: Network | None, id: RunnerId) -> Line | None:
    """The way from the dispatcher to a runner; None if that is on the same node."""
    if network is None or node_of(id) == network.home_node:
        return None
    return TcpLine(partial(where, id), network.token, RUNNER_METHODS)
