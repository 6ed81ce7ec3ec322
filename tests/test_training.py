"""Training: backward passes against finite differences, mantissas against reals, schemes, steps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinymill.api.learning import trainable
from tinymill.errors import InvalidInput, InvalidScheme, UnsupportedOp
from tinymill.frontends import read_model
from tinymill.ir import (
    DType,
    Graph,
    GraphBuilder,
    Op,
    Port,
    Quant,
    TensorType,
    Types,
    interpret,
    verify,
)
from tinymill.ops.arithmetic import fixed_point, float_scale
from tinymill.ops.binary import Binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.conv_gradient import BiasUpdate, ConvInputGradient, ConvWeightUpdate, weight_sums
from tinymill.ops.dense import FullyConnected
from tinymill.ops.gradient_gate import ClampMask
from tinymill.ops.losses import Loss, MarginLoss, SoftmaxLoss, SquaredLoss
from tinymill.ops.mantissas import mix, noise, step_factor
from tinymill.ops.pad import Pad
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.reshape import Reshape
from tinymill.ops.slice import Slice
from tinymill.ops.transpose import Transpose
from tinymill.passes import pipeline, run_passes
from tinymill.training.autodiff import backward
from tinymill.training.exponents import loss_gradient
from tinymill.training.head import with_new_head
from tinymill.training.numbers import NumbersTape
from tinymill.training.reference import Trainer, accuracy
from tinymill.training.scheme import (
    Scheme,
    Weights,
    json_of,
    layers_of,
    parts_of,
    read_scheme,
    scheme_of,
    shipped_schemes,
)
from tinymill.training.step import Training, ancestors, build, logits_of, split

MCUNET = "models/imagenet/mcunet-5fps_int8_qdq.onnx"
EVERYTHING = Scheme(biases=("*",), weights=(Weights("*"),), rounding="nearest")


class Net:
    """Builds small int8 networks with scales that keep values in range."""

    def __init__(self, shape: Sequence[int], seed: int = 0, *, fixed: bool = False) -> None:
        self.builder = GraphBuilder("net")
        self.rng = np.random.default_rng(seed)
        self.fixed = fixed
        self.last = "x"
        quant = Quant((0.02,), (-3,))
        self.builder.types["x"] = TensorType(tuple(shape), DType.INT8, quant)
        self.builder.inputs = [Port("x", "x", tuple(shape), tuple(range(len(shape))))]
        self.count = 0

    def _op(self, op: Op, inputs: list[str], quant: Quant) -> str:
        self.count += 1
        (self.last,) = self.builder.add(op, inputs, name=f"layer{self.count}", quants=[quant])
        return self.last

    def _layer(self, make: type, shape: tuple[int, ...], relu: bool, **fields: object) -> str:
        outs, fan = shape[0], math.prod(shape[1:])
        kind = self.builder.types[self.last]
        scales = self.rng.uniform(0.5, 1.5, outs) * 0.012 / fan**0.5
        quant = Quant((0.03,), (-128,)) if relu else Quant((0.03,), (5,))
        weights = self.builder.constant(
            self.rng.integers(-127, 128, shape).astype(np.int8), stem="weights",
            quant=Quant(tuple(float(np.float32(s)) for s in scales), (0,) * outs, 0),
        )  # fmt: skip
        bias = self.rng.normal(0, 0.2, outs) / (scales * kind.scale)
        m = kind.scale * scales / quant.scale[0]
        how = fixed_point(m) if self.fixed else float_scale(m)
        op = make(rescale=how, **fields)
        held = self.builder.constant(np.rint(bias).astype(np.int32), stem="bias")
        return self._op(op, [self.last, weights, held], quant)

    def conv(
        self, outs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, relu: bool = False
    ) -> str:
        channels = self.builder.types[self.last].shape[3]
        pad = (kernel // 2,) * 4
        return self._layer(
            Conv2D, (outs, kernel, kernel, channels // groups), relu,
            stride=(stride, stride), pad=pad, groups=groups,
        )  # fmt: skip

    def dense(self, outs: int) -> str:
        return self._layer(
            FullyConnected, (outs, self.builder.types[self.last].shape[-1]), relu=False
        )

    def op(self, op: Op, *inputs: str, quant: Quant | None = None) -> str:
        found = list(inputs or [self.last])
        return self._op(op, found, quant or self.builder.types[found[0]].quant)  # type: ignore

    def graph(self) -> Graph:
        kind = self.builder.types[self.last]
        order = tuple(range(kind.rank))
        self.builder.outputs = [Port(self.last, "y", kind.shape, order)]
        found = self.builder.finish()
        verify(found)
        return found


def residual_net(*, fixed: bool = False) -> Graph:
    """Standard, depthwise, grouped and strided layers, both poolings, a residual, a fork."""
    net = Net((1, 8, 9, 3), fixed=fixed)
    net.conv(8, 3, relu=True)
    before = net.op(MaxPool((2, 2), (2, 2)))
    net.conv(8, 3, groups=8, relu=True)
    after = net.conv(8)
    both = net.op(Binary("add"), before, after, quant=Quant((0.05,), (-20,)))
    net.conv(8, 3, stride=2, groups=2)
    net.op(AveragePool((2, 2)))
    net.op(Reshape((1, net.builder.types[net.last].count)))
    net.dense(4)
    assert both
    return net.graph()


def moving_net() -> Graph:
    """Branches that are cut, padded, turned and joined; a mean at the end."""
    net = Net((1, 6, 5, 4), 3)
    first = net.conv(6, 3)
    left = net.op(Slice((0, 1, 0, 0), (1, 4, 5, 6), (1, 1, 1, 1)), first)
    quant = net.builder.types[first].quant
    assert quant is not None
    right = net.op(Pad((0, 0, 0, 0), (0, 0, 1, 0), quant.zero_point[0]), left)
    right = net.op(Slice((0, 0, 1, 0), (1, 4, 5, 6), (1, 1, 1, 1)), right)
    net.op(Concat(3), left, right)
    net.op(Transpose((0, 2, 1, 3)))
    net.conv(5, relu=True)
    net.op(Reduce("mean", (1, 2), False, float_scale([1.5 / 20])), quant=Quant((0.02,), (-128,)))
    net.dense(3)
    return net.graph()


def inputs_of(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """A picture of large patches, another for each seed, and some noise."""
    rng = np.random.default_rng(seed)
    (port,) = graph.inputs
    shape = graph.type(port.value).shape
    patches = rng.uniform(-100, 100, (1, 4, 4, shape[-1]))
    if len(shape) == 4:
        rows, columns = (np.arange(n) * 4 // n for n in shape[1:3])
        patches = patches[:, rows][:, :, columns]
    x = np.resize(patches, shape) + rng.normal(0, 10, shape)
    return {port.value: np.clip(np.rint(x), -128, 127).astype(np.int8)}


def labelled(graph: Graph, count: int, classes: int) -> list[tuple[dict[str, np.ndarray], int]]:
    return [(inputs_of(graph, seed), seed % classes) for seed in range(count)]


def samples_of(examples: Sequence[tuple[dict[str, np.ndarray], int]]) -> list:
    return [(inputs, np.array([label], np.int32)) for inputs, label in examples]


# -- the backward pass ---------------------------------------------------------------------------


def unrounded(graph: Graph, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The quantised graph in float64 without rounding: what its gradients are gradients of."""
    values = {**graph.constants, **values}
    for node in graph.nodes:
        types, op = graph.node_types(node), node.op
        read = [np.asarray(values[name], np.float64) for name in node.inputs]
        x, y = types.input(0), types.output
        if isinstance(op, Conv2D | FullyConnected):
            weights = types.input(1).quant
            assert weights is not None
            m = x.scale * np.array(weights.scale) / y.scale
            if isinstance(op, Conv2D):
                acc = op._correlate(read[0] - x.zero_point, read[1], y.shape)
            else:
                acc = (read[0] - x.zero_point) @ read[1].T
            made = np.clip((acc + read[2]) * m + y.zero_point, -128, 127)
        elif isinstance(op, Binary):
            other = types.input(1)
            real = (read[0] - x.zero_point) * x.scale + (read[1] - other.zero_point) * other.scale
            made = np.clip(real / y.scale + y.zero_point, -128, 127)
        elif isinstance(op, AveragePool):
            total = sum(op._taps(read[0], types, 0.0))
            made = np.asarray(total) / (op.window[0] * op.window[1])
        elif isinstance(op, Reduce):
            mean = (read[0] - x.zero_point).mean(axis=op.axes) * x.scale / y.scale
            made = np.clip(mean + y.zero_point, -128, 127).reshape(y.shape)
        elif isinstance(op, MaxPool):
            made = np.max(np.stack(list(op._taps(read[0], types, -np.inf))), axis=0)
        else:
            (made,) = op.reference(read, types)
        values[node.outputs[0]] = made
    return values


