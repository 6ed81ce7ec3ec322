"""The commands as Python calls, with results as objects."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import onnx

from . import __version__
from .boards import Board, load_board
from .deploy import (
    RAM_ALLOWANCE,
    FlashPlan,
    Forecast,
    forecast,
    measure,
    plan_flash,
    target_files,
)
from .deploy import flash as flash_project
from .emit import ModelFacts, c_name, facts_of, render, with_front
from .errors import (
    BoardError,
    InvalidInput,
    InvalidModel,
    OutOfMemory,
    TinymillError,
    ToolFailed,
    ToolMissing,
    UnsupportedOp,
)
from .export import check_format, export_files, exportable_of, read_exportable
from .files import written_whole
from .fit import check_arena, plan_by, planned_by, planned_within
from .frontends import Bound, FrontEnd, read_model
from .frontends import load as load_front
from .ir import DType, Graph, Node, Port, print_graph
from .loaded import FRAMES_AT_ONCE, Loaded, default_threads
from .ops.quantization import Quantize
from .passes import BORDERS, Stepped, pipeline, run_passes, stepped
from .project import PLAN, read_plan, write_project
from .quantizer import (
    LayerError,
    Method,
    Preparation,
    Samples,
    convert,
    inputs_of,
    prepare,
    read_samples,
    right_answers,
)
from .report import save_picture  # noqa: F401  one of the calls
from .samples import PATTERN, End, bound_front, columns_of, frames_of, outputs_of, sensor_data
from .schedule import Goal, Optimize, Plan, Planner, schedule_of
from .schedule import plan as plan_graph
from .validation import TOLERANCE, Comparison, Validation, compare, oracle, tapped

Io = Literal["quantized", "float"]
Requant = Literal["exact", "fixed"]
Weights = Literal["flash", "ram"]
LONGEST = 1e6
"""Seconds that a run can be given; the system's own timers end not far beyond."""
MOST_RAM = (1 << 31) - 1
"""Bytes of arena and state together that C's sizes and offsets can express on every target."""


@dataclass(frozen=True)
class Layer:
    """One node as ``inspect`` shows it. ``problem`` says why it can't be compiled."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    parameters: int
    problem: str | None


@dataclass(frozen=True)
class Inspection:
    """What a model holds. ``problems`` are those of its layers."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(layer.problem for layer in self.layers if layer.problem)


@dataclass(frozen=True)
class Compiled:
    """A model as C for one board: its plan and its files (relative path -> text)."""

    name: str
    board: Board
    plan: Plan
    files: Mapping[str, str]

    def forecast(self) -> Forecast | None:
        """Code flash and stack as the board's compiler tells them; None where it is missing."""
        found = forecast(self.files, self.board, self.name)
        if found is None or found.stack is None:
            return found
        return replace(found, stack=found.stack + self.plan.pushed_bytes)

    @property
    def description(self) -> dict[str, Any]:
        """The content of plan.json."""
        return json.loads(self.files[PLAN])

    def write(self, folder: str | Path) -> None:
        """Writes the project, whole or not at all."""
        write_project(self.files, Path(folder))


@dataclass(frozen=True)
class Ram:
    """Bytes of RAM in a run; ``stack`` is None where it can't be painted (sanitizers)."""

    arena: int
    static: int
    stack: int | None

    @property
    def total(self) -> int:
        return self.arena + self.static + (self.stack or 0)


@dataclass(frozen=True)
class Flash:
    """Bytes of flash: code with its constants, and weights."""

    code: int
    weights: int

    @property
    def total(self) -> int:
        return self.code + self.weights


@dataclass(frozen=True)
class LayerTime:
    """Instructions of one layer in one inference; None where they aren't counted (host).
    ``cycles_estimate`` is None where it isn't asked for."""

    name: str
    op: str
    instructions: int | None
    cycles_estimate: int | None = None


@dataclass(frozen=True)
class RunResult:
    """What a run gave. ``outputs`` are in the source model's layout.

    ``cycles_estimate`` and ``instruction_classes`` (kind -> instructions) are of the first
    inference, where ``cycles`` was asked for.
    """

    target: str
    frames: int
    outputs: tuple[np.ndarray, ...]
    output_names: tuple[str, ...]
    instructions: int | None
    ram: Ram
    flash: Flash
    layers: tuple[LayerTime, ...]
    cycles_estimate: int | None = None
    instruction_classes: Mapping[str, int] | None = None
    front_instructions: int | None = None
    """Of the front end until the first inference; None without one or where none are counted."""

    @property
    def output_crc32(self) -> str:
        """zlib crc32 of the raw bytes of all outputs in order, frame by frame."""
        crc = 0
        for frame in range(self.frames):
            for array in self.outputs:
                part = array if self.frames == 1 else array[frame]
                crc = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc)
        return f"{crc:08x}"


@dataclass(frozen=True)
class Accuracy:
    """Right answers of the float model and of the int8 one. ``by`` says who computed the latter:
    the compiled C, or ONNX Runtime where no C compiler is installed."""

    samples: int
    real: float
    quantized: float
    by: str


