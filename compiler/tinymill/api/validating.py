"""``validate``: a model's C against the references of its ops."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..boards import Board
from ..errors import InvalidInput, OutOfMemory
from ..ir import Graph
from ..samples import PATTERN, End, columns_of
from ..schedule import Optimize
from ..validation import TOLERANCE, Comparison, Validation, compare, oracle, tapped
from .compiling import Compiled, compile_file, compile_graph
from .options import CompileOptions, Io, Measuring, Requant, sources_of
from .running import run_project


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
    options = CompileOptions(io=io, requant=requant, optimize=optimize, plan=plan, shapes=shapes)
    # the pictures are scaled once, for both sides
    measuring = Measuring(cc=cc, sanitize=sanitize, timeout=timeout)
    compiled = compile_file(path, target, options)
    graph = compiled.plan.graph
    ends = [End.of(entry) for entry in compiled.description["inputs"]]
    columns, count = columns_of(sources_of(input), ends, mean=mean, std=std, resize=resize)

    def computed(project: Compiled) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
            folder = Path(name) / "project"
            project.write(folder)
            frames = [np.broadcast_to(each, (count, *each.shape[1:])) for each in columns]
            found = run_project(
                folder, project.description, project.board, frames, measuring, layers=False,
                cycles=False,
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
            program = compile_graph(every, path, compiled.board, options)
            by_layer = tuple(compared(every, program)[len(graph.outputs) :])
        except OutOfMemory as error:
            error.hint = "every layer's output is kept: leave out --layers, or take another target"
            raise
    return Validation(compiled.board.name, count, tolerance, tuple(outputs), by_layer)
