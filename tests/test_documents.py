"""What the documents, the Makefile and pyproject.toml say is so."""

from __future__ import annotations

import re
import tomllib

import pytest
import typer.main

from helpers.reading import complain, text
from sources import ROOT, shipped
from taskservice.cli.main import app

SETTLED: set[str] = set()
"""Dependencies that the design names, pinned before the first use in what ships."""


def test_dependencies_are_used_and_say_why():
    lines = text("pyproject.toml").split("\ndependencies = [")[1].split("\n]")[0].strip().splitlines()
    offences = [f"{line.strip()}: no reason" for line in lines if not re.search(r'",\s+# \w', line)]
    code = "\n".join(text(path) for path in shipped() if path.suffix == ".py")
    imported_as = {"pyyaml": "yaml"}
    for requirement in tomllib.loads(text("pyproject.toml"))["project"]["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0].lower()
        if name not in SETTLED and not re.search(rf"\b{imported_as.get(name, name.replace('-', '_'))}\b", code):
            offences.append(f"{name}: nothing that ships names it")
    complain(offences, "Say in a comment what a dependency is for; drop it when the last use goes.")


def test_makefile_targets_have_help():
    makefile = text("Makefile")
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE)
    phony = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[0].split()
    complain(sorted(set(targets) - set(helped)), "Say what the target does: `target: ## what it does`.")
    assert sorted(phony) == sorted(targets)


def test_what_the_makefile_runs_is_there():
    paths = re.findall(r"\b(?:bench|examples|tests|tools)/[\w./]+", text("Makefile"))
    assert "tools/setup.sh" in paths
    complain(
        [path for path in paths if not (ROOT / path).exists()], "Write it, or take the target out of the Makefile."
    )


DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/autoscaling.md",
    "docs/cluster.md",
    "docs/deploy.md",
    "docs/durability.md",
    "docs/import-export.md",
    "docs/notifications.md",
    "docs/placement.md",
    "docs/schedules.md",
    "docs/scheduling.md",
    "docs/simulator.md",
    "docs/testing.md",
    "docs/time.md",
    "docs/triggers.md",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_in_documents_exist(document):
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = {word for code in code_in(document) for word in re.findall(r"\bmake ([a-z]+)\b", code)}
    complain([f"{document}: make {name}" for name in named - targets], "Name a target that `make help` lists.")


def test_readme_names_the_other_documents():
    complain(
        [name for name in DOCUMENTS[1:] if f"`{name}`" not in text("README.md")], "Say in README.md what it is for."
    )


def test_commands_in_documents_exist():
    """Each `taskservice WORD ...` that a document shows is a command, with the options it shows."""
    shown = [(name, code) for name in DOCUMENTS for code in code_in(name) if code.startswith("taskservice ")]
    assert len(shown) > 10
    complain([f"{name}: {code}" for name, code in shown if not is_command(code)], "Correct it: people copy these.")


def is_command(line: str) -> bool:
    """Whether there is such a command. What is explained beside it begins after three spaces."""
    command = typer.main.get_command(app)
    words = line.split("   ", maxsplit=1)[0].split()[1:]
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        command = command.commands.get(words.pop(0))
    known = [option for parameter in getattr(command, "params", ()) for option in parameter.opts]
    return command is not None and all(word in known for word in words if word.startswith("-"))


def test_the_command_check_finds():
    assert is_command("taskservice journal copy --upto 1/2 a b")
    assert is_command("taskservice --install-completion")
    assert not is_command("taskservice --install")
    assert not is_command("taskservice journal repair")
    assert not is_command("taskservice journal copy --force a b")


def test_readme_begins_with_the_two_commands():
    assert [code.split()[1] for code in code_in("README.md") if code.startswith("make ")][:2] == ["demo", "test"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_names_in_documents_exist(document):
    """A path in backticks is there, from the root or from taskservice/; `module.name` is in that module."""
    stale = [f"{document}: {code}" for code in code_in(document) if is_stale(code)]
    complain(stale, "Correct the name: the document tells the truth.")


def code_in(document: str) -> list[str]:
    """What the document shows as code: between backticks, and indented lines."""
    prose = re.sub(r"^```.*?^```", "", text(document), flags=re.MULTILINE | re.DOTALL)
    return [inline or line for inline, line in re.findall(r"`([^`\n]+)`|^ {4}(.+)", prose, re.MULTILINE)]


SUFFIXES = (".py", ".md", ".toml", ".yaml", ".txt", ".sh")


def is_stale(name: str) -> bool:
    """Whether a name in a document looks like one of ours, a path or `module.name`, and is not there."""
    if not re.fullmatch(r"[\w./-]+", name):
        return False
    if name.endswith(SUFFIXES) or (name.endswith("/") and not name.startswith("/")):
        return not any((place / name).exists() for place in (ROOT, ROOT / "taskservice"))
    module, _, member = name.rpartition(".")
    homes = [path for path in shipped() if path.suffix == ".py" and path.stem == module.rpartition(".")[2]]
    return bool(homes and member) and not any(re.search(rf"\b{member}\b", text(path)) for path in homes)


def test_the_name_check_tells_true_from_stale():
    assert not is_stale("core/apply.py")
    assert not is_stale("errors.ServiceBug")
    assert is_stale("core/no_such_file.py")
    assert is_stale("errors.NoSuchError")


def test_architecture_can_be_read_in_one_sitting():
    assert len(text("ARCHITECTURE.md").splitlines()) < 250


def test_changelog_keeps_its_form():
    """Keep a Changelog: newest first, `## [version] - date` with known headings and one bullet per change."""
    lines = [line for line in text("CHANGELOG.md").splitlines() if line.strip()]
    assert lines[0] == "# Changelog"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
    wrong = [line for line in headings[1:] if not re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line)]
    wrong += [
        line
        for line in lines
        if line.startswith("### ")
        and line[4:] not in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    ]
    body = lines[lines.index(headings[0]) :]
    wrong += [line for line in body if not re.match(r"##+ |- \S|  \S|\[", line)]
    complain(wrong, "See the headings and bullets above it in CHANGELOG.md.")
