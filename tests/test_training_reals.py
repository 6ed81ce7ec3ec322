"""Gradients of float graphs: against finite differences op by op, against torch as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_op_contract import all_ops

from contract import example_graph, random_inputs
from tinymill.errors import UnsupportedOp
from tinymill.ir import DType, Example, Graph, GraphBuilder, Op, Port, TensorType, interpret, verify
from tinymill.ops.binary import Binary
from tinymill.ops.conv import Conv2D
from tinymill.ops.conv_transpose import ConvTranspose
from tinymill.ops.dense import FullyConnected
from tinymill.ops.log_softmax import LogSoftmax
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reshape import Reshape
from tinymill.ops.resize import ResizeNearest
from tinymill.ops.unary import Unary
from tinymill.training.reals import gradient_graph

STEP = 1e-3
RULED = [kind for kind in all_ops() if kind.gradient is not Op.gradient]
NEEDED = set(
    "Conv2D ConvTranspose FullyConnected MatMul Binary Unary MaxPool AveragePool Reduce Concat "
    "Split Slice Pad Reshape Transpose ResizeNearest Softmax LogSoftmax BatchNorm PRelu "
    "Expand".split()
)


def test_the_ops_of_networks_have_gradients() -> None:
    assert {kind.__name__ for kind in RULED} >= NEEDED


def float_examples(kind: type[Op]) -> list[Example]:
    """The examples on floats alone."""
    return [
        example
        for example in kind.examples()
        if all(k is None or k.dtype is DType.FLOAT32 for k in example.types.inputs)
        and all(k.dtype is DType.FLOAT32 for k in example.types.outputs)
        and not example.op.mutates
    ]


@pytest.mark.parametrize("kind", RULED, ids=lambda kind: kind.__name__)
def test_gradients_are_finite_differences(kind: type[Op]) -> None:
    """By each input, along a random direction of some of its values."""
    seen = 0
    for example in float_examples(kind):
        graph = example_graph(example, "case")
        for seed in range(2):
            try:
                seen += check(graph, example, seed)
            except UnsupportedOp as error:
                assert "the gradient of" in str(error)
    assert seen, "no example has a gradient"


def check(graph: Graph, example: Example, seed: int) -> int:
    """Compares slopes; the number of those compared."""
    rng = np.random.default_rng(seed + 7)
    values = {**graph.constants, **random_inputs(graph, example.ranges, seed)}
    by = list(dict.fromkeys(name for name in graph.nodes[0].inputs if name))
    if isinstance(example.op, Unary) and example.ranges[0] < 0:
        # away from the ends of what logarithms and roots take
        positive = example.op.function in ("log", "sqrt", "rsqrt", "reciprocal")
        values = {n: np.abs(a) + np.float32(0.5) if positive else a for n, a in values.items()}
    output = graph.nodes[0].outputs[0]
    free = graph.replace(
        constants={},
        inputs=tuple(Port(n, n, graph.type(n).shape, tuple(range(graph.type(n).rank))) for n in by),
    )
    whole = gradient_graph(free, output, by)
    weighting = rng.standard_normal(graph.type(output).shape).astype(np.float32)
    found = interpret(whole, {**values, whole.inputs[-1].value: weighting})
    slopes = [found[port.value] for port in whole.outputs[1:]]

    def along(directions: dict[str, np.ndarray]) -> float:
        ends = []
        for sign in (STEP, -STEP):
            moved = {n: (a + sign * directions.get(n, 0)).astype(np.float32)
                     for n, a in values.items()}  # fmt: skip
            ends.append(interpret(free, moved)[output].astype(np.float64))
        return float(((ends[0] - ends[1]) * weighting).sum() / (2 * STEP))

    for name, slope in zip(by, slopes, strict=True):
        # few places, so that few kinks lie between the ends
        direction = np.zeros(values[name].size)
        places = rng.permutation(direction.size)[:6]
        direction[places] = rng.choice([-1.0, 1.0], len(places))
        direction = direction.reshape(values[name].shape)
        want, got = along({name: direction}), float((slope * direction).sum())
        size = float(np.linalg.norm(slope)) + 0.1
        assert got == pytest.approx(want, rel=0.02, abs=0.01 * size), (example.op, name)
    return len(by)


class Chain:
    """A float network, op after op."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.builder = GraphBuilder("chain")
        self.rng = np.random.default_rng(2)
        self.builder.types["x"] = TensorType(shape, DType.FLOAT32)
        order = tuple(range(len(shape)))
        self.builder.inputs = [Port("x", "x", shape, order)]
        self.last = "x"
        self.learnt: list[str] = []

    def numbers(self, *shape: int) -> str:
        array = (self.rng.standard_normal(shape) * 0.3).astype(np.float32)
        self.learnt.append(self.builder.constant(array, stem="w"))
        return self.learnt[-1]

    def add(self, op: Op, *others: str, first: str | None = None) -> str:
        (self.last,) = self.builder.add(op, [first or self.last, *others], name=op.name)
        return self.last

    def graph(self) -> Graph:
        kind = self.builder.types[self.last]
        order = tuple(range(kind.rank))
        self.builder.outputs = [Port(self.last, "y", kind.shape, order)]
        found = self.builder.finish()
        verify(found)
        return found


