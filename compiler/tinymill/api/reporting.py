"""``report_model``: a page about a model on a board."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..boards import Board, load_board
from ..deploy import Forecast, Linked, cycles, linked, missing, regions_for
from ..errors import BoardError, InvalidInput, OutOfMemory
from ..fit import context_bytes
from ..frontends import read_model
from ..report import (
    Code,
    Finding,
    Measured,
    Subject,
    check_report,
    findings_of,
    read_errors,
    save_report,
)
from ..samples import PATTERN
from ..schedule import Optimize, Plan, balanced
from .compiling import MOST_RAM, Compiled, Planned, plan_graph
from .lowering import board_of, lowered
from .options import CompileOptions, Io, Measuring, Requant, Weights
from .running import run_project


@dataclass(frozen=True)
class Reported:
    """A page that was written, its ``bytes``, what it is about and what it found."""

    output: Path
    bytes: int
    subject: Subject
    findings: tuple[Finding, ...]


def report_model(
    model: str | Path,
    *,
    output: str | Path,
    target: str | Path | Board = "host",
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    plan: str | Path = "min-time",
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights = "flash",
    step: int | None = None,
    frontend: str | Path | None = None,
    drop_softmax: bool = False,
    name: str | None = None,
    measure: bool = False,
    front: bool = True,
    quantization_report: str | Path | None = None,
) -> Reported:
    """Writes one HTML page about a model, as ``compile`` with these options would build it.

    A model that is too large for the board has a page, too, which says so. ``measure`` counts the
    layers' instructions in the board's simulator; ``front`` False leaves out the other plans,
    which take most of the time. ``quantization_report`` is a file that holds what ``tinymill
    quantize --json`` printed. Raises what ``compile`` raises of models and options, ``ToolMissing``
    without plotly.
    """
    check_report(output)
    options = CompileOptions(
        io=io, requant=requant, optimize=optimize, plan=plan, ram=ram, shapes=shapes,
        keep_inputs=keep_inputs, stream_input=stream_input, fast_ram=fast_ram, weights=weights,
        step=step, frontend=frontend, drop_softmax=drop_softmax,
    )  # fmt: skip
    subject = subject_of(
        Path(model), target, options, name=name, measure=measure, front=front,
        quantization_report=quantization_report,
    )  # fmt: skip
    written = save_report(subject, output)
    return Reported(Path(output), written, subject, findings_of(subject))


def subject_of(
    source: Path,
    target: str | Path | Board,
    options: CompileOptions,
    *,
    name: str | None = None,
    measure: bool = False,
    front: bool = True,
    quantization_report: str | Path | None = None,
) -> Subject:
    """All that a page tells of a model; ``report_model`` explains the options."""
    options.check()
    if measure and options.frontend is not None:
        raise InvalidInput(
            "the benchmark input is no sensor's data", hint="leave out --measure or --frontend"
        )
    board = board_of(target)
    if measure and board.simulator is None:
        raise BoardError(
            f"{board.name} has no simulator to measure in",
            hint="leave out --measure, or take a board with the same core",
        )
    errors = None if quantization_report is None else read_errors(quantization_report)
    graph = lowered(
        read_model(source, shapes=options.shapes), options.io, options.requant, None,
        drop_softmax=options.drop_softmax,
    )  # fmt: skip
    found = plan_graph(graph, source, board, options, name=name)
    board = found.board
    refusal = _refusal(found)
    if measure and refusal is not None:
        raise refusal
    compiled = found.compiled()
    measured = _measured(compiled) if measure else None
    with ThreadPoolExecutor(max_workers=2) as pool:
        # compilers work beside the planner
        told = pool.submit(compiled.forecast)
        whole = pool.submit(linked, compiled.files, board, found.name)
        plans = found.planner.front() if front else ()
        code = _code(told.result(), whole.result())
    places = {}
    if not board.is_host:
        places = regions_for(
            board, arena_bytes=found.plan.arena_bytes - found.plan.slow_bytes,
            slow_bytes=found.plan.slow_bytes, weights_bytes=found.facts.weights_bytes,
        )  # fmt: skip
    beside = 0 if found.front is None else found.front.state_bytes
    return Subject(
        source.name, found.name, board, found.plan, found.facts,
        context_bytes(found.planner, found.plan) + beside,
        options=_words(options, name), chosen=_chosen(options), front=plans,
        goals=_goals(found, plans), code=code, no_code=_no_code(board, refusal),
        measured=measured, errors=errors, weights_in_ram=options.weights == "ram", places=places,
        io=options.io, optimize=options.optimize, refusal=refusal,
    )  # fmt: skip


def _refusal(found: Planned) -> OutOfMemory | None:
    """Why ``compile`` refuses the plan on its board. Raises it where no C can express it."""
    try:
        found.check()
    except OutOfMemory as error:
        if max(found.plan.arena_bytes, found.plan.state_bytes) > MOST_RAM:
            raise
        return error
    return None


def _goals(found: Planned, front: Sequence[Plan]) -> dict[str, Plan]:
    """The plans that goals give; where several planners compute the same, a goal may take another
    one's plan than the front's."""
    if len(found.planners) > 1 or not front:
        return {}
    return {
        "min-time": found.planner.plan("min-time"),
        "min-ram": found.planner.plan("min-ram"),
        "balanced": balanced(front),
    }


def _measured(compiled: Compiled) -> Measured:
    """A run of the benchmark input in the simulator, with cycles where they can be estimated."""
    board = compiled.board
    assert board.simulator is not None
    try:
        cycles.check(board)
        with_cycles = not missing(load_board("host"))
    except BoardError:
        with_cycles = False
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder:
        compiled.write(Path(folder) / "project")
        result = run_project(
            Path(folder) / "project", compiled.description, board, [PATTERN], Measuring(),
            layers=True, cycles=with_cycles,
        )  # fmt: skip
    assert result.instructions is not None
    counts = tuple(layer.instructions for layer in result.layers if layer.instructions is not None)
    return Measured(
        f"{board.simulator.program} ({board.simulator.machine})", result.instructions,
        counts if len(counts) == len(result.layers) else None, result.ram.stack,
        result.ram.static, result.cycles_estimate,
    )  # fmt: skip


def _code(told: Forecast | None, whole: Linked | None) -> Code | None:
    stack = None if told is None else told.stack
    if whole is not None:
        return Code(whole.sizes.code, stack, whole.symbols, linked=True)
    return None if told is None else Code(told.code, stack)


def _no_code(board: Board, refusal: OutOfMemory | None) -> str:
    lacks = missing(board)[:1]
    if lacks:
        return f"{lacks[0]} is not installed"
    return "the program does not fit the board" if refusal else "it does not build as it is"


def _words(options: CompileOptions, name: str | None) -> tuple[str, ...]:
    """The command line's words for all options but those that choose the plan."""
    words: list[str] = []
    for option, default in (
        ("io", "quantized"), ("requant", "exact"), ("optimize", "time"), ("weights", "flash"),
        ("fast_ram", None), ("step", None), ("frontend", None),
    ):  # fmt: skip
        value = getattr(options, option)
        if value != default:
            text = value.name if isinstance(value, Path) else str(value)
            words += [f"--{option.replace('_', '-')}", text]
    for source, shape in (options.shapes or {}).items():
        words += ["--shape", f"{source}={','.join(map(str, shape))}"]
    for option in ("keep_inputs", "stream_input", "drop_softmax"):
        if getattr(options, option):
            words.append(f"--{option.replace('_', '-')}")
    return (*words, *(() if name is None else ("--name", name)))


def _chosen(options: CompileOptions) -> tuple[str, ...]:
    """The words that choose the plan."""
    if options.ram is not None:
        return "--ram", str(options.ram)
    return "--plan", Path(options.plan).name
