"""Who may import whom: the law of the design, held as one dict."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "compiler" / "tinymill"

# A room imports rooms of lower floors only: neither its siblings nor anything above.
FLOORS = {
    "errors": 0, "share": 0,
    "ir": 1, "boards": 1, "files": 1,
    "ops": 2,
    "frontends": 3, "passes": 3, "schedule": 3, "training": 3,
    "emit": 4,
    "deploy": 5, "report": 5,
    "export": 6, "editing": 6, "search": 6, "augment": 6, "pruning": 6,
    "project": 7, "samples": 7, "fit": 7, "defaults": 7,
    "loaded": 8, "validation": 8, "quantizer": 8,
    "api": 9,
    "cli": 10,
    "__main__": 11,
}  # fmt: skip

# The package itself offers the api, lazily; of it, every room may know the version.
PACKAGE_IMPORTS = {"api", "errors"}
VERSION = "__version__"

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module given by its names below ``tinymill``; "" is the package."""
    return parts[0] if parts else ""


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and module (names below ``tinymill``) of every import of ours, wherever it stands."""
    folder = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names = tuple(alias.name.split("."))
                if names[0] == "tinymill":
                    yield node.lineno, names[1:]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = folder[: len(folder) - node.level + 1] + names
            elif names[:1] == ("tinymill",):
                base = names[1:]
            else:
                continue
            for alias in node.names:
                yield node.lineno, base or (alias.name,)


def law_breaks(path: Path) -> Iterator[str]:
    room = room_of(module_of(path))
    for line, target in imported(path):
        other = room_of(target)
        if other in (room, VERSION):
            continue
        if room == "":
            lawful = other in PACKAGE_IMPORTS
        else:
            lawful = other in FLOORS and FLOORS[other] < FLOORS[room]
        if not lawful:
            yield f"{path.relative_to(ROOT)}:{line}: {room or 'tinymill'} imports {other}"


def test_every_room_is_in_the_law() -> None:
    rooms = {room_of(module_of(path)) for path in FILES}
    assert rooms - {""} <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_obey_the_law(path: Path) -> None:
    assert list(law_breaks(path)) == []


@pytest.mark.parametrize(
    ("place", "text", "lawful"),
    [
        ("emit/x.py", "from ..schedule import Plan", True),
        ("emit/x.py", "from .facts import number", True),
        ("emit/x.py", "from ..deploy import build", False),
        ("emit/x.py", "from .. import api", False),
        ("emit/x.py", "from .. import __version__", True),
        ("passes/x.py", "from ..schedule.plan import Plan", False),
        ("passes/x.py", "def f():\n  from tinymill.frontends import read_model", False),
        ("passes/x.py", "import tinymill.cli", False),
        ("passes/x.py", "import numpy", True),
        ("ir/x.py", "from ..boards import Board", False),
        ("new_room/x.py", "from ..errors import CompileError", None),
    ],
)
def test_the_law_is_seen_to_be_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, text: str, lawful: bool | None
) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir()
    path.write_text(text)
    if lawful is None:
        assert room_of(module_of(path)) not in FLOORS
    else:
        assert (list(law_breaks(path)) == []) is lawful
