"""The names that users and their scripts rely on: fixed in CONTRACT, so a change here breaks somebody."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from typing import Unpack, get_args, get_origin, get_overloads, get_type_hints

import pytest

import taskservice
from helpers.reading import tree
from taskservice import errors

EXPORTED = {
    "App", "AsyncClient", "Client", "Context", "NonRetryable", "Retry", "Throttled",
    *(name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__),
}  # fmt: skip
"""What `from taskservice import ...` gives: the contract's names, and every error that a caller may catch."""

COMMANDS = {
    "up", "down", "status", "submit", "list", "show", "logs", "cancel", "pause", "resume", "retry", "delete", "dlq",
    "schedule", "import", "export", "tenant", "key", "deploy", "top", "simulate", "doctor", "journal", "usage", "function",
    "downstream", "class", "callback", "trigger",
}  # fmt: skip
BUILT_COMMANDS = {
    "up", "down", "status", "submit", "list", "show", "cancel", "pause", "resume", "retry", "delete", "schedule",
    "import", "export",
}  # fmt: skip


def test_the_package_exports_its_public_names():
    assert set(taskservice.__all__) >= EXPORTED
    assert [name for name in taskservice.__all__ if not hasattr(taskservice, name)] == []


def test_importing_the_package_is_light():
    """A producer's process pays neither for Ray nor for a web framework (httpx itself imports rich if it can)."""
    heavy = "{'ray', 'fastapi', 'uvicorn', 'typer', 'pyarrow', 'boto3', 'jsonschema_rs'}"
    code = f"import sys, taskservice; taskservice.Client; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (
            "App.task",
            [
                "cpus",
                "gpus",
                "memory",
                "resources",
                "timeout",
                "retry",
                "concurrency",
                "max_crashes",
                "priority",
                "ttl",
                "max_running",
                "rate",
                "key",
                "key_max_running",
                "downstream",
            ],
        ),
        ("Retry", ["max_attempts", "base", "max", "factor", "jitter", "non_retryable"]),
        ("Throttled", ["retry_after"]),
        (
            "Client.submit",
            [
                "function",
                "payload",
                "id",
                "priority",
                "delay",
                "run_at",
                "tags",
                "max_attempts",
                "timeout",
                "ttl",
                "callback_url",
                "on_success",
                "on_failure",
            ],
        ),
        ("Client.map", ["function", "payloads"]),
        ("Client.import_tasks", ["location", "function", "columns", "priority", "tags"]),
        ("Client.export_tasks", ["location", "state", "function", "partition_by"]),
        ("AsyncClient.submit", ["function", "payload", "id", "priority", "delay", "run_at", "tags"]),
    ],
)
def test_callables_take_what_the_contract_says(path, parameters):
    target = taskservice
    for name in path.split("."):
        target = getattr(target, name)
    assert [name for name in parameters if name not in accepted_by(target)] == []


def accepted_by(target):
    """Names of the parameters: its own, those of its overloads, and the keys of an unpacked TypedDict."""
    names = {name for one in [target, *get_overloads(target)] for name in inspect.signature(one).parameters}
    for hint in hints_of(target):
        if get_origin(hint) is Unpack:
            names |= get_args(hint)[0].__annotations__.keys()
    return names


def hints_of(target):
    """The types of its parameters, and of those of its overloads."""
    functions = [one for one in (target, *get_overloads(target)) if inspect.isfunction(one)]
    return [hint for one in functions for hint in get_type_hints(inspect.unwrap(one)).values()]


@pytest.mark.parametrize("name", ["task_id", "tenant", "attempt", "tags", "logger"])
def test_a_handlers_context_has(name):
    context = taskservice.Context
    assert hasattr(context, name) or name in inspect.get_annotations(context)


def test_commands_are_those_of_the_contract():
    """`taskservice --help` lists what is built, and nothing that the contract does not name."""
    done = subprocess.run(
        [sys.executable, "-m", "taskservice", "--help"],
        check=True, capture_output=True, text=True, timeout=60, env={"COLUMNS": "200", "NO_COLOR": "1", "PATH": ""},
    )  # fmt: skip
    listed = set(re.findall(r"^[^\w-]*([a-z]+) {2,}", done.stdout, re.MULTILINE))
    assert BUILT_COMMANDS <= listed <= COMMANDS


def test_errors_are_as_their_tree_draws_them():
    """The tree at the top of errors.py has each class under its base, with its exit code."""
    drawn = {}
    bases: list[str] = []
    for indent, name, rest in re.findall(r"^([ │├└─]{4,})([A-Z]\w+)(.*)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4 - 1
        bases[depth:] = [name]
        code = re.search(r"exit (\d)", rest)
        drawn[name] = (bases[-2:][0], int(code.group(1)) if code else None)
    classes = [node for node in tree("taskservice/errors.py").body if isinstance(node, ast.ClassDef)]
    assert set(drawn) == {node.name for node in classes}
    for name, (base, exit_code) in drawn.items():
        kind = getattr(errors, name)
        if name != "TaskServiceError":
            assert kind.__base__ is getattr(errors, base), name
        if exit_code is not None:
            assert kind.exit_code == exit_code, name
