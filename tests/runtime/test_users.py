"""Which tenant has which system user, and what such a user needs to see the code. Nothing here needs root."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.users import NoUser, Users, is_apart, why_not_apart
from taskservice.runtime.view import Cover, Unreachable, covers_for

RANGE = range(1_900_000_000, 1_900_000_050)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "var" / "uids"


def test_a_tenant_keeps_its_user_and_no_other_has_it(file):
    """Whoever asks: another process of this service, or another service of the machine."""
    owners = [("home1", "acme"), ("home1", "rival"), ("home2", "acme"), ("home1", "acme", "KEY")]
    given = [Users(file, RANGE).uid(*owner) for owner in owners]
    assert len(set(given)) == 4
    assert [Users(file, RANGE).uid(*owner) for owner in reversed(owners)] == given[::-1]
    assert file.stat().st_mode & 0o077 == 0


def test_those_who_ask_at_the_same_time_get_different_users(file):
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda n: Users(file, RANGE).uid("home", f"tenant{n}"), range(30)))
    assert sorted(given) == list(RANGE[:30])


def test_names_cannot_be_made_to_look_like_others(file):
    users = Users(file, RANGE)
    assert (
        len({users.uid(*owner) for owner in (("a", "b c"), ("a b", "c"), ('a", "b', "c"), ("a\n1900000000 x", "c"))})
        == 4
    )


def test_a_line_that_was_cut_off_was_never_used(file):
    first = Users(file, RANGE).uid("home", "acme")
    with file.open("a") as lines:
        lines.write(f'{first + 1} ["home", "ri')
    assert Users(file, RANGE).uid("home", "other") == first + 1
    assert Users(file, RANGE).uid("home", "acme") == first
    assert len(file.read_text().splitlines()) == 2


def test_when_all_are_given_out_that_is_said(file):
    users = Users(file, RANGE[:1])
    users.uid("home", "acme")
    with pytest.raises(NoUser, match="uid_max"):
        users.uid("home", "rival")


@pytest.mark.parametrize(
    ("setting", "others", "apart"),
    [("auto", False, False), ("auto", True, True), ("own", False, True), ("shared", True, False)],
)
def test_tenants_are_apart_as_soon_as_there_are_several_unless_that_is_set_otherwise(setting, others, apart):
    assert is_apart(RuntimeOptions("", tenant_users=setting), others=others) is apart


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have users of its own")
def test_why_tenants_cannot_be_apart_without_root():
    assert f"the service runs as user {os.geteuid()}" in why_not_apart(RuntimeOptions(""))


def test_code_that_all_can_read_needs_no_view():
    assert covers_for([Path("/usr"), Path("/does/not/exist")]) == ()


def test_closed_folders_on_the_way_to_the_code_are_covered(tmp_path):
    closed, app, venv = tmp_path / "closed", tmp_path / "closed" / "app", tmp_path / "closed" / "app" / "venv"
    venv.mkdir(parents=True)
    for folder, mode in ((tmp_path, 0o755), (closed, 0o700), (app, 0o755), (venv, 0o755)):
        folder.chmod(mode)
    covers = covers_for([venv, app])
    assert [each for each in covers if each.folder == str(closed)] == [Cover(str(closed), (str(app),))] or [
        cover.shown for cover in covers if Path(cover.folder) in closed.parents
    ] == [(str(app),)], "the outermost closed folder, and what is in another that is shown is shown with it"


@pytest.mark.parametrize("closed", ["app", "app/deep"])
def test_code_that_is_closed_itself_cannot_be_shown(tmp_path, closed):
    inner = tmp_path / "app" / "deep" / "lib"
    inner.mkdir(parents=True)
    (tmp_path / closed).chmod(0o700)
    tmp_path.chmod(0o700)
    with pytest.raises(Unreachable):
        covers_for([tmp_path / "app", inner])