@dataclass(frozen=True)
class Quantized:
    """What ``quantize`` made. ``equalized`` counts pairs of layers, ``corrected`` layers;
    ``unquantized`` names the layers that compute in float."""

    output: Path
    bytes: int
    samples: int
    equalized: int
    corrected: int
    layers: tuple[LayerError, ...]
    unquantized: tuple[str, ...]
    accuracy: Accuracy | None

    def worst(self, most: int = 3) -> tuple[LayerError, ...]:
        """The layers furthest from the float model, the worst first."""
        return tuple(sorted(self.layers, key=lambda layer: layer.sqnr_db)[:most])


def inspect(model: str | Path, *, shapes: Mapping[str, Sequence[int]] | None = None) -> Inspection:
    """Layers, shapes, quantisation, MACs and parameters of a model, and what is unsupported.

    Raises ``InvalidModel`` and ``UnsupportedOp`` for a file that can't be read as a graph.
    """
    graph = _lowered(read_model(Path(model), shapes=shapes), "quantized", "exact", None)
    layers = []
    for node in graph.nodes:
        types = graph.node_types(node)
        constants = [value for value in node.inputs if value and graph.is_constant(value)]
        layers.append(
            Layer(
                node.name,
                node.op.name,
                tuple(str(graph.type(value)) for value in node.inputs if value),
                tuple(str(graph.type(value)) for value in node.outputs),
                node.op.macs(types),
                sum(graph.type(value).count for value in constants),
                _problem(graph, node),
            )
        )
    return Inspection(
        graph.name,
        tuple(_port_text(graph, port) for port in graph.inputs),
        tuple(_port_text(graph, port) for port in graph.outputs),
        tuple(layers),
    )


def _port_text(graph: Graph, port: Port) -> str:
    """The port's name and type in the source's layout, as arrays for it have it."""
    return f"{port.name}: {graph.type(port.value).with_shape(port.shape)}"


def _problem(graph: Graph, node: Node) -> str | None:
    try:
        plan_graph(graph.replace(nodes=(node,), inputs=_ports_of(graph, node), outputs=()))
    except UnsupportedOp as error:
        return str(error)
    return None


def _ports_of(graph: Graph, node: Node) -> tuple[Port, ...]:
    """The node's data inputs as ports, so that it can be planned alone."""
    found = []
    for value in dict.fromkeys(node.inputs):
        if value and not graph.is_constant(value) and value not in graph.variables:
            shape = graph.type(value).shape
            found.append(Port(value, value, shape, tuple(range(len(shape)))))
    return tuple(found)


def _lowered(graph: Graph, io: Io, requant: Requant, dump: Path | None) -> Graph:
    passes = pipeline(quantized_io=io == "quantized", fixed=requant == "fixed")
    return run_passes(graph, passes, dump)


def compile(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    output: str | Path | None = None,
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
    name: str | None = None,
    dump_passes: str | Path | None = None,
) -> Compiled:
    """Compiles a model file to C for ``target`` and, with ``output``, writes the project.

    ``optimize`` says whether flash may be spent on time (widened weights, unrolled kernels).
    ``plan`` is a goal ("min-time", "balanced", "min-ram", "patched") or the .json file of a saved
    plan; ``ram`` instead asks for the fastest plan within that many bytes of RAM in all. With
    ``fast_ram`` bytes of the arena lie in a first, fast memory (on a board: its first RAM), the
    rest in a second one; tensors are placed by use. ``weights`` "ram" has start-up code copy the
    constants there. With
    ``stream_input`` the emitted C has ``push_rows`` instead of ``run``. With ``step`` it has
    ``step``: the input is a window over a stream that takes so many new rows (frames) a step, and
    only what they change is computed. ``frontend`` puts the processing of a sensor's data before
    the model: a kind's name or a .toml file.
    ``name`` is the prefix of all C names (default: from the file's name). Raises
    ``CompileError`` and its kin; nothing is written then.
    """
    for option, value, allowed in (
        ("io", io, Io), ("requant", requant, Requant), ("optimize", optimize, Optimize),
        ("weights", weights, Weights),
    ):  # fmt: skip
        if value not in get_args(allowed):
            raise InvalidInput(f"{option} is {value!r}, not one of {', '.join(get_args(allowed))}")
    if not isinstance(plan, str | Path):
        raise InvalidInput(f"plan is {plan!r}, neither a name nor a path")
    for option, number, least in (("ram", ram, 1), ("fast_ram", fast_ram, 0), ("step", step, 1)):
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise InvalidInput(f"{option} is {number!r}, not a whole number from {least} on")
    board = target if isinstance(target, Board) else load_board(target)
    source = Path(model)
    dump = None if dump_passes is None else Path(dump_passes)
    graph = _lowered(read_model(source, shapes=shapes), io, requant, dump)
    compiled = _compile_graph(
        graph, source, board=board, io=io, requant=requant, optimize=optimize, plan=plan, ram=ram,
        keep_inputs=keep_inputs, stream_input=stream_input, step=step, frontend=frontend,
        fast_ram=fast_ram, weights=weights, name=name,
    )  # fmt: skip
    if output is not None:
        compiled.write(output)
    return compiled