@pytest.mark.parametrize("graph", [residual_net(), moving_net()], ids=["residual", "moving"])
def test_gradients_are_finite_differences(graph: Graph) -> None:
    """Of a random weighting of the outputs, by every weight and bias of some dozens."""
    rng = np.random.default_rng(5)
    output = graph.outputs[0].value
    weighting = rng.standard_normal(graph.type(output).shape)
    inputs: dict[str, np.ndarray] = {k: v.astype(float) for k, v in inputs_of(graph, 1).items()}
    layers = layers_of(graph)
    values = unrounded(graph, inputs)
    tape = NumbersTape(graph, values)
    backward(graph, output, weighting, [layer.node.outputs[0] for layer in layers], tape)

    def loss(name: str, place: int, by: float) -> float:
        array = np.array(graph.constants[name], np.float64)
        array.ravel()[place] += by
        changed = unrounded(replace(graph, constants={**graph.constants, name: array}), inputs)
        return float((changed[output] * weighting).sum())

    seen = 0
    for layer in layers:
        for name, found in (
            (layer.node.inputs[1], tape.weights[layer.node.outputs[0]]),
            (layer.node.inputs[2], tape.biases[layer.node.outputs[0]]),
        ):
            for place in rng.permutation(found.size)[:8]:
                by = 1e-3
                slope = (loss(name, place, by) - loss(name, place, -by)) / (2 * by)
                np.testing.assert_allclose(found.ravel()[place], slope, rtol=1e-4, atol=1e-7)
                seen += abs(slope) > 1e-6
    assert seen > 30


