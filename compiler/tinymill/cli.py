"""The commands: arguments in, tables or JSON out; no logic."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from . import __version__
from .errors import InvalidInput, TinymillError, one_line

if TYPE_CHECKING:
    from .api import Compiled, Inspection, LayerTime, Quantized, RunResult
    from .boards import Board
    from .deploy import Forecast
    from .report import SegmentFigures
    from .schedule import Plan
    from .validation import Comparison, Validation

app = typer.Typer(
    name="tinymill",
    help="Compile trained neural networks (ONNX, TFLite) to plain C for microcontrollers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
say = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
DIFFERS = 1
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's, or that of the copy of click that newer typers bring."""
USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


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


Model = Annotated[Path, typer.Argument(help="an .onnx or .tflite file", show_default=False)]
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


class Weights(StrEnum):
    """Where constants are read from."""

    flash = "flash"
    ram = "ram"


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


@app.command()
def inspect(model: Model, shape: Shape = None, as_json: Json = False) -> None:
    """Show layers, shapes, quantisation, MACs and parameters, and what is unsupported."""
    from . import api  # noqa: PLC0415  numpy and onnx are slow to import

    found = api.inspect(model, shapes=_shapes(shape))
    if as_json:
        _print_json(
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


@app.command("compile")
def compile_command(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for the C project", show_default=False)
    ],
    target: Annotated[
        str, typer.Option("--target", "--board", help="a board's name or .toml file")
    ] = "host",
    io: IoOption = Io.quantized,
    requant: RequantOption = Requant.exact,
    optimize: OptimizeOption = Optimize.time,
    plan: GoalOption = "min-time",
    ram: Ram = None,
    fast_ram: FastRam = None,
    weights: WeightsOption = None,
    shape: Shape = None,
    keep_inputs: Keep = False,
    stream_input: Stream = False,
    step: StepOption = None,
    frontend: FrontOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="prefix of all C names [default: the file's name]")
    ] = None,
    dump_passes: Annotated[
        Path | None, typer.Option("--dump-passes", help="folder for the graph after each pass")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the C project of a model and show its memory map and layers."""
    from . import api  # noqa: PLC0415

    compiled = api.compile(
        model, target=target, output=output, io=io.value, requant=requant.value,
        optimize=optimize.value, plan=plan, ram=ram, fast_ram=fast_ram,
        weights="flash" if weights is None else weights.value,
        shapes=_shapes(shape), keep_inputs=keep_inputs,
        stream_input=stream_input, step=step, frontend=frontend, name=name,
        dump_passes=dump_passes,
    )  # fmt: skip
    found = compiled.forecast()
    if as_json:
        expected = {"code": found and found.code, "stack": found and found.stack}
        _print_json({**compiled.description, "output": str(output), "forecast": expected})
    else:
        _show_compiled(compiled, found, output)


@app.command("plan")
def plan_command(
    model: Model,
    target: Annotated[
        str, typer.Option("--target", "--board", help="a board's name or .toml file")
    ] = "host",
    io: IoOption = Io.quantized,
    requant: RequantOption = Requant.exact,
    optimize: OptimizeOption = Optimize.time,
    plan: Annotated[
        str | None, typer.Option("--plan", help=f"{PLAN_HELP} [default: min-ram]")
    ] = None,
    shape: Shape = None,
    keep_inputs: Keep = False,
    stream_input: Stream = False,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="all plans between the fastest and the smallest")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="FILE.png or .svg: the arena over time; with --pareto, RAM against time",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the plan of a model, segment by segment, or the front of plans; compile nothing."""
    from . import api, report  # noqa: PLC0415
    from .boards import load_board  # noqa: PLC0415

    if pareto and plan is not None:
        raise InvalidInput("the front holds the plans of all goals", hint="leave out --plan")
    if picture is not None:
        report.check_picture(picture)
    board = load_board(target)
    goal = "RAM against time" if pareto else plan or "min-ram"
    found: Plan | tuple[Plan, ...]
    with say.status("planning") if say.is_terminal else contextlib.nullcontext():
        if pareto:
            found = api.front(
                model, target=board, io=io.value, requant=requant.value,
                optimize=optimize.value, shapes=_shapes(shape), keep_inputs=keep_inputs,
                stream_input=stream_input,
            )  # fmt: skip
        else:
            found = api.plan_model(
                model, target=board, io=io.value, requant=requant.value,
                optimize=optimize.value, plan=goal, shapes=_shapes(shape),
                keep_inputs=keep_inputs, stream_input=stream_input,
            )  # fmt: skip
        if picture is not None:
            title = f"{model.name} on {board.name}, {Path(goal).name}"
            report.save_picture(found, picture, title=title)
    if as_json:
        written = None if picture is None else str(picture)
        head = {"model": model.name, "target": board.name}
        figures = _front_json(found) if isinstance(found, tuple) else _plan_json(found, goal)
        _print_json({**head, **figures, "picture": written})
        return
    if isinstance(found, tuple):
        _show_front(found)
    else:
        _show_plan(found, board)
    if picture is not None:
        out.print(f"written to {one_line(str(picture), 4096)}")


@app.command("run")
def run_command(
    model: Annotated[
        Path,
        typer.Argument(help="a model file, or a folder that compile wrote", show_default=False),
    ],
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
    io: RunIo = None,
    requant: RunRequant = None,
    optimize: RunOptimize = None,
    plan: RunGoal = None,
    ram: Ram = None,
    fast_ram: FastRam = None,
    weights: WeightsOption = None,
    shape: Shape = None,
    keep_inputs: Keep = False,
    stream_input: Stream = False,
    step: StepOption = None,
    frontend: FrontOption = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="a name for each class, one a line")
    ] = None,
    layers: Annotated[
        bool, typer.Option(help="count instructions for each layer (a second build)")
    ] = True,
    cycles: Annotated[
        bool, typer.Option("--cycles", help="Cortex-M4 and M7: estimate cycles, too")
    ] = False,
    cc: Annotated[
        str | None,
        typer.Option("--cc", help="C compiler [default: cc on the host, else the board's gcc]"),
    ] = None,
    sanitize: Annotated[
        bool, typer.Option("--sanitize", help="host: address and undefined-behaviour sanitizers")
    ] = False,
    mean: Annotated[float | None, typer.Option(help="images: real = (pixel - mean) / std")] = None,
    std: Annotated[float | None, typer.Option(help="images: see --mean")] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="scale images to the model's size")
    ] = False,
    timeout: Annotated[float, typer.Option(help="seconds for the build and for the run")] = 600.0,
    as_json: Json = False,
) -> None:
    """Build and run a model on the host or in QEMU; show its result, RAM, flash and time."""
    from . import api  # noqa: PLC0415

    names = _labels(labels)
    with say.status("building and running") if say.is_terminal else contextlib.nullcontext():
        result = api.run(
            model, target=target, input=inputs, io=None if io is None else io.value,
            requant=None if requant is None else requant.value,
            optimize=None if optimize is None else optimize.value,
            plan=plan, ram=ram, fast_ram=fast_ram,
            weights=None if weights is None else weights.value,
            shapes=_shapes(shape), keep_inputs=keep_inputs,
            stream_input=stream_input, step=step, frontend=frontend, layers=layers,
            cycles=cycles, cc=cc,
            sanitize=sanitize, mean=mean, std=std, resize=resize, timeout=timeout,
        )  # fmt: skip
    if output is not None:
        api.save_outputs(result, output)
    if as_json:
        _print_json(_run_json(result))
    else:
        _show_run(result, names)


