"""What is exported: the C of one model and what its plan.json tells about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..boards import Board
from ..errors import InvalidModel

KERNELS = "kernels"
_INCLUDE = re.compile(r'^(\s*#include "(?:kernels/)?[a-z0-9_]+)\.c"', re.MULTILINE)
_QUOTED = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)
_EXACT = """\
/* A fused multiply-add rounds once where the model's arithmetic rounds twice. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

"""


@dataclass(frozen=True)
class Exportable:
    """A model's own files (path -> text: its C, its weights, the kernels it uses) for a board."""

    name: str
    board: Board
    files: Mapping[str, str]
    description: Mapping[str, Any]


def own_files(name: str) -> tuple[str, ...]:
    """The files that a model has beside its kernels."""
    return (f"{name}.h", f"{name}.c", f"{name}_weights.h", f"{name}_weights.c")


def exportable_of(
    name: str, board: Board, files: Mapping[str, str], description: Mapping[str, Any]
) -> Exportable:
    """The part of a project's ``files`` that belongs to the model, not to its target."""
    kept = {
        path: text
        for path, text in files.items()
        if path in own_files(name) or PurePosixPath(path).parts[0] == KERNELS
    }
    return Exportable(name, board, kept, description)


def read_exportable(folder: Path, board: Board, description: Mapping[str, Any]) -> Exportable:
    """The same from a folder that ``compile`` wrote. Raises ``InvalidModel`` if it lacks a file."""
    name = description["model"]
    paths = [PurePosixPath(path) for path in own_files(name)]
    paths += sorted(
        PurePosixPath(KERNELS, path.name)
        for path in (folder / KERNELS).glob("*")
        if path.suffix in (".c", ".h")
    )
    files: dict[str, str] = {}
    for path in map(str, paths):
        try:
            files[path] = (folder / path).read_text(encoding="utf-8")
        except OSError as error:
            problem = f"{path}: {error.strerror}"
            raise InvalidModel(problem, at=str(folder), hint="compile it again") from None
        except UnicodeDecodeError:
            raise InvalidModel(f"{path} is no C", at=str(folder), hint="compile it again") from None
    for path, text in files.items():
        for header in _QUOTED.findall(text):
            if (PurePosixPath(path).parent / header).as_posix() not in files:
                problem = f"{path} includes {header}, which is missing"
                raise InvalidModel(problem, at=str(folder), hint="compile it again")
    return Exportable(name, board, files, description)


def library_files(model: Exportable, folder: str, *, exact: bool) -> dict[str, str]:
    """The model's files under ``folder``, so that whoever compiles all .c files there is right.

    Kernels are included by the model's one C file: they are called .inc. With ``exact`` the
    sources that compute themselves switch off fused multiply-adds, for build systems that pass no
    flags.
    """
    found = {}
    for path, text in model.files.items():
        kernel = PurePosixPath(path).parts[0] == KERNELS
        target = path
        if kernel and path.endswith(".c"):
            target = f"{path.removesuffix('.c')}.inc"
        head = _EXACT if exact and path == f"{model.name}.c" else ""
        found[f"{folder}/{target}"] = head + _INCLUDE.sub(r'\1.inc"', text)
    return found