def updates(training: Training) -> list:
    return [n for n in training.step.nodes if isinstance(n.op, ConvWeightUpdate | BiasUpdate)]


@pytest.mark.parametrize(
    ("graph", "sampled"),
    [(residual_net(), True), (residual_net(), False), (residual_net(fixed=True), True),
     (moving_net(), True)],
    ids=["residual", "guessed", "fixed", "moving"],
)  # fmt: skip
def test_mantissas_are_the_gradients(graph: Graph, sampled: bool) -> None:
    """Direction and size of each layer's gradient, from integers and from float64."""
    classes = graph.type(graph.outputs[0].value).count
    examples = labelled(graph, 12, classes)
    samples = samples_of(examples[:6]) if sampled else ()
    training = build(graph, EVERYTHING, samples)
    forward = ancestors(training.step, training.logits)
    by_name = {layer.node.name: layer.node for layer in layers_of(forward)}
    assert {layer.name for layer in training.layers} == set(by_name)
    compared = 0
    for inputs, label in examples[6:]:
        ends = {"label": np.array([label], np.int32), "rate": np.zeros(1, np.float32)}
        values = interpret(training.step, {**inputs, **ends}, {})
        kind = training.step.type(training.logits)
        _, g, exponent = loss_gradient(SoftmaxLoss(), kind, values[training.logits], ends["label"])
        tape = NumbersTape(forward, values)
        trained = [node.outputs[0] for node in by_name.values()]
        backward(forward, training.logits, np.ldexp(g, exponent), trained, tape)
        for node in updates(training):
            layer = by_name[node.name.rsplit(".", 1)[0]]
            x, weights = training.step.type(layer.inputs[0]), training.step.type(layer.inputs[1])
            assert weights.quant is not None
            scales = np.array(weights.quant.scale)
            coefficient = training.step.constants[node.inputs[-1]].astype(np.float64)
            (loss,) = (n for n in training.step.nodes if isinstance(n.op, Loss))
            unit = np.ldexp(1.0, int(values[loss.outputs[2]][0]))
            if isinstance(node.op, BiasUpdate):
                h = values[node.inputs[1]].astype(np.float64)
                found = h.reshape(-1, h.shape[-1]).sum(axis=0)
                found *= coefficient * (scales * x.scale) ** 2 * unit
                want = tape.biases[layer.outputs[0]]
            else:
                assert isinstance(node.op, ConvWeightUpdate)
                data = values[node.inputs[2]].astype(np.float64) - x.zero_point
                want = tape.weights[layer.outputs[0]]
                found = weight_sums(data, values[node.inputs[3]].astype(float), want.shape, node.op)
                found *= (coefficient * scales**2 * unit)[:, None, None, None]
            size = np.linalg.norm(want)
            if size < 1e-9:
                continue
            assert np.linalg.norm(found - want) < 0.03 * size, node.name
            compared += 1
    assert compared > 20


# -- the step ------------------------------------------------------------------------------------


def test_only_what_learns_has_gradients() -> None:
    """Nothing before the first trained layer, no updates that were not asked for."""
    graph = residual_net()
    last = layers_of(graph)[-1].node.name
    training = build(graph, Scheme(biases=(last,)))
    assert [type(node.op) for node in updates(training)] == [BiasUpdate]
    # the logits have a gradient beyond the limits of int8, too
    assert not any(
        isinstance(node.op, ConvInputGradient | ClampMask) for node in training.step.nodes
    )
    training = build(graph, Scheme(biases=2, weights=(Weights(-2, share=0.5),)))
    assert [n.name.rsplit(".", 1)[1] for n in updates(training)] == ["bias", "weights", "bias"]
    assert sum(isinstance(node.op, ConvInputGradient) for node in training.step.nodes) == 1
    (weights,) = (n for n in updates(training) if isinstance(n.op, ConvWeightUpdate))
    assert weights.op.channels == (0, 1)
    assert set(training.inference.variables) == set(training.trained)
    assert training.trained == (
        training.layers[0].weights, training.layers[0].bias, training.layers[1].bias,
    )  # fmt: skip