def _compile_graph(
    graph: Graph,
    source: Path,
    *,
    board: Board,
    io: Io,
    requant: Requant,
    optimize: Optimize,
    plan: str | Path,
    ram: int | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    step: int | None = None,
    frontend: str | Path | None = None,
    fast_ram: int | None = None,
    weights: Weights = "flash",
    name: str | None = None,
) -> Compiled:
    """A graph that the passes have lowered as C; ``source`` is the file it came from."""
    board = _tuned(board, optimize)
    _check_kept(keep_inputs, stream_input)
    if step is not None and frontend is not None:
        raise InvalidInput("--step takes rows of the model's input", hint="leave out --frontend")
    front = None if frontend is None else _front_of(graph, frontend, stream_input)
    slid = _steps_of(graph, step, stream_input=stream_input)
    sliding = (slid[0].rows, slid[0].window) if slid else None
    planners = [
        Planner(
            form, board.features, keep_inputs=keep_inputs, optimize=optimize,
            stream_input=stream_input, fast_ram=fast_ram,
            front_scratch=0 if front is None else front.scratch_bytes,
        )
        for form in ([each.graph for each in slid] or [graph])
    ]  # fmt: skip
    for each in planners:
        each.may_stream = front is None or _streams(front.front)
    prefix = c_name(name or source.stem)

    def facts_for(plan: Plan) -> ModelFacts:
        found = facts_of(plan, prefix, weights_in_ram=weights == "ram", sliding=sliding)
        return with_front(found, plan, front)

    if ram is None:
        planner, found = planned_by(planners, plan)
    else:
        if plan != "min-time":
            raise InvalidInput("a budget of RAM finds its own plan", hint="leave out --plan")
        beside = 0 if front is None else front.state_bytes
        if weights == "ram":
            beside += facts_for(planners[0].plan("min-time")).weights_bytes

        def foretold(tried: Plan) -> Forecast | None:
            found = facts_for(tried)
            around = target_files(
                board, prefix, arena_bytes=tried.arena_bytes - tried.slow_bytes,
                weights_bytes=found.weights_bytes, slow_bytes=tried.slow_bytes,
            )  # fmt: skip
            return forecast(render(found, tried) | around, board, prefix)

        planner, found = planned_within(planners, ram, board, foretold, beside=beside)
    found = _in_two_memories(planner, found, board)
    _check_budgets(planner, found, board)
    _check_state(planners, found, board)
    facts = facts_for(found)
    weights_bytes = facts.weights_bytes
    _check_weights(weights_bytes, board, optimize, in_ram=weights == "ram")
    files = render(facts, found)
    files |= target_files(
        board, prefix, arena_bytes=found.arena_bytes - found.slow_bytes,
        weights_bytes=weights_bytes, slow_bytes=found.slow_bytes,
    )  # fmt: skip
    options = {
        "weights": weights, "weights_bytes": weights_bytes, "widened_bytes": found.widened_bytes,
        "io": io, "requant": requant, "optimize": optimize,
        "plan": str(plan) if plan in get_args(Goal) else "saved", "ram": ram,
        "fast_ram": fast_ram,
        "keep_inputs": keep_inputs,
        "stream_input": stream_input,
        "step": step, "window": slid[0].window if slid else None,
        "frontend": None if front is None else _front_entry(front),
    }  # fmt: skip
    files[PLAN] = _describe(
        found, board, prefix, source.name, options, stream_axis=slid[0].axis if slid else None
    )
    return Compiled(prefix, board, found, dict(sorted(files.items())))


def _check_kept(keep_inputs: bool, stream_input: bool) -> None:
    if stream_input and keep_inputs:
        raise InvalidInput(
            "an input that comes row by row is never held whole, so it can't be kept",
            hint="leave out --keep-inputs or --stream-input",
        )


def _steps_of(graph: Graph, step: int | None, *, stream_input: bool) -> list[Stepped]:
    """The graph as a step of so many rows, in all forms that differ; none where none is asked."""
    if step is None:
        return []
    if stream_input:
        raise InvalidInput("--step takes new rows only", hint="leave out --stream-input")
    found: list[Stepped] = []
    refusals: list[UnsupportedOp] = []
    for borders in BORDERS:
        try:
            found.append(stepped(graph, step, borders=borders))
        except UnsupportedOp as error:  # this form may gain nothing where another does
            refusals.append(error)
    if not found:
        raise refusals[0]
    texts = [print_graph(each.graph) for each in found]
    return [each for index, each in enumerate(found) if texts[index] not in texts[:index]]


def _front_of(graph: Graph, spec: str | Path, stream_input: bool) -> Bound:
    """The front end before the model's only input. Raises ``InvalidInput``."""
    front = load_front(spec)
    if len(graph.inputs) != 1:
        raise InvalidInput(f"a front end for a model of {len(graph.inputs)} inputs", at=str(spec))
    if stream_input and not _streams(front):
        raise InvalidInput(
            f"{front.kind} gives windows that overlap, no rows of an input that comes in rows",
            at=str(spec), hint="leave out --stream-input",
        )  # fmt: skip
    port = graph.inputs[0]
    kind = graph.type(port.value)
    name = f"input '{port.name}'"
    return front.bind(kind, at=name)


def _streams(front: FrontEnd) -> bool:
    """Whether a front end gives the rows of an input one by one, each once."""
    return front.kind == "image"


def _front_entry(front: Bound) -> dict[str, Any]:
    """What plan.json tells of a front end."""
    return {
        "spec": front.front.options(),
        "input_shape": list(front.input.shape),
        "state_bytes": front.state_bytes,
        "scratch_bytes": front.scratch_bytes,
    }


