"""``export_model``: a compiled model for another build system."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..boards import Board
from ..emit import c_name
from ..errors import InvalidInput
from ..export import check_format, export_files, exportable_of, read_exportable
from ..project import PLAN, read_plan, write_project
from ..schedule import Optimize
from .compiling import compile_file
from .folders import board_of_folder, check_wanted
from .lowering import tuned
from .options import Io, Requant, Wanted, Weights


@dataclass(frozen=True)
class Exported:
    """A model as a project of another build system: its files (relative path -> text)."""

    name: str
    format: str
    board: Board
    files: Mapping[str, str]

    @property
    def description(self) -> dict[str, Any]:
        """The content of plan.json."""
        return json.loads(self.files[PLAN])

    def write(self, folder: str | Path) -> None:
        """Writes the project, whole or not at all."""
        write_project(self.files, Path(folder))


def export_model(
    model: str | Path,
    *,
    format: str,
    output: str | Path | None = None,
    target: str | Path | Board | None = None,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights | None = None,
    name: str | None = None,
) -> Exported:
    """The model (compiled unless it is a project folder) in the shape of another build system.

    ``format`` is one of ``tinymill.export.FORMATS``: "cmake", "make", "arduino", "platformio",
    "zephyr", "esp-idf", "cmsis-pack", "micropython". The other options are those of ``compile``;
    a project folder has its own, and others are refused. Raises what ``compile`` raises.
    """
    check_format(format)
    wanted = Wanted(
        io=io, requant=requant, optimize=optimize, plan=plan, ram=ram, shapes=shapes,
        keep_inputs=keep_inputs, stream_input=stream_input, fast_ram=fast_ram, weights=weights,
    )  # fmt: skip
    path = Path(model)
    if path.is_dir():
        description = read_plan(path)
        if output is not None and Path(output).resolve() == path.resolve():
            raise InvalidInput("is what is exported", at=str(output), hint="choose another output")
        board = board_of_folder(target, description, path)
        check_wanted(description, path, wanted, name=None if name is None else c_name(name))
        board = tuned(board, description.get("optimize", "time"))
        found = read_exportable(path, board, description)
    else:
        compiled = compile_file(
            path, "host" if target is None else target, wanted.options(), name=name
        )
        found = exportable_of(compiled.name, compiled.board, compiled.files, compiled.description)
    exported = Exported(found.name, format, found.board, export_files(found, format))
    if output is not None:
        exported.write(output)
    return exported