def test_updates_stand_behind_their_gradient() -> None:
    """So that a gradient dies at once; weights are read before they change."""
    training = build(residual_net(), EVERYTHING)
    nodes = training.step.nodes
    changed: set[str] = set()
    for place, node in enumerate(nodes):
        if isinstance(node.op, ConvWeightUpdate | BiasUpdate):
            layer = node.name.rsplit(".", 1)[0]
            gate = next(n for n, other in enumerate(nodes) if other.name == f"{layer}.gate")
            between = {other.name.rsplit(".", 1)[0] for other in nodes[gate:place]}
            assert between == {layer}
            changed.add(node.inputs[0])
        else:
            assert not changed & set(node.inputs)


def test_inference_is_the_model() -> None:
    """Folded biases and variables change nothing."""
    for graph in (residual_net(), residual_net(fixed=True), moving_net()):
        training = build(graph, EVERYTHING)
        for seed in range(4):
            inputs = inputs_of(graph, seed)
            output = graph.outputs[0].value
            want = interpret(graph, inputs)[output]
            np.testing.assert_array_equal(interpret(training.inference, inputs, {})[output], want)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("loss", ["softmax", "margin"])
def test_training_learns(rounding: str, loss: str) -> None:
    """Twelve random images are learnt by heart; the same seeds give the same weights."""
    graph = residual_net()
    examples = labelled(graph, 12, 4)
    scheme = replace(EVERYTHING, rounding=rounding, loss=loss)
    checksums = []
    for _ in range(2):
        trainer = Trainer(build(graph, scheme, samples_of(examples[:4])))
        prepared = [trainer.prepare(inputs) for inputs, _ in examples]
        labels = [label for _, label in examples]
        losses = []
        for step in range(144):
            at = step % len(examples)
            losses.append(trainer.step(prepared[at], labels[at], 0.05).loss)
        assert np.mean(losses[-12:]) < 0.3 * np.mean(losses[:12])
        assert accuracy(trainer, prepared, labels) >= 0.9
        assert int(trainer.state[trainer.training.counter][0]) == 144
        checksums.append(trainer.crc32())
    assert checksums[0] == checksums[1]
    other = Trainer(build(graph, replace(scheme, seed=7), samples_of(examples[:4])))
    prepared = [other.prepare(inputs) for inputs, _ in examples]
    for step in range(12):
        other.step(prepared[step], labels[step], 0.05)
    assert other.crc32() != checksums[0]


def test_squared_loss_pulls_to_its_target() -> None:
    graph = residual_net()
    training = build(graph, replace(EVERYTHING, loss="squared"))
    trainer = Trainer(training)
    prepared = trainer.prepare(inputs_of(graph, 0))
    target = np.array([[30, -40, 0, 10]], np.int8)
    losses = [trainer.step(prepared, target, 0.02).loss for _ in range(60)]
    assert losses[-1] < 0.02 * losses[0]


def test_the_frozen_part_is_computed_once() -> None:
    """Two graphs give what one gives, and the first does not depend on what is trained."""
    graph = residual_net()
    training = build(graph, Scheme(biases=2, weights=(Weights(-1),)))
    first, rest = split(training.step)
    assert not first.variables and len(first.nodes) >= 5
    whole, parts = dict(training.step.variables), dict(training.step.variables)
    for seed in range(5):
        inputs = inputs_of(graph, seed)
        ends = {
            "label": np.array([seed % 4], np.int32), "rate": np.array([0.02], np.float32)
        }  # fmt: skip
        one = interpret(training.step, {**inputs, **ends}, whole)
        border = interpret(first, inputs)
        named = {port.value: border[port.value] for port in first.outputs}
        two = interpret(rest, {**named, **ends}, parts)
        np.testing.assert_array_equal(one[training.loss], two[training.loss])
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name])


def test_a_wrong_label_changes_nothing() -> None:
    graph = residual_net()
    trainer = Trainer(build(graph, EVERYTHING))
    prepared = trainer.prepare(inputs_of(graph, 0))
    before = trainer.crc32()
    for label in (-1, 4, 1000):
        with pytest.raises(InvalidInput, match=f"label {label}, there are 4 classes"):
            trainer.step(prepared, label, 0.1)
    with pytest.raises(InvalidInput, match="learning rate of nan"):
        trainer.step(prepared, 1, math.nan)
    assert trainer.crc32() == before
    assert int(trainer.state[trainer.training.counter][0]) == 0


# -- the arithmetic ------------------------------------------------------------------------------


def loss_types(op: Loss, scale: float, count: int) -> Types:
    kind = TensorType((1, count), DType.INT8, Quant((float(np.float32(scale)),), (4,)))
    target = kind if isinstance(op, SquaredLoss) else TensorType((1,), DType.INT32)
    return Types((kind, target), op.infer((kind, target)))


