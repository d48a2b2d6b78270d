"""What users read of testing is run as they would run it: by pytest, in a process without Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT_RAY = "import sys; sys.modules['ray'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def snippets(document: str) -> str:
    """The Python that the document shows, as one module."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return "\n\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("source", ["docs/testing.md", "examples/test_newsletter.py"])
def test_it_passes(source, tmp_path):
    shown = REPOSITORY / source
    code = snippets(source) if shown.suffix == ".md" else shown.read_text(encoding="utf-8")
    (tmp_path / "test_shown.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_RAY, "-q", "-p", "no:cacheprovider", str(tmp_path / "test_shown.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(re.findall(r'^def test_', code, re.MULTILINE))} passed" in done.stdout
