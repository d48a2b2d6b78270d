"""What `journal verify` and `journal stats` show on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from taskservice.cli import render
from taskservice.journal.stats import CheckpointStats, EpochStats, Stats
from taskservice.journal.verify import Verified


def show_verified(found: Verified) -> None:
    """What was looked at, and what is wrong with it."""
    first, last = (f"{epoch}/{number}" for epoch, number in (found.first, found.last))
    render.print_facts(
        [
            ("state", found.url),
            ("log", found.log),
            ("checkpoints", f"{len(found.checkpoints)} whole, {found.chunks} chunks: {' '.join(found.checkpoints)}"),
            (
                "segments",
                f"{found.segments}, {found.records} records, from {first} to {last}" if found.segments else "0",
            ),
            ("compared", "the newer checkpoint with the older one and the segments" if found.deep else None),
        ]
    )
    for damage in found.damage:
        render.print_line(f"damaged: {damage}", "bold red")
    if not found.damage:
        render.print_line("All of it is whole.", "green")


def show_stats(found: Stats) -> None:
    """The log in numbers, its epochs and its checkpoints."""
    counts = (
        None if found.tasks is None else ", ".join(f"{count} {state}" for state, count in found.tasks.items() if count)
    )
    garbage = found.garbage
    unneeded = f"{garbage.segments} segments, {garbage.chunks} chunks, {garbage.indexes} indexes, {garbage.manifests} manifests"
    render.print_facts(
        [
            ("state", found.url),
            ("log", found.log),
            ("tasks", "not counted: --tasks fetches the newest checkpoint" if counts is None else counts or "none yet"),
            (
                "segments",
                f"{found.segments} kept, {_size(found.segments_bytes)}, compressed {found.compression:.1f} times",
            ),
            ("records", ", ".join(f"{count} {kind}" for kind, count in sorted(found.records.items()))),
            ("fences", found.fences or None),
            (
                "not needed",
                f"{unneeded}: {_size(garbage.bytes)}, which the next start removes" if garbage.bytes else None,
            ),
        ]
    )
    print()
    columns = ("EPOCH", "OWNER", "SINCE", "SEGMENTS", "KEPT", "SIZE", "STATE")
    render.print_table(columns, map(_epoch_row, found.epochs), "No epochs.")
    print()
    columns = ("CHECKPOINT", "SINCE", "AGE", "TABLE", "CHUNKS", "KEPT AS", "STATE")
    render.print_table(
        columns, [_checkpoint_row(each, found.now_ms) for each in found.checkpoints], "No checkpoints yet."
    )


def _epoch_row(epoch: EpochStats) -> tuple[object, ...]:
    return (
        epoch.epoch,
        epoch.owner or None,
        _moment(epoch.claimed_ms),
        epoch.segments,
        epoch.kept,
        _size(epoch.kept_bytes),
        "ended" if epoch.ended else "open",
    )


def _checkpoint_row(checkpoint: CheckpointStats, now_ms: int) -> tuple[object, ...]:
    return (
        f"{checkpoint.epoch}/{checkpoint.segment}",
        _moment(checkpoint.made_ms),
        None if checkpoint.made_ms is None else render.duration(max(0, now_ms - checkpoint.made_ms)),
        _size(checkpoint.file_bytes),
        f"{checkpoint.chunks} ({checkpoint.chunks_shared} shared)",
        _size(checkpoint.chunks_bytes),
        "damaged" if checkpoint.damage else "there",
    )


def show_story(place: str, line: str) -> None:
    """A line of a task's story, with its time in this machine's zone."""
    at_ms, _, said = line.partition(" ")
    moment = datetime.fromtimestamp(int(at_ms) / 1000, UTC).astimezone()
    print(f"{moment.isoformat(sep=' ', timespec='milliseconds')}  {place:<9} {said}")


def _moment(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _size(count: int) -> str:
    if count < 1 << 10:
        return f"{count} B"
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / (1 << 10):.1f} KiB"
