"""Options that several commands have, each declared once.

A command takes ``CompileOptions`` (``ProjectOptions`` where a project folder may be given) and
``RunOptions`` as one parameter each: see ``groups``. What their ``keywords`` give are the names of
the api's parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInput
from .groups import Group


class Io(StrEnum):
    """What goes in and out of the model."""

    quantized = "quantized"
    float = "float"


class Requant(StrEnum):
    """How ONNX models rescale accumulators."""

    exact = "exact"
    fixed = "fixed"


class Optimize(StrEnum):
    """What flash is spent on."""

    time = "time"
    size = "size"


class Weights(StrEnum):
    """Where constants are read from."""

    flash = "flash"
    ram = "ram"


Model = Annotated[Path, typer.Argument(help="an .onnx or .tflite file", show_default=False)]
ModelOrFolder = Annotated[
    Path,
    typer.Argument(help="a model file, or a folder that compile wrote", show_default=False),
]
Target = Annotated[str, typer.Option("--target", "--board", help="a board's name or .toml file")]
Name = Annotated[
    str | None, typer.Option("--name", help="prefix of all C names [default: the file's name]")
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", help="NAME=1,3,64,64: shape of an ONNX input whose sizes are open"),
]
IoOption = Annotated[
    Io,
    typer.Option(
        "--io",
        help="quantized: QUANTIZE/DEQUANTIZE at the ends are taken off, integers go in and out; "
        "float: the file's own interface",
    ),
]
RequantOption = Annotated[
    Requant,
    typer.Option(
        "--requant",
        help="ONNX only. exact: float rescaling, byte for byte the definition; "
        "fixed: integers only, for cores without an FPU, may differ by one",
    ),
]
OptimizeOption = Annotated[
    Optimize,
    typer.Option(
        "--optimize",
        help="time: widened weights, unrolled kernels; size: smaller code, weights in 8 bits "
        "but depthwise ones",
    ),
]
PLAN_HELP = "min-time, balanced, min-ram, patched, or FILE.json: a saved plan"
GoalOption = Annotated[str, typer.Option("--plan", help=PLAN_HELP)]
Ram = Annotated[
    int | None,
    typer.Option("--ram", min=1, help="bytes of RAM in all: takes the fastest plan that fits"),
]
FastRam = Annotated[
    int | None,
    typer.Option(
        "--fast-ram",
        min=0,
        help="bytes of the arena in the first, fast RAM: what is used most; the rest in a second",
    ),
]
WeightsOption = Annotated[
    Weights | None,
    typer.Option("--weights", help="ram: start-up code copies the weights there [default: flash]"),
]
RunOptimize = Annotated[
    Optimize | None,
    typer.Option("--optimize", help="as for compile [default: time, or the folder's]"),
]
RunGoal = Annotated[
    str | None, typer.Option("--plan", help="as for compile [default: min-time, or the folder's]")
]
RunIo = Annotated[
    Io | None, typer.Option("--io", help="as for compile [default: quantized, or the folder's]")
]
RunRequant = Annotated[
    Requant | None,
    typer.Option("--requant", help="as for compile [default: exact, or the folder's]"),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Keep = Annotated[
    bool, typer.Option("--keep-inputs", help="a run leaves the inputs' bytes as they are")
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream-input", help="the input comes row by row (push_rows) and is never held whole"
    ),
]
StepOption = Annotated[
    int | None,
    typer.Option(
        "--step",
        metavar="ROWS",
        min=1,
        help="models over time: the input is a window of rows (frames) that takes ROWS new ones a "
        "step; only what they change is computed",
    ),
]
FrontOption = Annotated[
    str | None,
    typer.Option(
        "--frontend",
        help="what stands between sensor and model: micro, mfcc, log-mel, image, motion, or "
        "FILE.toml with kind and parameters",
        show_default=False,
    ),
]
Compiler = Annotated[
    str | None,
    typer.Option("--cc", help="C compiler [default: cc on the host, else the board's gcc]"),
]
Sanitize = Annotated[
    bool, typer.Option("--sanitize", help="host: address and undefined-behaviour sanitizers")
]
Resize = Annotated[bool, typer.Option("--resize", help="scale images to the model's size")]


@dataclass(frozen=True)
class ProjectOptions(Group):
    """How a model is compiled, where it may be a project folder with options of its own."""

    io: RunIo = None
    requant: RunRequant = None
    optimize: RunOptimize = None
    plan: RunGoal = None
    ram: Ram = None
    fast_ram: FastRam = None
    weights: WeightsOption = None
    shape: Shape = None
    keep_inputs: Keep = False
    stream_input: Stream = False
    step: StepOption = None
    frontend: FrontOption = None

    def keywords(self) -> dict[str, Any]:
        """As the api calls them. Raises ``InvalidInput`` for shapes that are none."""
        found = super().keywords()
        found["shapes"] = shapes_of(found.pop("shape", None))
        return found


@dataclass(frozen=True)
class ModelOptions(ProjectOptions):
    """The same for a model file, with the defaults that hold for it."""

    io: IoOption = Io.quantized
    requant: RequantOption = Requant.exact
    optimize: OptimizeOption = Optimize.time


@dataclass(frozen=True)
class CompileOptions(ModelOptions):
    """How a model file is compiled."""

    plan: GoalOption = "min-time"


@dataclass(frozen=True)
class RunOptions(Group):
    """How a run is built and fed."""

    cc: Compiler = None
    sanitize: Sanitize = False
    mean: Annotated[float | None, typer.Option(help="images: real = (pixel - mean) / std")] = None
    std: Annotated[float | None, typer.Option(help="images: see --mean")] = None
    resize: Resize = False
    timeout: Annotated[float, typer.Option(help="seconds for the build and for the run")] = 600.0


def shapes_of(entries: Sequence[str] | None) -> dict[str, list[int]]:
    """What --shape says, input by input. Raises ``InvalidInput``."""
    shapes = {}
    for entry in entries or ():
        name, equals, sizes = entry.rpartition("=")
        try:
            shapes[name] = [int(n) for n in sizes.split(",")]
        except ValueError:
            equals = ""
        if not equals or not name or min(shapes[name]) < 1:
            raise InvalidInput("write it as NAME=1,3,64,64", at=f"--shape {entry}")
    return shapes


def lines_of(path: Path | None) -> list[str] | None:
    """A text file's lines; None for no file. Raises ``InvalidInput``."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InvalidInput(reason, at=str(path)) from error
