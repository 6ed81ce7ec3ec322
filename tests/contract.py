"""Builds cases of the op contract as C programs and runs them on the host."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinymill.emit import emit
from tinymill.ir import (
    DType,
    Example,
    Graph,
    GraphBuilder,
    Port,
    Reading,
    Rows,
    TensorType,
    Types,
)
from tinymill.ops.variables import ReadVariable
from tinymill.schedule import plan

WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Werror".split()
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -g".split()


def example_graph(example: Example, name: str) -> Graph:
    """A graph of one node: the example's op on its types."""
    builder = GraphBuilder(name)
    inputs = []
    for index, kind in enumerate(example.types.inputs):
        value = "" if kind is None else f"x{index}"
        inputs.append(value)
        if kind is None:
            continue
        builder.types[value] = kind
        if index in example.constants:
            builder.constants[value] = example.constants[index]
        elif index in example.op.mutates:
            builder.variables[value] = np.zeros(kind.shape, kind.dtype.numpy)
        else:
            builder.inputs.append(Port(value, value, kind.shape, tuple(range(kind.rank))))
    outputs = builder.add(
        example.op, inputs, name="case", quants=[kind.quant for kind in example.types.outputs]
    )
    # what an op leaves in a variable is an output of the case too
    for index in example.op.mutates:
        kind = builder.types[inputs[index]]
        outputs += builder.add(ReadVariable(), [inputs[index]], name="state", quants=[kind.quant])
    for value in outputs:
        kind = builder.types[value]
        builder.outputs.append(Port(value, value, kind.shape, tuple(range(kind.rank))))
    return builder.finish()


def random_inputs(graph: Graph, ranges: tuple[float, float], seed: int) -> dict[str, np.ndarray]:
    """Random values for the graph's inputs; integers over the whole range of their type."""
    rng = np.random.default_rng(seed)
    found = {}
    for port in graph.inputs:
        kind = graph.type(port.value)
        if kind.dtype is DType.FLOAT32:
            array = rng.uniform(*ranges, kind.shape).astype(np.float32)
        elif kind.dtype is DType.BOOL:
            array = rng.integers(0, 2, kind.shape).astype(bool)
        elif kind.dtype in (DType.INT32, DType.INT64):
            array = rng.integers(-(1 << 15), 1 << 15, kind.shape).astype(kind.dtype.numpy)
        else:
            low, high = kind.dtype.limits
            array = rng.integers(low, high + 1, kind.shape).astype(kind.dtype.numpy)
        found[port.value] = array
    return found


def row_windows(example: Example) -> tuple[Reading | None, ...]:
    """The example's windows; all None where it is not computed by rows of single images."""
    types = example.types
    found = example.op.windows(types)
    assert len(found) == len(types.inputs)
    read = [kind for kind, window in zip(types.inputs, found, strict=True) if window is not None]
    maps = (*read, *types.outputs)
    if all(kind is not None and kind.rank == 4 and kind.shape[0] == 1 for kind in maps):
        return found
    return (None,) * len(found)


def one_row(kind: TensorType) -> TensorType:
    return kind.with_shape((kind.shape[0], 1, *kind.shape[2:]))


def row_types(example: Example) -> Types:
    """The types with which a row of the example is computed, where its operands are flat."""
    inputs = tuple(
        kind if kind is None or window is None else one_row(kind)
        for kind, window in zip(example.types.inputs, row_windows(example), strict=True)
    )
    return Types(inputs, tuple(one_row(kind) for kind in example.types.outputs))


def is_flat(example: Example, graph: Graph) -> bool:
    """Whether the kernel sees plain pointers, no views of rows."""
    (node,) = graph.nodes
    constants = [
        graph.constant(name) if name and graph.is_constant(name) else None for name in node.inputs
    ]
    call = example.op.kernel(node.inputs, node.outputs, example.types, constants)
    assert call is not None
    return not any(isinstance(operand, Rows) for operand in call.operands)


