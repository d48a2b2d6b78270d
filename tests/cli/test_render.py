"""Tables on a terminal of eighty columns."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from taskservice.cli.render import table_of

COLUMNS = ("TENANT", "HOLDS", "QUOTA", "LIMITS USED")
ROW = (
    "default",
    "cpus 16, memory 64 GiB",
    "reserved cpus 8; at most cpus 32, memory 128 GiB",
    "rate 12/50, running_max 3/5",
)


def shown(wrapped: tuple[str, ...]) -> str:
    out = StringIO()
    Console(file=out, width=60).print(table_of(COLUMNS, [ROW], wrapped))
    return out.getvalue()


def test_what_is_said_in_words_has_more_lines_and_a_name_stays_whole() -> None:
    """Seen: `defau…` and `100…` beside quotas that were cut as well."""
    text = shown(COLUMNS[1:])
    assert "…" not in text
    assert {word for cell in ROW for word in cell.split()} <= set(text.split())
    assert max(map(len, text.splitlines())) <= 60


def test_other_columns_are_cut() -> None:
    assert len(shown(()).splitlines()) == 2
