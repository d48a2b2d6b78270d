"""`stdlib.convert`, called as the plain function that it is."""

from __future__ import annotations

import html
import re
import sysconfig
from pathlib import Path

import pytest
from pydantic import ValidationError
from stdlib_html import app, convert

from taskservice import NonRetryable

LIBRARY = Path(sysconfig.get_path("stdlib"))


def visible_text(page: str) -> str:
    """What the page shows of the source: without markup and line numbers."""
    code = page.partition('<div class="highlight">')[2]
    return html.unescape(re.sub(r"<[^>]*>", "", re.sub(r'<span class="linenos">.*?</span>', "", code)))


def test_the_page_shows_the_whole_source_and_the_metrics_tell_of_both(ctx, tmp_path):
    path = LIBRARY / "enum.py"
    metrics = convert(ctx, str(path), "enum", str(tmp_path))
    page = (tmp_path / "enum.html").read_bytes()
    source = path.read_text(encoding="utf-8")
    assert visible_text(page.decode()).strip() == source.strip()
    assert (metrics.bytes_in, metrics.bytes_out) == (path.stat().st_size, len(page))
    assert (metrics.module, metrics.page, metrics.lines) == ("enum", "enum.html", source.count("\n"))
    assert f'id="L-{metrics.lines}"' in page.decode()


def test_a_page_loads_nothing_from_elsewhere_and_links_the_index(ctx, tmp_path):
    convert(ctx, str(LIBRARY / "keyword.py"), "keyword", str(tmp_path))
    page = (tmp_path / "keyword.html").read_text()
    assert '<a href="index.html">' in page
    assert not re.search(r"<(script|link|img)\b|@import|\burl\(", page.partition("</head>")[0])


@pytest.mark.parametrize(
    "source",
    [
        b"# coding: no-such-encoding\nx = '\xe9'\n",
        b"print 'python 2'\n",
        b"x = '\x00'\n",
        b"",
        b"\x0c\n\x0c\ndef f():\r\n    pass",
        b"\xef\xbb\xbfx = 1\r\n",
        b"x = '<b>&amp;</b></style>'\n",
    ],
)
def test_any_file_becomes_a_page(ctx, tmp_path, source):
    path = tmp_path / "odd.py"
    path.write_bytes(source)
    metrics = convert(ctx, str(path), "odd", str(tmp_path / "pages"))
    page = (tmp_path / "pages" / "odd.html").read_text(encoding="utf-8")
    assert metrics.lines == len(source.splitlines())
    assert "<b>" not in page
    assert page.rstrip().endswith("</body></html>")


def test_running_it_again_gives_the_same_page_and_leaves_nothing_else(ctx, tmp_path):
    first = convert(ctx, str(LIBRARY / "this.py"), "this", str(tmp_path))
    before = (tmp_path / "this.html").read_bytes()
    assert convert(ctx, str(LIBRARY / "this.py"), "this", str(tmp_path)) == first
    assert (tmp_path / "this.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["this.html"]


def test_a_source_that_is_not_there_is_not_tried_again(ctx, tmp_path):
    with pytest.raises(NonRetryable, match="no source file"):
        convert(ctx, str(tmp_path / "gone.py"), "gone", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_would_leave_the_folder_is_no_valid_payload():
    signature = app.functions["stdlib.convert"].signature
    assert signature.arguments(b'{"path": "a", "module": "a.b", "out_dir": "c"}')["module"] == "a.b"
    with pytest.raises(Exception, match="module"):
        signature.arguments(b'{"path": "a", "module": "../b", "out_dir": "c"}')


def test_metrics_survive_the_way_through_json(ctx, tmp_path):
    metrics = convert(ctx, str(LIBRARY / "this.py"), "this", str(tmp_path))
    assert type(metrics).model_validate_json(metrics.model_dump_json()) == metrics
    with pytest.raises(ValidationError):
        type(metrics).model_validate({})
