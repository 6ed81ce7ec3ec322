"""Fits runtime_c/costs.toml, by which plans are compared, to instructions counted in QEMU.

Counted, layer by layer: every model of shared/baselines.json, planned for min-time, for min-ram
and with a streamed input, and layers of many shapes, each between two tables of a byte so that
its input and output are rings, whole and in turns of 1, 2 and 4 rows; layers of training steps
(training.py), whole. For each kernel the counts are fitted, on the core it is written for (kernels
for all cores: Cortex-M4), by non-negative least squares of the relative error. See
docs/planning.md.

--keep FILE keeps the counts, --counts FILE fits those again.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import pickle
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from kernels import IN, MODEL, OUT, Case, convolution, rescale_of
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import nnls

import training
from models import PROCESSES, SHARED
from tinymill import compile as compile_model
from tinymill.boards import load_board
from tinymill.deploy import measure, target_files
from tinymill.emit import facts_of, render
from tinymill.errors import TinymillError
from tinymill.ir import DType, Graph, GraphBuilder, Op, Port, Quant, TensorType
from tinymill.ops.binary import Binary
from tinymill.ops.binary import tflite_fixed as fixed_binary
from tinymill.ops.concat import Concat
from tinymill.ops.dense import FullyConnected
from tinymill.ops.lookup import Table as Lookup
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.reduce import tflite_fixed as fixed_reduce
from tinymill.ops.softmax import Softmax
from tinymill.schedule import Optimize, Plan
from tinymill.schedule.cost import plain_work, total_work
from tinymill.schedule.plan import Step
from tinymill.schedule.planner import Planner
from tinymill.schedule.segments import WHOLE, Choice
from tinymill.share import share

BOARDS = ("mps2-an386", "mps3-an547", "mps2-an385", "riscv32-virt", "microbit")
"""Those of the models and of the layers; kernels for all cores are told by the first one's."""
HOME = {
    "dsp": BOARDS[:1],
    "mve": BOARDS[1:2],
    "generic": (BOARDS[0], BOARDS[2]),
    "scalar": BOARDS[2:],
}
"""Boards on which a folder's kernels are measured, the first one that says enough ..."""
ENOUGH = 20
"""... by so many counts, else the one that says most."""
TURNS = (0, 1, 2, 4)
"""Rows a turn; 0: whole."""
LAYERS = 20
OPS = 6
"""Ops whose examples make a model."""
BYTES = 1 << 20
SMALL_BYTES = 4 << 10
FEW = 300
"""Instructions below which an error counts as if they were so many."""
PLAIN = ("calls", "outputs", "macs")
"""What kernels that were not measured, or not enough, are told by."""


@dataclass(frozen=True)
class Count:
    """What a step in turns of so many rows was counted to cost on a board."""

    board: str
    origin: str
    step: Step
    turns: tuple[int, ...]
    instructions: int


