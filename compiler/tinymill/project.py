"""A compiled model as a folder: written whole or not at all, read back by its plan.json."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidModel, TinymillError

PLAN = "plan.json"


def write_project(files: Mapping[str, str], folder: Path) -> None:
    """Writes ``files`` (relative path -> text) as ``folder``.

    They are written beside it first and then take its place in one step, so that a failure
    leaves what was there before. Only an empty folder or an earlier project is replaced.
    Raises ``TinymillError`` where that can't be done.
    """
    folder = folder.resolve() if folder.is_symlink() else Path(os.path.abspath(folder))
    try:
        if folder.exists() and not _replaceable(folder):
            raise TinymillError(
                "exists and is no tinymill project", at=str(folder), hint="choose another --output"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            fresh = Path(name) / "new"
            for path, text in files.items():
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("w", encoding="utf-8", newline="\n") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
            _swap(fresh, folder, Path(name) / "old")
    except OSError as error:
        reason = error.strerror or str(error)
        raise TinymillError(f"can't be written: {reason}", at=str(folder)) from error


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / PLAN).is_file())


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    with contextlib.suppress(OSError):
        shutil.rmtree(old)


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan.json of a project folder. Raises ``InvalidModel`` where it is none."""
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidModel(
            f"no tinymill project ({PLAN}: {error.strerror})", at=str(folder)
        ) from error
    except ValueError as error:
        raise InvalidModel(f"broken {PLAN} ({error})", at=str(folder)) from error
    needed = ("model", "target", "io", "inputs", "outputs", "layers", "arena")
    if not isinstance(plan, dict) or any(key not in plan for key in needed):
        raise InvalidModel(f"{PLAN} is not one of this tinymill", at=str(folder))
    return plan