def _in_two_memories(planner: Planner, found: Plan, board: Board) -> Plan:
    """The plan split over the first RAM and another, where the board has none for it whole."""
    if board.is_host or planner.fast_ram is not None or len(board.ram) < 2:
        return found
    if found.arena_bytes <= max(region.size for region in board.ram):
        return found
    planner.fast_ram = max(0, board.ram[0].size - RAM_ALLOWANCE)
    planner.slow_ram = max(region.size for region in board.ram[1:])
    split = planner.realise(found.choices)
    return split if split.slow_bytes <= planner.slow_ram else found


def _check_budgets(planner: Planner, found: Plan, board: Board) -> None:
    check_arena(planner, found, ram=MOST_RAM, where=board.name)
    if found.state_bytes > MOST_RAM:
        raise OutOfMemory(f"state on {board.name}", needed=found.state_bytes, available=MOST_RAM)
    if not board.is_host:
        largest = max(region.size for region in board.ram)
        if found.slow_bytes:
            largest = sum(region.size for region in board.ram)
        check_arena(planner, found, ram=largest, where=board.name)


def _check_state(planners: Sequence[Planner], found: Plan, board: Board) -> None:
    """Raises ``OutOfMemory`` where arena and state together are more than a board has."""
    needed = found.arena_bytes + found.state_bytes
    available = sum(region.size for region in board.ram)
    if board.is_host or not found.state_bytes or needed <= available:
        return
    _, small = planned_by(planners, "min-ram")
    least = small.arena_bytes + small.state_bytes
    hint = f"--plan min-ram needs {least:,} bytes" if least < needed else None
    raise OutOfMemory(
        f"arena and state on {board.name}", needed=needed, available=available, hint=hint
    )


def _tuned(board: Board, optimize: str) -> Board:
    """The board with its compiler's flags for ``optimize``."""
    if optimize != "size" or board.is_host:
        return board
    return replace(board, compiler=replace(board.compiler, optimise="-Os"))


def _check_weights(weights: int, board: Board, optimize: str, *, in_ram: bool) -> None:
    flash = sum(region.size for region in board.flash)
    if board.is_host:
        return
    if weights > flash:
        hint = "--optimize size widens none but depthwise weights" if optimize == "time" else None
        raise OutOfMemory(f"weights on {board.name}", needed=weights, available=flash, hint=hint)
    # initialised variables lie in the first RAM
    ram = board.ram[0].size
    if in_ram and weights > ram:
        raise OutOfMemory(
            f"weights in the RAM of {board.name}", needed=weights, available=ram,
            hint="--weights flash leaves them where they are",
        )  # fmt: skip


def _describe(
    found: Plan, board: Board, name: str, source: str, options: Mapping[str, Any], *,
    stream_axis: int | None,
) -> str:  # fmt: skip
    graph = found.graph
    layers = [
        {
            "name": step.node.name,
            "op": step.node.op.name,
            "kernel": step.kernel.name,
            "inputs": [str(graph.type(v)) for v in step.node.inputs if v],
            "outputs": [str(graph.type(v)) for v in step.node.outputs],
            "macs": step.node.op.macs(graph.node_types(step.node)),
            "arena": found.top_at(index),
        }
        for index, segment in enumerate(found.segments)
        for step in segment.steps[: segment.layers]
    ]
    buffers = [
        {
            "name": buffer.name,
            "values": list(buffer.values),
            "offset": found.placement.offsets[buffer.name],
            "size": buffer.size,
            "rows": buffer.rows,
            "first": buffer.first,
            "last": buffer.last,
        }
        for buffer in found.buffers
    ]
    description = {
        "tinymill": __version__,
        "model": name,
        "source": source,
        "target": board.name,
        **options,
        "inputs": [
            {**_end(graph, port, first=True), "stream_axis": stream_axis} for port in graph.inputs
        ],
        "outputs": [_end(graph, port, first=False) for port in graph.outputs],
        "arena": {
            "bytes": found.arena_bytes,
            "slow_bytes": found.slow_bytes,
            "lower_bound": found.placement.bound,
            "buffers": buffers,
        },
        "state_bytes": found.state_bytes,
        "schedule": schedule_of(found.choices, [step.node for step in found.layers]),
        "layers": layers,
    }
    return json.dumps(description, indent=1) + "\n"


def _end(graph: Graph, port: Port, *, first: bool) -> dict[str, Any]:
    kind = graph.type(port.value)
    quant = kind.quant
    if first and kind.dtype is DType.FLOAT32:
        readers = (node for node in graph.nodes if port.value in node.inputs)
        quants = [graph.type(n.outputs[0]).quant for n in readers if isinstance(n.op, Quantize)]
        quant = quants[0] if quants else None
    plain = quant is not None and quant.per_tensor
    return {
        "name": port.name,
        "dtype": kind.dtype.numpy.name,
        "shape": list(port.shape),
        "order": list(port.order),
        "scale": quant.scale[0] if quant is not None and plain else None,
        "zero_point": quant.zero_point[0] if quant is not None and plain else None,
        "bytes": kind.bytes,
    }