@pytest.mark.parametrize(
    "op", [SoftmaxLoss(), MarginLoss(), MarginLoss(7.0), SquaredLoss()], ids=str
)
def test_losses_are_their_formulas(op: Loss) -> None:
    rng = np.random.default_rng(9)
    for scale, count in ((0.17, 10), (0.05, 1000), (1.0, 2), (0.002, 5)):
        types = loss_types(op, scale, count)
        for _ in range(10):
            q = rng.integers(-128, 128, (1, count)).astype(np.int8)
            label = int(rng.integers(count))
            reals = q[0].astype(float) * types.input(0).scale
            if isinstance(op, SquaredLoss):
                target = rng.integers(-128, 128, (1, count)).astype(np.int8)
                away = reals - target[0] * types.input(0).scale
                want, slope = float(np.mean(away**2)), 2 * away / count
            elif isinstance(op, MarginLoss):
                target = np.array([label], np.int32)
                # one step of the integers decides whether a class counts
                bound = math.ceil(op.margin / types.input(0).scale) * types.input(0).scale
                ahead = reals[label] - reals
                counts = ahead < min(bound, 1 << 14) - 1e-9
                counts[label] = False
                want = float(np.sum(np.where(counts, op.margin - ahead, 0))) / count
                slope = counts / count
                slope[label] = -counts.sum() / count
            else:
                target = np.array([label], np.int32)
                p = np.exp(reals - reals.max())
                want = float(np.log(p.sum()) - (reals[label] - reals.max()))
                slope = p / p.sum()
                slope[label] -= 1
            loss, g, exponent = op.reference([q, target], types)
            assert loss[0] == pytest.approx(want, rel=1e-5, abs=2e-6)
            found = np.ldexp(g[0].astype(float), int(exponent[0]))
            slope = slope * types.input(0).scale
            # fifteen bits of the largest, and a table of 24 places
            most = np.max(np.abs(slope))
            assert most < 1e-6 * types.input(0).scale or (
                np.max(np.abs(found - slope)) <= 2e-4 * most + 1e-6 * types.input(0).scale
            )
            assert not np.any(g) or 1 << 13 <= np.max(np.abs(g.astype(int))) <= 1 << 14


def test_noise_is_even_and_differs() -> None:
    # the finaliser's published values: it is a bijection that keeps 0
    assert int(mix(np.uint32(0))) == 0
    assert len({int(mix(np.uint32(n))) for n in range(1000)}) == 1000
    places = np.arange(1 << 16)
    u = noise(3, 17, places)
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    counts, _ = np.histogram(u, 16, (0, 1))
    assert np.all(np.abs(counts - 4096) < 6 * 64)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
    for other in (noise(4, 17, places), noise(3, 18, places)):
        assert abs(np.corrcoef(u, other)[0, 1]) < 0.02


def test_stochastic_rounding_is_right_on_average() -> None:
    """A step of a fifth of an integer moves about every fifth weight, none moves by two."""
    shape = (64, 1, 1, 64)
    op = ConvWeightUpdate(rounding="stochastic", layer=5)
    kinds = (
        TensorType(shape, DType.INT8), TensorType((64,), DType.INT32),
        TensorType((1, 1, 1, 64), DType.INT8, Quant((1.0,), (0,))),
        TensorType((1, 1, 1, 64), DType.INT16), TensorType((1,), DType.INT32),
        TensorType((1,), DType.FLOAT32), TensorType((1,), DType.INT32),
        TensorType((64,), DType.FLOAT32),
    )  # fmt: skip
    arrays: list[np.ndarray | None] = [
        np.full(shape, 10, np.int8), np.zeros(64, np.int32), np.full((1, 1, 1, 64), 1, np.int8),
        np.full((1, 1, 1, 64), 1, np.int16), np.zeros(1, np.int32), np.full(1, 0.2, np.float32),
        np.zeros(1, np.int32), np.ones(64, np.float32),
    ]  # fmt: skip
    weights, _ = op.reference(arrays, Types(kinds, ()))
    assert set(np.unique(weights)) == {9, 10}
    assert 0.17 < np.mean(weights == 9) < 0.23
    nearest, _ = replace(op, rounding="nearest").reference(arrays, Types(kinds, ()))
    assert np.all(nearest == 10)


def test_updates_saturate_and_leave_what_is_no_number() -> None:
    kinds = (
        TensorType((1, 3), DType.INT8), TensorType((1,), DType.INT32),
        TensorType((1, 1, 1, 3), DType.INT8, Quant((1.0,), (2,))),
        TensorType((1, 1, 1, 1), DType.INT16), TensorType((1,), DType.INT32),
        TensorType((1,), DType.FLOAT32), TensorType((1,), DType.INT32),
        TensorType((1,), DType.FLOAT32),
    )  # fmt: skip

    def update(x: Sequence[int], rate: float) -> tuple[list[int], int]:
        arrays: list[np.ndarray | None] = [
            np.array([[100, -100, 5]], np.int8), np.array([1000], np.int32),
            np.array(x, np.int8).reshape(1, 1, 1, 3), np.full((1, 1, 1, 1), 10, np.int16),
            np.zeros(1, np.int32), np.array([rate], np.float32), np.zeros(1, np.int32),
            np.ones(1, np.float32),
        ]  # fmt: skip
        op = ConvWeightUpdate(rounding="nearest")
        weights, bias = op.reference(arrays, Types(kinds, ()))
        return weights.ravel().tolist(), int(bias[0])

    # (x - 2) * 10 * rate; the bias gives back 2 for each integer that a weight moves
    assert update([3, 3, 2], 1.0) == ([90, -110, 5], 1000 + 2 * 20)
    assert update([-28, 33, 2], 1.0) == ([127, -128, 5], 1000 - 2 * (27 - 28))
    assert update([3, -1, 2], math.inf) == ([-128, 127, 5], 1000 - 2 * (-228 + 227))
    assert update([3, 3, 3], math.nan) == ([100, -100, 5], 1000)
    cut = step_factor(np.ones(1, np.float32), np.ones(1, np.float32), np.array([-200]))
    assert cut.dtype == np.float32 and cut[0] == np.float32(2.0**-126)


