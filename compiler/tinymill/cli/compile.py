"""``tinymill compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import one_line
from .console import out, print_json, print_plain, short, table_of
from .options import CompileOptions, Json, Model, Name, Target

if TYPE_CHECKING:
    from ..api import Compiled
    from ..deploy import Forecast


def command(
    *,
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for the C project", show_default=False)
    ],
    target: Target = "host",
    options: CompileOptions,
    name: Name = None,
    dump_passes: Annotated[
        Path | None, typer.Option("--dump-passes", help="folder for the graph after each pass")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the C project of a model and show its memory map and layers."""
    from .. import api  # noqa: PLC0415  numpy and onnx are slow to import

    compiled = api.compile(
        model, target=target, output=output, name=name, dump_passes=dump_passes,
        **options.keywords(),
    )  # fmt: skip
    found = compiled.forecast()
    if as_json:
        expected = {"code": found and found.code, "stack": found and found.stack}
        print_json({**compiled.description, "output": str(output), "forecast": expected})
    else:
        _show_compiled(compiled, found, output)


def _show_compiled(compiled: Compiled, found: Forecast | None, folder: Path) -> None:
    from ..deploy import missing  # noqa: PLC0415

    plan = compiled.plan
    table = table_of(">#", "layer", "op", "kernel", "output", ">MACs", ">arena in use")
    for index, layer in enumerate(compiled.description["layers"]):
        table.add_row(
            str(index), short(layer["name"]), layer["op"], layer["kernel"],
            ", ".join(layer["outputs"]), f"{layer['macs']:,}", f"{layer['arena']:,}",
        )  # fmt: skip
    print_plain(table)
    bound = plan.placement.bound
    gap = "proven least" if bound == plan.arena_bytes else f"lower bound {bound:,}"
    weights = compiled.description["weights_bytes"]
    out.print(f"arena    {plan.arena_bytes:>10,} bytes of RAM ({gap})")
    out.print(f"state    {plan.state_bytes:>10,} bytes of RAM kept between runs")
    front = compiled.description["frontend"]
    if front is not None:
        kind, kept = front["spec"]["kind"], front["state_bytes"]
        out.print(f"frontend {kept:>10,} bytes of RAM kept between pushes ({kind})")
    if found is not None and found.stack is not None:
        out.print(f"stack    {found.stack:>10,} bytes of RAM at most, library calls not counted")
    widened = compiled.description["widened_bytes"]
    spent = ""
    if widened > 0 and compiled.description["optimize"] == "time":
        spent = f", {widened:,} of them for speed (--optimize size saves most)"
    out.print(f"weights  {weights:>10,} bytes of flash{spent}")
    if found is not None:
        out.print(f"code     {found.code:>10,} bytes of flash")
    else:
        lacks = ", ".join(missing(compiled.board))
        reason = f"{lacks} is not installed" if lacks else "it does not build or fit as it is"
        out.print(f"code     not known: {reason}")
    out.print(f"written to {one_line(str(folder), 4096)} for {compiled.board.name}")
