"""Secrets reach the functions that have declared them, and nothing and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskservice.context import Context, SecretValues
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind as Kind
from taskservice.core.types import TenantId
from taskservice.errors import RequestError
from taskservice.runtime.inspect import inspect_bundle
from taskservice.runtime.secret_files import NoSecret, SecretFiles
from taskservice.runtime.wire import Secrets

VALUE = "sk_live_canary_42"
NOSY = {"module": "nosy"}
PAY = {**NOSY, "secrets": ("STRIPE_KEY",)}
APPS = Path(__file__).parent / "apps"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "secrets"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def node(make_node, folder):
    return make_node(secrets_dir=str(folder))


def put(folder, name, value, mode=0o600):
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / name).write_text(value)
    (folder / name).chmod(mode)


def test_a_function_reads_what_it_has_declared_and_another_cannot(node, folder):
    put(folder, "STRIPE_KEY", VALUE + "\n")
    assert node.run("pay", [{}], **PAY).results() == [len(VALUE)]
    run = node.run("peek", [{}], **NOSY)
    assert run.kinds == [Kind.HANDLER_ERROR]
    assert "has not declared the secret 'STRIPE_KEY'" in run.outcomes[1].message


def test_functions_with_and_without_secrets_have_children_of_their_own(node, folder):
    put(folder, "STRIPE_KEY", VALUE)
    with_, without = (node.run("pid", [{}], secrets=each).results() for each in (("STRIPE_KEY",), ()))
    assert with_ != without
    assert node.run("pid", [{}], secrets=("STRIPE_KEY",)).results() == with_


def test_its_value_is_in_no_log_message_or_traceback(node, folder):
    put(folder, "STRIPE_KEY", VALUE)
    run = node.run("pay", [{"say": True, "fail": True}], **PAY)
    assert run.outcomes[1].message == "ValueError: <STRIPE_KEY> was refused"
    assert "the key is <STRIPE_KEY>" in node.log()
    assert VALUE not in repr(run.outcomes) + node.log()


def test_its_value_is_in_no_repr():
    values = {"STRIPE_KEY": VALUE}
    context = Context("t", "acme", 1, None, {}, secrets=SecretValues(values))
    assert context.secret("STRIPE_KEY") == VALUE
    assert VALUE not in repr(context) + repr(context.secrets) + repr(Secrets(values)) + str(Secrets(values))


def test_a_changed_value_is_the_next_leases(node, folder):
    for value in ("first value", "another"):
        put(folder, "STRIPE_KEY", value)
        assert node.run("pay", [{}], **PAY).results() == [len(value)]


def test_a_tenants_own_goes_before_that_of_all(node, folder):
    put(folder, "STRIPE_KEY", VALUE)
    put(folder / "tenants" / "rival", "STRIPE_KEY", "short")
    assert [node.run("pay", [{}], tenant=tenant, **PAY).results()[0] for tenant in ("rival", "acme")] == [5, len(VALUE)]


def test_a_missing_secret_is_said_and_the_attempt_can_be_made_again(node, folder):
    run = node.run("pay", [{}], **PAY)
    assert run.kinds == [Kind.IMPORT_FAILED]
    assert f"put its value into {folder / 'STRIPE_KEY'}, mode 0600 (secrets_dir)" in run.outcomes[1].message


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is no UTF-8"),
        (lambda path: path.write_bytes(bytes(70_000)), "more than 65536 bytes"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_without_its_value(folder, spoil, said):
    put(folder, "STRIPE_KEY", VALUE)
    spoil(folder / "STRIPE_KEY")
    with pytest.raises(NoSecret, match=said) as caught:
        SecretFiles(folder).values(TenantId("acme"), ["STRIPE_KEY"])
    assert VALUE not in str(caught.value)


def test_a_tenants_name_leads_nowhere_else(folder):
    put(folder / "tenants", "STRIPE_KEY", VALUE)
    with pytest.raises(NoSecret, match="no secret STRIPE_KEY"):
        SecretFiles(folder).values(TenantId(".."), ["STRIPE_KEY"])


def test_an_app_whose_secret_is_missing_is_refused_when_it_is_registered(node, folder):
    bundle = Bundle("nosy", "app", str(APPS))
    with pytest.raises(RequestError, match=r"nosy\.pay needs the secret STRIPE_KEY") as caught:
        inspect_bundle(bundle, node.options)
    assert caught.value.code == "secret_missing"
    put(folder / "tenants" / "acme", "STRIPE_KEY", VALUE)
    assert len(inspect_bundle(bundle, node.options)) > 10, "one tenant's is enough"
