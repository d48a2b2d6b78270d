"""What a handler cannot reach when its tenant has a system user of its own. Needs root: without, these are skipped and say why."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil
import pytest

from helpers.processes import gone
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind as Kind
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.users import why_not_apart

APPS = Path(__file__).parent / "apps"
NOSY = {"module": "nosy"}

WHY_NOT = why_not_apart(RuntimeOptions("", uid_file="/tmp/uids"), [Bundle("nosy", "app", str(APPS))])
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"tenants cannot have users of their own here: {WHY_NOT}")


def one(run):
    (result,) = run.results()
    return result


def test_a_handler_is_a_user_with_nothing_and_no_way_back(own):
    told = one(own.run("whoami", [{}], **NOSY))
    (uid,) = told["uids"]
    assert uid >= own.options.uid_min
    assert (told["groups"], told["capabilities"], told["no_new_privs"]) == ([], 0, "1")
    assert told["home"].startswith(str(Path(told["home"]).parents[2]))
    assert Path(told["home"]).stat().st_uid == uid


def test_each_tenant_has_a_user_and_keeps_it(make_own):
    own = make_own()
    users = [one(own.run("whoami", [{}], tenant=tenant, **NOSY))["uids"] for tenant in ("acme", "rival")]
    assert users[0] != users[1]
    other = make_own()
    assert one(other.run("whoami", [{}], tenant="rival", **NOSY))["uids"] == users[1]


def test_a_handler_reads_nothing_of_the_service_or_of_others(own, tmp_path):
    """Keys, state and logs are in the home, which is closed; another tenant's files are in its own folder."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "client.json").write_text("{}")
    (home / "client.json").chmod(0o644)  # the folder alone keeps it
    theirs = one(own.run("scribble", [{"name": "a"}], tenant="rival", **NOSY))["folder"]
    paths = [str(home / "client.json"), str(home), theirs, str(Path(theirs).parents[1]), own.options.uid_file]
    paths += [f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem", f"/proc/{os.getpid()}/cwd"]
    assert one(own.run("read", [{"paths": paths}], **NOSY)) == dict.fromkeys(paths, "EACCES")


def test_a_handler_cannot_signal_or_trace_the_service(own):
    told = one(own.run("molest", [{"pid": os.getpid()}], **NOSY))
    assert told == {"signal": "EPERM", "attach": "EPERM", "memory": "EACCES", "environment": "EACCES"}


def test_a_handler_cannot_signal_or_trace_another_tenants(own):
    pid = one(own.run("pid", [{}], tenant="rival"))
    told = one(own.run("molest", [{"pid": pid}], **NOSY))
    assert told == {"signal": "EPERM", "attach": "EPERM", "memory": "EACCES", "environment": "EACCES"}
    assert one(own.run("pid", [{}], tenant="rival")) == pid


def test_code_in_a_closed_folder_is_reached_and_what_is_beside_it_is_not(own, tmp_path):
    """As in root's home. The tests' own folder is closed to others as well."""
    closed = tmp_path / "closed"
    (closed / "app").mkdir(parents=True)
    (closed / "app" / "nosy.py").write_bytes((APPS / "nosy.py").read_bytes())
    (closed / "beside").write_text("not yours")
    closed.chmod(0o700)
    paths = [str(closed / "app" / "nosy.py"), str(closed / "beside")]
    told = one(own.run("read", [{"paths": paths}], path=closed / "app", **NOSY))
    assert told == {paths[0]: "done", paths[1]: "ENOENT"}
    assert (closed / "beside").read_text() == "not yours", "only the handler's view is another"


def test_code_that_is_closed_itself_is_named(own, tmp_path):
    app = tmp_path / "app"
    app.mkdir(mode=0o700)
    run = own.run("whoami", [{}], path=app, **NOSY)
    assert run.kinds == [Kind.IMPORT_FAILED]
    assert f"{app} is closed to other users" in run.outcomes[1].message
    assert f"chmod -R o+rX {app}" in run.outcomes[1].message


def test_what_is_refused_to_its_user_is_said_to_be(own, tmp_path):
    run = own.run("write", [{"path": str(tmp_path / "out")}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "(tenant_users)" in run.outcomes[1].message


def test_ten_thousand_threads_are_too_many_for_a_tenant(own):
    run = own.run("start_threads", [{"count": 10_000}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "(processes_max)" in run.outcomes[1].message or "(tenant_processes_max)" in run.outcomes[1].message
    assert one(own.run("say", [{"text": "alive"}], module="rogue")) == "alive"


def test_a_tenants_bound_on_processes_is_its_own(make_own):
    node = make_own(tenant_processes_max=40)
    run = node.run("start_threads", [{"count": 100}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "a tenant may have 40 processes and threads on a machine (tenant_processes_max)" in run.outcomes[1].message
    assert one(node.run("say", [{"text": "alive"}], module="rogue", tenant="rival")) == "alive"


def test_forks_in_sessions_of_their_own_are_ended_with_their_handler(make_own):
    node = make_own(processes_max=60)
    (uid,) = one(node.run("whoami", [{}], **NOSY))["uids"]
    run = node.run("fork_bomb", [{"count": 1_000, "leave": True}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "may have 60 (processes_max)" in run.outcomes[1].message
    assert all(gone(each.pid) for each in psutil.process_iter(["uids"]) if each.info["uids"].real == uid)


def test_the_limits_are_on_the_process(own):
    told = one(own.run("limits", [{}], **NOSY))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert told["RLIMIT_CORE"] == 0
    assert told["RLIMIT_FSIZE"] == own.options.file_bytes_max
    assert told["RLIMIT_NOFILE"] == min(own.options.open_files_max, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert told["RLIMIT_NPROC"] == own.options.tenant_processes_max
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == files, "and not on ours"


def test_scripts_can_open_the_output_of_a_handler(own):
    """A pipe belongs to who made it."""
    assert one(own.run("to_dev_stdout", [{}], **NOSY)) == 0
    assert own.log() == "told\n"


def test_a_function_with_secrets_has_a_user_that_no_other_function_has(make_own, tmp_path):
    """So the tenant's other handlers cannot look into its memory."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "STRIPE_KEY").write_text("sk_live_canary_42")
    (tmp_path / "secrets" / "STRIPE_KEY").chmod(0o600)
    node = make_own(secrets_dir=str(tmp_path / "secrets"))
    assert one(node.run("pay", [{}], secrets=("STRIPE_KEY",), **NOSY)) == len("sk_live_canary_42")
    assert one(node.run("look_at_others", [{"needle": "sk_live_" + "canary_42"}], **NOSY)) == []
