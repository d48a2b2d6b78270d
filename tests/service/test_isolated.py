"""Two tenants on one machine: apart as root, and refused without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.live import APPS, Live
from taskservice import ConflictError
from taskservice.core.specs import Bundle
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.users import why_not_apart

WHY_NOT = why_not_apart(RuntimeOptions("", code_dir="/srv/code"), [Bundle("nosy", "app", str(APPS))])


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Live]:
    """With the setting that is the default, and a record of users of its own."""
    settings = {"TASKSERVICE_TENANT_USERS": "auto", "TASKSERVICE_UID_FILE": str(tmp_path / "var" / "uids")}
    live = Live(tmp_path / "home", "nosy:app", settings)
    yield live
    live.kill_everything()


def test_a_second_tenants_handlers_reach_neither_the_service_nor_the_first_or_there_is_none(apart: Live) -> None:
    paths = [str(apart.home / name) for name in ("client.json", "ray_token", "logs", "run", "state")]
    with apart.up() as client:
        alone = client.submit("nosy.look", {"paths": paths}).result(timeout=60)
        assert (alone["uid"], alone["read"]) == (os.geteuid(), ["read"]), "it has what the service has"
        if WHY_NOT:
            with pytest.raises(ConflictError, match="tenant_users: shared"):
                client.create_tenant("acme")
            return
        client.create_tenant("acme")
        secret = client.create_key(["submit", "read"], tenant="acme")["secret"]
        with apart.client(secret) as acme:
            theirs = acme.submit("nosy.look", {"paths": paths}).result(timeout=60)
        ours = client.submit("nosy.look", {"paths": paths}).result(timeout=60)
        assert len({os.geteuid(), theirs["uid"], ours["uid"]}) == 3
        hidden_home_and_closed_environment = ["EACCES", "ENOENT"]
        assert theirs["read"] == ours["read"] == hidden_home_and_closed_environment
        assert theirs["secrets"] == []