# -- schemes -------------------------------------------------------------------------------------


def content(**fields: object) -> dict[str, object]:
    return {"format": "tinymill training scheme", "version": 1, **fields}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "the scheme is [], must be an object"),
        ({}, '"format" must be "tinymill training scheme"'),
        (content(version=2), '"version" 2, this tinymill reads 1'),
        (content(biases="all"), '"biases" is "all", must be an array'),
        (content(biases=[1.5]), '"biases" is 1.5, must be a position or a name'),
        (content(biases={"last": -1}), '"biases.last" is -1'),
        (content(weights=[{"layer": -1, "share": 0}]), "share 0, must be above 0"),
        (content(weights=[{"layer": -1, "share": 1.5}]), '"share" is 1.5, must be 0 to 1'),
        (content(weights=[{"layer": -1, "share": True}]), '"share" is true, must be a number'),
        (content(weights=[{"share": 0.5}]), '"weights.layer" is null'),
        (content(weights=[{"layer": 0, "channels": [3, 3]}]), "channels [3, 3], must be"),
        (content(weights=[{"layer": 0, "chosen": []}]), "no channel is chosen"),
        (content(weights=[{"layer": 0, "share": 1, "chosen": [1]}]), "share and chosen, take one"),
        (content(rounding="up"), '"rounding" is "up", not one of nearest, stochastic'),
        (content(scaling=1), '"scaling" is 1, must be true or false'),
        (content(rate="fast"), '"rate" is "fast", must be a number'),
        (content(rate=math.inf), '"rate" is Infinity'),
        (content(rate=math.nan), '"rate" is NaN'),
        (content(seed=-1), '"seed" is -1'),
        (content(layers=3), 'the scheme has "layers", which means nothing'),
    ],
)  # fmt: skip
def test_malformed_schemes(wrong: object, message: str) -> None:
    with pytest.raises(InvalidScheme) as caught:
        scheme_of(wrong)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (Scheme(), "the scheme trains nothing"),
        (Scheme(biases=9), "the biases of the last 9 layers, the model has 5"),
        (Scheme(biases=("conv9*",)), "no layer is named 'conv9*' (the last layers are layer1,"),
        (Scheme(biases=(7,)), "there is no layer 7, the model has 5"),
        (Scheme(weights=(Weights(-6),)), "there is no layer -6, the model has 5"),
        (Scheme(weights=(Weights(0), Weights("layer1"))), "layer 'layer1' are asked for twice"),
        (Scheme(weights=(Weights(0, channels=(1, 4)),)), "channels 1 to 4 of layer 'layer1'"),
        (Scheme(weights=(Weights(0, chosen=(3,)),)), "channel 3 of layer 'layer1', which has 3"),
    ],
)
def test_schemes_that_do_not_fit(scheme: Scheme, message: str) -> None:
    with pytest.raises(InvalidScheme) as caught:
        parts_of(residual_net(), scheme)
    assert message in str(caught.value)


def test_a_layer_without_bias_has_none_to_train() -> None:
    graph = residual_net()
    node = graph.nodes[0]
    bare = graph.replace(nodes=(replace(node, inputs=node.inputs[:2]), *graph.nodes[1:]))
    with pytest.raises(InvalidScheme, match="layer 'layer1' has no bias to train"):
        parts_of(bare, Scheme(biases=("layer1",)))
    for scheme in (Scheme(biases=5), Scheme(biases=("*",))):
        assert [part.layer.index for part in parts_of(bare, scheme)] == [1, 2, 3, 4]
    training = build(bare, Scheme(weights=(Weights(0),)))
    inputs = inputs_of(bare, 0)
    output = bare.outputs[0].value
    np.testing.assert_array_equal(
        interpret(training.inference, inputs, {})[output], interpret(bare, inputs)[output]
    )


