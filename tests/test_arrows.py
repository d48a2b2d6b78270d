"""Who may know whom: the arrows between the parts of the service go one way, and the core knows nobody."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.reading import complain, python_files, tree
from sources import FOLDERS, shipped

CORE_STDLIB = {
    "__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum", "fractions", "functools", "hashlib",
    "heapq", "itertools", "json", "math", "operator", "random", "re", "types", "typing", "weakref",
}  # fmt: skip
"""What the core may import of the standard library: nothing that reads a clock, the machine or the network."""

CALENDAR = {
    "taskservice/core/off_peak.py": {"datetime"},
    "taskservice/core/outcome.py": {"datetime"},
    "taskservice/core/recurrence.py": {"cronsim", "datetime", "importlib", "zoneinfo"},
}
"""What reckons with days and time zones: their rules are files, which are read like the code is, and no clock."""

COMMON = {
    "taskservice.app", "taskservice.callback_settings", "taskservice.callback_urls", "taskservice.checkpoints", "taskservice.clock",
    "taskservice.config", "taskservice.config_file", "taskservice.context", "taskservice.errors",
    "taskservice.flow_options", "taskservice.ids", "taskservice.isolation_settings", "taskservice.scaling",
    "taskservice.signature", "taskservice.units",
}  # fmt: skip
"""Small modules that all but the core may import, and that import only each other and the core."""

MAY_IMPORT = {
    "taskservice.core": set(),
    "taskservice.objects": COMMON,
    "taskservice.journal": {"taskservice.core", "taskservice.objects"},
    "taskservice.history": {"taskservice.core", "taskservice.objects", *COMMON},
    "taskservice.values": {"taskservice.core", "taskservice.objects"},
    "taskservice.logs": {"taskservice.core"},
    "taskservice.code": {"taskservice.core", "taskservice.objects", "taskservice.values", *COMMON},
    "taskservice.runtime": {"taskservice.core", "taskservice.code", "taskservice.logs", "taskservice.values", *COMMON},
    "taskservice.gateway": {
        "taskservice.core",
        "taskservice.code",
        "taskservice.logs",
        "taskservice.values",
        "taskservice.actors.ports",
        *COMMON,
    },
    "taskservice.simulator": {"taskservice.core", "taskservice.autoscaler", "taskservice.errors", "taskservice.units"},
    "taskservice.testing": {
        "taskservice.core",
        "taskservice.journal.store.memory",
        "taskservice.objects.memory",
        "taskservice.values",
        "taskservice.logs",
        "taskservice.runtime",
        "taskservice.gateway",
        "taskservice.client",
        "taskservice.actors",
        *COMMON,
    },
    "taskservice.datafiles": COMMON,
    "taskservice.client": {"taskservice.datafiles", *COMMON},
    "taskservice.cli": {
        "taskservice.core",
        "taskservice.client",
        "taskservice.code",
        "taskservice.datafiles",
        "taskservice.objects",
        "taskservice.journal",
        "taskservice.simulator",
        "taskservice.actors",
        *COMMON,
    },
    "taskservice.actors": {
        "taskservice.core",
        "taskservice.code",
        "taskservice.objects",
        "taskservice.journal",
        "taskservice.history",
        "taskservice.runtime",
        "taskservice.gateway",
        "taskservice.logs",
        "taskservice.values",
        "taskservice.autoscaler",
        *COMMON,
    },
    "taskservice.autoscaler": {"taskservice.core", *COMMON},
    **{module: {"taskservice.core", *COMMON} for module in COMMON},
}
"""Part -> the parts it may import besides itself."""

RAY_FILES = {"actors/ray_port.py", "actors/ray_env.py", "actors/deploy.py", "actors/lease_task.py"}
"""The only places that know Ray, besides the autoscaler's providers."""

USER_CODE = {"taskservice.runtime.child"}
"""The module that imports what users wrote. It runs in processes of its own."""


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Import(NamedTuple):
    """One import statement. `lazy`: inside a function, so not run when the module is imported."""

    path: Path
    line: int
    module: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def package_files() -> list[Path]:
    return python_files(*FOLDERS)


def name_of(path: Path) -> str:
    """The import name of a file of the package."""
    parts = shipped()[path].with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def our_modules() -> set[str]:
    return {name_of(path) for path in package_files()}


def imports(path: Path) -> list[Import]:
    """What a file imports. `from package import name` counts as package.name where that is a module of ours."""
    lazy = {id(inner) for node in ast.walk(tree(path)) if isinstance(node, FUNCTIONS) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: say the whole name, not a relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in our_modules() else str(node.module) for name in full]
        else:
            continue
        found += [Import(path, node.lineno, module, id(node) in lazy) for module in dict.fromkeys(names)]
    return found


def part_of(module: str) -> str | None:
    """The part of `MAY_IMPORT` that a module belongs to."""
    return next((part for part in MAY_IMPORT if is_within(module, part)), None)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def under(*folders: str) -> list[Path]:
    return [path for path in package_files() if str(path).startswith(folders)]


def test_arrows_between_parts_go_one_way():
    offences = []
    for path in package_files():
        part = part_of(name_of(path))
        for found in imports(path):
            target = found.module
            if part is None or not target.startswith("taskservice.") or is_within(target, part):
                continue
            if not any(is_within(target, allowed) for allowed in MAY_IMPORT[part]):
                offences.append(f"{found}, which {part} may not know")
    complain(offences, "Move what is needed to the core or to a common module, or hand it in as an argument (a port).")


