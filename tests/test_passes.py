"""Passes as text: the graph that goes in, the graph that comes out."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest

import tinymill.ops  # noqa: F401  registers all ops
from tinymill.errors import UnsupportedOp
from tinymill.ir import (
    DType,
    Graph,
    GraphBuilder,
    Port,
    Quant,
    TensorType,
    interpret,
    print_graph,
    verify,
)
from tinymill.ops.binary import Binary
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.log_softmax import LogSoftmax
from tinymill.ops.pad import Pad
from tinymill.ops.quantization import Dequantize, Quantize
from tinymill.ops.reshape import Reshape
from tinymill.ops.softmax import Softmax
from tinymill.ops.transpose import Transpose
from tinymill.ops.unary import Unary
from tinymill.passes.drop_softmax import drop_softmax
from tinymill.passes.eliminate import eliminate
from tinymill.passes.fold import fold_flatten, fold_padding
from tinymill.passes.fuse_activation import fuse_activation
from tinymill.passes.fuse_qdq import fuse_qdq
from tinymill.passes.layout import layout
from tinymill.passes.move_quantization import hoist_quantize, sink_dequantize
from tinymill.passes.signed_bytes import signed_bytes
from tinymill.passes.strip_ends import strip_ends
from tinymill.passes.tabulate import tabulate

FIRST = Quant((0.5,), (3,))
SECOND = Quant((0.25,), (-8,))
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class Sketch:
    """Builds small graphs for tests."""

    def __init__(self) -> None:
        self.builder = GraphBuilder("sketch")
        self.rng = np.random.default_rng(3)

    def input(self, name: str, shape, dtype=DType.FLOAT32, quant=None) -> str:
        self.builder.types[name] = TensorType(shape, dtype, quant)
        self.builder.inputs.append(Port(name, name, shape, tuple(range(len(shape)))))
        return name

    def constant(self, array: np.ndarray, quant=None) -> str:
        return self.builder.constant(array, stem="c", quant=quant)

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def add(self, op, *inputs: str, name: str, quant=None) -> str:
        (value,) = self.builder.add(op, inputs, name=name, outputs=[name], quants=[quant])
        return value

    def finish(self, *outputs: str) -> Graph:
        for value in outputs:
            shape = self.builder.types[value].shape
            self.builder.outputs.append(Port(value, value, shape, tuple(range(len(shape)))))
        graph = self.builder.finish()
        verify(graph)
        return graph


def check(graph: Graph, step, expected: str) -> Graph:
    """The pass gives ``expected`` and a graph of the same meaning."""
    after = step(graph)
    verify(after)
    assert print_graph(after) == dedent(expected).lstrip()
    rng = np.random.default_rng(4)
    source = {}
    for port in graph.inputs:
        kind = graph.type(port.value)
        if kind.dtype is DType.FLOAT32:
            source[port.name] = rng.uniform(-4, 4, port.shape).astype(np.float32)
        else:
            low, high = kind.dtype.limits
            source[port.name] = rng.integers(low, high + 1, port.shape).astype(kind.dtype.numpy)
    results = []
    for each in (graph, after):
        values = interpret(each, {
            port.value: port.from_source(source[port.name], each.type(port.value).shape)
            for port in each.inputs
        })  # fmt: skip
        results.append([port.to_source(values[port.value]) for port in each.outputs])
    for one, other in zip(*results, strict=True):
        if one.dtype == np.float32:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)
    return after


def test_layout_leaves_no_transposes_between_convolutions():
    s = Sketch()
    x = s.input("x", (1, 3, 8, 8))
    a = s.add(Transpose(TO_NHWC), x, name="a")
    b = s.add(Conv2D(pad=(1, 1, 1, 1)), a, s.weights(4, 3, 3, 3), name="b")
    c = s.add(Transpose(TO_NCHW), b, name="c")
    d = s.add(Unary("relu"), c, name="d")
    e = s.add(Binary("add"), d, s.weights(4, 1, 1), name="e")
    f = s.add(Transpose(TO_NHWC), e, name="f")
    g = s.add(Conv2D(), f, s.weights(2, 1, 1, 4), name="g")
    h = s.add(Transpose(TO_NCHW), g, name="h")
    check(s.finish(h), layout, """
        graph sketch
          in  x.1: float32[1x8x8x3] source order [0, 2, 3, 1]
          b: float32[1x8x8x4] = Conv2D[pad=(1, 1, 1, 1)](x.1, <float32[4x3x3x3]>)
          d.2: float32[1x8x8x4] = Relu[function=relu](b)
          e.4: float32[1x8x8x4] = Add[function=add](d.2, <float32[1x1x1x4]>)
          g: float32[1x8x8x2] = Conv2D(e.4, <float32[2x1x1x4]>)
          out g: float32[1x8x8x2] source order [0, 2, 3, 1]
    """)  # fmt: skip


def test_layout_keeps_a_transpose_that_is_needed():
    s = Sketch()
    x = s.input("x", (1, 3, 4, 5))
    a = s.add(Transpose(TO_NHWC), x, name="a")
    b = s.add(Binary("add"), a, s.input("y", (1, 4, 5, 3)), name="b")
    c = s.add(Reshape((4, 15)), b, name="c")
    d = s.add(Reshape((1, 60)), x, name="d")
    after = layout(s.finish(c, d))
    verify(after)
    assert sum(isinstance(node.op, Transpose) for node in after.nodes) == 1


def test_activation_becomes_a_clamp():
    s = Sketch()
    x = s.input("x", (1, 4, 4, 2))
    a = s.add(Conv2D(), x, s.weights(3, 1, 1, 2), name="a")
    b = s.add(Unary("relu"), a, name="b")
    c = s.add(Unary("clip", -1.0, 6.0), b, name="c")
    check(s.finish(c), fuse_activation, """
        graph sketch
          in  x: float32[1x4x4x2]
          c: float32[1x4x4x3] = Conv2D[clamp=(0.0, 6.0)](x, <float32[3x1x1x2]>)
          out c: float32[1x4x4x3]
    """)  # fmt: skip


def test_an_activation_that_is_not_alone_stays():
    s = Sketch()
    x = s.input("x", (1, 4, 4, 2))
    a = s.add(Conv2D(), x, s.weights(3, 1, 1, 2), name="a")
    b = s.add(Unary("relu"), a, name="b")
    graph = s.finish(a, b)
    assert print_graph(fuse_activation(graph)) == print_graph(graph)


def quantized_convolution() -> tuple[Sketch, str]:
    s = Sketch()
    x = s.input("x", (1, 4, 4, 2))
    q = s.add(Quantize(), x, name="q", quant=FIRST)
    r = s.add(Dequantize(), q, name="r")
    quant = Quant((0.125, 0.0625, 0.5), (0, 0, 0), 0)
    w = s.constant(s.rng.integers(-9, 9, (3, 1, 1, 2)).astype(np.int8), quant)
    v = s.add(Dequantize(), w, name="v")
    y = s.add(Conv2D(clamp=(0.0, np.inf)), r, v, s.weights(3), name="y")
    z = s.add(Quantize(), y, name="z", quant=SECOND)
    return s, s.add(Dequantize(), z, name="out")


def test_dequantize_op_quantize_becomes_an_integer_op():
    s, out = quantized_convolution()
    graph = eliminate(fuse_qdq(strip_ends(s.finish(out))))
    verify(graph)
    expected = """
        graph sketch
          in  q: int8[1x4x4x2](s=0.5, z=3)
          z: int8[1x4x4x3](s=0.25, z=-8) = Conv2D[clamp=(-8, 127), rescale=float x3](q, W, B)
          out z: int8[1x4x4x3](s=0.25, z=-8)
    """
    text = dedent(expected).lstrip().replace("W,", "<int8[3x1x1x2](per axis 0)>,")
    assert print_graph(graph) == text.replace("B)", "<int32[3]>)")


def test_moving_ops_work_on_integers():
    s = Sketch()
    x = s.input("x", (1, 2, 2, 3), DType.INT8, FIRST)
    a = s.add(Dequantize(), x, name="a")
    b = s.add(Pad((0, 1, 0, 0), (0, 0, 1, 0), 2.0), a, name="b")
    c = s.add(Reshape((1, 27)), b, name="c")
    check(s.finish(c), sink_dequantize, """
        graph sketch
          in  x: int8[1x2x2x3](s=0.5, z=3)
          b.1: int8[1x3x3x3](s=0.5, z=3) = Pad[before=(0, 1, 0, 0), after=(0, 0, 1, 0), value=7.0](x)
          c.2: int8[1x27](s=0.5, z=3) = Reshape[shape=(1, 27)](b.1)
          c: float32[1x27] = Dequantize(c.2)
          out c: float32[1x27]
    """)  # fmt: skip  # noqa: E501


def test_quantize_goes_above_moving_ops():
    s = Sketch()
    x = s.input("x", (1, 2, 2, 3))
    a = s.add(Unary("abs"), x, name="a")
    b = s.add(Reshape((1, 12)), a, name="b")
    c = s.add(Quantize(), b, name="c", quant=FIRST)
    check(s.finish(c), hoist_quantize, """
        graph sketch
          in  x: float32[1x2x2x3]
          a: float32[1x2x2x3] = Abs[function=abs](x)
          c.1: int8[1x2x2x3](s=0.5, z=3) = Quantize(a)
          c: int8[1x12](s=0.5, z=3) = Reshape[shape=(1, 12)](c.1)
          out c: int8[1x12](s=0.5, z=3)
    """)  # fmt: skip


def test_unsigned_bytes_become_signed():
    s = Sketch()
    x = s.input("x", (1, 4), DType.UINT8, Quant((0.5,), (131,)))
    a = s.add(Dequantize(), x, name="a")
    b = s.add(Unary("abs"), a, name="b")
    c = s.add(Quantize(DType.UINT8), b, name="c", quant=Quant((0.5,), (10,)))
    check(s.finish(c), signed_bytes, """
        graph sketch
          in  x: uint8[1x4](s=0.5, z=131)
          x.1: int8[1x4](s=0.5, z=3) = Recode(x)
          a: float32[1x4] = Dequantize(x.1)
          b: float32[1x4] = Abs[function=abs](a)
          c.2: int8[1x4](s=0.5, z=-118) = Quantize(b)
          c: uint8[1x4](s=0.5, z=10) = Recode(c.2)
          out c: uint8[1x4](s=0.5, z=10)
    """)  # fmt: skip


def test_a_function_of_one_byte_becomes_a_table():
    s = Sketch()
    x = s.input("x", (1, 4), DType.INT8, FIRST)
    a = s.add(Dequantize(), x, name="a")
    b = s.add(Binary("mul"), a, s.constant(np.array([0.5], np.float32)), name="b")
    c = s.add(Unary("tanh"), b, name="c")
    d = s.add(Quantize(), c, name="d", quant=SECOND)
    after = tabulate(s.finish(d))
    verify(after)
    assert [node.op.name for node in eliminate(after).nodes] == ["Table"]
    x0 = np.array([[-128, -3, 3, 127]], np.int8)
    before = interpret(s.finish(), {"x": x0})["d"]
    np.testing.assert_array_equal(interpret(after, {"x": x0})["d"], before)


def test_padding_goes_into_the_convolution():
    s = Sketch()
    x = s.input("x", (1, 4, 4, 2))
    a = s.add(Pad((0, 1, 0, 0), (0, 0, 2, 0)), x, name="a")
    b = s.add(Conv2D(pad=(0, 1, 0, 1)), a, s.weights(3, 3, 3, 2), name="b")
    check(s.finish(b), fold_padding, """
        graph sketch
          in  x: float32[1x4x4x2]
          b: float32[1x3x6x3] = Conv2D[pad=(1, 1, 0, 3)](x, <float32[3x3x3x2]>)
          out b: float32[1x3x6x3]
    """)  # fmt: skip


def test_padding_with_another_value_stays():
    s = Sketch()
    x = s.input("x", (1, 4, 4, 2))
    a = s.add(Pad((0, 1, 1, 0), (0, 1, 1, 0), 0.5), x, name="a")
    b = s.add(Conv2D(), a, s.weights(3, 3, 3, 2), name="b")
    graph = s.finish(b)
    assert print_graph(fold_padding(graph)) == print_graph(graph)


def test_flattening_permutes_the_weights():
    s = Sketch()
    x = s.input("x", (2, 3, 4, 5))
    a = s.add(Transpose(TO_NCHW), x, name="a")
    b = s.add(Reshape((2, 60)), a, name="b")
    c = s.add(FullyConnected(), b, s.weights(7, 60), name="c")
    check(s.finish(c), lambda graph: eliminate(fold_flatten(graph)), """
        graph sketch
          in  x: float32[2x3x4x5]
          b.2: float32[2x60] = Reshape[shape=(2, 60)](x)
          c: float32[2x7] = FullyConnected(b.2, <float32[7x60]>)
          out c: float32[2x7]
    """)  # fmt: skip


PROBABILITIES = Quant((1 / 256,), (-128,))


def logits(s: Sketch) -> str:
    """Three integers a class, from integers."""
    x = s.input("x", (2, 4), DType.INT8, FIRST)
    return s.add(Unary("relu"), x, name="logits", quant=FIRST)


def dropped(graph: Graph, expected: str) -> None:
    after = drop_softmax(graph)
    verify(after)
    assert print_graph(after) == dedent(expected).lstrip()


def test_the_last_softmax_is_left_out():
    s = Sketch()
    a = s.add(Softmax(dtype=DType.INT8), logits(s), name="a", quant=PROBABILITIES)
    dropped(s.finish(a), """
        graph sketch
          in  x: int8[2x4](s=0.5, z=3)
          logits: int8[2x4](s=0.5, z=3) = Relu[function=relu](x)
          out logits: int8[2x4](s=0.5, z=3)
    """)  # fmt: skip


def test_a_softmax_is_found_behind_what_moves_and_recodes():
    s = Sketch()
    a = s.add(Softmax(dtype=DType.INT8), logits(s), name="a", quant=PROBABILITIES)
    b = s.add(Reshape((1, 2, 4)), a, name="b", quant=PROBABILITIES)
    c = s.add(Dequantize(), b, name="c")
    d = s.add(Transpose((0, 2, 1)), c, name="d")
    dropped(s.finish(d), """
        graph sketch
          in  x: int8[2x4](s=0.5, z=3)
          logits: int8[2x4](s=0.5, z=3) = Relu[function=relu](x)
          a.1: float32[2x4] = Dequantize(logits)
          b.2: float32[1x2x4] = Reshape[shape=(1, 2, 4)](a.1)
          d.3: float32[1x4x2] = Transpose[order=(0, 2, 1)](b.2)
          out d.3: float32[1x4x2]
    """)  # fmt: skip


def test_integers_stay_integers_without_a_float_softmax():
    s = Sketch()
    a = s.add(Dequantize(), logits(s), name="a")
    b = s.add(LogSoftmax(), a, name="b")
    c = s.add(Quantize(), b, name="c", quant=SECOND)
    other = s.add(Unary("relu"), a, name="other")
    dropped(s.finish(c, other), """
        graph sketch
          in  x: int8[2x4](s=0.5, z=3)
          logits: int8[2x4](s=0.5, z=3) = Relu[function=relu](x)
          a: float32[2x4] = Dequantize(logits)
          other: float32[2x4] = Relu[function=relu](a)
          out logits: int8[2x4](s=0.5, z=3)
          out other: float32[2x4]
    """)  # fmt: skip


def test_what_ends_in_no_softmax_says_in_what():
    s = Sketch()
    backwards = s.add(Softmax(beta=-1.0), s.input("y", (1, 3)), name="backwards")
    graph = s.finish(s.add(Reshape((4, 2)), logits(s), name="a", quant=FIRST), backwards)
    with pytest.raises(UnsupportedOp, match=r"output 'a'.*: ends in Relu 'logits', Softmax"):
        drop_softmax(graph)
    s = Sketch()
    with pytest.raises(UnsupportedOp, match="output 'a': is a softmax of an input"):
        drop_softmax(s.finish(s.add(Softmax(), s.input("x", (1, 3)), name="a")))


def test_dead_and_repeated_nodes_go():
    s = Sketch()
    x = s.input("x", (1, 6))
    a = s.add(Unary("exp"), x, name="a")
    b = s.add(Unary("exp"), x, name="b")
    s.add(Unary("tanh"), x, name="dead")
    c = s.add(Binary("add"), a, b, name="c")
    d = s.add(Reshape((2, 3)), c, name="d")
    e = s.add(Reshape((3, 2)), d, name="e")
    check(s.finish(e), eliminate, """
        graph sketch
          in  x: float32[1x6]
          a: float32[1x6] = Exp[function=exp](x)
          c: float32[1x6] = Add[function=add](a, a)
          e: float32[3x2] = Reshape[shape=(3, 2)](c)
          out e: float32[3x2]
    """)  # fmt: skip


@pytest.mark.parametrize("wrong", ["shape", "order", "twice"])
def test_the_verifier_names_what_is_wrong(wrong):
    s = Sketch()
    x = s.input("x", (1, 6))
    a = s.add(Unary("exp"), x, name="a")
    b = s.add(Unary("abs"), a, name="b")
    graph = s.finish(b)
    if wrong == "shape":
        graph = graph.replace(types={**graph.types, "a": TensorType((2, 3), DType.FLOAT32)})
    elif wrong == "order":
        graph = graph.replace(nodes=graph.nodes[::-1])
    else:
        graph = graph.replace(nodes=(*graph.nodes, graph.nodes[0]))
    with pytest.raises(AssertionError, match="'a'"):
        verify(graph)
