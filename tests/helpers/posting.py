"""A real HTTP receiver of callbacks, and what posts to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager

from taskservice.actors.callback_http import CallbackHttp


@asynccontextmanager
async def posting(timeout_s: float = 10.0, *, private_networks: bool = True, **options: object):
    http = CallbackHttp(timeout_s=timeout_s, at_once_max=8, private_networks=private_networks, **options)  # type: ignore[arg-type]
    try:
        yield http
    finally:
        await http.close()


async def only_here(host: str, port: int) -> Sequence[str]:
    """Names are not asked of anybody."""
    if host != "127.0.0.1":
        raise OSError(f"{host} is not known")
    return [host]
