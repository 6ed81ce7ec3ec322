"""Builds an emitted project into a shared library of this machine, kept in a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import tempfile
from pathlib import Path

from tinymill.boards import load_board
from tinymill.deploy import toolchain
from tinymill.deploy.build import TIMEOUT, first_error
from tinymill.deploy.process import run_process
from tinymill.deploy.recipe import C_FLAGS
from tinymill.errors import ToolFailed
from tinymill.share import share

CACHE_VARIABLE = "TINYMILL_CACHE"
"""Environment variable naming the folder of built libraries; without it XDG_CACHE_HOME counts."""

MOST_KEPT = 64
"""Libraries in the cache; beyond these the ones longest unused are removed."""

LIBRARY = "target/library.c"
_FLAGS = ("-O2", *C_FLAGS, "-fPIC", "-fvisibility=hidden", "-shared")


def shared_library(project: Path, model: str, *, cc: str | None = None) -> Path:
    """The library of ``model``, from the C of its project, for whatever board that was emitted.

    It exports what runtime_c/target/library.c declares. The same sources, compiler and flags are
    built once. Raises ``ToolMissing``, ``ToolFailed``.
    """
    command = toolchain.compiler(load_board("host"), cc)
    project = project.resolve()
    sources = (project / f"{model}.c", project / f"{model}_weights.c")
    for source in (*sources, project / "target" / "target.h"):
        if not source.is_file():
            raise ToolFailed(f"{source.name} is missing", at=str(project), hint="compile it again")
    try:
        name = f"{model}-{_digest(project, command)}.so"
        cache = cache_folder()
        library = cache / name
        if library.is_file():
            with contextlib.suppress(OSError):
                os.utime(library)  # used again: the last to be removed
            return library
        with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as folder:
            _build(command, project, sources, Path(folder))
            (Path(folder) / "library.so").replace(library)
        _forget_old(cache, library)
    except OSError as error:
        raise ToolFailed(
            f"the library can't be built: {error.strerror or error}",
            at=str(error.filename or project),
            hint=f"{CACHE_VARIABLE} names another folder for it",
        ) from error
    return library


def _build(
    command: tuple[str, ...], project: Path, sources: tuple[Path, ...], folder: Path
) -> None:
    argv = (
        *command, *_FLAGS, "-I", str(project / "target"), "-o", "library.so",
        *map(str, sources), str(share("runtime_c") / LIBRARY), "-lm",
    )  # fmt: skip
    ended = run_process(argv, folder, timeout=TIMEOUT)
    if ended.code != 0:
        raise ToolFailed(f"{command[0]} fails: {first_error(ended.text)}", at=project.name)


def _digest(project: Path, command: tuple[str, ...]) -> str:
    """Of all that decides the library's bytes: sources, compiler, flags, machine."""
    digest = hashlib.sha256()
    compiler = Path(toolchain.require(command[0])).resolve()
    found = compiler.stat()
    facts = (platform.machine(), *command, *_FLAGS, str(compiler), found.st_size, found.st_mtime_ns)
    digest.update(repr(facts).encode())
    digest.update((share("runtime_c") / LIBRARY).read_bytes())
    for path in sorted(project.rglob("*.[ch]")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """Where libraries are kept. A library is code that is loaded: the folder must be this user's
    and nobody else may write to it (``ToolFailed``)."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        folder = Path(named)
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "tinymill"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    foreign = hasattr(os, "getuid") and found.st_uid != os.getuid()
    if foreign or stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise ToolFailed(
            "others can write to the folder of libraries",
            at=str(folder),
            hint=f"name a folder of your own in {CACHE_VARIABLE}",
        )
    return folder.resolve()


def _forget_old(cache: Path, fresh: Path) -> None:
    """Removes libraries longest unused, of those that are no longer being built."""
    with contextlib.suppress(OSError):
        kept = sorted(cache.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MOST_KEPT:]:
            if path != fresh:
                path.unlink()
