"""A process that writes a table until it is killed: `python table_writer.py FILE SEED CACHE_PAGES`; a line for each commit."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from helpers.histories import History
from taskservice.journal.store.sqlite import SqliteTable


def main() -> None:
    path, seed, cache_pages = sys.argv[1:]
    table = SqliteTable(Path(path))
    table._db.execute(f"PRAGMA cache_size = {int(cache_pages)}")
    for commit in History(table, Random(int(seed))).commits():
        print(commit, flush=True)


if __name__ == "__main__":
    main()
