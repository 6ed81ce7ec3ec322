"""``tinymill quantize``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ..errors import InvalidInput, one_line
from .console import out, print_json, print_plain, say, short, table_of
from .options import Json, Shape, lines_of, shapes_of

if TYPE_CHECKING:
    from ..api import Quantized


class Method(StrEnum):
    """How ranges of activations are found."""

    minmax = "minmax"
    entropy = "entropy"
    percentile = "percentile"


class Layout(StrEnum):
    """Where arrays have their channels."""

    nchw = "nchw"
    nhwc = "nhwc"


def command(
    model: Annotated[
        Path, typer.Argument(help="a float .onnx or .tflite file", show_default=False)
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            "--calibration",
            "-c",
            help="samples that give the ranges: .npy, .npz (x, or arrays named as the inputs; "
            "labels y), a folder of pictures, or of one folder a class",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.onnx for the int8 model")],
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="ranges from least to greatest value, or cut where it costs least (entropy) or "
            "at --percentile",
        ),
    ] = Method.minmax,
    percentile: Annotated[float, typer.Option(help="for --method percentile")] = 99.99,
    samples: Annotated[
        int, typer.Option(min=1, help="calibrate with at most so many, spread over all")
    ] = 256,
    equalize: Annotated[
        bool, typer.Option("--equalize", help="cross-layer equalisation before quantising")
    ] = False,
    correct_bias: Annotated[
        bool, typer.Option("--correct-bias", help="take out the mean errors of rounded weights")
    ] = False,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            "--evaluate", help="labelled samples to measure with [default: --calibration's]"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="the samples' classes: .npy or text, one integer each"),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", help="names of class folders in the model's order, one a line"),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="inputs are (value - mean) / std: one number, or R,G,B [default: 0]"),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="see --mean [default: 255 for pictures, 1 for arrays]")
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="of arrays whose channels stand elsewhere than the model's"),
    ] = None,
    shape: Shape = None,
    as_json: Json = False,
) -> None:
    """Quantise a float model to int8 ONNX and show what it costs, layer by layer."""
    from .. import api  # noqa: PLC0415
    from ..quantizer import Preparation  # noqa: PLC0415

    preparation = Preparation(
        _numbers(mean, "--mean"), _numbers(std, "--std"), None if layout is None else layout.value
    )
    with _Bars() as bars:
        found = api.quantize(
            model, calibration=calibration, output=output, method=method.value,
            percentile=percentile, samples=samples, equalize=equalize, correct_bias=correct_bias,
            evaluate=evaluate, labels=labels, classes=lines_of(classes), preparation=preparation,
            shapes=shapes_of(shape), progress=bars.begin,
        )  # fmt: skip
    if as_json:
        print_json(_quantized_json(found))
    else:
        _show_quantized(found)


class _Bars:
    """A bar for each stage of something long, where a person watches; gone at the end."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=say, transient=True, disable=not say.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, what: str, steps: int) -> Callable[[], None]:
        """A new bar; the call that moves it by a step."""
        task = self._progress.add_task(what, total=steps)
        return lambda: self._progress.advance(task)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InvalidInput("write numbers as 0.5 or 0.5,0.4,0.4", at=f"{option} {text}") from error


def _quantized_json(found: Quantized) -> dict[str, Any]:
    accuracy = found.accuracy
    return {
        "output": str(found.output),
        "bytes": found.bytes,
        "samples": found.samples,
        "equalized_pairs": found.equalized,
        "corrected_layers": found.corrected,
        "float_layers": found.unquantized,
        # JSON has no infinity: null where nothing differs
        "layers": [
            {key: None if value in (inf, -inf) else value for key, value in vars(layer).items()}
            for layer in found.layers
        ],
        "worst": [layer.name for layer in found.worst()],
        "accuracy": accuracy
        and {
            "samples": accuracy.samples,
            "float": accuracy.real,
            "quantized": accuracy.quantized,
            "by": accuracy.by,
        },
    }


def _show_quantized(found: Quantized) -> None:
    table = table_of(">#", "layer", "op", ">SQNR, dB", ">its own rounding, dB")
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index), short(layer.name), layer.op, f"{layer.sqnr_db:.1f}", f"{layer.own_db:.1f}"
        )
    print_plain(table)
    if found.equalized:
        out.print(f"equalised pairs of layers: {found.equalized}")
    if found.corrected:
        out.print(f"layers with corrected biases: {found.corrected}")
    worst = ", ".join(f"{short(each.name)} ({each.sqnr_db:.1f} dB)" for each in found.worst())
    if worst:
        out.print(f"furthest from the float model: {worst}")
    if found.unquantized:
        names = ", ".join(short(name) for name in found.unquantized[:4])
        more = ", ..." if len(found.unquantized) > 4 else ""
        out.print(f"layers that compute in float: {len(found.unquantized)} ({names}{more})")
    if found.accuracy is not None:
        right = found.accuracy
        out.print(
            f"right answers of {right.samples:,}: float {right.real:.2%}, int8 "
            f"{right.quantized:.2%} by {right.by} ({100 * (right.quantized - right.real):+.2f} "
            "points)"
        )
    out.print(f"written to {one_line(str(found.output), 4096)}, {found.bytes:,} bytes")
