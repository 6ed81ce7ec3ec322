"""The documentation builds without a broken link, and what it says to type works.

In a page, ``<!-- run -->`` stands before a block of sh or python that runs as it stands in the
folder of the example; ``run: TOOL ...`` names programs it needs (``python:NAME``: a package),
``; fails`` says that it ends with exit code 2. ``<!-- output -->`` stands before lines that
appear in its output, in this order. ``<!-- file: NAME -->`` stands before a block that is a file.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT, absent, need_tool

DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples" / "fashion_mnist"
MARK = re.compile(
    r"^<!-- (?P<kind>run|output|file)(?:: *(?P<words>[^;]*?))?(?P<fails>; fails)? -->\n"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PAGES = sorted(path for path in DOCS.rglob("*.md") if "<!-- " in path.read_text())


@dataclass(frozen=True)
class Block:
    kind: str
    words: tuple[str, ...]
    fails: bool
    language: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    for found in MARK.finditer(path.read_text()):
        words = tuple((found["words"] or "").split())
        yield Block(found["kind"], words, bool(found["fails"]), found["language"], found["text"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example's files, and ``tinymill`` and ``python`` of this interpreter on the path."""
    place = tmp_path / "example"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tinymill").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tinymill "$@"\n')
    (programs / "tinymill").chmod(0o755)
    return place


def test_every_marked_block_is_seen() -> None:
    for path in PAGES:
        assert path.read_text().count("<!-- ") == len(list(blocks(path))), path
    assert sum(block.kind == "run" for path in PAGES for block in blocks(path)) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_what_a_page_says_to_type_works(page: Path, folder: Path) -> None:
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    told = ""
    for block in blocks(page):
        if block.kind == "file":
            (folder / block.words[0]).write_text(block.text)
            continue
        if block.kind == "output":
            rest = told
            for line in block.text.splitlines():
                assert line.strip() in rest, f"{line!r} is not in\n{told}"
                rest = rest.split(line.strip(), 1)[1]
            continue
        for word in block.words:
            if word.startswith("python:"):
                pytest.importorskip(word.removeprefix("python:"))
            else:
                need_tool(word)
        shell = [sys.executable, "-c"] if block.language == "python" else ["sh", "-euc"]
        done = subprocess.run(
            [*shell, block.text], cwd=folder, env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        told = done.stdout + done.stderr
        assert done.returncode == (2 if block.fails else 0), told


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        try:
            __import__(package)
        except ImportError:
            absent(f"{package} is not installed: pip install 'tinymill[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    commands = (tmp_path / "site/reference/commands/index.html").read_text()
    for command in (
        "inspect",
        "compile",
        "plan",
        "report",
        "run",
        "validate",
        "quantize",
        "flash",
        "export",
        "boards",
        "edit-compile",
        "edit-run",
    ):
        assert f'id="{command}"' in commands
    python = (tmp_path / "site/reference/python/index.html").read_text()
    assert "tinymill.api.export_model" in python and "push_rows" in python
    errors = (tmp_path / "site/reference/errors/index.html").read_text()
    assert "OutOfMemory" in errors and "ToolMissing" in errors
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    for page in pages - {Path("index")}:
        assert (tmp_path / "site" / page / "index.html").is_file(), page


def test_every_call_and_result_is_on_the_page() -> None:
    pytest.importorskip("mkdocs")
    import tinymill  # noqa: PLC0415

    spec = importlib.util.spec_from_file_location("pages", ROOT / "scripts" / "docs_pages.py")
    assert spec is not None and spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    told = set(re.findall(r"^::: (?:\w+\.)+(\w+)$", pages.python(), re.MULTILINE))
    told |= set(re.findall(r"^\| `(\w+)`", pages.failures(), re.MULTILINE))
    assert set(tinymill.__all__) - told == set()
    assert {"quantize", "load", "validate", "flash", "Quantized", "Accuracy", "FlashPlan"} <= told


def test_every_error_is_documented() -> None:
    from tinymill import errors  # noqa: PLC0415

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(kind.__doc__ for kind in kinds if issubclass(kind, errors.TinymillError))