def test_scheme_files(tmp_path: Path) -> None:
    for name in shipped_schemes():
        scheme = read_scheme(name)
        assert scheme_of(json.loads(json.dumps(json_of(scheme)))) == scheme
    path = tmp_path / "scheme.json"
    for text, message in (
        ("{", "is no JSON"), ("[" * 100_000, "is no JSON"), ("\xff", "is no JSON"),
        ('{"format": 1}', '"format" must be'),
    ):  # fmt: skip
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(InvalidScheme) as caught:
            read_scheme(path)
        assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    with pytest.raises(InvalidScheme, match=r"can't be read: No such file.*mcunet-49k"):
        read_scheme("no-such-scheme")
    path.write_text(" " * (2 << 20))
    with pytest.raises(InvalidScheme, match="a scheme of 2,097,152 bytes"):
        read_scheme(path)


def test_what_cannot_be_trained_says_so() -> None:
    net = Net((1, 4, 4, 3))
    net.conv(4)
    graph = net.graph()
    with pytest.raises(UnsupportedOp, match="more than one vector"):
        logits_of(graph)
    with pytest.raises(InvalidScheme, match="the model has no output 'z'"):
        logits_of(residual_net(), "z")
    net = Net((1, 4))
    first = net.dense(4)
    net.op(Binary("mul"), first, first, quant=Quant((0.1,), (0,)))
    with pytest.raises(UnsupportedOp, match="layer2: the gradient of mul"):
        build(net.graph(), Scheme(biases=1))


# -- heads ---------------------------------------------------------------------------------------


def test_new_heads() -> None:
    graph = residual_net()
    inputs = [inputs_of(graph, seed) for seed in range(16)]
    head = with_new_head(graph, 7, 1, inputs)
    kind = head.type(head.outputs[0].value)
    assert kind.shape == (1, 7) and head.outputs[0].name == "y"
    reals = [
        (interpret(head, values)[head.outputs[0].value].astype(float)) * kind.scale
        for values in inputs
    ]
    assert 0.05 < np.std(reals) < 0.8
    assert np.max(np.abs(np.mean(reals, axis=0))) < 0.2
    again, other = with_new_head(graph, 7, 1, inputs), with_new_head(graph, 7, 2, inputs)
    weights = layers_of(head)[-1].node.inputs[1]
    np.testing.assert_array_equal(again.constants[weights], head.constants[weights])
    assert np.any(other.constants[weights] != head.constants[weights])
    with pytest.raises(InvalidScheme, match="1 classes, must be 2 to"):
        with_new_head(graph, 1, 0)
    net = Net((1, 4, 4, 3))
    net.conv(4)
    net.op(Reduce("mean", (1, 2), False, float_scale([1 / 16])))
    with pytest.raises(UnsupportedOp, match="does not end in a fully connected layer"):
        with_new_head(net.graph(), 3, 0)


# -- models --------------------------------------------------------------------------------------


def lowered(path: Path) -> Graph:
    return run_passes(read_model(path), pipeline(quantized_io=True, fixed=False))


def test_the_shipped_scheme_trains_what_the_paper_trains(shared: Path) -> None:
    """Counts and shapes of the graph that TinyEngine ships, as its outputs state them."""
    graph = lowered(shared / MCUNET)
    nodes = json.loads((shared / "models/tinyengine/49kb-int8-graph.json").read_text())
    stated = {
        made["meta"]["output_info"]: tuple(made["shape"])
        for node in nodes for made in node["outputs"]
        if "output_info" in (made.get("meta") or {})
    }  # fmt: skip
    biases = [shape[0] for name, shape in stated.items() if name.endswith("_bias")]
    weights = [shape[:2] for name, shape in stated.items() if name.endswith("_weight")]
    head = with_new_head(graph, 10, 0)
    parts = parts_of(ancestors(head, logits_of(head)), read_scheme("mcunet-49k"))
    found = [head.type(part.layer.node.inputs[1]).shape[0] for part in parts if part.bias]
    assert sorted(found) == sorted(biases) and len(found) == 21
    shapes = [
        (head.type(part.layer.node.inputs[1]).shape[0], len(part.channels) or part.layer.channels)
        for part in parts if part.channels is not None
    ]  # fmt: skip
    assert sorted(shapes) == sorted(weights) and len(shapes) == 4


@pytest.mark.parametrize(
    ("model", "scheme", "classes", "rate", "left"),
    [
        (MCUNET, read_scheme("mcunet-49k"), 10, 0.02, 0.5),
        ("models/mlperf_tiny/pretrainedResnet_quant.tflite", EVERYTHING, 10, 0.002, 0.5),
        ("models/mlperf_tiny/kws_ref_model.tflite", EVERYTHING, 5, 0.002, 0.5),
        # features of people, of which these pictures have few
        ("models/mlperf_tiny/vww_96_int8.tflite",
         Scheme(biases=12, weights=(Weights(-1), Weights(-4, share=0.5))), 3, 0.2, 0.85),
    ],
    ids=["mcunet", "resnet8", "kws", "vww"],
)  # fmt: skip
def test_models_learn_images_by_heart(
    shared: Path, model: str, scheme: Scheme, classes: int, rate: float, left: float
) -> None:
    graph = lowered(shared / model)
    count = min(4, classes)
    examples = labelled(graph, count, classes)
    graph = with_new_head(graph, classes, 0, [inputs for inputs, _ in examples])
    trainer = Trainer(build(graph, scheme))
    prepared = [trainer.prepare(inputs) for inputs, _ in examples]
    labels = [label for _, label in examples]
    losses = [trainer.step(prepared[n % count], labels[n % count], rate).loss for n in range(40)]
    assert np.mean(losses[-count:]) < left * np.mean(losses[:count]), losses


