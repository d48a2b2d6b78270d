"""Settings: where they come from, which wins, and what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from taskservice.config import ENV_PREFIX, Settings, load_settings, unknown_variables
from taskservice.core.limits import Limits
from taskservice.errors import RequestError

EXAMPLE = Path(__file__).parents[2] / "configs" / "taskservice.yaml"


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch):
    """Whoever runs the tests may have settings of their own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENV_PREFIX}{name}".upper(), raising=False)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_file_names_every_setting_with_its_default():
    values = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert list(values) == [name for name in Settings.model_fields if name != "config"]
    assert load_settings(config=EXAMPLE) == load_settings().model_copy(update={"config": EXAMPLE})


def test_the_example_file_says_what_the_code_says_of_each_setting():
    comments = " ".join(line.lstrip("# ") for line in EXAMPLE.read_text(encoding="utf-8").splitlines())
    for name, field in Settings.model_fields.items():
        if name != "config":
            assert f"{field.description} {name}:" in comments


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path, monkeypatch):
    file = write(tmp_path / "s.yaml", "port: 1001\nlosses_max: 3\nchildren_max: 2\n")
    monkeypatch.setenv("TASKSERVICE_PORT", "1002")
    monkeypatch.setenv("TASKSERVICE_LOSSES_MAX", "4")
    settings = load_settings(config=file, port=1003, host=None)
    assert (settings.port, settings.losses_max, settings.children_max) == (1003, 4, 2)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(("name", "text"), [("s.yaml", "port: 1001\n"), ("s.toml", "port = 1001\n")])
def test_the_environment_can_name_the_file(tmp_path, monkeypatch, name, text):
    monkeypatch.setenv("TASKSERVICE_CONFIG", str(write(tmp_path / name, text)))
    assert load_settings().port == 1001


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_settings(config=write(tmp_path / "s.yaml", "# nothing\n")).port == load_settings().port


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.yaml", "prot: 1\n", "no setting with prot. The settings are: .*port"),
        ("s.yaml", "config: other.yaml\n", "no setting with config"),
        ("s.yaml", "- port\n", "names and values"),
        ("s.yaml", "port: [\n", "cannot be read"),
        ("s.toml", "port 1\n", "cannot be read"),
        ("gone.yaml", None, "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, name, text, said):
    path = tmp_path / name
    if text is not None:
        write(path, text)
    with pytest.raises(RequestError, match=f"(?s){name}.*{said}"):
        load_settings(config=path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"port": 70_000}, r"port: .*65535.*\(it is 70000\)"),
        ({"state_dir": "gs://bucket/prefix"}, "state_dir: .*neither a directory nor s3://bucket/prefix"),
        ({"state_dir": "s3:/bucket/prefix"}, "state_dir: .*neither a directory nor s3://bucket/prefix"),
        ({"state_dir": "s3://Bucket"}, "state_dir: .*neither a directory nor s3://bucket/prefix"),
        ({"state_dir": "s3://bucket/a//b"}, "state_dir: .*neither a directory nor s3://bucket/prefix"),
        ({"payload_bytes_max": "65MiB"}, r"payload_bytes_max cannot be above body_bytes_max \(67108864\)"),
        ({"lease_slice_ms": 79}, r"lease_slice_ms cannot be below lease_target_ms \(80\)"),
        ({"runner_silence_ms": 2999}, r"runner_silence_ms cannot be below 3 runner_heartbeat_ms \(3000\)"),
        ({"callback_keep_s": 9}, r"callback_keep_s cannot be below callback_retry_s \(86400\)"),
        ({"wait_s_max": float("inf")}, "wait_s_max: .*finite"),
        ({"object_store_bytes": "10MiB"}, "object_store_bytes: .*78643200"),
        ({"log_level": "loud"}, "log_level: .*'debug'"),
    ],
)
def test_a_bad_value_is_refused_with_the_setting_and_its_bound(flags, said):
    with pytest.raises(RequestError, match=said) as refusal:
        load_settings(**flags)
    assert refusal.value.exit_code == 2


def test_every_bad_value_is_told_at_once():
    with pytest.raises(RequestError, match=r"(?s)port: .*losses_max: "):
        load_settings(port=0, losses_max=-1)


def test_bytes_can_be_written_with_a_unit(monkeypatch):
    monkeypatch.setenv("TASKSERVICE_LOG_BYTES_MAX", "99")
    settings = load_settings(payload_bytes_max="2MiB", result_bytes_max=77)
    sizes = (settings.payload_bytes_max, settings.result_bytes_max, settings.log_bytes_max)
    assert sizes == (2 * 1024 * 1024, 77, 99)
    with pytest.raises(RequestError, match=r"payload_bytes_max: .*2 potatoes"):
        load_settings(payload_bytes_max="2 potatoes")


def test_the_state_is_in_the_home_unless_it_is_put_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(home=tmp_path).state_dir == str(tmp_path / "state")
    assert load_settings(state_dir="here").state_dir == str(tmp_path / "here")
    assert load_settings(home="there").state_dir == str(tmp_path / "there" / "state")
    assert load_settings(home="there").state_is_local


@pytest.mark.parametrize("url", ["s3://bucket", "s3://my.bucket-1/some/pre_fix", "s3://bucket/prefix/"])
def test_the_state_may_be_in_a_bucket(url):
    settings = load_settings(state_dir=url)
    assert settings.state_dir == url.rstrip("/")
    assert not settings.state_is_local


def test_the_home_is_the_users_own_and_an_empty_variable_does_not_move_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TASKSERVICE_HOME", "")
    assert load_settings().home == tmp_path / ".taskservice"


def test_the_core_gets_its_limits_by_the_same_names():
    limits = load_settings(lease_tasks_max=7, losses_max=2).core_limits()
    assert limits == Limits(lease_tasks_max=7, losses_max=2), "the defaults of both are equal, the rest is carried over"


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1


def test_misspelt_variables_are_found():
    environ = {"TASKSERVICE_PROT": "1", "TASKSERVICE_PORT": "1", "TASKSERVICE_URL": "http://x", "HOME": "/"}
    assert unknown_variables(environ) == ["TASKSERVICE_PROT"]
