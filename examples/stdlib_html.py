"""An app of one function: a Python source file becomes a highlighted HTML page, and figures about it.

    taskservice up --app stdlib_html:app -d
    taskservice submit stdlib.convert --wait --payload '{
        "path": "/usr/lib/python3.11/enum.py", "module": "enum", "out_dir": "/tmp/pages"}'

`demo.py` runs it over the whole standard library.
"""

from __future__ import annotations

import functools
import html
from pathlib import Path
from typing import Annotated

from atomic import write_atomically
from pydantic import Field
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from source_metrics import SourceMetrics, decode_source, measure

from taskservice import App, Context, NonRetryable, Retry

app = App("stdlib")

ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$", max_length=190)]
"""A dotted name. It becomes a file name, hence no slash: the service refuses such a payload at submit."""

PAGE_CSS = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem }
h1 { font-size: 1.4rem; margin: 0 }
dl { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: .75rem 0 }
dt, dd { display: inline; margin: 0 }
dt { opacity: .7 }
.highlight { border-radius: 6px; overflow-x: auto; padding: .75rem }
.highlight pre { margin: 0; font: 13px/1.45 ui-monospace, monospace }
.highlight .linenos { user-select: none; padding-right: 1em }
"""


class PageMetrics(SourceMetrics, frozen=True):
    """The figures of the source and of the page made from it."""

    module: str
    page: str
    """The page's file name in `out_dir`."""
    bytes_in: int
    bytes_out: int


@app.task(cpus=1, memory="256MiB", timeout="2m", retry=Retry(max_attempts=3, base="1s", max="10s"))
def convert(ctx: Context, path: str, module: ModuleName, out_dir: str) -> PageMetrics:
    """`out_dir` holds `module`.html, the highlighted source at `path`. Running it again writes the same page."""
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NonRetryable(f"no source file at {path}") from error
    text, encoding = decode_source(data)
    metrics = measure(text, encoding)
    page = render(module, text, metrics)
    target = Path(out_dir) / f"{module}.html"
    write_atomically(target, page)
    ctx.logger.info("%s: %d lines, %d bytes of HTML", module, metrics.lines, len(page))
    return PageMetrics(**metrics.model_dump(), module=module, page=target.name, bytes_in=len(data), bytes_out=len(page))


def render(module: str, text: str, metrics: SourceMetrics) -> bytes:
    """A page that stands alone: the figures, a link to the index, and the source with a link target for each line."""
    figures = "".join(
        f"<div><dt>{html.escape(name)}</dt> <dd>{html.escape(value)}</dd></div>" for name, value in _facts(metrics)
    )
    code = highlight(text, PythonLexer(stripnl=False, ensurenl=False), _formatter("default"))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(module)}</title>
<meta name="viewport" content="width=device-width"><style>{_css()}</style></head>
<body><p><a href="index.html">all modules</a></p><h1>{html.escape(module)}</h1><dl>{figures}</dl>
{code}</body></html>
"""
    return page.encode("utf-8", errors="backslashreplace")


def _facts(metrics: SourceMetrics) -> list[tuple[str, str]]:
    facts = [
        ("lines", f"{metrics.lines:,}"),
        ("code", f"{metrics.code_lines:,}"),
        ("comments", f"{metrics.comment_lines:,}"),
        ("blank", f"{metrics.blank_lines:,}"),
        ("encoding", metrics.encoding),
    ]
    if not metrics.parsed:
        return [*facts, ("syntax", "not valid for this Python")]
    facts += [
        ("functions", f"{metrics.functions:,}"),
        ("classes", f"{metrics.classes:,}"),
        ("imports", f"{metrics.imports:,}"),
        ("nesting", f"{metrics.depth_max}"),
    ]
    if metrics.most_complex:
        facts.append(("most complex", f"{metrics.most_complex} ({metrics.complexity_max})"))
    return facts


def _formatter(style: str) -> HtmlFormatter[str]:
    return HtmlFormatter(linenos="inline", linespans="L", style=style)


@functools.cache
def _css() -> str:
    styles = {"light": "default", "dark": "github-dark"}
    rules = {scheme: _formatter(style).get_style_defs(".highlight") for scheme, style in styles.items()}
    return PAGE_CSS + "".join(
        f"@media (prefers-color-scheme: {scheme}) {{\n{text}\n}}\n" for scheme, text in rules.items()
    )