@app.command("validate")
def validate_command(
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
    target: Annotated[
        str, typer.Option("--target", "--board", help="a board's name or .toml file")
    ] = "host",
    layers: Annotated[
        bool, typer.Option("--layers", help="compare each layer's output, in a second program")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(help="of floats, times the greater of 1 and the value; integers are equal"),
    ] = 1e-5,
    io: IoOption = Io.quantized,
    requant: RequantOption = Requant.exact,
    optimize: OptimizeOption = Optimize.time,
    plan: GoalOption = "min-time",
    shape: Shape = None,
    cc: Annotated[
        str | None,
        typer.Option("--cc", help="C compiler [default: cc on the host, else the board's gcc]"),
    ] = None,
    sanitize: Annotated[
        bool, typer.Option("--sanitize", help="host: address and undefined-behaviour sanitizers")
    ] = False,
    mean: Annotated[float | None, typer.Option(help="images: real = (pixel - mean) / std")] = None,
    std: Annotated[float | None, typer.Option(help="images: see --mean")] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="scale images to the model's size")
    ] = False,
    timeout: Annotated[float, typer.Option(help="seconds for the build and for the run")] = 600.0,
    as_json: Json = False,
) -> None:
    """Compare a model's C, on the host or in QEMU, with its ops' definitions in numpy; exit
    code 1 where any byte of an integer, or a float by more than the tolerance, differs."""
    from . import api  # noqa: PLC0415

    with (
        say.status("building, running, comparing") if say.is_terminal else contextlib.nullcontext()
    ):
        found = api.validate(
            model, target=target, input=inputs, layers=layers, tolerance=tolerance, io=io.value,
            requant=requant.value, optimize=optimize.value, plan=plan, shapes=_shapes(shape),
            cc=cc, sanitize=sanitize, mean=mean, std=std, resize=resize, timeout=timeout,
        )  # fmt: skip
    if as_json:
        first = found.first_differing_layer
        _print_json(
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


class Method(StrEnum):
    """How ranges of activations are found."""

    minmax = "minmax"
    entropy = "entropy"
    percentile = "percentile"


class Layout(StrEnum):
    """Where arrays have their channels."""

    nchw = "nchw"
    nhwc = "nhwc"


@app.command("quantize")
def quantize_command(
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
    from . import api  # noqa: PLC0415
    from .quantizer import Preparation  # noqa: PLC0415

    preparation = Preparation(
        _numbers(mean, "--mean"), _numbers(std, "--std"), None if layout is None else layout.value
    )
    with _Bars() as bars:
        found = api.quantize(
            model, calibration=calibration, output=output, method=method.value,
            percentile=percentile, samples=samples, equalize=equalize, correct_bias=correct_bias,
            evaluate=evaluate, labels=labels, classes=_labels(classes), preparation=preparation,
            shapes=_shapes(shape), progress=bars.begin,
        )  # fmt: skip
    if as_json:
        _print_json(_quantized_json(found))
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


@app.command("flash")
def flash_command(
    model: Annotated[
        Path | None,
        typer.Argument(help="a model file, or a folder that compile wrote", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "--board", help="a board [default: the folder's]"),
    ] = None,
    tool: Annotated[
        str | None, typer.Option("--tool", help="another of the tools in the board's file")
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option("--probe", help="the tool's name of a probe: serial number, port, address"),
    ] = None,
    optimize: RunOptimize = None,
    list_probes: Annotated[
        bool, typer.Option("--list-probes", help="show the probes that are connected")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the commands; nothing needs to be installed")
    ] = False,
) -> None:
    """Build a model's firmware and write it to a board; --list-probes needs no model."""
    from . import api, deploy  # noqa: PLC0415
    from .boards import load_board  # noqa: PLC0415

    if list_probes:
        board = None if target is None else load_board(target)
        for name, text in deploy.list_probes(board, tool):
            for line in text.splitlines():
                out.print(f"{name}: {line}")
        return
    if model is None:
        raise InvalidInput("flash what?", hint="give a model or a folder")
    with say.status("writing") if say.is_terminal and not dry_run else contextlib.nullcontext():
        plan = api.flash(
            model, target=target, tool=tool, probe=probe, dry_run=dry_run,
            optimize=None if optimize is None else optimize.value, tell=say.print,
        )  # fmt: skip
    for command in plan.commands:
        out.print(shlex.join(command.argv))
    if not dry_run:
        checked = "read back" if plan.verifies else "not read back: the tool can't"
        out.print(f"written to {plan.board}, {checked}")


@app.command("export")
def export_command(
    model: Annotated[
        Path,
        typer.Argument(help="a model file, or a folder that compile wrote", show_default=False),
    ],
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
    io: RunIo = None,
    requant: RunRequant = None,
    optimize: RunOptimize = None,
    plan: RunGoal = None,
    ram: Ram = None,
    fast_ram: FastRam = None,
    weights: WeightsOption = None,
    shape: Shape = None,
    keep_inputs: Keep = False,
    stream_input: Stream = False,
    name: Annotated[
        str | None, typer.Option("--name", help="prefix of all C names [default: the file's name]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model as a project or component of another build system, with an example."""
    from . import api  # noqa: PLC0415
    from .export import FORMATS, check_format  # noqa: PLC0415

    exported = api.export_model(
        model, format=check_format(form), output=output, target=target,
        io=None if io is None else io.value,
        requant=None if requant is None else requant.value,
        optimize=None if optimize is None else optimize.value,
        plan=plan, ram=ram, fast_ram=fast_ram,
        weights=None if weights is None else weights.value,
        shapes=_shapes(shape), keep_inputs=keep_inputs, stream_input=stream_input, name=name,
    )  # fmt: skip
    found = exported.description
    if as_json:
        _print_json(
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


@app.command()
def boards(as_json: Json = False) -> None:
    """List the targets."""
    from .boards import list_boards, load_board  # noqa: PLC0415

    found = [load_board(name) for name in list_boards()]
    if as_json:
        _print_json(
            {
                "boards": [
                    {
                        "name": board.name,
                        "title": board.title,
                        "core": board.core,
                        "features": list(board.features),
                        "ram": sum(region.size for region in board.ram),
                        "flash": sum(region.size for region in board.flash),
                    }
                    for board in found
                ]
            }
        )
        return
    table = _table("name", "core", "features", ">RAM", ">flash", "what it is")
    for board in found:
        table.add_row(
            board.name, board.core, " ".join(board.features),
            _size(sum(r.size for r in board.ram)), _size(sum(r.size for r in board.flash)),
            board.title,
        )  # fmt: skip
    _print_plain(table)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="defaults of options, a table for each command [default: tinymill.toml]",
            envvar="TINYMILL_CONFIG",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="say on stderr which programs are called")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    from .defaults import defaults_of  # noqa: PLC0415

    if version:
        out.print(f"tinymill {__version__}")
        raise typer.Exit
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    context.default_map = defaults_of(_options(context), config, os.environ)


def _options(context: typer.Context) -> dict[str, dict[str, str]]:
    """For each command its long options, without dashes, and the parameters they set."""
    commands = getattr(context.command, "commands", {})
    return {
        name: {
            option.removeprefix("--"): parameter.name
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and parameter.name
        }
        for name, command in commands.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The program ``tinymill``: exit code 2 and one line for whatever a user can cause."""
    _prepare()
    try:
        try:
            code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        finally:
            # here, for at exit it could only be reported as an ignored exception
            if sys.stdout is not None:
                sys.stdout.flush()
        sys.exit(code or 0)
    except UsageError as error:
        _fail_usage(error)
    except TinymillError as error:
        _fail(error)
    except BrokenPipeError:
        _close_stdout()
        sys.exit(1)
    except MemoryError:
        _fail(TinymillError("out of memory on this machine"))
    except OSError as error:
        _close_stdout()
        at = None if error.filename is None else str(error.filename)
        _fail(TinymillError(error.strerror or str(error), at=at))
    except (KeyboardInterrupt, SystemExit) as end:
        # typer turns Ctrl-C into this exit code
        if isinstance(end, KeyboardInterrupt) or end.code == INTERRUPTED:
            say.print("tinymill: interrupted")
            sys.exit(INTERRUPTED)
        raise


def _prepare() -> None:
    """Makes the process one that cleans up, says one line and chokes on no name."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries say to programmers
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)


def _terminated(*_: object) -> NoReturn:
    """On SIGTERM and SIGHUP: leave through every ``with``, so that nothing half-written stays."""
    sys.exit(TERMINATED)


def _fail_usage(error: Any) -> NoReturn:
    """One line for arguments that no command takes; the whole help where there were none."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(USER_ERROR)
    context = error.ctx
    hint = None if context is None else f"{context.command_path} --help explains"
    # without the words that the check of a choice puts before its own
    problem = error.format_message().replace("Value error, ", "")
    _fail(TinymillError(problem.rstrip("."), hint=hint))


def _fail(error: TinymillError) -> NoReturn:
    say.print(f"tinymill: {error}")
    sys.exit(USER_ERROR)


def _close_stdout() -> None:
    """What is still buffered goes nowhere, so that the end of the process doesn't fail on it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shapes(entries: Sequence[str] | None) -> dict[str, list[int]]:
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


def _labels(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InvalidInput(reason, at=str(path)) from error


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


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


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left")
    return table


def _size(count: int) -> str:
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            number = count / factor
            return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"
    return f"{count} B" if count else "-"


def _show_inspection(found: Inspection) -> None:
    out.print(_short(found.name), style="bold")
    for text in found.inputs:
        out.print(f"in   {_short(text, 160)}")
    for text in found.outputs:
        out.print(f"out  {_short(text, 160)}")
    table = _table(">#", "layer", "op", "output", ">MACs", ">parameters")
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index), _short(layer.name), layer.op, ", ".join(layer.outputs),
            f"{layer.macs:,}", f"{layer.parameters:,}",
        )  # fmt: skip
    _print_plain(table)
    out.print(f"{len(found.layers)} layers, {found.macs:,} MACs, {found.parameters:,} parameters")
    for problem in found.problems:
        out.print(f"unsupported: {problem}", style="red")


def _show_compiled(compiled: Compiled, found: Forecast | None, folder: Path) -> None:
    from .deploy import missing  # noqa: PLC0415

    plan = compiled.plan
    table = _table(">#", "layer", "op", "kernel", "output", ">MACs", ">arena in use")
    for index, layer in enumerate(compiled.description["layers"]):
        table.add_row(
            str(index), _short(layer["name"]), layer["op"], layer["kernel"],
            ", ".join(layer["outputs"]), f"{layer['macs']:,}", f"{layer['arena']:,}",
        )  # fmt: skip
    _print_plain(table)
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
    table = _table(">#", "layer", "op", ">SQNR, dB", ">its own rounding, dB")
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index), _short(layer.name), layer.op, f"{layer.sqnr_db:.1f}", f"{layer.own_db:.1f}"
        )
    _print_plain(table)
    if found.equalized:
        out.print(f"equalised pairs of layers: {found.equalized}")
    if found.corrected:
        out.print(f"layers with corrected biases: {found.corrected}")
    worst = ", ".join(f"{_short(each.name)} ({each.sqnr_db:.1f} dB)" for each in found.worst())
    if worst:
        out.print(f"furthest from the float model: {worst}")
    if found.unquantized:
        names = ", ".join(_short(name) for name in found.unquantized[:4])
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


def _plan_json(plan: Plan, goal: str) -> dict[str, Any]:
    from .report import kind_of, segments_of  # noqa: PLC0415

    return {
        "plan": goal,
        **_totals(plan),
        "segments": [vars(each) for each in segments_of(plan)],
        "buffers": [
            {
                "name": buffer.name,
                "values": buffer.values,
                "kind": kind_of(plan, buffer),
                "offset": plan.placement.offsets[buffer.name],
                "size": buffer.size,
                "rows": buffer.rows,
                "first": buffer.first,
                "last": buffer.last,
            }
            for buffer in plan.buffers
        ],
        "overlays": [vars(overlay) for overlay in plan.overlays],
    }


def _front_json(front: Sequence[Plan]) -> dict[str, Any]:
    from .report import marks_of, streamed_segments  # noqa: PLC0415

    fastest = front[0]
    return {
        "front": [
            {
                **_totals(plan),
                "instructions_ratio": plan.cost / max(fastest.cost, 1),
                "arena_ratio": plan.arena_bytes / max(fastest.arena_bytes, 1),
                "segments": len(plan.segments),
                "streamed_segments": streamed_segments(plan),
                "marks": [mark for mark in marks.split(", ") if mark],
            }
            for plan, marks in zip(front, marks_of(front), strict=True)
        ]
    }


def _totals(plan: Plan) -> dict[str, Any]:
    return {
        "arena": {"bytes": plan.arena_bytes, "lower_bound": plan.placement.bound},
        "state_bytes": plan.state_bytes,
        "instructions": plan.cost,
    }


def _show_plan(plan: Plan, board: Board) -> None:
    from .report import segments_of  # noqa: PLC0415

    found = segments_of(plan)
    table = _table(
        ">#", "op", "layers", ">rows", ">turns", ">instructions", ">arena", ">inputs", ">outputs",
        ">rings", ">scratch", ">held for later",
    )  # fmt: skip
    for index, each in enumerate(found):
        table.add_row(
            str(index), *_span(each), _turn_rows(each), f"{each.turns:,}",
            f"{each.instructions:,}", f"{each.arena:,}", _bytes(each.inputs),
            _bytes(each.outputs) if each.outputs or not each.in_place else "in place",
            _bytes(each.rings), _bytes(each.scratch), _bytes(each.held),
        )  # fmt: skip
    _print_plain(table)
    bound = plan.placement.bound
    gap = plan.arena_bytes - bound
    proof = "proven least for these segments"
    if gap:
        proof = f"lower bound {bound:,}, at most {gap / plan.arena_bytes:.1%} above the least"
    out.print(f"arena        {plan.arena_bytes:>13,} bytes of RAM ({proof})")
    out.print(f"state        {plan.state_bytes:>13,} bytes of RAM kept between runs")
    out.print(f"instructions {plan.cost:>13,} (estimated)")
    largest = max((region.size for region in board.ram), default=0)
    if not board.is_host and plan.arena_bytes > largest:
        short = plan.arena_bytes - largest
        out.print(f"does not fit {board.name}: {largest:,} bytes of RAM, {short:,} too few")


def _span(figures: SegmentFigures) -> tuple[str, str]:
    """The op and the layer of a segment, or how many there are, the first and the last one."""
    names = figures.layers
    if len(names) == 1:
        return figures.ops[0], _short(names[0])
    return f"{len(names)} layers", f"{_short(names[0], 32)} .. {_short(names[-1], 32)}"


def _turn_rows(figures: SegmentFigures) -> str:
    down, across = figures.tiles
    tiles = f" in {down}x{across} tiles" if down * across > 1 else ""
    return f"{figures.rows or 'all'}{tiles}"


def _bytes(count: int) -> str:
    return f"{count:,}" if count else "-"


def _show_front(front: Sequence[Plan]) -> None:
    from .report import marks_of, streamed_segments  # noqa: PLC0415

    fastest = front[0]
    table = _table(
        ">#", ">arena", ">of the fastest", ">instructions", ">more", ">segments",
        ">of them streamed", "",
    )  # fmt: skip
    for index, (plan, mark) in enumerate(zip(front, marks_of(front), strict=True)):
        table.add_row(
            str(index), f"{plan.arena_bytes:,}",
            f"{plan.arena_bytes / max(fastest.arena_bytes, 1):.1%}", f"{plan.cost:,}",
            f"{plan.cost / max(fastest.cost, 1) - 1:+.2%}", str(len(plan.segments)),
            str(streamed_segments(plan)), mark,
        )  # fmt: skip
    _print_plain(table)
    plans = f"{len(front)} plan{'s' * (len(front) > 1)}"
    out.print(f"{plans}, none both smaller and faster than another; instructions are estimated")


def _show_run(result: RunResult, labels: Sequence[str] | None) -> None:
    if any(layer.instructions is not None for layer in result.layers):
        front = result.front_instructions
        total = sum(layer.instructions or 0 for layer in result.layers) + (front or 0) or 1
        estimated = any(layer.cycles_estimate is not None for layer in result.layers)
        more = (">cycles (estimate)",) if estimated else ()
        table = _table(">#", "layer", "op", ">instructions", ">share", *more)
        if front is not None:
            # up to the first run, all of its input
            table.add_row("", "the front end", "", f"{front:,}", f"{front / total:.1%}", *more[1:])
        for index, layer in enumerate(result.layers):
            count = layer.instructions or 0
            cells = (f"{layer.cycles_estimate or 0:,}",) if estimated else ()
            table.add_row(
                str(index), _short(layer.name), layer.op, f"{count:,}", f"{count / total:.1%}",
                *cells,
            )  # fmt: skip
        _print_plain(table)
    for name, array in zip(result.output_names, result.outputs, strict=True):
        rows = array.reshape(result.frames, -1) if result.frames > 1 else array.reshape(1, -1)
        for index, row in enumerate(rows):
            frame = f" frame {index}" if result.frames > 1 else ""
            best = int(row.argmax())
            shown = ""
            if labels is not None and best < len(labels):
                shown = f" ({_short(labels[best])})"
            out.print(
                f"{_short(name)}{frame}: {array.dtype} {list(array.shape)}, largest {row[best]} at "
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


def _show_validation(found: Validation) -> None:
    if found.layers is not None:
        table = _table(">#", "layer", "op", "output", ">bytes", ">differ", ">by at most")
        for index, each in enumerate(found.layers):
            table.add_row(str(index), *_compared(each))
        _print_plain(table)
    table = _table("output", "op", "type", ">bytes", ">differ", ">by at most")
    for each in found.outputs:
        table.add_row(*_compared(each))
    _print_plain(table)
    frames = f"{found.frames} frame{'s' * (found.frames > 1)}"
    first = found.first_differing_layer
    if found.agree:
        bytes_apart = sum(each.differing_bytes for each in (*found.outputs, *(found.layers or ())))
        same = "the same bytes" if not bytes_apart else f"within {found.tolerance:g}"
        out.print(f"{found.target} and the oracle agree on {frames}: {same}")
        return
    out.print(f"{found.target} and the oracle differ on {frames}", style="red")
    if first is not None:
        out.print(f"the first layer that differs: {_short(first.name)} ({first.op})")
    elif found.layers is not None:
        out.print("no layer differs when the outputs of all are kept: the plan is at fault")


def _compared(each: Comparison) -> tuple[str, ...]:
    shape = "x".join(map(str, each.shape))
    worst = f"{each.worst:.3g}" if each.differing_bytes else "-"
    return (
        _short(each.name), each.op, f"{each.dtype}[{shape}]", f"{each.bytes:,}",
        f"{each.differing_bytes:,}" if each.differing_bytes else "-", worst,
    )  # fmt: skip


def _print_plain(table: Table) -> None:
    """Prints a table without folding its cells where the output is no terminal."""
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(file=sys.stdout, width=240, highlight=False, markup=False, emoji=False)
    wide.print(table)


def _short(name: str, most: int = 48) -> str:
    name = " ".join(name.split())
    return one_line(name if len(name) <= most else f"...{name[3 - most :]}", 4 * most)