def run(
    model: str | Path,
    *,
    target: str | Path | Board | None = None,
    input: Sequence[str | Path | np.ndarray] | str | Path | np.ndarray = PATTERN,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights | None = None,
    step: int | None = None,
    frontend: str | Path | None = None,
    layers: bool = True,
    cycles: bool = False,
    cc: str | None = None,
    sanitize: bool = False,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
    timeout: float = 600.0,
) -> RunResult:
    """Compiles (unless ``model`` is a project folder), builds and runs on host or in QEMU.

    ``input`` is one source or one for each input of the model: "pattern", an array, a .npy
    file or an image. With a ``frontend`` it is what the sensor gives: a .wav file, a .npy file
    (int16 samples, pixels), an image, an array. ``io``, ``requant``, ``optimize``, ``plan`` and
    ``step`` are as for ``compile``; a project folder has its own, and others are refused. With
    ``step`` the input is a stream of rows, cut into steps, and there is an output for each.
    ``cycles`` also estimates cycles (Cortex-M4 and M7 in QEMU, else ``BoardError``). Raises what
    ``compile`` raises, ``InvalidInput``, ``ToolMissing``, ``ToolFailed``.
    """
    sources = [input] if isinstance(input, str | Path | np.ndarray) else list(input)
    if not 0 < timeout <= LONGEST:
        raise TinymillError(f"a timeout of {timeout:g} s", hint=f"up to {LONGEST:g} s are possible")
    path = Path(model)
    if path.is_dir():
        description = read_plan(path)
        board = _board_of(target, description, path)
        _check_options(
            description, path, io=io, requant=requant, optimize=optimize,
            plan=None if plan is None else str(plan), ram=ram,
            keep_inputs=keep_inputs or None, stream_input=stream_input or None,
            fast_ram=fast_ram, weights=weights, step=step,
        )  # fmt: skip
        if frontend is not None:
            _check_front(description, path, frontend)
        if shapes:
            raise InvalidInput("was compiled with its shapes", at=str(path))
        return _run_project(
            path, description, board, sources, layers=layers, cycles=cycles, cc=cc,
            sanitize=sanitize, mean=mean, std=std, resize=resize, timeout=timeout,
        )  # fmt: skip
    compiled = compile(
        path, target="host" if target is None else target, io=io or "quantized",
        requant=requant or "exact", optimize=optimize or "time", plan=plan or "min-time",
        ram=ram,
        shapes=shapes, keep_inputs=keep_inputs, stream_input=stream_input,
        fast_ram=fast_ram, weights=weights or "flash", step=step, frontend=frontend,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name) / "project"
        compiled.write(folder)
        return _run_project(
            folder, compiled.description, compiled.board, sources, layers=layers, cycles=cycles,
            cc=cc, sanitize=sanitize, mean=mean, std=std, resize=resize, timeout=timeout,
        )  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A model as a project of another build system: its files (relative path -> text)."""

    name: str
    format: str
    board: Board
    files: Mapping[str, str]

    @property
    def description(self) -> dict[str, Any]:
        """The content of plan.json."""
        return json.loads(self.files[PLAN])

    def write(self, folder: str | Path) -> None:
        """Writes the project, whole or not at all."""
        write_project(self.files, Path(folder))


def export_model(
    model: str | Path,
    *,
    format: str,
    output: str | Path | None = None,
    target: str | Path | Board | None = None,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights | None = None,
    name: str | None = None,
) -> Exported:
    """The model (compiled unless it is a project folder) in the shape of another build system.

    ``format`` is one of ``tinymill.export.FORMATS``: "cmake", "make", "arduino", "platformio",
    "zephyr", "esp-idf", "cmsis-pack", "micropython". The other options are those of ``compile``;
    a project folder has its own, and others are refused. Raises what ``compile`` raises.
    """
    check_format(format)
    path = Path(model)
    if path.is_dir():
        description = read_plan(path)
        if output is not None and Path(output).resolve() == path.resolve():
            raise InvalidInput("is what is exported", at=str(output), hint="choose another output")
        board = _board_of(target, description, path)
        _check_options(
            description, path, io=io, requant=requant, optimize=optimize,
            plan=None if plan is None else str(plan), ram=ram,
            keep_inputs=keep_inputs or None, stream_input=stream_input or None,
            fast_ram=fast_ram, weights=weights, model=None if name is None else c_name(name),
        )  # fmt: skip
        if shapes:
            raise InvalidInput("was compiled with its shapes", at=str(path))
        board = _tuned(board, description.get("optimize", "time"))
        found = read_exportable(path, board, description)
    else:
        compiled = compile(
            path, target="host" if target is None else target, io=io or "quantized",
            requant=requant or "exact", optimize=optimize or "time", plan=plan or "min-time",
            ram=ram, shapes=shapes, keep_inputs=keep_inputs, stream_input=stream_input,
            fast_ram=fast_ram, weights=weights or "flash", name=name,
        )  # fmt: skip
        found = exportable_of(
            compiled.name, compiled.board, compiled.files, compiled.description
        )  # fmt: skip
    exported = Exported(found.name, format, found.board, export_files(found, format))
    if output is not None:
        exported.write(output)
    return exported


def _check_options(description: Mapping[str, Any], folder: Path, **wanted: Any) -> None:
    """Raises ``InvalidInput`` where a project was compiled with other options than wanted."""
    for option, value in wanted.items():
        if value is not None and description.get(option) != value:
            raise InvalidInput(
                f"was compiled with {option} {description.get(option)!r}, not {value!r}",
                at=str(folder),
                hint="compile it again",
            )


def _check_front(description: Mapping[str, Any], folder: Path, spec: str | Path) -> None:
    """Raises ``InvalidInput`` where a project was compiled with another front end."""
    entry = description.get("frontend")
    if entry:
        ends = [End.of(item) for item in description["inputs"]]
        wanted = bound_front(load_front(spec), ends, entry)
        if wanted.front.options() == entry.get("spec"):
            return
    raise InvalidInput(
        f"was not compiled with the front end {str(spec)!r}",
        at=str(folder), hint="compile it again",
    )  # fmt: skip


def _board_of(
    target: str | Path | Board | None, description: Mapping[str, Any], folder: Path
) -> Board:
    if isinstance(target, Board):
        return target
    board = load_board(description["target"] if target is None else target)
    if board.name != description["target"]:
        raise BoardError(
            f"compiled for {description['target']}, not for {board.name}", at=str(folder)
        )
    return board


def _run_project(
    folder: Path,
    description: Mapping[str, Any],
    board: Board,
    sources: Sequence[str | Path | np.ndarray],
    *,
    layers: bool,
    cycles: bool,
    cc: str | None,
    sanitize: bool,
    mean: float | None,
    std: float | None,
    resize: bool,
    timeout: float,
) -> RunResult:
    board = _tuned(board, description.get("optimize", "time"))
    inputs = [End.of(entry) for entry in description["inputs"]]
    outputs = [End.of(entry) for entry in description["outputs"]]
    if description.get("frontend"):
        if (mean, std, resize) != (None, None, False):
            raise InvalidInput("the front end scales its pictures", hint="leave out --mean, --std")
        if cycles:
            raise InvalidInput(
                "cycles are estimated for a run, not for the pushes of a front end",
                hint="compile without --frontend",
            )
        frames, count = sensor_data(sources, inputs, description["frontend"])
    else:
        frames, count = frames_of(sources, inputs, mean=mean, std=std, resize=resize)
    found = measure(
        folder, board, frames, model=description["model"], profile=layers,
        cycles=cycles, cc=cc, sanitize=sanitize, timeout=timeout,
    )  # fmt: skip
    if found.status != 0:
        raise ToolFailed(f"the model answered status {found.status}", at=board.name)
    if len(found.outputs) != count * sum(end.size for end in outputs):
        raise ToolFailed(f"{len(found.outputs)} bytes of output", at=board.name)
    counts = found.layer_instructions or (None,) * len(description["layers"])
    estimates = found.layer_cycles or (None,) * len(counts)
    if len(counts) != len(description["layers"]):
        raise InvalidModel(f"{PLAN} is not that of the C beside it", at=str(folder))
    times = tuple(
        LayerTime(layer["name"], layer["op"], instructions, estimate)
        for layer, instructions, estimate in zip(
            description["layers"], counts, estimates, strict=True
        )
    )
    return RunResult(
        board.name, count, tuple(outputs_of(found.outputs, outputs, count)),
        tuple(end.name for end in outputs), found.instructions,
        Ram(found.arena, found.static, found.stack), Flash(found.code, found.weights), times,
        found.cycles, found.instruction_classes, found.front_instructions,
    )  # fmt: skip


def flash(
    model: str | Path,
    *,
    target: str | Path | Board | None = None,
    tool: str | None = None,
    probe: str | None = None,
    dry_run: bool = False,
    optimize: Optimize | None = None,
    tell: Callable[[str], None] | None = None,
) -> FlashPlan:
    """Compiles (unless ``model`` is a project folder), builds the firmware and writes it to a
    board; gives the calls made. ``dry_run`` only gives them: then nothing needs to be installed.

    ``tool`` is one of those in the board's file (default: the first), ``probe`` what that tool
    calls a probe: a serial number, a port, an address. ``tell`` gets what a person has to do
    before the tool can write, where there is such a thing. Raises what ``compile`` raises,
    ``BoardError``, ``ToolMissing``, ``ToolFailed``.
    """
    path = Path(model)
    description = read_plan(path) if path.is_dir() else None
    if description is not None:
        board = _board_of(target, description, path)
        _check_options(description, path, optimize=optimize)
    elif target is None:
        raise InvalidInput("is to be written to which board?", at=str(path), hint="--board")
    else:
        board = target if isinstance(target, Board) else load_board(target)
    plan = plan_flash(board, tool, probe)
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        if description is None:
            compiled = compile(path, target=board, optimize=optimize or "time")
            path, description = Path(name) / "project", compiled.description
            compiled.write(path)
        if tell is not None and plan.note is not None:
            tell(f"{board.name}: {plan.note}")
        if not dry_run:
            board = _tuned(board, description.get("optimize", "time"))
            flash_project(path, board, model=description["model"], plan=plan)
    return plan


def save_outputs(result: RunResult, path: str | Path) -> None:
    """Writes the outputs: .npy for a single one, .npz for any number by name."""
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise TinymillError("outputs are written as .npy or .npz", at=str(path))
    if path.suffix == ".npy" and len(result.outputs) != 1:
        raise TinymillError(
            f"the model has {len(result.outputs)} outputs", at=str(path), hint="use .npz"
        )
    with written_whole(path) as stream:
        if path.suffix == ".npy":
            np.save(stream, result.outputs[0])
        else:
            _save_archive(stream, result)


def _save_archive(stream: IO[bytes], result: RunResult) -> None:
    """What ``np.savez`` writes, but any name goes; the second "x" becomes "x.1"."""
    with zipfile.ZipFile(stream, "w") as archive:
        used: set[str] = set()
        for index, (name, array) in enumerate(
            zip(result.output_names, result.outputs, strict=True)
        ):
            unique = f"{name}.{index}" if name in used else name
            used.add(unique)
            with archive.open(f"{unique}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def plan_model(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    plan: str | Path = "min-ram",
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
) -> Plan:
    """The plan that ``compile`` would take, nothing compiled; it may exceed the board's RAM."""
    planner = _planner_of(
        model, target, io, requant, optimize, shapes, keep_inputs, stream_input
    )  # fmt: skip
    return plan_by(planner, plan)


