"""Rules about the code, as tests. Each failure says where, and what to do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from helpers.reading import complain, occurrences, python_files, text, tree

FILE_LINES_MAX = 400
CORE_FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60

LONGER_FILES: dict[str, int] = {}
LONGER_FUNCTIONS: dict[str, int] = {}
"""What is longer than the maximum, with its length: "path" or "path:function". It may shrink, never grow."""

UNITS = ("_ms", "_s", "_us", "_bytes", "_max", "_min", "_ratio", "_per_s")
SETTINGS = [
    ("taskservice/config.py", "ServiceSettings"),
    ("taskservice/callback_settings.py", "CallbackSettings"),
    ("taskservice/core/limits.py", "Limits"),
]
UNITLESS_SETTINGS = {"port"}
"""A number that counts nothing: it is a name."""


def over(lengths: dict[str, tuple[int, int]], longer: dict[str, int]) -> list[str]:
    """What is longer than it may be. `lengths`: name -> (lines, maximum); `longer`: the exceptions."""
    offences = [
        f"{name}: {lines} lines, may have {longer.get(name, most)}"
        for name, (lines, most) in lengths.items()
        if lines > longer.get(name, most)
    ]
    return offences + [
        f"{name}: has shrunk or gone; its exception in this file must, too"
        for name, allowed in longer.items()
        if lengths.get(name, (0, 0))[0] < allowed
    ]


def test_files_are_short():
    lengths = {
        str(path): (len(text(path).splitlines()), (CORE_FILE_LINES_MAX if is_core(path) else FILE_LINES_MAX) - 1)
        for path in python_files()
    }
    complain(over(lengths, LONGER_FILES), "Split the file by concept: one concept each.")


def is_core(path: Path) -> bool:
    return path.parts[:2] == ("taskservice", "core")


def test_functions_are_short():
    lengths = {
        f"{path}:{node.name}": ((node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION_LINES_MAX - 1)
        for path in python_files()
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    complain(over(lengths, LONGER_FUNCTIONS), "Name the steps and make them functions.")


@pytest.mark.parametrize("lines", [59, 61])
def test_the_length_check_is_a_ratchet(lines):
    """An exception that is exceeded, and one that is larger than needed, are both found."""
    assert over({"a.py:f": (lines, 50)}, {"a.py:f": 60})
    assert not over({"a.py:f": (60, 50)}, {"a.py:f": 60})


def test_tests_wait_for_events_and_replace_nothing():
    offences = [f"{path}:{line}" for path in python_files("tests") for line in shortcuts(tree(path))]
    advice = "Wait for a condition (queue, future, process exit), and hand fakes in as arguments; a handler may sleep."
    complain(offences, advice)


def shortcuts(module: ast.Module) -> list[str]:
    """Sleeps and mocks, as "line: what". What is inside a handler (`@app.task`) is a user's code and may sleep."""
    handlers = {id(inner) for node in ast.walk(module) if is_handler(node) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(module):
        if id(node) in handlers:
            continue
        if isinstance(node, ast.Attribute):
            suspect = re.search(r"\b(time|asyncio)\.sleep$|patch\.setattr$", ast.unparse(node))
        else:
            suspect = isinstance(node, IMPORTS) and re.search(r"\b(mock|sleep)\b", ast.unparse(node))
        if suspect:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


IMPORTS = (ast.Import, ast.ImportFrom)


def is_handler(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
    return any(re.search(r"\.task\b", ast.unparse(decorator)) for decorator in decorators)


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(1)",
        "from time import sleep",
        "from unittest import mock",
        "def test(monkeypatch): monkeypatch.setattr(a, 1)",
    ],
)
def test_the_shortcut_check_finds(code):
    assert shortcuts(ast.parse(code))


def test_the_shortcut_check_lets_handlers_sleep():
    assert not shortcuts(ast.parse("@app.task(cpus=1)\ndef nap(): time.sleep(1)"))


def test_no_error_is_swallowed():
    offences = [f"{path}:{line}" for path in python_files() for line in swallowed(tree(path))]
    complain(offences, "Name the errors that are expected, or do something about the others (log, answer, end).")


def swallowed(module: ast.Module) -> list[int]:
    """Lines that catch everything, by name or by naming nothing, and do nothing about it."""
    broad = {"Exception", "BaseException"}
    lines = []
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler):
            kind = ast.unparse(node.type) if node.type else None
            idle = all(isinstance(step, (ast.Pass, ast.Continue)) or is_ellipsis(step) for step in node.body)
            if kind is None or (kind in broad and idle):
                lines.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"suppress", "contextlib.suppress"}:
            lines += [node.lineno for argument in node.args if ast.unparse(argument) in broad]
    return lines


def is_ellipsis(step: ast.stmt) -> bool:
    return isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)


@pytest.mark.parametrize(
    "code", ["try: f()\nexcept: g()", "try: f()\nexcept Exception: pass", "with contextlib.suppress(Exception): f()"]
)
def test_the_swallow_check_finds(code):
    assert swallowed(ast.parse(code))


def test_nothing_is_left_for_later():
    offences = occurrences(re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"))
    complain(offences, "Do it now, or write an issue: what is not built yet is absent, not promised in a comment.")


def test_no_workplace_is_named():
    """Paths of whoever wrote it, and hosts of their package index, mean nothing on another machine."""
    offences = occurrences(
        re.compile(r"/work" + r"/|/root" + r"/|/home" + r"/\w|pypi\.or" + r"g|pythonhosted\.or" + r"g")
    )
    complain(offences, "Derive the path from the file's own place or take it as an argument.")


def test_settings_end_in_their_unit():
    offences = [
        f"{path}: {owner}.{name}"
        for path, owner in SETTINGS
        for name in numbers_of(path, owner)
        if not name.endswith(UNITS) and name not in UNITLESS_SETTINGS
    ]
    complain(offences, f"End the name of a number in its unit: {', '.join(UNITS)}.")


def numbers_of(path: str, owner: str) -> list[str]:
    """The fields of a class that are annotated as numbers. Fails if there is none: the class has moved."""
    bodies = [node.body for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) and node.name == owner]
    fields = [step for body in bodies for step in body if isinstance(step, ast.AnnAssign)]
    numbers = [ast.unparse(f.target) for f in fields if re.search(r"\b(int|float)\b", ast.unparse(f.annotation))]
    assert numbers, f"{path} has no numbers in a class {owner}"
    return numbers
