"""The repository's text, as the tests about it read it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from sources import ROOT, files


def python_files(*folders: str) -> list[Path]:
    """The Python files of these top-level folders; of all if none is given."""
    return [path for path in files() if path.suffix == ".py" and (not folders or path.parts[0] in folders)]


@cache
def text(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree(path: Path | str) -> ast.Module:
    return ast.parse(text(path), str(path))


def occurrences(pattern: re.Pattern[str]) -> list[str]:
    """Where the pattern occurs in the repository's text files, as "path:line: what"."""
    found = []
    for path in files():
        try:
            lines = text(path).splitlines()
        except UnicodeDecodeError:
            continue
        hits = ((number, pattern.search(line)) for number, line in enumerate(lines, 1))
        found += [f"{path}:{number}: {hit.group()}" for number, hit in hits if hit]
    return found


def complain(offences: list[str], advice: str) -> None:
    """Fails with a line for each offence and what to do about them, unless there is none."""
    if offences:
        pytest.fail("\n".join([*offences, "", advice]), pytrace=False)
