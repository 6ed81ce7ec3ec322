"""``tinymill inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import out, print_json, print_plain, short, table_of
from .options import Json, Model, Shape, shapes_of

if TYPE_CHECKING:
    from ..api import Inspection


def command(model: Model, shape: Shape = None, as_json: Json = False) -> None:
    """Show layers, shapes, quantisation, MACs and parameters, and what is unsupported."""
    from .. import api  # noqa: PLC0415  numpy and onnx are slow to import

    found = api.inspect(model, shapes=shapes_of(shape))
    if as_json:
        print_json(
            {
                "name": found.name,
                "inputs": found.inputs,
                "outputs": found.outputs,
                "macs": found.macs,
                "parameters": found.parameters,
                "layers": [vars(layer) for layer in found.layers],
                "problems": found.problems,
            }
        )
    else:
        _show_inspection(found)


def _show_inspection(found: Inspection) -> None:
    out.print(short(found.name), style="bold")
    for text in found.inputs:
        out.print(f"in   {short(text, 160)}")
    for text in found.outputs:
        out.print(f"out  {short(text, 160)}")
    table = table_of(">#", "layer", "op", "output", ">MACs", ">parameters")
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index), short(layer.name), layer.op, ", ".join(layer.outputs),
            f"{layer.macs:,}", f"{layer.parameters:,}",
        )  # fmt: skip
    print_plain(table)
    out.print(f"{len(found.layers)} layers, {found.macs:,} MACs, {found.parameters:,} parameters")
    for problem in found.problems:
        out.print(f"unsupported: {problem}", style="red")