def grid(how: str) -> Iterator[Case]:
    """Layers of many shapes."""
    for side, ins, outs in (
        (4, 8, 8), (6, 16, 48), (6, 96, 24), (5, 10, 7), (10, 40, 16), (12, 24, 96), (12, 64, 64),
        (3, 128, 128), (24, 8, 16), (24, 16, 8), (25, 9, 18), (40, 8, 8), (7, 160, 96),
    ):  # fmt: skip
        yield convolution(side, ins, outs, 1, 1, how)
    for side, ins, outs, kernel, stride in (
        (24, 3, 16, 3, 2), (33, 3, 8, 3, 2), (24, 1, 8, 3, 1), (12, 16, 16, 3, 1),
        (12, 8, 24, 3, 2), (7, 32, 32, 3, 1), (16, 12, 10, 3, 1), (9, 6, 9, 5, 1),
        (16, 4, 16, 5, 2), (11, 16, 8, 5, 1), (8, 24, 16, 1, 2), (20, 3, 12, 7, 2),
    ):  # fmt: skip
        yield convolution(side, ins, outs, kernel, stride, how)
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            for side, channels in ((6, 32), (12, 8), (11, 24), (24, 16), (5, 96), (9, 3), (17, 6)):
                yield convolution(side, channels, channels, kernel, stride, how, depthwise=True)
    for side, channels in ((40, 8), (48, 4), (3, 160)):
        for stride in (1, 2):
            yield convolution(side, channels, channels, 3, stride, how, depthwise=True)
    for ins, outs in ((8, 128), (64, 2), (64, 12), (128, 128), (250, 10), (256, 10), (61, 33)):
        op = FullyConnected(False, (-128, 127), rescale_of(outs, how))
        yield Case("dense", f"{ins}->{outs}", op, ((1, ins),), (outs, ins))
    for side, channels in ((3, 96), (6, 32), (12, 8), (11, 17), (24, 16), (12, 64)):
        shape = (1, side, side, channels)
        where = f"{side}x{side} {channels}"
        x, y = (TensorType(shape, DType.INT8, q) for q in (IN, OUT))
        yield Case(
            "add", where, Binary("add", (-128, 127), fixed_binary("add", x, x, y)), (shape, shape)
        )
        yield Case("concat", f"{where}+{channels}", Concat(3), (shape, shape), None, IN)
        for window, stride in ((2, 2), (3, 2)):
            text = f"{where} {window}x{window} s{stride}"
            pools = (window, window), (stride, stride)
            yield Case("maxpool", text, MaxPool(*pools), (shape,), None, IN)
            yield Case("avgpool", text, AveragePool(*pools), (shape,), None, IN)
        yield Case("global", where, AveragePool((side, side)), (shape,), None, IN)
        mean = TensorType((1, 1, 1, channels), DType.INT8, OUT)
        factor = fixed_reduce("mean", x, mean, (1, 2))
        yield Case("mean", where, Reduce("mean", (1, 2), True, factor), (shape,))
    for count in (2, 10, 100, 1000):
        yield Case("softmax", f"{count}", Softmax(dtype=DType.INT8), ((1, count),), None,
                   Quant((1 / 256,), (-128,)))  # fmt: skip


def graph_of(batch: Sequence[Case]) -> Graph:
    """One model with each layer between tables of a byte."""
    rng = np.random.default_rng(1)
    builder = GraphBuilder(MODEL)
    flip = Lookup(tuple(range(127, -129, -1)))
    for number, case in enumerate(batch):
        values: list[str] = []
        for place, shape in enumerate(case.inputs):
            source = f"x_{'x'.join(map(str, shape))}"
            if source not in builder.types:
                builder.types[source] = TensorType(shape, DType.INT8, IN)
                builder.inputs.append(Port(source, source, shape, tuple(range(len(shape)))))
            values += builder.add(flip, [source], name=f"{number} in{place}", quants=[IN])
        if case.weights is not None:
            weights = rng.integers(-127, 128, case.weights).astype(np.int8)
            outs = case.weights[0]
            quant = Quant((0.01,) * outs, (0,) * outs, 0)
            bias = rng.integers(-2000, 2000, outs).astype(np.int32)
            values.append(builder.constant(weights, stem="w", quant=quant))
            values.append(builder.constant(bias, stem="b"))
        (value,) = builder.add(case.op, values, name=f"{number} op", quants=[case.output])
        (value,) = builder.add(flip, [value], name=f"{number} out", quants=[case.output])
        kind = builder.types[value]
        builder.outputs.append(Port(value, value, kind.shape, tuple(range(kind.rank))))
    return builder.finish()


def batches(cases: Sequence[Case], most: int) -> Iterator[list[Case]]:
    """The layers in models that compile and run fast."""
    batch: list[Case] = []
    held = 0
    for case in cases:
        needed = sum(map(prod, case.inputs)) * 4
        if needed > most:
            continue
        if batch and (len(batch) == LAYERS or held + needed > most):
            yield batch
            batch, held = [], 0
        batch.append(case)
        held += needed
    if batch:
        yield batch