def network() -> Chain:
    """Standard, strided, dilated, grouped and transposed convolutions; a residual; both poolings;
    an enlargement; two images at a time."""
    net = Chain((2, 11, 10, 3))
    net.add(
        Conv2D((2, 1), (1, 2), (1, 2, 1, 2), 1, (0.0, 6.0)), net.numbers(8, 3, 3, 3), net.numbers(8)
    )
    before = net.last
    net.add(Conv2D((1, 1), (1, 1), (1, 1, 1, 1), 8), net.numbers(8, 3, 3, 1), net.numbers(8))
    net.add(Unary("swish", 1.0))
    net.add(Conv2D(groups=2), net.numbers(8, 1, 1, 4))
    net.add(Binary("add"), before)
    net.add(MaxPool((2, 2), (2, 2)))
    net.add(ResizeNearest((0, 0, 1, 1, 2, 2), (0, 1, 1, 2, 3, 4)))
    net.add(ConvTranspose((12, 13), (2, 2), (1, 0), (1, 1), 2), net.numbers(6, 3, 3, 4))
    net.add(Unary("leakyrelu", 0.1))
    net.add(AveragePool((3, 3), (2, 2), (1, 1, 1, 1)))
    net.add(Unary("tanh"))
    shape = net.builder.types[net.last].shape
    net.add(Reshape((2, shape[1] * shape[2] * shape[3])))
    net.add(FullyConnected(), net.numbers(5, shape[1] * shape[2] * shape[3]), net.numbers(5))
    net.add(LogSoftmax())
    return net


def in_torch(torch: Any, x: Any, w: list[Any]) -> Any:
    """The same network, on NCHW maps; weights are OHWI."""
    f = torch.nn.functional

    def oihw(array: Any) -> Any:
        return array.permute(0, 3, 1, 2)

    y = f.conv2d(x.permute(0, 3, 1, 2), oihw(w[0]), w[1], (2, 1), (1, 2), (1, 2)).clamp(0, 6)
    before = y
    y = f.silu(f.conv2d(y, oihw(w[2]), w[3], padding=1, groups=8))
    y = f.conv2d(y, oihw(w[4]), groups=2) + before
    y = f.max_pool2d(y, 2)
    y = y[:, :, [0, 0, 1, 1, 2, 2]][..., [0, 1, 1, 2, 3, 4]]
    # [O, KH, KW, I / groups] as torch has it: [I, O / groups, KH, KW]
    kernel = w[5].reshape(2, 3, 3, 3, 4).permute(0, 4, 1, 2, 3).reshape(8, 3, 3, 3)
    y = f.conv_transpose2d(y, kernel, None, 2, (1, 0), (1, 0), 2)
    y = f.leaky_relu(y, 0.1)
    y = torch.tanh(f.avg_pool2d(y, 3, 2, 1, count_include_pad=False))
    y = y.permute(0, 2, 3, 1).reshape(2, -1)
    return torch.log_softmax(y @ w[6].T + w[7], dim=1)


def test_a_network_has_the_gradients_of_torch() -> None:
    torch = pytest.importorskip("torch")
    net = network()
    graph = net.graph()
    by = ["x", *net.learnt]
    whole = gradient_graph(graph, net.last, by)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 11, 10, 3)).astype(np.float32)
    seed = rng.standard_normal((2, 5)).astype(np.float32)
    found = interpret(whole, {"x": x, whole.inputs[-1].value: seed})
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True)
              for a in (x, *(graph.constants[name] for name in net.learnt))]  # fmt: skip
    y = in_torch(torch, leaves[0], leaves[1:])
    np.testing.assert_allclose(found[net.last], y.detach().numpy(), rtol=1e-4, atol=1e-5)
    y.backward(torch.tensor(seed, dtype=torch.float64))
    for port, leaf in zip(whole.outputs[1:], leaves, strict=True):
        want = leaf.grad.numpy()
        size = np.abs(want).max()
        assert size > 1e-4
        np.testing.assert_allclose(found[port.value], want, rtol=1e-3, atol=1e-5 * size + 1e-7)


def test_values_that_do_not_matter_have_no_gradient() -> None:
    net = Chain((1, 4))
    unused = net.numbers(4)
    net.add(Unary("square"))
    net.builder.outputs = []
    graph = net.graph()
    graph = graph.replace(
        types={**graph.types, unused: TensorType((4,), DType.FLOAT32)},
        constants={**graph.constants, unused: np.ones(4, np.float32)},
    )
    whole = gradient_graph(graph, net.last, ["x", unused])
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    found = interpret(whole, {"x": x, whole.inputs[-1].value: np.ones((1, 4), np.float32)})
    slopes = [found[port.value] for port in whole.outputs[1:]]
    np.testing.assert_array_equal(slopes[0], 2 * x)
    np.testing.assert_array_equal(slopes[1], np.zeros(4))


@pytest.mark.parametrize("make", [lambda: Unary("erf"), lambda: Unary("gelu")])
def test_an_op_without_rule_is_named(make: Callable[[], Op]) -> None:
    net = Chain((1, 4))
    net.add(make())
    graph = net.graph()
    with pytest.raises(UnsupportedOp, match=r"(Erf|Gelu): the gradient of (erf|gelu)"):
        gradient_graph(graph, net.last, ["x"])
