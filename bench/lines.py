"""What a call between two processes of the service costs: over the unix socket of one machine, and over TCP between machines.

python bench/lines.py [CALLS]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from taskservice.actors.line import Line, LineServer, Method
from taskservice.actors.tcp_line import Address, Gate, TcpLine

METHODS = {"report": Method(tuple[bytes], bytes)}
TOKEN = bytes(32)
BODY = bytes(1_000)
AT_ONCE = 100


async def report(body: bytes) -> bytes:
    return body


async def _serve(folder: str, ready: multiprocessing.Queue[Address]) -> None:
    server = LineServer({"report": report}, METHODS)
    await server.start(Path(folder, "run", "callee.sock"))
    ready.put(await Gate(server, TOKEN).open("127.0.0.1"))
    await asyncio.Event().wait()


def serve(folder: str, ready: multiprocessing.Queue[Address]) -> None:
    uvloop.run(_serve(folder, ready))


async def measure(name: str, line: Line, calls: int) -> None:
    """Prints the time of one call after the other, and how many a second there are when 100 are under way."""
    times_us = []
    for _ in range(calls):
        began_s = time.perf_counter()
        await line.call("report", BODY, timeout_s=30)
        times_us.append((time.perf_counter() - began_s) * 1e6)

    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            await line.call("report", BODY, timeout_s=30)

    began_s = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    rate = calls // AT_ONCE * AT_ONCE / (time.perf_counter() - began_s)
    p50, p99 = statistics.median(times_us), statistics.quantiles(times_us, n=100)[98]
    print(f"{name:<5} one by one p50 {p50:6.0f} us  p99 {p99:6.0f} us   {AT_ONCE} at once {rate:8,.0f} calls/s")


async def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ready: multiprocessing.Queue[Address] = multiprocessing.Queue()
        callee = multiprocessing.Process(target=serve, args=(folder, ready), daemon=True)
        callee.start()
        address = ready.get(timeout=30)

        async def where() -> Address:
            return address

        for _ in range(2):
            await measure("unix", Line(Path(folder, "run", "callee.sock"), METHODS), calls)
            await measure("tcp", TcpLine(where, TOKEN, METHODS), calls)
        callee.terminate()
        callee.join()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
