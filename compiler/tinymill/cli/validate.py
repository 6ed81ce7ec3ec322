"""``tinymill validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .console import out, print_json, print_plain, short, table_of, working
from .groups import without
from .options import CompileOptions, Json, Model, RunOptions, Target

if TYPE_CHECKING:
    from ..api import Comparison, Validation

DIFFERS = 1
"""The exit code where C and definition differ."""


def command(
    *,
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--inputs",
            "--input",
            "-i",
            help="FILE.npy or .npz, an image, a folder of them, or pattern (the benchmark input); "
            "once for each input of the model. One more leading axis is a sequence of frames",
            show_default=False,
        ),
    ],
    target: Target = "host",
    layers: Annotated[
        bool, typer.Option("--layers", help="compare each layer's output, in a second program")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(help="of floats, times the greater of 1 and the value; integers are equal"),
    ] = 1e-5,
    options: Annotated[
        CompileOptions,
        without("ram", "fast_ram", "weights", "keep_inputs", "stream_input", "step", "frontend"),
    ],
    running: RunOptions,
    as_json: Json = False,
) -> None:
    """Compare a model's C, on the host or in QEMU, with its ops' definitions in numpy; exit
    code 1 where any byte of an integer, or a float by more than the tolerance, differs."""
    from .. import api  # noqa: PLC0415

    with working("building, running, comparing"):
        found = api.validate(
            model, target=target, input=inputs, layers=layers, tolerance=tolerance,
            **options.keywords(), **running.keywords(),
        )  # fmt: skip
    if as_json:
        first = found.first_differing_layer
        print_json(
            {
                "target": found.target,
                "frames": found.frames,
                "tolerance": found.tolerance,
                "agree": found.agree,
                "outputs": [vars(each) for each in found.outputs],
                "layers": None if found.layers is None else [vars(each) for each in found.layers],
                "first_differing_layer": first and first.name,
            }
        )
    else:
        _show_validation(found)
    if not found.agree:
        raise typer.Exit(DIFFERS)


def _show_validation(found: Validation) -> None:
    if found.layers is not None:
        table = table_of(">#", "layer", "op", "output", ">bytes", ">differ", ">by at most")
        for index, each in enumerate(found.layers):
            table.add_row(str(index), *_compared(each))
        print_plain(table)
    table = table_of("output", "op", "type", ">bytes", ">differ", ">by at most")
    for each in found.outputs:
        table.add_row(*_compared(each))
    print_plain(table)
    frames = f"{found.frames} frame{'s' * (found.frames > 1)}"
    first = found.first_differing_layer
    if found.agree:
        bytes_apart = sum(each.differing_bytes for each in (*found.outputs, *(found.layers or ())))
        same = "the same bytes" if not bytes_apart else f"within {found.tolerance:g}"
        out.print(f"{found.target} and the oracle agree on {frames}: {same}")
        return
    out.print(f"{found.target} and the oracle differ on {frames}", style="red")
    if first is not None:
        out.print(f"the first layer that differs: {short(first.name)} ({first.op})")
    elif found.layers is not None:
        out.print("no layer differs when the outputs of all are kept: the plan is at fault")


def _compared(each: Comparison) -> tuple[str, ...]:
    shape = "x".join(map(str, each.shape))
    worst = f"{each.worst:.3g}" if each.differing_bytes else "-"
    return (
        short(each.name), each.op, f"{each.dtype}[{shape}]", f"{each.bytes:,}",
        f"{each.differing_bytes:,}" if each.differing_bytes else "-", worst,
    )  # fmt: skip
