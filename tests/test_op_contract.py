"""Every op: the C of its kernels gives what its numpy reference gives."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinymill.ops  # noqa: F401  registers all ops
from contract import example_graph, random_inputs, run_on_host
from tinymill.ir import DType, Op, interpret, verify

RUNS = 3


def all_ops() -> list[type[Op]]:
    found: list[type[Op]] = []
    waiting = [Op]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith("tinymill.ops"):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", all_ops(), ids=lambda kind: kind.__name__)
def test_kernels_equal_reference(kind, tmp_path):
    examples = list(kind.examples())
    if not examples:
        assert any(issubclass(other, kind) and other is not kind for other in all_ops()), (
            f"{kind.__name__} has no examples"
        )
        return
    graphs, inputs = [], []
    for index, example in enumerate(examples):
        graph = example_graph(example, f"case{index}")
        verify(graph)
        graphs.append(graph)
        inputs.append([random_inputs(graph, example.ranges, seed) for seed in range(RUNS)])
    results = run_on_host(graphs, inputs, tmp_path)
    for example, graph, runs, outputs in zip(examples, graphs, inputs, results, strict=True):
        state: dict[str, np.ndarray] = {}
        for values, found in zip(runs, outputs, strict=True):
            truth = interpret(graph, values, state)
            for port, got in zip(graph.outputs, found, strict=True):
                compare(got, truth[port.value], example)


def compare(got: np.ndarray, want: np.ndarray, example) -> None:
    if DType.of(want.dtype) is DType.FLOAT32:
        scale = max(1.0, float(np.max(np.abs(want), initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * scale, err_msg=str(example.op))
    else:
        np.testing.assert_array_equal(got, want, err_msg=str(example.op))
