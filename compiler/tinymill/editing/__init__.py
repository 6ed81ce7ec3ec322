"""Sparse editing: networks over images that recompute only what an edit touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidInput, TinymillError
from ..frontends import read_model
from .emit import project_files, write_project
from .engine import MODES, STATISTICS, Run, SparseEngine
from .lower import lower
from .memory import placed
from .passes import prepared
from .program import Program

BACKENDS = ("cpu",)


def program_of(
    model: str | Path,
    *,
    edited: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Program:
    """The layers of a model and how edits spread through them. See ``compile``."""
    graph, value = prepared(read_model(Path(model), shapes=shapes), edited)
    return lower(graph, value)


def emit(
    model: str | Path,
    folder: str | Path,
    *,
    backend: str = "cpu",
    edited: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cache_limit: int | None = None,
) -> Path:
    """Writes the project of a model: C, weights, manifest. The folder appears whole or not at all;
    one that holds a project is replaced. Arguments as ``compile``."""
    if backend not in BACKENDS:
        raise InvalidInput(f"backend {backend!r}", hint=f"there is {', '.join(BACKENDS)}")
    if cache_limit is not None and cache_limit < 1:
        raise InvalidInput(f"a cache of {cache_limit} bytes")
    program = program_of(model, edited=edited, shapes=shapes)
    files = project_files(program, placed(program, cache_limit))
    target = Path(folder)
    try:
        if target.exists() and not (target.is_dir() and _replaceable(target)):
            raise TinymillError("stands there already and is no project of this kind",
                                at=str(target))  # fmt: skip
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".edit-", dir=target.parent) as made:
            part = Path(made) / "project"
            part.mkdir()
            write_project(files, part)
            if target.exists():
                shutil.rmtree(target)
            part.replace(target)
    except OSError as error:
        raise TinymillError(
            f"can't be written: {error.strerror or error}", at=str(error.filename or target)
        ) from error
    return target


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty or holds a project."""
    return (folder / "editing.json").is_file() or not any(folder.iterdir())


def compile(
    model: str | Path,
    backend: str = "cpu",
    *,
    output: str | Path | None = None,
    edited: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cache_limit: int | None = None,
    threads: int | None = None,
    cc: str | None = None,
) -> SparseEngine:
    """An engine for an ONNX model (float32), built for this machine.

    ``edited`` names the input that is edited, or a value inside the model from which on it is
    taken; without it the first input that is a map. ``shapes`` fixes sizes that the file leaves
    open. ``cache_limit`` bounds the bytes of activations: what does not fit is recomputed whole
    in every run. ``output`` keeps the project; ``threads`` of OpenMP.

    Raises ``InvalidModel``, ``UnsupportedOp``, ``OutOfMemory``, ``ToolMissing``, ``ToolFailed``.
    """
    arguments = {
        "backend": backend, "edited": edited, "shapes": shapes, "cache_limit": cache_limit,
    }  # fmt: skip
    if output is not None:
        return SparseEngine(emit(model, output, **arguments), threads=threads, cc=cc)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="tinymill-edit-") as folder:
        project = emit(model, Path(folder) / "project", **arguments)  # type: ignore[arg-type]
        return SparseEngine(project, threads=threads, cc=cc)


__all__ = [
    "BACKENDS", "MODES", "STATISTICS", "Program", "Run", "SparseEngine", "compile", "emit",
    "program_of",
]  # fmt: skip
