"""The commands as Python calls, with results as objects."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np

from . import __version__
from .boards import Board, load_board
from .deploy import RAM_ALLOWANCE, Forecast, forecast, measure, target_files
from .emit import c_name, facts_of, render
from .errors import (
    BoardError,
    InvalidInput,
    InvalidModel,
    OutOfMemory,
    TinymillError,
    ToolFailed,
    UnsupportedOp,
)
from .export import check_format, export_files, exportable_of, read_exportable
from .fit import check_arena, plan_by, plan_within
from .frontends import read_model
from .ir import DType, Graph, Node, Port
from .ops.quantization import Quantize
from .passes import pipeline, run_passes
from .project import PLAN, read_plan, write_project
from .report import save_picture  # noqa: F401  one of the calls
from .samples import PATTERN, End, frames_of, outputs_of
from .schedule import Goal, Optimize, Plan, Planner, schedule_of
from .schedule import plan as plan_graph

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

    @property
    def output_crc32(self) -> str:
        """zlib crc32 of the raw bytes of all outputs in order, frame by frame."""
        crc = 0
        for frame in range(self.frames):
            for array in self.outputs:
                part = array if self.frames == 1 else array[frame]
                crc = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc)
        return f"{crc:08x}"


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
    ``stream_input`` the emitted C has ``push_rows`` instead of ``run``.
    ``name`` is the prefix of all C names (default: from the file's name). Raises
    ``CompileError`` and its kin; nothing is written then.
    """
    for option, value, allowed in (
        ("io", io, Io), ("requant", requant, Requant), ("optimize", optimize, Optimize),
        ("weights", weights, Weights),
    ):  # fmt: skip
        if value not in get_args(allowed):
            raise InvalidInput(f"{option} is {value!r}, not one of {', '.join(get_args(allowed))}")
    board = target if isinstance(target, Board) else load_board(target)
    board = _tuned(board, optimize)
    source = Path(model)
    dump = None if dump_passes is None else Path(dump_passes)
    graph = _lowered(read_model(source, shapes=shapes), io, requant, dump)
    planner = Planner(
        graph, board.features, keep_inputs=keep_inputs, optimize=optimize,
        stream_input=stream_input, fast_ram=fast_ram,
    )  # fmt: skip
    prefix = c_name(name or source.stem)
    if ram is None:
        found = plan_by(planner, plan)
    else:
        if plan != "min-time":
            raise InvalidInput("a budget of RAM finds its own plan", hint="leave out --plan")
        found = plan_within(
            planner, ram, board,
            lambda tried: forecast(render(facts_of(tried, prefix), tried), board, prefix),
        )  # fmt: skip
    found = _in_two_memories(planner, found, board)
    _check_budgets(planner, found, board)
    facts = facts_of(found, prefix, weights_in_ram=weights == "ram")
    weights_bytes = facts.weights_bytes
    _check_weights(weights_bytes, board, optimize)
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
    }  # fmt: skip
    files[PLAN] = _describe(found, board, prefix, source.name, options)
    compiled = Compiled(prefix, board, found, dict(sorted(files.items())))
    if output is not None:
        compiled.write(output)
    return compiled


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


def _tuned(board: Board, optimize: str) -> Board:
    """The board with its compiler's flags for ``optimize``."""
    if optimize != "size" or board.is_host:
        return board
    return replace(board, compiler=replace(board.compiler, optimise="-Os"))


def _check_weights(weights: int, board: Board, optimize: str) -> None:
    flash = sum(region.size for region in board.flash)
    if not board.is_host and weights > flash:
        hint = "--optimize size widens none but depthwise weights" if optimize == "time" else None
        raise OutOfMemory(f"weights on {board.name}", needed=weights, available=flash, hint=hint)


def _describe(found: Plan, board: Board, name: str, source: str, options: Mapping[str, Any]) -> str:
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
        "inputs": [_end(graph, port, first=True) for port in graph.inputs],
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
    file or an image. ``io``, ``requant``, ``optimize`` and ``plan`` are as for ``compile``; a
    project folder has its own, and others are refused. ``cycles`` also estimates cycles
    (Cortex-M4 and M7 in QEMU, else ``BoardError``). Raises what ``compile`` raises,
    ``InvalidInput``, ``ToolMissing``, ``ToolFailed``.
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
            fast_ram=fast_ram, weights=weights,
        )  # fmt: skip
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
        fast_ram=fast_ram, weights=weights or "flash",
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
        found.cycles, found.instruction_classes,
    )  # fmt: skip


def save_outputs(result: RunResult, path: str | Path) -> None:
    """Writes the outputs: .npy for a single one, .npz for any number by name."""
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise TinymillError("outputs are written as .npy or .npz", at=str(path))
    if path.suffix == ".npy" and len(result.outputs) != 1:
        raise TinymillError(
            f"the model has {len(result.outputs)} outputs", at=str(path), hint="use .npz"
        )
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            if path.suffix == ".npy":
                np.save(stream, result.outputs[0])
            else:
                _save_archive(stream, result)
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise TinymillError(
                f"can't be written: {error.strerror or error}", at=str(path)
            ) from error
        raise


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
