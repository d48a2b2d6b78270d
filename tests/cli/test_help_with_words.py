"""Half a word is completed by the shell, and a wrong one is told with the one that was meant."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BASH = {"COMP_CWORD": "2"}
FISH = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}


@pytest.mark.parametrize(
    ("shell", "line", "more", "word"),
    [
        ("bash", "taskservice dlq re", BASH, "retry"),
        ("zsh", "taskservice dlq re", {}, "retry"),
        ("fish", "taskservice list --st", FISH, "--state"),
    ],
)
def test_the_shell_is_told_what_fits(shell, line, more, word):
    """As the script does that `--install-completion` puts in place."""
    asks = {"_TASKSERVICE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "_TYPER_COMPLETE_ARGS": line, **more}
    command = [sys.executable, "-m", "taskservice"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, **asks})
    assert word in done.stdout
    assert "list" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell):
    asks = {"_TASKSERVICE_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "taskservice"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, **asks})
    assert f"_TASKSERVICE_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [("sumbit a.f", "submit"), ("dlq rety", "retry"), ("schedule lst", "list"), ("list --sate queued", "--state")],
)
def test_a_wrong_word_is_told_with_the_right_one(run, words, meant):
    done = run(*words.split())
    assert done.exit_code == 2
    assert meant in done.stderr


def test_a_wrong_function_is_told_as_the_service_tells_it(server, run):
    server.problem(422, "unknown_function", "There is no function 'a.g'. Did you mean 'a.f'?")
    done = run("submit", "a.g")
    assert done.exit_code == 2
    assert "Did you mean 'a.f'?" in done.stderr
