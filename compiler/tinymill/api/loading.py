"""``load``: a model as a callable on arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..loaded import Loaded
from ..project import read_plan
from ..schedule import Optimize
from .compiling import compile_file
from .folders import check_wanted
from .options import Io, Requant, Wanted


def load(
    model: str | Path,
    *,
    threads: int = 1,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cc: str | None = None,
) -> Loaded:
    """A model file, compiled for the host, or a project folder as a callable on arrays.

    The C is built into a shared library, once for the same C (TINYMILL_CACHE names the folder).
    ``io``, ``requant``, ``optimize`` and ``plan`` are as for ``compile``; a project folder has its
    own, and others are refused. Raises what ``compile`` raises, ``InvalidInput``,
    ``ToolMissing``, ``ToolFailed``.
    """
    wanted = Wanted(io=io, requant=requant, optimize=optimize, plan=plan, shapes=shapes)
    path = Path(model)
    if path.is_dir():
        check_wanted(read_plan(path), path, wanted)
        return Loaded(path, threads=threads, cc=cc)
    compiled = compile_file(path, "host", wanted.options())
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name) / "project"
        compiled.write(folder)
        return Loaded(folder, threads=threads, cc=cc)
