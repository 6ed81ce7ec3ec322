"""``tinymill edit compile``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import out, print_json, short, size
from ..options import Json, Shape, shapes_of


class Backend(StrEnum):
    """What the engine runs on."""

    cpu = "cpu"


def command(
    *,
    model: Annotated[Path, typer.Argument(help="an .onnx file, float32", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for the project", show_default=False)
    ],
    backend: Annotated[Backend, typer.Option("--backend", help="cpu: C with OpenMP")] = Backend.cpu,
    edited: Annotated[
        str | None,
        typer.Option(
            "--edited",
            help="the input that is edited, or a value inside the model from which on it is taken "
            "[default: the first input that is a map]",
        ),
    ] = None,
    shape: Shape = None,
    cache_limit: Annotated[
        int | None,
        typer.Option(
            "--cache-limit",
            min=1,
            help="bytes of activations in memory; what does not fit is recomputed in every run",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the sparse engine of a model: C, weights and a manifest."""
    from ... import api  # noqa: PLC0415  numpy and onnx are slow to import

    found = api.edit_compile(
        model, output=output, backend=backend.value, edited=edited, shapes=shapes_of(shape),
        cache_limit=cache_limit,
    )  # fmt: skip
    if as_json:
        print_json(found.as_json())
        return
    out.print(f"{short(found.name)}: {found.layers} layers, written to {found.output}")
    sizes = "x".join(map(str, found.shape))
    out.print(f"edited: {short(found.edited)} {sizes}; activations in memory: "
              f"{size(found.cache_bytes)}")  # fmt: skip
    if found.recomputed:
        out.print(f"recomputed in every run: {len(found.recomputed)} values")
