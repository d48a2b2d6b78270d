"""Versions of an app side by side: each in children of its own, with the code that its lease names."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from taskservice.code.archive import Entry, pack
from taskservice.code.store import code_in
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind as Kind
from taskservice.errors import RequestError
from taskservice.runtime.inspect import inspect_bundle

TASKS = """
import os
from taskservice import App
from shop.parts import NUMBER
app = App("shop")

@app.task
def number() -> list[int]:
    return [NUMBER, os.getpid()]

@app.task(pin=True)
def page() -> str:
    with open("page.html") as file:
        return file.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def versioned(make_node, tmp_path: Path, state: Path):
    return make_node(state_dir=str(state), code_dir=str(tmp_path / "code"))


def version(state: Path, number: int, tasks: str = TASKS) -> Bundle:
    files = {
        "shop/__init__.py": "",
        "shop/parts.py": f"NUMBER = {number}",
        "shop/tasks.py": tasks,
        "page.html": f"page {number}",
    }
    archive = pack(Entry(path, text.encode()) for path, text in files.items())
    key = code_in(str(state)).put(archive)
    return Bundle("shop.tasks", "app", "", archive.sha256, key, len(archive.data))


def test_two_versions_run_side_by_side_in_different_children(versioned, state):
    one, two = version(state, 1), version(state, 2)
    ran = [versioned.run("shop.number", [{}], bundle=bundle).results()[0] for bundle in (one, two, one, two)]
    assert [number for number, _ in ran] == [1, 2, 1, 2]
    assert ran[0] == ran[2] != ran[1] == ran[3]


def test_files_beside_the_code_are_found_where_it_runs(versioned, state):
    assert versioned.run("shop.page", [{}], bundle=version(state, 3)).results() == ["page 3"]


def test_functions_are_told_with_the_bundle_that_was_looked_into(versioned, state):
    bundle = version(state, 1)
    found = {function.name: function for function in inspect_bundle(bundle, versioned.options)}
    assert {function.bundle for function in found.values()} == {bundle}
    assert [found[name].pin for name in ("shop.number", "shop.page")] == [False, True]


def test_code_that_cannot_be_imported_is_told_with_its_trace(versioned, state):
    with pytest.raises(RequestError, match="ZeroDivisionError") as refused:
        inspect_bundle(version(state, 1, "1 / 0"), versioned.options)
    assert "shop/tasks.py" in refused.value.detail


def test_lost_code_fails_the_attempt_and_says_so(versioned, state):
    bundle = version(state, 1)
    code_in(str(state)).remove([bundle.key])
    lease = versioned.run("shop.number", [{}, {}], bundle=bundle)
    assert lease.kinds == [Kind.IMPORT_FAILED] * 2
    assert "deploy it again" in lease.outcomes[1].message


def test_a_store_that_is_away_is_waited_for(versioned, state, tmp_path):
    bundle = version(state, 1)
    (tmp_path / "file").write_text("")
    away = replace(versioned.options, state_dir=str(tmp_path / "file"))
    other = type(versioned)(tmp_path / "other", **{name: getattr(away, name) for name in ("state_dir", "code_dir")})
    lease = other.run("shop.number", [{}], bundle=bundle)
    assert lease.kinds == [Kind.STORE_AWAY]
