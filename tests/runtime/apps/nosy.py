"""Handlers that reach for what is not theirs, and take what they can get."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from taskservice import App, Context

app = App("nosy")

_PTRACE_ATTACH = 16


def _said(deed: object, *arguments: object) -> str:
    """How it went: `done`, or the error's name."""
    try:
        deed(*arguments)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


@app.task
def whoami() -> dict[str, object]:
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "uids": sorted({*os.getresuid(), *os.getresgid()}),
        "groups": os.getgroups(),
        "capabilities": int(status["CapEff"], 16) | int(status["CapPrm"], 16),
        "no_new_privs": status["NoNewPrivs"],
        "home": str(Path.home()),
    }


@app.task
def read(paths: list[str]) -> dict[str, str]:
    """What comes of reading each."""
    return {path: _said(os.open, path, os.O_RDONLY) for path in paths}


@app.task
def write(path: str) -> None:
    Path(path).write_text("mine")


@app.task
def molest(pid: int) -> dict[str, str]:
    libc = ctypes.CDLL(None, use_errno=True)

    def attach() -> None:
        if libc.ptrace(_PTRACE_ATTACH, pid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")

    return {
        "signal": _said(os.kill, pid, signal.SIGTERM),
        "attach": _said(attach),
        "memory": _said(os.open, f"/proc/{pid}/mem", os.O_RDONLY),
        "environment": _said(os.open, f"/proc/{pid}/environ", os.O_RDONLY),
    }


@app.task
def fork_bomb(count: int, leave: bool = False) -> int:
    """So many copies that sleep; with `leave`, each in a session of its own."""
    made = 0
    for _ in range(count):
        if os.fork() == 0:
            if leave:
                os.setsid()
            time.sleep(60)
            os._exit(0)
        made += 1
    time.sleep(20)
    return made


@app.task
def start_threads(count: int) -> int:
    threading.stack_size(64 * 1024)
    ended = threading.Event()
    for _ in range(count):
        threading.Thread(target=ended.wait, args=(20,), daemon=True).start()
    ended.wait(20)
    return count


@app.task
def scribble(name: str, stay: bool = False) -> dict[str, object]:
    """Writes a temporary file; says where, and what was there before."""
    folder = Path(tempfile.gettempdir())
    before = sorted(path.name for path in folder.iterdir())
    (folder / name).write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").touch()
    (folder / "sub").chmod(0)
    if stay:
        os._exit(3)
    return {"folder": str(folder), "before": before, "tmpdir": os.environ["TMPDIR"]}


@app.task
def spoil_tempfile(folder: str) -> None:
    tempfile.tempdir = folder


@app.task
def fill(files: int, size: int) -> None:
    for each in range(files):
        (Path(tempfile.gettempdir()) / str(each)).write_bytes(bytes(size))
    time.sleep(20)


@app.task
def grow(size: int) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        while size > 0:
            size -= file.write(bytes(min(size, 1 << 20)))


@app.task
def dig(depth: int) -> None:
    """Folders in folders, until no path is long enough."""
    os.chdir(tempfile.gettempdir())
    for _ in range(depth):
        os.mkdir("down" * 10)  # noqa: PTH102
        os.chdir("down" * 10)
    os.chdir("/")


@app.task
def open_files(count: int) -> int:
    return len([os.open("/dev/null", os.O_RDONLY) for _ in range(count)])


@app.task
def limits() -> dict[str, int]:
    names = ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC")
    return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}


@app.task
def environment(names: list[str]) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


@app.task
def close_stdout(text: str) -> str:
    sys.stdout.close()
    os.close(1)
    os.close(2)
    return text


@app.task
def print_binary() -> None:
    os.write(1, b"\x00\xff\xfe raw \xc3\x28\n")
    sys.stdout.buffer.write(b"\x80 buffered\n")
    sys.stdout.flush()


@app.task
def to_dev_stdout() -> int:
    """As scripts do it."""
    return subprocess.run(["/bin/sh", "-c", "echo told > /dev/stdout"], check=False).returncode


@app.task(secrets=["STRIPE_KEY"])
def pay(ctx: Context, say: bool = False, fail: bool = False) -> int:
    value = ctx.secret("STRIPE_KEY")
    if say:
        print("the key is", value, repr(ctx), ctx.secrets)
    if fail:
        raise ValueError(f"{value} was refused")
    return len(value)


@app.task
def peek(ctx: Context) -> str:
    return ctx.secret("STRIPE_KEY")


@app.task
def look_at_others(needle: str) -> list[int]:
    """The processes whose memory or environment holds the needle, of all that can be looked at."""
    found = []
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:  # noqa: PTH208
        with suppress(OSError, ValueError, OverflowError):
            if needle.encode() in Path(f"/proc/{pid}/environ").read_bytes() or _memory_has(pid, needle.encode()):
                found.append(pid)
    return found


def _memory_has(pid: int, needle: bytes) -> bool:
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            first, _, last = line.split()[0].partition("-")
            if " rw-p " in line and "[heap]" in line:
                memory.seek(int(first, 16))
                if needle in memory.read(int(last, 16) - int(first, 16)):
                    return True
    return False
