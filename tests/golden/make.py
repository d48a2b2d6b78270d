"""Makes the golden journals in this folder, as the version of this checkout writes them. Usage: python tests/golden/make.py v2

To be run once for each version that is released, and never again for one that was: a test reads them all with today's
code. `local/` is a state directory, `bucket/` what a bucket holds below its prefix; `tasks.json` says what both come to.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import msgspec  # noqa: E402

from helpers.golden import described  # noqa: E402
from helpers.ledger import Ledger, Open, busy, in_directory, in_store, went_on  # noqa: E402
from taskservice.core.events import KeyPut  # noqa: E402
from taskservice.core.specs import ApiKey  # noqa: E402
from taskservice.core.types import OutcomeKind, Priority, TenantId  # noqa: E402
from taskservice.journal import manifest as manifests  # noqa: E402
from taskservice.objects.directory import DirectoryObjects  # noqa: E402
from world.machine import bad, function  # noqa: E402

WRITER = "golden 1"
TORN_BYTES = 21


def make(version: str) -> None:
    """The folder `version` holds both journals and what they come to. Raises FileExistsError if it is there."""
    folder = HERE / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        for name, opens in (
            ("local", in_directory(folder / "local", file_bytes_max=1_000)),
            ("bucket", in_store(DirectoryObjects(folder / "bucket"))),
        ):
            (Path(scratch) / name).mkdir()
            ledger = lived(opens, Path(scratch) / name)
            known = msgspec.json.format(msgspec.json.encode(described(ledger.state)), indent=1)
            (folder / f"{name}.json").write_bytes(known + b"\n")
            if name == "local":
                ledger.submit("never-acknowledged")
            ledger.die()
    tear(folder / "local")
    tidy(folder)


def lived(opens: Open, folder: Path) -> Ledger:
    """Two epochs with all kinds of records; segments large enough to be compressed, and small ones; two checkpoints."""
    ledger = Ledger(opens, folder)
    ledger.register(function(), function("app.slow", priority=Priority.LOW, doc="Sleeps."))
    ledger.join(cpus=2)
    acme = ledger.tenant("acme", weight=2.0, queued_max=100)
    ledger.ask(KeyPut(ledger.next_ref(), ApiKey("key_1", acme, ("submit", "read"), bytes(32), "the golden key", 1_000)))
    busy(ledger, "a")
    ledger.submit("tagged", tenant=acme, tags=(("size", "XL"), ("ключ", "値")), priority=Priority.CRITICAL)
    ledger.submit("later", function="app.slow", delay_ms=86_400_000)
    ledger.checkpoint()
    busy(ledger, "b")
    ledger.later(5_000)
    went_on(ledger)
    busy(ledger, "c")
    ledger.submit("hopeless", tags=(("kind", "dead letter"),))
    ledger.submit("given-back", payload=b"[]" * 400)
    for lease in ledger.dispatch():
        kept = [
            bad(task.no, OutcomeKind.NON_RETRYABLE, detail="Traceback") for task in lease.tasks if task.id == "hopeless"
        ]
        ledger.report(lease.token, *kept, handed_back=tuple(task.no for task in lease.tasks if task.id != "hopeless"))
    ledger.checkpoint()
    ledger.submit(*(f"many-{at}" for at in range(20)), tenant=TenantId("acme"), payload=b'{"sizes": [64, 128, 256]}')
    ledger.dispatch()
    ledger.submit("waiting", function="app.slow")
    return ledger


def tear(state: Path) -> None:
    """The last commit of the local journal was cut short by the loss of power, so that it never counted."""
    log = max((state / "journal" / "00000002").glob("*.log"))
    os.truncate(log, log.stat().st_size - TORN_BYTES)


def tidy(folder: Path) -> None:
    """Nothing of this machine is in it, nor what git does not keep."""
    for lock in folder.rglob("lock"):
        lock.unlink()
    for drafts in folder.rglob(".drafts"):
        shutil.rmtree(drafts)
    for path in folder.rglob("manifest/*"):
        manifest = manifests.decode(path.read_bytes(), f"manifest/{path.name}")
        path.write_bytes(manifests.encode(msgspec.structs.replace(manifest, writer=WRITER)))


if __name__ == "__main__":
    make(sys.argv[1])