def all_ops() -> list[type[Op]]:
    """Every kind of op."""
    found: set[type[Op]] = set()
    waiting: list[type[Op]] = [*Op.__subclasses__()]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith("tinymill.ops"):
            found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def examples_counted(start: int, board: str) -> list[Count]:
    """A model of examples that ops give of themselves, small as they are."""
    builder = GraphBuilder(MODEL)
    number = 0
    for kind in all_ops()[start : start + OPS]:
        for example in kind.examples():
            if example.op.mutates:
                continue
            number += 1
            values = []
            for index, type_ in enumerate(example.types.inputs):
                value = "" if type_ is None else f"x{number}_{index}"
                values.append(value)
                if type_ is None:
                    continue
                builder.types[value] = type_
                if index in example.constants:
                    builder.constants[value] = example.constants[index]
                else:
                    axes = tuple(range(type_.rank))
                    builder.inputs.append(Port(value, value, type_.shape, axes))
            quants = [type_.quant for type_ in example.types.outputs]
            for value in builder.add(example.op, values, name=f"{number}", quants=quants):
                made = builder.types[value]
                builder.outputs.append(Port(value, value, made.shape, tuple(range(made.rank))))
    place = load_board(board)
    planner = Planner(builder.finish(), place.features)
    return counted(planner.plan("min-time"), board, f"examples {start}", place)


def numbers(kind: TensorType, rng: np.random.Generator) -> bytes:
    """An input of any type: small positive numbers, bytes of any value."""
    if kind.dtype is DType.FLOAT32:
        return rng.uniform(0.1, 2.0, kind.shape).astype(np.float32).tobytes()
    if kind.bytes == kind.count and kind.dtype is not DType.BOOL:
        return rng.integers(0, 256, kind.bytes, np.uint8).tobytes()
    return rng.integers(0, 2, kind.shape).astype(kind.dtype.numpy).tobytes()


def layers_counted(batch: Sequence[Case], board: str, rows: int, optimize: Optimize) -> list[Count]:
    """A model of single layers, each in turns with its tables where it can be."""
    place = load_board(board)
    if optimize == "size":
        place = replace(place, compiler=replace(place.compiler, optimise="-Os"))
    planner = Planner(graph_of(batch), place.features, optimize=optimize)
    nodes = planner.workshop.nodes
    choices: list[Choice] = []
    at = 0
    while at < len(nodes):
        number = nodes[at].name.split()[0]
        count = 1
        while at + count < len(nodes) and nodes[at + count].name.split()[0] == number:
            count += 1
        choice = Choice(count, rows)
        if rows and planner.candidates.section(at, choice) is not None:
            choices.append(choice)
        else:
            choices += [WHOLE] * count
        at += count
    return counted(planner.realise(choices), board, f"layers {rows} {optimize}", place)


def model_counted(file: Path, board: str, goal: str, stream: bool) -> list[Count]:
    """A model's layers, as planned for a goal."""
    found = compile_model(
        file, target=board, plan=goal, stream_input=stream
    )  # fmt: skip
    origin = f"{file.name} {goal}{' streamed' if stream else ''}"
    return counted(found.plan, board, origin, found.board)


def counted(plan: Plan, name: str, origin: str, board: Any) -> list[Count]:
    """Builds and runs a plan; counts of its steps."""
    facts = facts_of(plan, MODEL)
    files = render(facts, plan)
    files |= target_files(
        board, MODEL, arena_bytes=plan.arena_bytes, weights_bytes=facts.weights_bytes
    )
    rng = np.random.default_rng(2)
    feed = b"".join(numbers(plan.graph.type(port.value), rng) for port in plan.graph.inputs)
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder:
        for path, text in files.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        result = measure(Path(folder), board, feed, model=MODEL, profile=True)
    if result.status != 0 or result.layer_instructions is None:
        raise TinymillError(f"status {result.status}", at=origin)
    rows = iter(result.layer_instructions)
    found = []
    for segment in plan.segments:
        for index, step in enumerate(segment.steps):
            turns = tuple(t.row1 - t.row0 for t in segment.turns if t.step == index)
            if getattr(step, "strip", None) is None:
                found.append(Count(name, origin, step, turns, next(rows)))
    return found