def test_steps_without_scaling_are_of_the_integers() -> None:
    """Their coefficients differ by the squares of the scales alone."""
    graph = residual_net()
    with_scaling, without = (build(graph, replace(EVERYTHING, scaling=s)) for s in (True, False))
    for one, other in zip(updates(with_scaling), updates(without), strict=True):
        ratio = with_scaling.step.constants[one.inputs[-1]].astype(float)
        ratio /= without.step.constants[other.inputs[-1]]
        layer = next(n for n in graph.nodes if n.name == one.name.rsplit(".", 1)[0])
        quant = graph.type(layer.inputs[1]).quant
        assert quant is not None
        scales = np.array(quant.scale)
        if isinstance(one.op, BiasUpdate):
            scales = scales * graph.type(layer.inputs[0]).scale
        np.testing.assert_allclose(ratio, scales**-2.0, rtol=1e-6)


def test_chosen_channels_are_the_only_ones_that_change() -> None:
    graph = residual_net()
    scheme = Scheme(weights=(Weights(0, chosen=(0, 2)), Weights(-1, channels=(3, 5))))
    trainer = Trainer(build(graph, scheme))
    before: Mapping[str, np.ndarray] = dict(trainer.state)
    for seed in range(6):
        trainer.step(trainer.prepare(inputs_of(graph, seed)), seed % 4, 0.5)
    for layer, chosen in zip(trainer.training.layers, ((0, 2), (3, 4)), strict=True):
        assert layer.weights is not None
        changed = np.any(
            trainer.state[layer.weights] != before[layer.weights],
            axis=tuple(range(before[layer.weights].ndim - 1)),
        )
        assert tuple(np.flatnonzero(changed)) == chosen


def test_a_new_head_on_a_model_of_uint8(shared: Path) -> None:
    """Weights with a zero point have no gradient through them; what stands behind them learns."""
    model = shared / "models/imagenet/mobilenet_v1_0.25_128_quant.tflite"
    trainer = Trainer(trainable(model, "head", classes=3))
    (port,) = trainer.frozen.inputs
    shape = trainer.training.step.type(port.value).shape
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    prepared = trainer.prepare({port.value: picture})
    losses = [trainer.step(prepared, 1, 0.05).loss for _ in range(6)]
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(UnsupportedOp, match="the gradient through weights with a zero point"):
        trainable(model, Scheme(biases=3, head="new"), classes=3)


def test_a_file_becomes_trainable(shared: Path) -> None:
    """By scheme and samples, integers or reals; what does not fit is refused."""
    model = shared / "models/mlperf_tiny/kws_ref_model.tflite"
    rng = np.random.default_rng(0)
    integers = rng.integers(-128, 128, (6, 1, 490)).astype(np.int8)
    scheme = Scheme(biases=3, weights=(Weights(-1),), head="new")
    made = trainable(model, scheme, classes=4, samples=list(integers))
    assert made.step.type(made.logits).shape == (1, 4)
    kind = made.step.type(made.step.inputs[0].value)
    reals = (integers.astype(np.float32) - kind.zero_point) * np.float32(kind.scale)
    again = trainable(model, scheme, classes=4, samples=list(reals))
    for name, array in made.step.constants.items():
        np.testing.assert_array_equal(array, again.step.constants[name])
    kept = trainable(model, replace(scheme, head="keep"))
    assert kept.step.type(kept.logits).shape == (1, 12)
    squared = trainable(model, replace(scheme, head="keep", loss="squared"))
    assert [port.name for port in squared.step.inputs][1:] == ["target", "rate"]
    with pytest.raises(InvalidScheme, match="a new head for how many classes"):
        trainable(model, scheme)
    with pytest.raises(InvalidScheme, match="4 classes, the model's head has 12"):
        trainable(model, replace(scheme, head="keep"), classes=4)
    with pytest.raises(InvalidInput, match=r"a sample of int8\[3\]"):
        trainable(model, scheme, classes=4, samples=[np.zeros(3, np.int8)])
    with pytest.raises(InvalidInput, match="a sample of int32 for int8"):
        trainable(model, scheme, classes=4, samples=[np.zeros(490, np.int32)])
    with pytest.raises(InvalidInput, match="2 labels for 1 samples"):
        trainable(model, scheme, classes=4, samples=[integers[0]], labels=[1, 2])
    with pytest.raises(InvalidInput, match="label 9, there are 4 classes"):
        trainable(model, scheme, classes=4, samples=[integers[0]], labels=[9])
