"""What of a folder is code: decided by names and sizes, and told where it might be missed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskservice.code import folder as folders
from taskservice.code.archive import FILES_MAX, entries
from taskservice.code.folder import FILE_BYTES_MAX, packed, survey
from taskservice.errors import RequestError

MANY = 1 << 30


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def names(folder: Path, *outside: Path) -> list[str]:
    return [path.as_posix() for path in survey(folder, MANY, outside).files]


def test_all_files_are_code_but_for_what_never_is(tmp_path: Path):
    fill(tmp_path, "shop/tasks.py", "shop/__init__.py", "templates/mail.html", "README.md")
    fill(tmp_path, ".git/HEAD", ".env", ".venv/pyvenv.cfg", "env/pyvenv.cfg", "env/lib/a.py", "shop/__pycache__/a.pyc")
    fill(tmp_path, "node_modules/a.js", "shop/old.pyc", "shop.egg-info/PKG-INFO")
    assert names(tmp_path) == ["README.md", "shop/__init__.py", "shop/tasks.py", "templates/mail.html"]


def test_what_the_service_keeps_is_no_code(tmp_path: Path):
    fill(tmp_path, "tasks.py", "state/journal/1.log", "home/run/x")
    assert names(tmp_path, tmp_path / "state", tmp_path / "home") == ["tasks.py"]


def test_what_the_ignore_file_names_is_left_out(tmp_path: Path):
    fill(
        tmp_path,
        "tasks.py",
        "data/a.py",
        "a.csv",
        "deep/b.csv",
        "notes/a.md",
        "notes/a.py",
        "other/notes/a.md",
        "data.py",
    )
    (tmp_path / ".taskserviceignore").write_text("# data\n\ndata/\n*.csv\nnotes/*.md\n")
    assert names(tmp_path) == ["data.py", "notes/a.py", "other/notes/a.md", "tasks.py"]


def test_a_large_file_is_left_out_and_told(tmp_path: Path):
    fill(tmp_path, "tasks.py")
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    found = survey(tmp_path, MANY)
    assert [str(path) for path in found.files] == ["tasks.py"]
    assert [(each.path, str(FILE_BYTES_MAX) in each.why) for each in found.left_out] == [("model.bin", True)]


def test_links_inside_are_what_they_lead_to_and_those_that_lead_out_are_told(tmp_path: Path):
    inside = fill(tmp_path / "in", "tasks.py", "lib/a.py")
    outside = fill(tmp_path / "out", "secret")
    (inside / "alias.py").symlink_to("tasks.py")
    (inside / "stolen").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    os.mkfifo(inside / "pipe")
    found = survey(inside, MANY)
    assert [str(path) for path in found.files] == ["alias.py", "lib/a.py", "tasks.py"]
    assert {each.path for each in found.left_out} == {"stolen", "folder", "loop", "pipe"}
    unpacked = {entry.path: entry.data for entry in entries(packed(found, MANY).data, MANY)}
    assert unpacked["alias.py"] == b"tasks.py"


def test_the_same_files_are_the_same_archive_wherever_they_are(tmp_path: Path):
    one, other = (fill(tmp_path / name, "b.py", "a/c.py") for name in ("one", "other"))
    os.utime(other / "b.py", (1, 1))
    assert packed(survey(one, MANY), MANY) == packed(survey(other, MANY), MANY)
    (other / "b.py").chmod(0o755)
    assert packed(survey(one, MANY), MANY).sha256 != packed(survey(other, MANY), MANY).sha256


def test_each_limit_is_named(tmp_path: Path):
    fill(tmp_path, "tasks.py")
    with pytest.raises(RequestError, match=r"more than 3 bytes \(code_unpacked_bytes_max\)"):
        survey(tmp_path, 3)
    with pytest.raises(RequestError, match=r"at most 10 \(code_bytes_max\)"):
        packed(survey(tmp_path, MANY), 10)
    with pytest.raises(RequestError, match="not a folder"):
        survey(tmp_path / "nothing", MANY)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(FILES_MAX + 1):
        (many / str(number)).touch()
    with pytest.raises(RequestError, match=f"more than {FILES_MAX} files.*{folders.IGNORE_FILE}"):
        survey(many, MANY)