def test_core_imports_nothing_that_could_touch_the_world():
    allowed = CORE_STDLIB | {"msgspec", "taskservice"}
    found = [item for path in under("taskservice/core/") for item in imports(path)]
    offences = [
        str(item) for item in found if item.module.split(".")[0] not in allowed | CALENDAR.get(str(item.path), set())
    ]
    complain(offences, "The core is pure: take time, randomness, ids and settings as arguments (DESIGN: D1).")


def test_core_is_synchronous():
    offences = [
        f"{path}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for path in under("taskservice/core/")
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))
    ]
    complain(offences, "Return an effect for the shell to perform, instead of waiting in the core.")


def test_ray_is_known_in_few_places():
    offences = [
        str(item)
        for path in package_files()
        if str(path) not in RAY_FILES and not str(path).startswith("autoscaler/provider")
        for item in imports(path)
        if item.module.split(".")[0] == "ray"
    ]
    complain(offences, f"Put the call behind a port: only {', '.join(sorted(RAY_FILES))} know Ray.")


def test_ray_remote_is_said_in_deploy_alone():
    offences = [
        f"{path}:{node.lineno}"
        for path in package_files()
        if str(path) != "actors/deploy.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "ray.remote"
    ]
    complain(offences, "Write a plain class, and make it an actor in actors/deploy.py.")


def test_control_plane_never_imports_user_code():
    control_plane = under("taskservice/gateway/", "taskservice/core/", "taskservice/journal/", "actors/", "autoscaler/")
    offences = [str(item) for path in control_plane for item in imports(path) if item.module in USER_CODE]
    offences += [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path in control_plane
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
    ]
    complain(
        offences, "Run it in a child process (taskservice.runtime): user code may hang, leak, crash or steal keys."
    )


@pytest.mark.parametrize("heavy", ["ray", "fastapi", "uvicorn", "boto3", "pyarrow"])
def test_client_and_command_line_start_fast(heavy):
    offences = [
        str(item)
        for path in under("taskservice/client/", "taskservice/cli/")
        for item in imports(path)
        if item.module.split(".")[0] == heavy and not item.lazy
    ]
    complain(offences, f"{heavy} takes long to import: import it inside the function that needs it.")


def test_no_set_is_iterated_in_the_core():
    """The order of a set differs from process to process, so what is decided by it could not be replayed."""
    offences = [f"{path}:{line}" for path in under("taskservice/core/") for line in set_iterations(tree(path))]
    complain(offences, "Iterate over a dict, a list or sorted(...).")


def set_iterations(module: ast.Module) -> list[int]:
    """Lines that iterate over what is visibly a set: a literal, set(...), or a name or attribute that is assigned or
    annotated as one somewhere in the module."""
    names = set_names(module)
    ordered = {id(arg) for node in ast.walk(module) if is_call(node, ORDER_BLIND) for arg in node.args}
    lines = []
    for node in ast.walk(module):
        sources = []
        if isinstance(node, ast.For):
            sources = [node.iter]
        elif isinstance(node, (ast.ListComp, ast.DictComp, ast.GeneratorExp)) and id(node) not in ordered:
            sources = [generator.iter for generator in node.generators]
        elif is_call(node, {"list", "tuple", "iter", "enumerate", "next", "dict.fromkeys"}):
            sources = node.args[:1]
        lines += [source.lineno for source in sources if is_set(source, names)]
    return lines


ORDER_BLIND = {"sorted", "any", "all", "len", "set", "frozenset", "min", "max"}


def is_call(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def is_set(node: ast.expr, names: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        return is_set(node.left, names) or is_set(node.right, names)
    return isinstance(node, (ast.Set, ast.SetComp)) or is_call(node, {"set", "frozenset"}) or ast.unparse(node) in names


def set_names(module: ast.Module) -> set[str]:
    """Variables, parameters and attributes (as `self.x`) that are assigned or annotated as sets."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and is_set(node.value, set()):
            names.update(ast.unparse(target) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and is_set_type(node.annotation):
            target = ast.unparse(node.target)
            names.update({target, f"self.{target}", f"state.{target}"})
        elif isinstance(node, ast.arg) and node.annotation is not None and is_set_type(node.annotation):
            names.add(node.arg)
    return names


def is_set_type(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).split("[")[0] in {"set", "frozenset", "Set", "AbstractSet", "MutableSet"}


@pytest.mark.parametrize(
    "code",
    [
        "for x in {1, 2}: pass",
        "seen = set()\nfor x in seen: pass",
        "def f(names: frozenset[str]): return [n for n in names]",
        "class S:\n  open: set[int]\n  def f(self): return list(self.open)",
        "a = {1}\nfor x in a - {2}: pass",
    ],
)
def test_the_set_check_finds(code):
    assert set_iterations(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "for x in sorted({1, 2}): pass",
        "seen = set()\nok = 1 in seen",
        "a = {1}\nok = any(x > 1 for x in a)",
        "a = {}\nfor x in a: pass",
    ],
)
def test_the_set_check_lets_pass(code):
    assert not set_iterations(ast.parse(code))
