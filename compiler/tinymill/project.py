"""A compiled model as a folder: written whole or not at all, read back by its plan.json."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidModel, TinymillError

PLAN = "plan.json"
C_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def write_project(files: Mapping[str, str], folder: Path) -> None:
    """Writes ``files`` (relative path -> text) as ``folder``.

    They are written beside it first and then take its place in one step, so that a failure
    leaves what was there before. Only an empty folder or an earlier project is replaced.
    Raises ``TinymillError`` where that can't be done.
    """
    made: list[Path] = []
    try:
        folder = folder.resolve() if folder.is_symlink() else Path(os.path.abspath(folder))
        if folder.exists() and not _replaceable(folder):
            raise TinymillError(
                "exists and is no tinymill project", at=str(folder), hint="choose another --output"
            )
        _make(folder.parent, made)
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
    except BaseException as error:
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError | ValueError):
            reason = getattr(error, "strerror", None) or str(error)
            raise TinymillError(f"can't be written: {reason}", at=str(folder)) from error
        raise


def _make(folder: Path, made: list[Path]) -> None:
    """Makes a folder and its parents; ``made`` gets those that were missing, as they are made."""
    if not folder.is_dir():
        _make(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / PLAN).is_file())


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    folder.rename(old)
    try:
        fresh.rename(folder)
    except BaseException:
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
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"broken {PLAN} ({error})", at=str(folder)) from error
    if not isinstance(plan, dict) or not _complete(plan):
        raise InvalidModel(f"{PLAN} is not one of this tinymill", at=str(folder))
    if "export" in plan:
        raise InvalidModel(
            f"an export ({plan['export']}), no project of compile",
            at=str(folder),
            hint="give the model, or a folder that compile wrote",
        )
    return plan


def _complete(plan: Mapping[str, Any]) -> bool:
    """Whether all that a run needs is there and has its type; ``End.of`` checks the ends."""
    return (
        isinstance(plan.get("model"), str)
        and C_NAME.fullmatch(plan["model"]) is not None
        and isinstance(plan.get("target"), str)
        and all(
            isinstance(plan.get(key), list) and all(isinstance(item, dict) for item in plan[key])
            for key in ("inputs", "outputs", "layers")
        )
        and all(
            isinstance(layer.get(key), str) for layer in plan["layers"] for key in ("name", "op")
        )
    )
