"""Journals of every version that was released, read by today's code: to the very tasks that were in them.

If this fails because a format has changed: what is written now is read for ever. Give the format a new version, and keep the
code that reads the old one; a table's schema has a step in `journal/upgrade.py`. Do not make the files anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.golden import described, without_later_fields
from helpers.ledger import Ledger, Place, busy
from taskservice.journal.codec import COMPRESSED, PLAIN
from taskservice.journal.copy import copy
from taskservice.journal.folding import Folding
from taskservice.journal.verify import verify
from taskservice.objects.directory import DirectoryObjects

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "local.json").exists())
KINDS = {"local": "directory", "bucket": "bucket"}
STATES = {"v1": {"scheduled", "queued", "running", "retrying", "succeeded", "failed", "cancelled"}}
"""Those that each version knew."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> Place:
    """A copy of the golden state, since whoever opens it writes to it."""
    place = Place(KINDS[request.param], tmp_path)
    shutil.copytree(HERE / version / request.param, place.path, dirs_exist_ok=True)
    return place


@pytest.fixture
def golden(place: Place, version: str) -> dict:
    name = next(name for name, kind in KINDS.items() if kind == place.kind)
    return json.loads((HERE / version / f"{name}.json").read_text(encoding="utf-8"))


def test_there_is_one_of_this_format():
    assert "v1" in VERSIONS


@pytest.mark.parametrize("newest", [0, 1], ids=["from the newer checkpoint", "from the older checkpoint"])
def test_it_is_read_to_the_same_tasks(place: Place, golden: dict, tmp_path: Path, newest: int):
    reader = place.reader()
    state = Folding(reader, reader.manifest.checkpoints[newest], tmp_path / "table.sqlite")
    state.go_on()
    assert without_later_fields(described(state.state), golden) == golden
    state.close()


def test_it_is_whole(place: Place, golden: dict):
    found = verify(place.reader(), deep=True)
    assert (found.damage, len(found.checkpoints)) == ([], 2)


def test_a_service_goes_on_from_it(place: Place, golden: dict, tmp_path: Path):
    ledger = Ledger(place.opens, tmp_path)
    assert ledger.source.startswith("checkpoint/")
    found = without_later_fields(described(ledger.state), golden)
    epoch, next_no, _, catalog_version = golden["numbers"]
    assert found["numbers"] == [epoch + 1, next_no, 1, catalog_version]
    assert {**found, "numbers": golden["numbers"]} == golden
    ledger.join()
    ledger.settle()
    busy(ledger, "new")
    ledger.checkpoint()
    ledger.close()
    assert verify(place.reader(), deep=True).damage == []


def test_it_can_be_copied_to_the_other_kind_of_place(place: Place, golden: dict, tmp_path: Path):
    other = Place("bucket" if place.kind == "directory" else "directory", tmp_path / "copy")
    store = DirectoryObjects(other.path)
    copy(place.reader(), store, local=other.kind == "directory", writer="the test", now_ms=1)
    reader = other.reader()
    state = Folding(reader, reader.manifest.checkpoints[0], tmp_path / "table.sqlite")
    state.go_on()
    assert without_later_fields(described(state.state), golden) == golden
    state.close()


def test_it_has_all_that_it_is_there_for(place: Place, golden: dict, version: str):
    """Both formats of bodies, tasks in all states, several chunks, leases; a fence, or several files to an
    epoch and a torn tail."""
    assert golden["leases"]
    assert {task["state"] for task in golden["tasks"]} == STATES[version]
    reader = place.reader()
    segments = list(reader.segments())
    assert {each.epoch for each in segments} == {1, 2}
    assert {each.body[0] for each in segments} >= {PLAIN, COMPRESSED}
    indexes = [json.loads((place.path / ref.key).read_text()) for ref in reader.manifest.checkpoints]
    assert all(len(index["chunks"]) > 1 for index in indexes)
    if place.kind == "bucket":
        assert reader.extents[0].by_epoch == 2
    else:
        assert all(len(list(folder.glob("*.log"))) > 1 for folder in (place.path / "journal").glob("0*"))
        last = max((place.path / "journal" / "00000002").glob("*.log"))
        assert last.stat().st_size > segments[-1].offset + 44 + len(segments[-1].body)
