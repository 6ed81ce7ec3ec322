"""``tinymill export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import one_line
from .console import out, print_json
from .groups import without
from .options import Json, ModelOrFolder, Name, ProjectOptions


def command(
    *,
    model: ModelOrFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for the project", show_default=False)
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="cmake, make, arduino, platformio, zephyr, esp-idf, cmsis-pack or micropython",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "--board",
            help="a board with the core that kernels are chosen for [default: host: plain C for "
            "any core, or the folder's]",
        ),
    ] = None,
    options: Annotated[ProjectOptions, without("step", "frontend")],
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Write a model as a project or component of another build system, with an example."""
    from .. import api  # noqa: PLC0415
    from ..export import FORMATS, check_format  # noqa: PLC0415

    exported = api.export_model(
        model, format=check_format(form), output=output, target=target, name=name,
        **options.keywords(),
    )  # fmt: skip
    found = exported.description
    if as_json:
        print_json(
            {
                "model": exported.name,
                "format": exported.format,
                "target": exported.board.name,
                "output": str(output),
                "arena": found["arena"]["bytes"],
                "weights_bytes": found["weights_bytes"],
                "files": list(exported.files),
            }
        )
        return
    for path in exported.files:
        out.print(path)
    where = one_line(str(output), 4096)
    title = FORMATS[exported.format].title
    out.print(f"written to {where} for {exported.board.name}: {title}; README.md has the next step")
