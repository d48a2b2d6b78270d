"""`deploy` from the command line, against a real HTTP server."""

from __future__ import annotations

import json

import pytest

from taskservice.code.archive import entries

VERSION = {
    "name": "v2", "state": "current", "deployed_at": "2030-01-31T09:00:00.000Z", "sha256": "ab" * 32, "size_bytes": 900,
    "functions": ["shop.f"], "succeeded": 5, "failed": 1, "running": 2, "pinned": 0,
}  # fmt: skip
APP = {
    "app": "shop", "current": "v2", "canary": None, "canary_share": None, "waiting": 0, "missing": [],
    "versions": [VERSION, {**VERSION, "name": "v1", "state": "earlier"}],
}  # fmt: skip
DEPLOYED = {"version": "v2", "known": False, "app": APP}


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "tasks.py").write_text("x = 1")
    (folder / ".env").write_text("SECRET=1")
    return folder


def test_the_folders_code_is_sent(server, run, code):
    server.answer(DEPLOYED, 201)
    told = run("deploy", "shop.tasks:app", "--path", code)
    assert (told.exit_code, told.stdout.strip()) == (0, "shop v2 is current.")
    (request,) = server.asked
    assert (request.method, request.path) == ("POST", "/v1/apps?app=shop.tasks%3Aapp")
    assert request.headers["content-type"] == "application/zstd"
    assert [entry.path for entry in entries(request.body, 1 << 20)] == ["shop/tasks.py"]


def test_what_waits_and_what_is_missing_is_told(server, run, code):
    missing = [{"function": "shop.g", "waiting": 3}]
    server.answer({**DEPLOYED, "app": {**APP, "waiting": 7, "missing": missing}}, 201)
    told = run("deploy", "shop.tasks:app", "--path", code).stdout
    assert "7 tasks wait" in told
    assert "shop.g is not in it: 3 tasks" in told


@pytest.mark.parametrize(("said", "sent"), [("10%", "0.1"), ("0.25", "0.25")])
def test_a_canary_is_a_share(server, run, code, said, sent):
    app = {**APP, "current": "v1", "canary": "v2", "canary_share": float(sent)}
    server.answer({**DEPLOYED, "app": app}, 201)
    told = run("deploy", "shop.tasks:app", "--path", code, "--canary", said)
    assert f"shop v2 runs {float(sent):.0%} of the tasks beside v1." in told.stdout
    assert server.asked[0].path.endswith(f"&canary={sent}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shop/tasks.py:app"], "write MODULE:NAME"),
        (["shop.tasks:app", "--canary", "110%"], "such as 10%"),
        (["shop.tasks:app", "--canary", "some"], "such as 10%"),
        (["shop.tasks:app", "--path", "/nowhere/at/all"], "not a folder"),
    ],
)
def test_what_cannot_be_meant_is_wrong_use(server, run, arguments, words):
    told = run("deploy", *arguments)
    assert (told.exit_code, server.asked) == (2, [])
    assert words in told.stderr.replace("\n", " ")


def test_versions_are_a_table_or_json(server, run):
    server.answer(APP)
    told = run("deploy", "list", "shop").stdout
    assert [line.split()[:3] for line in told.splitlines()[1:]] == [
        ["shop", "v2", "current"],
        ["shop", "v1", "earlier"],
    ]
    server.answer({"apps": [APP]})
    assert json.loads(run("deploy", "list", "--json").stdout) == [APP]


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (["promote", "shop"], "/v1/apps/shop/promote", b""),
        (["rollback", "shop"], "/v1/apps/shop/rollback", b"{}"),
        (["rollback", "shop", "v1"], "/v1/apps/shop/rollback", b'{"version":"v1"}'),
    ],
)
def test_versions_change_places(server, run, arguments, path, body):
    server.answer(DEPLOYED)
    told = run("deploy", *arguments)
    assert (told.exit_code, told.stdout.strip()) == (0, "shop v2 is current.")
    (request,) = server.asked
    assert (request.method, request.path, request.body) == ("POST", path, body)
