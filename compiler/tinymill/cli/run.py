"""``tinymill run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import out, print_json, print_plain, short, table_of, working
from .options import Json, ModelOrFolder, ProjectOptions, RunOptions, lines_of

if TYPE_CHECKING:
    from ..api import LayerTime, RunResult


def command(
    *,
    model: ModelOrFolder,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            help="FILE.npy or .npz, an image, a folder of them, or pattern (the benchmark input); "
            "once for each input of the model. One more leading axis is a sequence of frames. "
            "With a front end: a .wav, samples or pixels as .npy, an image",
            show_default=False,
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option("--target", "--board", help="a board [default: host, or the folder's]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="FILE.npy (.npz for several outputs)")
    ] = None,
    options: ProjectOptions,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="a name for each class, one a line")
    ] = None,
    layers: Annotated[
        bool, typer.Option(help="count instructions for each layer (a second build)")
    ] = True,
    cycles: Annotated[
        bool, typer.Option("--cycles", help="Cortex-M4 and M7: estimate cycles, too")
    ] = False,
    running: RunOptions,
    as_json: Json = False,
) -> None:
    """Build and run a model on the host or in QEMU; show its result, RAM, flash and time."""
    from .. import api  # noqa: PLC0415

    names = lines_of(labels)
    with working("building and running"):
        result = api.run(
            model, target=target, input=inputs, layers=layers, cycles=cycles,
            **options.keywords(), **running.keywords(),
        )  # fmt: skip
    if output is not None:
        api.save_outputs(result, output)
    if as_json:
        print_json(_run_json(result))
    else:
        _show_run(result, names)


def _run_json(result: RunResult) -> dict[str, Any]:
    estimate = {}
    if result.cycles_estimate is not None:
        estimate = {
            "cycles_estimate": result.cycles_estimate,
            "instruction_classes": result.instruction_classes,
        }
    return {
        "target": result.target,
        "frames": result.frames,
        "output_crc32": result.output_crc32,
        "instructions": result.instructions,
        "front_instructions": result.front_instructions,
        **estimate,
        "ram": {
            "arena": result.ram.arena,
            "static": result.ram.static,
            "stack": result.ram.stack,
            "total": result.ram.total,
        },
        "flash": {
            "code": result.flash.code,
            "weights": result.flash.weights,
            "total": result.flash.total,
        },
        "layers": [_layer_json(layer) for layer in result.layers],
    }


def _layer_json(layer: LayerTime) -> dict[str, Any]:
    """The layer; an estimate that was not asked for is left out."""
    return {k: v for k, v in vars(layer).items() if k != "cycles_estimate" or v is not None}


def _show_run(result: RunResult, labels: Sequence[str] | None) -> None:
    if any(layer.instructions is not None for layer in result.layers):
        front = result.front_instructions
        total = sum(layer.instructions or 0 for layer in result.layers) + (front or 0) or 1
        estimated = any(layer.cycles_estimate is not None for layer in result.layers)
        more = (">cycles (estimate)",) if estimated else ()
        table = table_of(">#", "layer", "op", ">instructions", ">share", *more)
        if front is not None:
            # up to the first run, all of its input
            table.add_row("", "the front end", "", f"{front:,}", f"{front / total:.1%}", *more[1:])
        for index, layer in enumerate(result.layers):
            count = layer.instructions or 0
            cells = (f"{layer.cycles_estimate or 0:,}",) if estimated else ()
            table.add_row(
                str(index), short(layer.name), layer.op, f"{count:,}", f"{count / total:.1%}",
                *cells,
            )  # fmt: skip
        print_plain(table)
    for name, array in zip(result.output_names, result.outputs, strict=True):
        rows = array.reshape(result.frames, -1) if result.frames > 1 else array.reshape(1, -1)
        for index, row in enumerate(rows):
            frame = f" frame {index}" if result.frames > 1 else ""
            best = int(row.argmax())
            shown = ""
            if labels is not None and best < len(labels):
                shown = f" ({short(labels[best])})"
            out.print(
                f"{short(name)}{frame}: {array.dtype} {list(array.shape)}, largest {row[best]} at "
                f"{best}{shown}",
            )
    ram, flash = result.ram, result.flash
    stack = "-" if ram.stack is None else f"{ram.stack:,}"
    if result.instructions is not None:
        out.print(f"instructions {result.instructions:,}")
    if result.cycles_estimate is not None:
        out.print(f"cycles       {result.cycles_estimate:,} (an estimate; docs/measuring.md)")
    if result.instruction_classes is not None:
        kinds = sorted(result.instruction_classes.items(), key=lambda item: -item[1])
        out.print("of these     " + ", ".join(f"{kind} {count:,}" for kind, count in kinds))
    out.print(f"RAM   {ram.total:,} = arena {ram.arena:,} + static {ram.static:,} + stack {stack}")
    out.print(f"flash {flash.total:,} = code {flash.code:,} + weights {flash.weights:,}")
    out.print(f"output crc32 {result.output_crc32}")
