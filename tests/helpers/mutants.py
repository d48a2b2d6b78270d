"""The log's code with one mistake built in: copies of its modules, made from their text. Tests must find each of them.

A change that no longer fits the text fails at once, and says so: adapt it, or the mistake is not tested for any more.
"""

from __future__ import annotations

import importlib.util
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from helpers.owners import Code

PACKAGE = "taskservice.journal"
COPIED = ("manifest", "segments", "sealing", "bucket", "checkpoint", "chunks", "checkpointer")
"""In the order in which they import each other."""
_serial = count()


class Change(NamedTuple):
    """A piece of a module's text, which is there once, and what stands there instead."""

    module: str
    old: str
    new: str


MUTANTS: dict[str, tuple[Change, ...]] = {
    "segments are acknowledged out of order": (
        Change("bucket", "            self._wait_until(lambda: number < self._landed)\n", ""),
    ),
    "whatever is found in a segment's place counts as one's own": (
        Change("bucket", "            if other is not None:\n", "            if False:\n"),
    ),
    "whatever is found in a manifest's place counts as one's own": (
        Change("manifest", "        if manifest.owners[-1] == self.manifest.owners[-1]:\n", "        if True:\n"),
    ),
    "the fence is behind all there is, not at the first hole": (
        Change("sealing", "        number += place.number == number\n", "        number = place.number + 1\n"),
    ),
    "a fence does not end the search for its place": (
        Change("sealing", "        if may_be_fence(info.size_bytes):  # behind", "        if False:  # behind"),
        Change(
            "sealing",
            "    number = _first_hole(store, epoch, first)\n",
            "    number = max(first, _first_hole(store, epoch, first) - 1)\n",
        ),
    ),
    "fences are collected": (
        Change("bucket", "min(last, sealed.segments))", "min(last, sealed.segments) + (sealed.epoch < upto.epoch))"),
    ),
    "fences are swept": (
        Change("bucket", "            if not may_be_fence(info.size_bytes):\n", "            if True:\n"),
    ),
    "an opener does not look whether it was overtaken while it sealed": (
        Change("bucket", "        self.ownership.check()  # or a successor may", "        # or a successor may"),
    ),
    "an opener that was overtaken believes that its log is damaged": (
        Change("bucket", "                self.ownership.check()  # a successor may have", "                # a successor may have"),
    ),
    "segments are collected up to the newer checkpoint": (
        Change("checkpointer", "self._journal.collect(manifest.start)", "self._journal.collect(manifest.checkpoints[0].position)"),
    ),
    "only the newest checkpoint's chunks are kept": (
        Change(
            "checkpointer",
            "        for ref in manifest.checkpoints:\n            index",
            "        for ref in manifest.checkpoints[:1]:\n            index",
        ),
    ),
    "a sweep takes what a later owner made": (
        Change("checkpointer", "place.epoch < self._ownership.epoch and ", ""),
    ),
    "claims are collected": (
        Change("checkpointer", "range(previous.number + previous.claim, ", "range(previous.number, "),
    ),
    "claims are swept": (
        Change("manifest", "            if not decode(store.get(key), key).claim:\n", "            if True:\n"),
    ),
    "a late claim is believed": (
        Change("manifest", "            ownership.check()  # or the number", "            # or the number"),
        Change("bucket", "        self.ownership.check()  # or a successor may", "        # or a successor may"),
    ),
    "old things are removed before the checkpoint is published": (
        Change(
            "checkpointer",
            "            self._publish(index)\n",
            "            self._journal.collect(previous.start if not previous.checkpoints else previous.checkpoints[0].position)\n"
            "            self._publish(index)\n",
        ),
    ),
    "the index is there and its chunks are not": (
        Change(
            "chunks",
            "Crew(threads, cpu_ratio_max, stop).do(range(work.places), work.worker)\n",
            "work._done = [Chunk(f'{work._prefix}{at:06d}', '') for at in range(work.places)]\n",
        ),
    ),
}  # fmt: skip
"""What is wrong, and where."""


def mutant(*changes: Change) -> Code:
    """`BucketJournal` and `Checkpointer` with these changes; in modules of their own, so that nobody else has them."""
    suffix = f"_mutant{next(_serial)}"
    for name in COPIED:
        text = _text_of(name)
        for change in changes:
            if change.module == name:
                assert text.count(change.old) == 1, f"{name}.py does not hold this once any more: {change.old!r}"
                text = text.replace(change.old, change.new)
        for other in COPIED:
            text = text.replace(f"from {PACKAGE}.{other} import", f"from {other}{suffix} import")
        text = text.replace(f"from {PACKAGE} import manifest as", f"import manifest{suffix} as")
        module = ModuleType(name + suffix)
        sys.modules[module.__name__] = module
        exec(compile(text, f"<{module.__name__}>", "exec", dont_inherit=True), module.__dict__)
    return Code(
        BucketJournal=sys.modules[f"bucket{suffix}"].BucketJournal,
        Checkpointer=sys.modules[f"checkpointer{suffix}"].Checkpointer,
    )


def _text_of(name: str) -> str:
    spec = importlib.util.find_spec(f"{PACKAGE}.{name}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")
