"""What a dispatcher pushes to its runners: leases and orders, each until its runner has it, or is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.orders import Order
from taskservice.core.types import RunnerId
from taskservice.errors import BackOffError

Push = Callable[[RunnerId, int, bytes], Awaitable[bool]]
"""To the runner, in an epoch, msgpack of a list; False: it has seen a higher one."""

log = logging.getLogger(__name__)


async def pushed(
    push: Push,
    runner: RunnerId,
    epoch: int,
    what: Sequence[LeaseSpec] | Sequence[Order],
    known: Callable[[RunnerId], bool],
    retry_s: float,
) -> bool:
    """The runner has it all, or is not known any more, and its leases with it. False: it has served a later epoch."""
    body = msgspec.msgpack.encode(what)
    while known(runner):
        try:
            return await push(runner, epoch, body)
        except BackOffError as error:
            log.warning("runner %s did not take %d leases or orders: %s", runner, len(what), error)
            await asyncio.sleep(retry_s)
    return True