def front(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
) -> tuple[Plan, ...]:
    """Plans of which none is both smaller and faster than another, the fastest first."""
    planner = _planner_of(
        model, target, io, requant, optimize, shapes, keep_inputs, stream_input
    )  # fmt: skip
    return planner.front()


def _planner_of(
    model: str | Path,
    target: str | Path | Board,
    io: Io,
    requant: Requant,
    optimize: Optimize,
    shapes: Mapping[str, Sequence[int]] | None,
    keep_inputs: bool,
    stream_input: bool,
) -> Planner:
    _check_kept(keep_inputs, stream_input)
    for option, value, allowed in (
        ("io", io, Io), ("requant", requant, Requant), ("optimize", optimize, Optimize),
    ):  # fmt: skip
        if value not in get_args(allowed):
            raise InvalidInput(f"{option} is {value!r}, not one of {', '.join(get_args(allowed))}")
    board = target if isinstance(target, Board) else load_board(target)
    graph = _lowered(read_model(Path(model), shapes=shapes), io, requant, None)
    return Planner(
        graph, board.features, keep_inputs=keep_inputs, optimize=optimize,
        stream_input=stream_input,
    )  # fmt: skip


def load(
    model: str | Path,
    *,
    threads: int = 1,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cc: str | None = None,
) -> Loaded:
    """A model file, compiled for the host, or a project folder as a callable on arrays.

    The C is built into a shared library, once for the same C (TINYMILL_CACHE names the folder).
    ``io``, ``requant``, ``optimize`` and ``plan`` are as for ``compile``; a project folder has its
    own, and others are refused. Raises what ``compile`` raises, ``InvalidInput``,
    ``ToolMissing``, ``ToolFailed``.
    """
    path = Path(model)
    if path.is_dir():
        _check_options(
            read_plan(path), path, io=io, requant=requant, optimize=optimize,
            plan=None if plan is None else str(plan),
        )  # fmt: skip
        if shapes:
            raise InvalidInput("was compiled with its shapes", at=str(path))
        return Loaded(path, threads=threads, cc=cc)
    compiled = compile(
        path, io=io or "quantized", requant=requant or "exact", optimize=optimize or "time",
        plan=plan or "min-time", shapes=shapes,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name) / "project"
        compiled.write(folder)
        return Loaded(folder, threads=threads, cc=cc)


