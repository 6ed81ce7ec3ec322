"""Builds a project into a shared library of this machine, kept in tinymill's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from pathlib import Path

from ..boards import load_board
from ..deploy import toolchain
from ..deploy.build import first_error
from ..deploy.library import cache_folder
from ..deploy.process import run_process
from ..errors import ToolFailed

TIMEOUT = 600.0
TABLES = "model.c"
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-Wall")
FAST = (("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Flags in the order in which they are tried: not every compiler has OpenMP."""


def libraries(project: Path, *, cc: str | None = None) -> tuple[Path, Path]:
    """The libraries of a project's runtime and of its tables. The same sources, compiler and
    machine are built once, so models share the runtime.

    Raises ``ToolMissing``, ``ToolFailed``.
    """
    command = toolchain.compiler(load_board("host"), cc)
    tables = project.resolve() / TABLES
    runtime = sorted(path for path in project.resolve().glob("*.c") if path != tables)
    if not tables.is_file() or not runtime:
        raise ToolFailed("its C files are missing", at=str(project), hint="compile it again")
    try:
        return _library(command, runtime, FAST), _library(command, [tables], ((),))
    except OSError as error:
        raise ToolFailed(
            f"the library can't be built: {error.strerror or error}",
            at=str(error.filename or project),
        ) from error


def _library(
    command: tuple[str, ...], sources: list[Path], flags: tuple[tuple[str, ...], ...]
) -> Path:
    cache = cache_folder()
    made = cache / f"edit-{_digest(sources, command, flags)}.so"
    if not made.is_file():
        with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as folder:
            _build(command, sources, flags, Path(folder))
            (Path(folder) / "library.so").replace(made)
    return made


def _build(
    command: tuple[str, ...],
    sources: list[Path],
    flags: tuple[tuple[str, ...], ...],
    folder: Path,
) -> None:
    ended = None
    for fast in flags:
        argv = (*command, *FLAGS, *fast, "-o", "library.so", *map(str, sources), "-lm")
        ended = run_process(argv, folder, timeout=TIMEOUT)
        if ended.code == 0:
            return
    assert ended is not None
    raise ToolFailed(f"{command[0]} fails: {first_error(ended.text)}", at=sources[0].parent.name)


def _digest(
    sources: list[Path], command: tuple[str, ...], flags: tuple[tuple[str, ...], ...]
) -> str:
    """Of all that decides the library's bytes: sources, compiler, flags, the processor."""
    digest = hashlib.sha256()
    compiler = Path(toolchain.require(command[0])).resolve()
    found = compiler.stat()
    facts = (
        platform.machine(), _processor(), *command, *FLAGS, *flags, str(compiler), found.st_size,
        found.st_mtime_ns,
    )  # fmt: skip
    digest.update(repr(facts).encode())
    for path in [*sources, *sorted(sources[0].parent.glob("*.h"))]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _processor() -> str:
    """What -march=native depends on, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.processor()} {os.cpu_count()}"
    kept = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join(sorted(set(kept)))
