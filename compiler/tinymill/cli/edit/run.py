"""``tinymill edit run``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InvalidInput
from ..console import out, print_json, say, size, working
from ..options import Compiler, Json, Resize

if TYPE_CHECKING:
    from ...api import Edited


class Mode(StrEnum):
    """What is recomputed."""

    exact = "exact"
    fast = "fast"


class Statistics(StrEnum):
    """Whose statistics normalisations use."""

    cached = "cached"
    refresh = "refresh"


def command(
    *,
    folder: Annotated[
        Path, typer.Argument(help="a folder that edit compile wrote", show_default=False)
    ],
    original: Annotated[
        Path, typer.Option("--original", help="picture or .npy", show_default=False)
    ],
    edited: Annotated[Path, typer.Option("--edited", help="the same, edited", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="what it gives: .png, .bmp, .npy", show_default=False),
    ],
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="picture or .npy: not black is edited [default: what differs]"),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode", help="exact: all that the edit reaches; fast: its surroundings at each size"
        ),
    ] = Mode.exact,
    statistics: Annotated[
        Statistics,
        typer.Option(
            "--statistics",
            help="of normalisations. cached: the original's; refresh: follow the edit",
        ),
    ] = Statistics.cached,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, help="smaller differences are no edit")
    ] = 0.0,
    dilation: Annotated[
        int, typer.Option("--dilation", min=0, help="pixels by which the edit is widened")
    ] = 0,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=number or NAME=FILE.npy: another input of the model"),
    ] = None,
    mean: Annotated[float | None, typer.Option(help="real = (pixel - mean) / std")] = None,
    std: Annotated[float | None, typer.Option(help="see --mean [default: 255]")] = None,
    resize: Resize = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=256, help="of OpenMP")
    ] = None,
    cc: Compiler = None,
    as_json: Json = False,
) -> None:
    """Run an edit of a picture sparsely and tell its time and distance to the dense run."""
    from ... import api  # noqa: PLC0415  numpy and onnx are slow to import

    with working("running", quiet=as_json):
        found = api.edit_run(
            folder, original=original, edited=edited, output=output, mask=mask,
            inputs=_inputs(inputs), mode=mode.value, statistics=statistics.value,
            threshold=threshold, dilation=dilation, mean=mean, std=std, resize=resize,
            threads=threads, cc=cc,
        )  # fmt: skip
    for warning in found.warnings:
        say.print(f"tinymill: {warning}")
    if as_json:
        print_json(found.as_json())
    else:
        _show(found)


def _inputs(entries: list[str] | None) -> dict[str, str]:
    found = {}
    for entry in entries or ():
        name, equals, text = entry.partition("=")
        if not equals or not name or not text:
            raise InvalidInput("write it as NAME=3 or NAME=FILE.npy", at=f"--input {entry}")
        found[name] = text
    return found


def _show(found: Edited) -> None:
    share = found.macs / found.dense_macs if found.dense_macs else 0.0
    out.print(f"edited: {found.active:.2%} of the pixels, {share:.2%} of the MACs left "
              f"({found.macs:,} of {found.dense_macs:,})")  # fmt: skip
    out.print(f"time: {found.milliseconds:.2f} ms, dense {found.dense_milliseconds:.2f} ms; "
              f"activations {size(found.cache_bytes)}")  # fmt: skip
    distance = found.distance
    psnr, inside = _decibels(distance.psnr), _decibels(distance.psnr_inside)
    out.print(f"distance to the dense run: at most {distance.largest:.3g}, PSNR {psnr}, "
              f"inside the edit {inside}")  # fmt: skip
    out.print(f"written: {found.output}")


def _decibels(number: float | None) -> str:
    return "infinite" if number is None else f"{number:.1f} dB"
