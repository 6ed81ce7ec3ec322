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
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-Wall")
FAST = (("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Flags in the order in which they are tried: not every compiler has OpenMP or knows its machine."""


def library(project: Path, *, cc: str | None = None) -> Path:
    """The library of a project's C. The same sources, compiler and machine are built once.

    Raises ``ToolMissing``, ``ToolFailed``.
    """
    command = toolchain.compiler(load_board("host"), cc)
    sources = sorted(project.resolve().glob("*.c"))
    if not sources:
        raise ToolFailed("no C files", at=str(project), hint="compile the model again")
    try:
        cache = cache_folder()
        made = cache / f"edit-{_digest(project, command)}.so"
        if made.is_file():
            return made
        with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as folder:
            _build(command, sources, Path(folder))
            (Path(folder) / "library.so").replace(made)
    except OSError as error:
        raise ToolFailed(
            f"the library can't be built: {error.strerror or error}",
            at=str(error.filename or project),
        ) from error
    return made


def _build(command: tuple[str, ...], sources: list[Path], folder: Path) -> None:
    ended = None
    for fast in FAST:
        argv = (*command, *FLAGS, *fast, "-o", "library.so", *map(str, sources), "-lm")
        ended = run_process(argv, folder, timeout=TIMEOUT)
        if ended.code == 0:
            return
    assert ended is not None
    raise ToolFailed(f"{command[0]} fails: {first_error(ended.text)}", at=sources[0].parent.name)


def _digest(project: Path, command: tuple[str, ...]) -> str:
    """Of all that decides the library's bytes: sources, compiler, flags, the processor."""
    digest = hashlib.sha256()
    compiler = Path(toolchain.require(command[0])).resolve()
    found = compiler.stat()
    facts = (
        platform.machine(), _processor(), *command, *FLAGS, *FAST, str(compiler), found.st_size,
        found.st_mtime_ns,
    )  # fmt: skip
    digest.update(repr(facts).encode())
    for path in sorted(project.glob("*.[ch]")):
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
