"""The figures of a source file, and that no file is too odd to have some."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from source_metrics import FALLBACK_ENCODING, decode_source, measure

LIBRARY = Path(sysconfig.get_path("stdlib"))

SNIPPET = b'''\
#!/usr/bin/env python
"""Two lines

and a blank one between: all code."""
import os.path, sys   # code, not a comment
from . import sibling
from os import sep

# a comment
class Shelf:

    def sort(self, books):
        # another
        for book in books:
            if book.old and book.loved:
                yield book
            elif book.lost:
                raise KeyError
        def inner():
            return 1 if sep else 2
    async def wait(self): ...
'''


def test_every_line_is_code_comment_or_blank():
    figures = measure(*decode_source(SNIPPET))
    assert (figures.lines, figures.code_lines, figures.comment_lines, figures.blank_lines) == (21, 16, 3, 2)


def test_definitions_and_imports_are_counted():
    figures = measure(*decode_source(SNIPPET))
    assert (figures.functions, figures.classes, figures.imports) == (3, 1, 2)


def test_complexity_is_of_the_worst_function_without_those_inside_it():
    """`sort`: 1, for, if, and, elif."""
    figures = measure(*decode_source(SNIPPET))
    assert (figures.most_complex, figures.complexity_max) == ("sort", 5)


def test_an_elif_is_no_deeper_than_its_if():
    """class, def, for, if."""
    assert measure(*decode_source(SNIPPET)).depth_max == 4


@pytest.mark.parametrize(
    ("source", "lines"), [(b"", 0), (b"\n", 1), (b"x = 1", 1), (b"x = 1\r\ny = 2\r\n", 2), (b"x = 1\ry = 2", 2)]
)
def test_lines_are_counted_as_an_editor_shows_them(source, lines):
    assert measure(*decode_source(source)).lines == lines


@pytest.mark.parametrize(
    ("source", "encoding", "text"),
    [
        ("# coding: koi8-r\nя = 1\n".encode("koi8-r"), "koi8-r", "я"),
        (b"\xef\xbb\xbfx = '\xc3\xa9'\n", "utf-8-sig", "é"),
        (b"# coding: no-such-encoding\nx = '\xe9'\n", FALLBACK_ENCODING, "é"),
        (b"x = '\xe9'\n", FALLBACK_ENCODING, "é"),
        (b"# coding: rot13\nx = '\xe9'\n", FALLBACK_ENCODING, "é"),
    ],
)
def test_text_is_decoded_as_the_source_says_or_else_by_the_fallback(source, encoding, text):
    decoded, used = decode_source(source)
    assert used == encoding
    assert text in decoded


@pytest.mark.parametrize(
    "source", [b"print 'python 2'\n# why\n\n", b"def f(:\n# why\n\n", b"x = '''\n# why\n\n", b"  a\n b\n"]
)
def test_what_python_cannot_parse_still_has_lines(source):
    figures = measure(*decode_source(source))
    assert not figures.parsed
    assert figures.lines == len(source.splitlines()) == figures.code_lines + figures.comment_lines + figures.blank_lines


def test_sources_that_nest_deeper_than_python_recurses_are_measured():
    chain = "def f(x):\n    if x == 0: pass\n" + "".join(f"    elif x == {i}: pass\n" for i in range(1, 2000))
    figures = measure(chain, "utf-8")
    assert figures.lines == 2001
    assert not figures.parsed or (figures.complexity_max, figures.depth_max) == (2001, 2)


def test_odd_files_of_the_standard_library_can_be_measured():
    """Where they come with Python: tests with encodings and syntax that are wrong on purpose."""
    folders = [LIBRARY / "test" / "tokenizedata", LIBRARY / "test" / "encoded_modules", LIBRARY / "encodings"]
    for path in [path for folder in folders for path in folder.glob("*.py")]:
        source = path.read_bytes()
        assert measure(*decode_source(source)).lines == len(source.splitlines()), path