def row_graph(example: Example, graph: Graph) -> Graph:
    """The example's graph for a single row; its constants are read whole."""
    (node,), kinds = graph.nodes, row_types(example)
    for name, window in zip(node.inputs, row_windows(example), strict=True):
        assert window is None or name not in graph.constants
    types = {
        name: kind
        for name, kind in zip(
            (*node.inputs, *node.outputs), (*kinds.inputs, *kinds.outputs), strict=True
        )
        if kind is not None
    }
    inputs, outputs = (
        tuple(replace(port, shape=types[port.value].shape) for port in ports)
        for ports in (graph.inputs, graph.outputs)
    )
    return graph.replace(types=types, inputs=inputs, outputs=outputs)


def run_on_host(
    graphs: Sequence[Graph],
    inputs: Sequence[Sequence[dict[str, np.ndarray]]],
    folder: Path,
    *,
    cc: str = "gcc",
    flags: Sequence[str] = SANITIZE,
    features: Collection[str] = (),
) -> list[list[list[np.ndarray]]]:
    """Outputs of each graph for each of its runs in a row, all graphs in one program.

    ``features``: those of the core whose kernels are taken."""
    calls, sources, feed = [], [], b""
    for index, (graph, runs) in enumerate(zip(graphs, inputs, strict=True)):
        name = f"case{index}"
        found = plan(graph, features)
        for path, text in emit(found, name).items():
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        sources += [f"{name}/{name}.c", f"{name}/{name}_weights.c"]
        calls.append((name, len(runs)))
        for values in runs:
            feed += b"".join(values[port.value].tobytes() for port in graph.inputs)
    (folder / "main.c").write_text(_main(calls))
    command = [cc, "-std=c11", "-O1", "-ffp-contract=off", *WARNINGS, *flags, "main.c", *sources,
               "-o", "main", "-lm"]  # fmt: skip
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:4000]
    done = subprocess.run(["./main"], cwd=folder, input=feed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:4000]
    results, place = [], 0
    for graph, runs in zip(graphs, inputs, strict=True):
        outputs = []
        for _ in runs:
            values = []
            for port in graph.outputs:
                kind = graph.type(port.value)
                raw = done.stdout[place : place + kind.bytes]
                values.append(np.frombuffer(raw, kind.dtype.numpy).reshape(kind.shape))
                place += kind.bytes
            outputs.append(values)
        results.append(outputs)
    assert place == len(done.stdout)
    return results


def _main(calls: Sequence[tuple[str, int]]) -> str:
    lines = ["#include <stdio.h>", "#include <stdlib.h>"]
    lines += [f'#include "{name}/{name}.h"' for name, _ in calls]
    lines += ["int main(void) {"]
    for name, runs in calls:
        macro = name.upper()
        lines += [
            "  {",
            # malloc ends where the arena ends, so that the sanitizer sees a byte beyond it
            f"    uint8_t *arena = malloc({macro}_ARENA_BYTES ? {macro}_ARENA_BYTES : 1);",
            f"    {name}_context context;",
            f"    if ({name}_init(&context, arena, {macro}_ARENA_BYTES) != TM_OK) return 1;",
            f"    for (int run = 0; run < {runs}; ++run) {{",
            f"      for (int i = 0; i < {macro}_INPUT_COUNT; ++i) {{",
            f"        size_t n = {name}_input_bytes(i);",
            f"        if (fread({name}_input(&context, i), 1, n, stdin) != n) return 2;",
            "      }",
            f"      if ({name}_run(&context) != TM_OK) return 3;",
            f"      for (int i = 0; i < {macro}_OUTPUT_COUNT; ++i)",
            f"        fwrite({name}_output(&context, i), 1, {name}_output_bytes(i), stdout);",
            "    }",
            "    free(arena);",
            "  }",
        ]
    return "\n".join([*lines, "  return 0;", "}", ""])