def training_counted(batch: Sequence[training.Layer], board: str) -> list[Count]:
    """A model of layers of training steps."""
    plan, counts = training.counted(batch, board)
    return [
        Count(board, "training", step, (step.height,), count)
        for step, count in zip(plan.steps, counts, strict=True)
    ]


MEASURED: dict[str, Callable[..., list[Count]]] = {
    "model": model_counted, "layers": layers_counted, "examples": examples_counted,
    "training": training_counted,
}  # fmt: skip


def attempt(job: tuple[str, tuple[Any, ...]]) -> list[Count] | str:
    """The counts of a job, or why there are none."""
    kind, arguments = job
    try:
        return MEASURED[kind](*arguments)
    except TinymillError as error:
        return f"{kind} {arguments[1:]}: {error}"


def jobs(boards: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """All that is measured."""
    files = [
        m["file"] for m in json.loads((SHARED / "baselines.json").read_text())["models"].values()
    ]
    for start in range(0, len(all_ops()), OPS) if BOARDS[0] in boards else ():
        yield "examples", (start, BOARDS[0])
    if BOARDS[0] in boards:
        for layers in training.batches([*training.scheme(), *training.others()]):
            yield "training", (layers, BOARDS[0])
    for board in boards:
        if board in BOARDS[:3]:
            for file in files:
                yield "model", (SHARED / file, board, "min-time", False)
                if board == BOARDS[0]:
                    yield "model", (SHARED / file, board, "min-ram", False)
                    yield "model", (SHARED / file, board, "min-time", True)
        for how in ("fixed", "float") if board == BOARDS[0] else ("fixed",):
            for batch in batches([*grid(how)], SMALL_BYTES if board == "microbit" else BYTES):
                for rows in TURNS if how == "fixed" else (0, 1):
                    yield "layers", (batch, board, rows, "time")
                    if board == BOARDS[0] and rows < 2 and how == "fixed":
                        yield "layers", (batch, board, rows, "size")


def fitted(
    counts: Sequence[Count],
    work: Callable[[Step, Sequence[int]], Mapping[str, float]],
    names: Sequence[str] = (),
) -> tuple[dict[str, float], float]:
    """Instructions for each unit of work, and the median relative error in percent."""
    rows = [work(count.step, count.turns) for count in counts]
    columns = sorted({name for row in rows for name, n in row.items() if n}
                     & (set(names) or {name for row in rows for name in row}))  # fmt: skip
    a = np.array([[row.get(name, 0.0) for name in columns] for row in rows])
    b = np.array([float(count.instructions) for count in counts])
    weight = 1 / np.maximum(b, FEW)
    size = np.maximum(np.linalg.norm(a * weight[:, None], axis=0), 1e-30)
    x = nnls(a * weight[:, None] / size, b * weight)[0] / size
    errors = np.abs(a @ x - b) * weight
    found = {name: float(f"{v:.5g}") for name, v in zip(columns, x, strict=True) if v > 1e-4}
    return found, float(np.median(errors)) * 100


def fit(counts: Sequence[Count]) -> str:
    """The text of costs.toml."""
    by_kernel: dict[tuple[str, str], list[Count]] = {}
    families: dict[tuple[str, str], list[Count]] = {}
    for count in counts:
        kernel = count.step.kernel
        if kernel.folder == "generic" and count.board == BOARDS[0] and "size" not in count.origin:
            families.setdefault((kernel.family, kernel.dtype), []).append(count)
            families.setdefault(("any", kernel.dtype), []).append(count)
        if count.board not in HOME[kernel.folder]:
            continue
        if "size" in count.origin and "narrow" not in (kernel.layout or ""):
            continue
        by_kernel.setdefault((kernel.name, kernel.layout or ""), []).append(count)
    lines = [HEAD]
    table = Table(box=None, pad_edge=False)
    for column in ("kernel", "layout", "board", "counts", "median error", "worst"):
        table.add_column(column, justify="left" if column in ("kernel", "layout") else "right")
    for (name, layout), everywhere in sorted(by_kernel.items()):
        counted_on = Counter(count.board for count in everywhere)
        board = max(
            HOME[everywhere[0].step.kernel.folder], key=lambda b: min(counted_on[b], ENOUGH)
        )
        found = [count for count in everywhere if count.board == board]
        few = len(found) < ENOUGH and "inputs" in total_work(found[0].step, [1])
        rates, error = fitted(found, total_work, PLAIN if few else ())
        lines += ["[[cost]]", f'kernel = "{name}"']
        lines += [f'layout = "{layout}"'] if layout else []
        lines += [f'board = "{board}"', *entry(found, rates, error)]
        table.add_row(name, layout, board, str(len(found)), f"{error:.2f} %", worst(found, rates))
    for (family, dtype), found in sorted(families.items()):
        rates, error = fitted(found, plain_work, PLAIN)
        lines += ["[[cost]]", f'family = "{family}"', f'dtype = "{dtype}"']
        lines += [f'board = "{BOARDS[0]}"', *entry(found, rates, error)]
    Console(width=140).print(table)
    return "\n".join(lines)


def worst(counts: Sequence[Count], rates: Mapping[str, float]) -> str:
    """The count that is furthest from the model."""

    def error(count: Count) -> float:
        work = total_work(count.step, count.turns)
        found = sum(rates.get(name, 0.0) * n for name, n in work.items())
        return (found - count.instructions) / max(count.instructions, FEW)

    count = max(counts, key=lambda c: abs(error(c)))
    types = count.step.types
    made = types.output if types.outputs else types.input(count.step.node.op.mutates[0])
    shape = "x".join(map(str, made.shape))
    return f"{error(count):+.0%} {count.origin} {count.step.node.name[-20:]} {shape}"


def entry(counts: Sequence[Count], rates: Mapping[str, float], error: float) -> list[str]:
    """The rest of a row of costs.toml."""
    text = ", ".join(f"{name} = {value:g}" for name, value in rates.items())
    return [f"counts = {len(counts)}", f"error = {error:.1f}", f"instructions = {{ {text} }}", ""]


HEAD = """\
# Instructions that kernels take for each unit of work that compiler/tinymill/schedule/cost.py
# counts. Made by benchmarks/calibrate.py: not to be edited.
#
#   kernel, layout   a row of kernels.toml, on the board that it was measured on
#   family, dtype    what the family's kernels for all cores have in common, for those not measured
#   counts, error    layers measured in QEMU, median of the relative error in percent
"""


def main() -> None:
    """Runs the calibration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=share("runtime_c") / "costs.toml")
    parser.add_argument("--board", choices=BOARDS, action="append", help="default: all")
    parser.add_argument("--keep", type=Path, help="file for the counts (pickled)")
    parser.add_argument("--counts", type=Path, action="append", help="fit these counts only")
    arguments = parser.parse_args()
    counts: list[Count] = []
    if arguments.counts:
        for path in arguments.counts:
            with path.open("rb") as file, contextlib.suppress(EOFError):
                while True:
                    counts += pickle.load(file)
    else:
        todo = [*jobs(arguments.board or BOARDS)]
        if arguments.keep:
            arguments.keep.write_bytes(b"")
        with ProcessPoolExecutor(PROCESSES) as pool:
            done = pool.map(attempt, todo)
            for found in track(done, description="measuring", total=len(todo)):
                if isinstance(found, str):
                    print(found, file=sys.stderr)
                    continue
                counts += found
                if arguments.keep:
                    with arguments.keep.open("ab") as file:
                        pickle.dump(found, file)
    arguments.output.write_text(fit(counts))


if __name__ == "__main__":
    main()
