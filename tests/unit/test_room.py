"""A disk that is as good as full is found so before anything is begun on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskservice.journal import JournalFailed
from taskservice.journal.failures import check_room


def test_room_is_looked_for_where_a_folder_is_to_be(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "there" / "yet", bytes_min=1)


def test_a_disk_that_is_full_is_said_to_be_before_an_epoch_is_taken(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="disk is full"):
        check_room(tmp_path, bytes_min=1 << 60)
