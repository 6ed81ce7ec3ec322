"""Every op: the C of its kernels gives what its numpy reference gives, whole and row by row."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinymill.ops  # noqa: F401  registers all ops
from contract import (
    example_graph,
    is_flat,
    random_inputs,
    row_graph,
    row_types,
    row_windows,
    run_on_host,
)
from tinymill.ir import (
    POINT,
    SAME_ROW,
    DType,
    Example,
    Graph,
    Op,
    Reading,
    RowTable,
    TensorType,
    Types,
    Window,
    interpret,
    verify,
)
from tinymill.ops.conv_transpose import ConvTranspose
from tinymill.ops.pad import Pad
from tinymill.ops.reduce import Reduce
from tinymill.ops.resize import ResizeNearest
from tinymill.ops.slice import Slice
from tinymill.ops.split import Split
from tinymill.ops.transpose import Transpose

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
    if not examples and kind.of_variables:
        return  # there is nothing to call; tests/test_sliding.py has such ops beside others
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


# -- rows -----------------------------------------------------------------------------------

Arrays = list[np.ndarray | None]


def cases(kind: type[Op]) -> list[tuple[Example, Graph]]:
    """The examples of an op that tell what their rows read."""
    if kind.windows is Op.windows:
        return []
    examples = [example for example in kind.examples() if any(row_windows(example))]
    return [(example, example_graph(example, "case")) for example in examples]


def arrays_of(example: Example, graph: Graph, seed: int) -> Arrays:
    """Random inputs, and the constants, in the order of the op's inputs."""
    values = {**random_inputs(graph, example.ranges, seed), **graph.constants}
    return [values[name] if name else None for name in graph.nodes[0].inputs]


def changed(x: np.ndarray) -> np.ndarray:
    """Every element another."""
    if x.dtype == np.float32:
        return x[..., ::-1] + np.float32(1)
    return ~x


WITH_ROWS = [kind for kind in all_ops() if cases(kind)]
TELLING = [k for k in all_ops() if k.windows is not Op.windows and list(k.examples())]


@pytest.mark.parametrize("kind", TELLING, ids=lambda kind: kind.__name__)
def test_rows_outside_the_window_are_not_read(kind: type[Op]) -> None:
    assert cases(kind), "no example tells what its rows read"
    for example, graph in cases(kind):
        check_rows(example, graph, row_windows(example))


def check_rows(example: Example, graph: Graph, windows: tuple[Reading | None, ...]) -> None:
    """Changes the rows that ``windows`` leave out, and with ``POINT`` all other elements."""
    op, types = example.op, example.types
    arrays = arrays_of(example, graph, 0)
    whole = op.reference(arrays, types)
    height = types.outputs[0].shape[1]
    for position, window in enumerate(windows):
        x = arrays[position]
        if window is None:
            continue
        assert x is not None
        other = changed(x)
        first, last = window.spans(height, x.shape[1])
        assert np.all(np.diff(first) >= 0) and np.all(np.diff(last) >= 0)
        for y in range(height):
            rows = np.arange(x.shape[1])[None, :, None, None]
            kept = np.where((rows >= first[y]) & (rows < last[y]), x, other)
            again = op.reference([*arrays[:position], kept, *arrays[position + 1 :]], types)
            for got, want in zip(again, whole, strict=True):
                np.testing.assert_array_equal(got[:, y], want[:, y], err_msg=f"{op}, row {y}")
        if window is POINT:
            some = np.arange(x.size).reshape(x.shape) % 3 == 1
            (got,) = op.reference(
                [*arrays[:position], np.where(some, x, other), *arrays[position + 1 :]], types
            )
            np.testing.assert_array_equal(got[some], whole[0][some], err_msg=str(op))


@pytest.mark.parametrize("kind", WITH_ROWS, ids=lambda kind: kind.__name__)
def test_flat_kernels_compute_single_rows(kind: type[Op], tmp_path) -> None:
    """Ops whose kernels know no rows stay in one, and give it where they see no other."""
    found = [case for case in cases(kind) if is_flat(*case)]
    graphs, inputs, truths = [], [], []
    for example, graph in found:
        windows, types = row_windows(example), row_types(example)
        assert all(window in (None, SAME_ROW) for window in windows)
        arrays = arrays_of(example, graph, 1)
        whole = example.op.reference(arrays, example.types)
        runs, truth = [], []
        for y in range(example.types.outputs[0].shape[1]):
            row = [
                np.ascontiguousarray(x[:, y : y + 1]) if window is not None and x is not None else x
                for x, window in zip(arrays, windows, strict=True)
            ]
            truth.append([output[:, y : y + 1] for output in whole])
            for got, want in zip(example.op.reference(row, types), truth[-1], strict=True):
                compare(got, want, example)
            named = dict(zip(graph.nodes[0].inputs, row, strict=True))
            runs.append({port.value: named[port.value] for port in graph.inputs})
        graphs.append(row_graph(example, graph))
        inputs.append(runs)
        truths.append(truth)
    if not found:
        return
    results = run_on_host(graphs, inputs, tmp_path)
    for (example, _), outputs, truth in zip(found, results, truths, strict=True):
        for got, want in zip(outputs, truth, strict=True):
            for one, other in zip(got, want, strict=True):
                compare(one, other, example)


def narrowed(window: Reading) -> list[Reading]:
    """Readings that leave out rows that ``window`` has."""
    if isinstance(window, Window):
        return [Window(window.kernel, window.stride, window.dilation, window.pad - 1)]
    return [
        RowTable(tuple(y + 1 for y in window.first), window.last),
        RowTable(window.first, tuple(y - 1 for y in window.last)),
    ]


@pytest.mark.parametrize("kind", [ConvTranspose, ResizeNearest, Slice], ids=lambda k: k.__name__)
def test_a_window_too_narrow_is_seen(kind: type[Op]) -> None:
    assert cases(kind)
    for example, graph in cases(kind):
        window, *rest = row_windows(example)
        assert window is not None
        for less in narrowed(window):
            with pytest.raises(AssertionError, match="Arrays are not equal"):
                check_rows(example, graph, (less, *rest))


@pytest.mark.parametrize(
    "op",
    [
        Slice((0, 4, 0, 0), (1, 5, 5, 3), (1, -1, 1, 1)),
        Slice((0, 1, 0, 0), (1, 3, 5, 3), (1, 1, 1, 1)),
        Pad((0, 1, 0, 0), (0, 0, 0, 0)),
        Split(1, (2, 3)),
        Transpose((0, 2, 1, 3)),
        ResizeNearest((0,) * 5, (0,) * 5),
        Reduce("max", (1,)),
    ],
    ids=str,
)
def test_ops_that_leave_the_row_are_read_whole(op: Op) -> None:
    """Rows turned around, cut, added, moved; and more images than one."""
    batch = 2 if isinstance(op, ResizeNearest) else 1
    x = TensorType((batch, 5, 5, 3), DType.INT8)
    assert op.windows(Types((x,), op.infer((x,)))) == (None,)
