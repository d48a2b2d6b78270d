"""What can be said about one Python source file without running it: its text and its figures.

Works on any file: some in the standard library's own tests are wrong on purpose (an unknown encoding, Python 2 syntax).
Such a file still has a text and line counts; `parsed` is False and what needs a syntax tree is 0.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from typing import NamedTuple

from pydantic import BaseModel

FALLBACK_ENCODING = "latin-1"
"""Gives every byte a character, so that reading cannot fail."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = (
    *_FUNCTIONS, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar,
    ast.Match,
)  # fmt: skip
_BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.comprehension,
    ast.match_case,
)  # fmt: skip
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


class SourceMetrics(BaseModel, frozen=True):
    """The figures of one file. `lines` is the sum of code, comment and blank lines; docstrings are code."""

    encoding: str
    parsed: bool
    lines: int
    code_lines: int
    comment_lines: int
    blank_lines: int
    functions: int = 0
    classes: int = 0
    imports: int = 0
    """Top-level packages that it imports, each counted once; relative imports are not counted."""
    depth_max: int = 0
    """Deepest nesting of blocks; `elif` is no deeper than its `if`."""
    complexity_max: int = 0
    """Highest of its functions by McCabe's measure (1, and 1 more for each branch), nested functions apart."""
    most_complex: str = ""
    """The function that has `complexity_max`."""


class LineCounts(NamedTuple):
    """How many lines of each kind there are."""

    code: int
    comment: int
    blank: int


def decode_source(data: bytes) -> tuple[str, str]:
    """The text of a source file, its newlines made alike, and the encoding that was used (PEP 263, or the fallback)."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        encoding = FALLBACK_ENCODING
        text = data.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def measure(text: str, encoding: str) -> SourceMetrics:
    """The figures of `text`, which came from `decode_source`."""
    counts = _count_by_tokens(text) or _count_by_text(text)
    figures = SourceMetrics(
        encoding=encoding,
        parsed=False,
        lines=sum(counts),
        code_lines=counts.code,
        comment_lines=counts.comment,
        blank_lines=counts.blank,
    )
    tree = _parse(text)
    return figures if tree is None else figures.model_copy(update=_shape(tree))


def _line_count(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and text != "")


def _count_by_tokens(text: str) -> LineCounts | None:
    """Exact counts, or None if the text has no tokens that Python would accept."""
    code: set[int] = set()
    comment: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comment.add(token.start[0])
            elif token.type not in _LAYOUT:
                code.update(range(token.start[0], token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return None
    lines = _line_count(text)
    return LineCounts(len(code), len(comment - code), lines - len(code | comment))


def _count_by_text(text: str) -> LineCounts:
    """Counts by how each line begins: takes a `#` inside a string for a comment."""
    stripped = [line.strip() for line in text.split("\n")[: _line_count(text)]]
    blank = stripped.count("")
    comment = sum(line.startswith("#") for line in stripped)
    return LineCounts(len(stripped) - blank - comment, comment, blank)


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file's odd escapes are not our news
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _shape(tree: ast.Module) -> dict[str, bool | int | str]:
    """What the syntax tree tells. Walks with a list of its own: generated sources nest deeper than Python recurses."""
    names: list[str] = []
    complexity: list[int] = []
    packages: set[str] = set()
    classes = depth_max = 0
    todo: list[tuple[ast.AST, int, int]] = [(tree, 0, -1)]
    while todo:
        node, depth, owner = todo.pop()
        if isinstance(node, _FUNCTIONS):
            names.append(node.name)
            complexity.append(1)
            owner = len(names) - 1
        classes += isinstance(node, ast.ClassDef)
        packages.update(_imported(node))
        if owner >= 0:
            complexity[owner] += _branches(node)
        inner = depth + isinstance(node, _BLOCKS)
        depth_max = max(depth_max, inner)
        chained = _elif(node)
        todo.extend((child, depth if child is chained else inner, owner) for child in ast.iter_child_nodes(node))
    highest = max(complexity, default=0)
    return {
        "parsed": True,
        "functions": len(names),
        "classes": classes,
        "imports": len(packages),
        "depth_max": depth_max,
        "complexity_max": highest,
        "most_complex": names[complexity.index(highest)] if names else "",
    }


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.partition(".")[0]]
    return []


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, _BRANCHES))


def _elif(node: ast.AST) -> ast.AST | None:
    """The `elif` of an `if`, which the tree shows as the only statement of its `else`."""
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return node.orelse[0]
    return None