def validate(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    input: Sequence[str | Path | np.ndarray] | str | Path | np.ndarray = PATTERN,
    layers: bool = False,
    tolerance: float = TOLERANCE,
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    plan: str | Path = "min-time",
    shapes: Mapping[str, Sequence[int]] | None = None,
    cc: str | None = None,
    sanitize: bool = False,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
    timeout: float = 600.0,
) -> Validation:
    """Runs a model file as C, on the host or in QEMU, and by the references of its ops in numpy,
    on the same inputs, and compares the bytes.

    ``layers`` compares each layer's output, too, in a second program that keeps them all.
    ``tolerance`` is that of floats. The rest is as for ``run``, which says what is raised.
    """
    if not 0 <= tolerance < 1:
        raise InvalidInput(f"a tolerance of {tolerance:g}", hint="0 up to 1 are possible")
    path = Path(model)
    if path.is_dir():
        raise InvalidInput(
            "a folder of C has no graph to compare with", at=str(path), hint="give the model file"
        )
    compiled = compile(
        path, target=target, io=io, requant=requant, optimize=optimize, plan=plan, shapes=shapes
    )
    graph = compiled.plan.graph
    sources = [input] if isinstance(input, str | Path | np.ndarray) else list(input)
    ends = [End.of(entry) for entry in compiled.description["inputs"]]
    columns, count = columns_of(sources, ends, mean=mean, std=std, resize=resize)

    def computed(project: Compiled) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
            folder = Path(name) / "project"
            project.write(folder)
            frames = [np.broadcast_to(each, (count, *each.shape[1:])) for each in columns]
            found = _run_project(
                folder, project.description, project.board, frames, layers=False, cycles=False,
                cc=cc, sanitize=sanitize, mean=None, std=None, resize=False, timeout=timeout,
            )  # fmt: skip
        return [out if found.frames > 1 else out[None] for out in found.outputs]

    def compared(asked: Graph, project: Compiled) -> list[Comparison]:
        pairs = zip(computed(project), oracle(asked, columns, count), asked.outputs, strict=True)
        return [
            compare(
                port.name, graph.producers[port.value].op.name if port.value in graph.producers
                else "input", found, truth, tolerance=tolerance,
            )
            for found, truth, port in pairs
        ]  # fmt: skip

    outputs = compared(graph, compiled)
    by_layer = None
    if layers:
        every = tapped(graph)
        try:
            program = _compile_graph(
                every, path, board=compiled.board, io=io, requant=requant, optimize=optimize,
                plan=plan,
            )  # fmt: skip
            by_layer = tuple(compared(every, program)[len(graph.outputs) :])
        except OutOfMemory as error:
            error.hint = "every layer's output is kept: leave out --layers, or take another target"
            raise
    return Validation(compiled.board.name, count, tolerance, tuple(outputs), by_layer)


def quantize(
    model: str | Path,
    *,
    calibration: str | Path,
    output: str | Path,
    method: Method = "minmax",
    percentile: float = 99.99,
    samples: int = 256,
    equalize: bool = False,
    correct_bias: bool = False,
    evaluate: str | Path | None = None,
    labels: str | Path | None = None,
    classes: Sequence[str] | None = None,
    preparation: Preparation | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[str, int], Callable[[], None]] = lambda what, steps: lambda: None,
) -> Quantized:
    """Writes a float model (ONNX, TFLite) as int8 ONNX (QDQ, weights per channel) to ``output``.

    The ranges of activations come from at most ``samples`` of ``calibration``, spread over all:
    least and greatest value ("minmax"), or cut where it costs least ("entropy") or at a
    ``percentile``. ``quantizer.read_samples`` says what the data may be. ``evaluate`` is labelled
    data to measure with (default: the calibration data, if it has labels); ``labels`` are that
    data's. ``equalize`` and ``correct_bias`` are those of Nagel et al. (2019). The result is one
    that ``compile`` takes, else nothing is written. Raises ``CompileError`` and its kin,
    ``InvalidInput``, ``ToolMissing`` without ONNX Runtime.
    """
    source, target = Path(model), Path(output)
    if target.suffix != ".onnx":
        raise InvalidInput("the int8 model is written as .onnx", at=str(target))
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidInput("can't be written there", at=str(target))
    if samples < 1:
        raise InvalidInput(f"{samples} samples to calibrate with")
    preparation = preparation or Preparation()
    real = prepare(source, shapes)
    ends = inputs_of(real)
    own_labels = None if labels is None or evaluate is not None else Path(labels)
    data = read_samples(Path(calibration), ends, preparation, labels=own_labels, classes=classes)
    judged: Samples | None = data
    if evaluate is not None:
        judged = read_samples(
            Path(evaluate), ends, preparation, labels=None if labels is None else Path(labels),
            classes=classes,
        )  # fmt: skip
        if judged.labels is None:
            raise InvalidInput("has no labels to measure with", at=str(evaluate))
    elif data.labels is None:
        judged = None
    found = convert(
        real, data.spread(samples), preparation, method=method, percentile=percentile,
        equalized=equalize, corrected=correct_bias, progress=progress,
    )  # fmt: skip
    content = found.model.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        written = Path(name) / "quantized.onnx"
        written.write_bytes(content)
        compiled = compile(written, io="float")
        accuracy = None if judged is None else _accuracy(real, written, judged, progress)
    floats = tuple(
        node.name
        for node in compiled.plan.graph.nodes
        if not isinstance(node.op, Quantize)
        and any(compiled.plan.graph.type(value).dtype is DType.FLOAT32 for value in node.outputs)
        and any(
            value and compiled.plan.graph.type(value).dtype is DType.FLOAT32
            for value in node.inputs
        )
    )
    with written_whole(target) as stream:
        stream.write(content)
    return Quantized(
        target, len(content), min(samples, data.count), found.equalized, found.corrected,
        found.layers, floats, accuracy,
    )  # fmt: skip


def _accuracy(
    real: Any,
    written: Path,
    judged: Samples,
    progress: Callable[[str, int], Callable[[], None]],
) -> Accuracy:
    """Of the prepared float model, and of the int8 one with float ends."""
    assert judged.labels is not None
    count = judged.count
    right = right_answers(real, judged.feed, judged.labels, progress("float model", count))
    step = progress("int8 model", count)
    try:
        loaded = load(written, io="float", threads=default_threads())
    except ToolMissing:
        answers = right_answers(onnx.load(written), judged.feed, judged.labels, step)
        return Accuracy(count, right / count, answers / count, "ONNX Runtime")
    answers = 0
    for start in range(0, count, FRAMES_AT_ONCE):
        places = range(start, min(start + FRAMES_AT_ONCE, count))
        feeds = [judged.feed(index) for index in places]
        batch = {end.name: np.stack([feed[end.name] for feed in feeds]) for end in loaded.inputs}
        found = loaded.run(batch)[loaded.output_names[0]].reshape(len(feeds), -1)
        answers += int((found.argmax(axis=1) == judged.labels[places.start : places.stop]).sum())
        for _ in places:
            step()
    return Accuracy(count, right / count, answers / count, "the compiled C")
