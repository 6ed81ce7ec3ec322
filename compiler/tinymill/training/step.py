"""One step of training as a graph: forward, loss, backward, each update right after its gradient.

The forward pass is the int8 graph of inference with trained weights and biases as variables. The
backward pass is made of ordinary nodes, so it is planned, emitted and interpreted like any graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from ..errors import InvalidScheme, UnsupportedOp
from ..ir import (
    DType,
    Gradient,
    Graph,
    GraphBuilder,
    Node,
    Op,
    Port,
    Site,
    Sliding,
    TensorType,
    interpret,
    verify,
)
from ..ops.conv import Conv2D, fold_offset, zero_of
from ..ops.conv_gradient import BiasUpdate, ConvInputGradient, ConvWeightUpdate, CountStep, ohwi
from ..ops.dense import FullyConnected
from ..ops.gradient_gate import ClampMask, GradientGate, GradientLookup
from ..ops.gradient_moves import MOST_FACTOR, GradientAdd, GradientSpread, MaxPoolGradient
from ..ops.lookup import Table
from ..ops.losses import Loss, MarginLoss, SoftmaxLoss, SquaredLoss
from ..ops.mantissas import REACH, mix
from ..ops.pool import MaxPool
from ..ops.quantization import Recode
from ..ops.reshape import Reshape
from ..ops.softmax import Softmax
from ..ops.table_softmax import TableSoftmax
from .autodiff import AddingTape, backward, live_values
from .exponents import expected_peaks, exponent_for, fit_factors, measured_peaks
from .scheme import Part, Scheme, parts_of

MOST_SUM = (1 << 31) - 1
Sample = tuple[Mapping[str, np.ndarray], np.ndarray]
"""Inputs of the model by value, and what its output should be."""


@dataclass(frozen=True)
class Trained:
    """A layer that learns: its variables; ``weights`` None where only its bias does."""

    name: str
    weights: str | None
    bias: str
    channels: tuple[int, ...] | None
    bias_learns: bool


@dataclass(frozen=True)
class Training:
    """A model that can be trained. Both graphs have the same variables, the step one more: its
    counter.

    ``step`` has the model's inputs, what the output should be ("label" int32 [1], or "target")
    and "rate" float32 [1]; its outputs are "loss" float32 [1] and the logits.
    """

    inference: Graph
    step: Graph
    layers: tuple[Trained, ...]
    logits: str
    loss: str
    counter: str
    scheme: Scheme

    @property
    def trained(self) -> tuple[str, ...]:
        """The variables that make the trained part, in the order in which it is saved."""
        return tuple(
            name
            for layer in self.layers
            for name in (layer.weights, layer.bias)
            if name is not None
        )


def logits_of(graph: Graph, output: str | None = None) -> str:
    """The value that a loss is of: the first output (or the one named), without its softmax and
    without the step that makes uint8 of int8.

    Raises ``InvalidScheme`` where the model has no such output, ``UnsupportedOp`` where it is not
    int8 or of more than one axis.
    """
    ports = {port.name: port.value for port in graph.outputs}
    if output is not None and output not in ports:
        raise InvalidScheme(
            f"the model has no output '{output}'", hint=f"it has {', '.join(ports)}"
        )
    value = graph.outputs[0].value if output is None else ports[output]
    while value in graph.producers:
        node = graph.producers[value]
        source = graph.producers.get(node.inputs[0]) if isinstance(node.op, Reshape) else node
        if source is None or not isinstance(source.op, Softmax | TableSoftmax | Recode):
            break
        value = node.inputs[0]
    kind = graph.type(value)
    if kind.dtype is not DType.INT8 or kind.quant is None or not kind.quant.per_tensor:
        raise UnsupportedOp(
            f"training with an output of {kind}", hint="training needs an int8 model"
        )
    if kind.count != kind.shape[-1]:
        raise UnsupportedOp(f"training with an output of {kind}, more than one vector")
    return value


def ancestors(graph: Graph, value: str) -> Graph:
    """The part of a graph that ``value``, its only output, comes from."""
    needed, kept = {value}, []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    builder = GraphBuilder.of(graph, nodes=reversed(kept))
    builder.inputs = [port for port in graph.inputs if port.value in needed]
    shape = graph.type(value).shape
    builder.outputs = [Port(value, "logits", shape, tuple(range(len(shape))))]
    return builder.finish()


def with_variables(graph: Graph, parts: Sequence[Part]) -> tuple[Graph, tuple[Trained, ...]]:
    """The graph whose trained weights and biases are variables; biases are folded."""
    builder = GraphBuilder.of(graph)
    by_output = {part.layer.node.outputs[0]: part for part in parts}
    trained = []
    for node in graph.nodes:
        part = by_output.get(node.outputs[0]) if node.outputs else None
        if part is None:
            builder.nodes.append(node)
            continue
        changed, found = _with_variables(graph, builder, node, part)
        builder.nodes.append(changed)
        trained.append(found)
    return builder.finish(), tuple(trained)


def _with_variables(
    graph: Graph, builder: GraphBuilder, node: Node, part: Part
) -> tuple[Node, Trained]:
    assert isinstance(node.op, Conv2D | FullyConnected)
    x, weights_kind = graph.type(node.inputs[0]), graph.type(node.inputs[1])
    if node.op.rescale is None or x.quant is None:
        raise UnsupportedOp(f"training a layer on {x}", at=node.name, hint="it must be int8")
    weights, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""
    for name in (weights, bias):
        if name and not graph.is_constant(name):
            raise UnsupportedOp("training a layer whose weights are computed", at=node.name)
    if part.weights and len(graph.consumers[weights]) > 1:
        raise UnsupportedOp("training weights that several layers share", at=node.name)
    numbers = graph.constant(weights)
    folded = fold_offset(
        numbers, zero_of(weights_kind), x.zero_point, graph.constant(bias) if bias else None
    )
    name = builder.fresh(f"{node.name}.bias")
    builder.types[name] = TensorType(folded.shape, DType.INT32)
    builder.variables[name] = folded
    if part.weights:
        builder.constants.pop(weights, None)
        builder.variables[weights] = numbers
    changed = replace(
        node, op=replace(node.op, folded=True), inputs=(node.inputs[0], weights, name)
    )
    held = weights if part.weights else None
    return changed, Trained(node.name, held, name, part.channels, part.bias)


@dataclass(frozen=True)
class Mantissas:
    """A gradient in a graph: value, exponent beside that of the step, largest mantissa."""

    value: str
    exponent: int
    reach: int


@dataclass
class MantissaTape(AddingTape):
    """Writes the backward pass as nodes. ``peaks`` are the largest gradients of its steps.

    ``masks_after`` gets the nodes that make bits of a value as soon as it is there; of values in
    ``kept``, which are there in the backward pass anyway, bits are made when they are needed.
    """

    graph: Graph
    builder: GraphBuilder
    trained: Mapping[str, Trained]
    kept: frozenset[str]
    peaks: Iterator[float]
    scheme: Scheme
    exponent: str
    rate: str
    counter: str
    masks_after: dict[str, list[Node]] = field(default_factory=dict)
    bits: dict[tuple[str, tuple[int, int]], str] = field(default_factory=dict)

    def _add(self, op: Op, inputs: Sequence[str], name: str) -> str:
        (value,) = self.builder.add(op, inputs, name=name)
        return value

    def _shift(self, exponent: int, limit: int) -> tuple[int, int]:
        """The shift of a sum in units of 2**exponent, and the exponent of what it makes."""
        wanted = exponent_for(next(self.peaks), limit)
        shift = 15 if wanted is None else min(max(wanted - exponent, 0), 31)
        return shift, exponent + shift

    def gate(
        self, at: Site, g: Gradient, factor: np.ndarray, clamp: tuple[int, int] | None
    ) -> Gradient:
        fit = fit_factors(factor, REACH)
        limit = self._limit(at)
        shift, exponent = self._shift(g.exponent - fit.places, limit)
        clamp = at.stops(clamp)
        bits = "" if clamp is None else self._bits(at.node, clamp)
        multiplier = self.builder.constant(
            fit.multiplier if np.ptp(fit.multiplier) else fit.multiplier[:1],
            stem=f"{at.node.name}.multiplier",
        )
        op = GradientGate(shift, limit)
        value = self._add(op, [g.value, bits, multiplier], f"{at.node.name}.gate")
        return Mantissas(value, exponent, limit)

    def _limit(self, at: Site) -> int:
        """The largest mantissa with which no sum of the readers leaves 32 bits."""
        if not isinstance(at.node.op, Conv2D | FullyConnected):
            return REACH
        weights, y = at.types.input(1), at.types.output
        outs, kh, kw, _ = ohwi(weights)
        groups = at.node.op.groups if isinstance(at.node.op, Conv2D) else 1
        pixels = y.count // outs
        products = [1]
        if at.wanted[0]:
            products.append(outs // groups * kh * kw * 128)
        learning = self.trained.get(at.node.outputs[0])
        if learning is not None:
            products.append(pixels * (1 if learning.weights is None else 255))
        limit = min(REACH, MOST_SUM // max(products))
        if limit < 64:
            raise UnsupportedOp(
                f"sums of {max(products):,} for one gradient, too many for 32 bits",
                at=at.node.name,
            )
        return limit

    def _bits(self, node: Node, clamp: tuple[int, int]) -> str:
        y = node.outputs[0]
        if (y, clamp) not in self.bits:
            self.bits[y, clamp] = self._add(ClampMask(*clamp), [y], f"{node.name}.mask")
            if y not in self.kept:
                self.masks_after.setdefault(y, []).append(self.builder.nodes.pop())
        return self.bits[y, clamp]

    def slope(self, at: Site, g: Gradient, slopes: np.ndarray) -> Gradient:
        fit = fit_factors(slopes, REACH)
        shift, exponent = self._shift(g.exponent - fit.places, REACH)
        op = GradientLookup(tuple(int(n) for n in fit.multiplier), shift)
        value = self._add(op, [g.value, at.node.inputs[0]], f"{at.node.name}.slope")
        return Mantissas(value, exponent, REACH)

    def convolution(self, at: Site, h: Gradient, form: Sliding) -> Gradient | None:
        name, kind = at.node.name, at.types.input(0)
        weights_kind = at.types.input(1)
        value, shape = h.value, kind.shape
        if weights_kind.rank == 2:
            outs, depth = weights_kind.shape
            rows = kind.count // depth
            value = self._add(Reshape((rows, 1, 1, outs)), [value], f"{name}.rows")
            shape = (rows, 1, 1, depth)
        found = None
        if at.wanted[0]:
            shift, exponent = self._shift(h.exponent, REACH)
            op = ConvInputGradient(
                shape[1], shape[2], form.stride, form.dilation, form.pad, form.groups, shift,
                REACH, h.reach,
            )  # fmt: skip
            gradient = self._add(op, [value, at.node.inputs[1]], f"{name}.input")
            if shape != kind.shape:
                gradient = self._add(Reshape(kind.shape), [gradient], f"{name}.input")
            found = Mantissas(gradient, exponent, REACH)
        learning = self.trained.get(at.node.outputs[0])
        if learning is not None:
            self._learn(at, learning, replace(h, value=value), form, shape)
        return found

    def _learn(
        self, at: Site, learning: Trained, h: Mantissas, form: Sliding, shape: tuple[int, ...]
    ) -> None:
        """The updates; with scaling each channel's rate is divided by the square of its scale."""
        x = at.types.input(0)
        scales = np.array(zero_of(at.types.input(1)).scale, np.float64)
        scales = np.broadcast_to(scales, at.types.input(1).shape[0])
        place = list(self.trained).index(at.node.outputs[0])
        if learning.weights is not None:
            data = at.node.inputs[0]
            if shape != x.shape:
                data = self.builder.fresh(f"{at.node.name}.x")
                self.builder.add(
                    Reshape(shape), [at.node.inputs[0]], name=f"{at.node.name}.x",
                    outputs=[data], quants=[x.quant],
                )  # fmt: skip
            update = ConvWeightUpdate(
                form.stride, form.dilation, form.pad, form.groups, learning.channels or None,
                salt(self.scheme.seed, 2 * place), self.scheme.rounding, h.reach,
            )  # fmt: skip
            self._update(
                update, [learning.weights, learning.bias, data, h.value], h.exponent, scales,
                f"{at.node.name}.weights",
            )  # fmt: skip
        if learning.bias_learns:
            step = BiasUpdate(salt(self.scheme.seed, 2 * place + 1), self.scheme.rounding, h.reach)
            self._update(
                step, [learning.bias, h.value], h.exponent, scales * x.scale,
                f"{at.node.name}.bias",
            )  # fmt: skip

    def _update(
        self, op: Op, inputs: Sequence[str], exponent: int, scales: np.ndarray, name: str
    ) -> None:
        whole = 1.0 / np.square(scales) if self.scheme.scaling else np.ones(scales.shape)
        coefficient = np.ldexp(whole, exponent).astype(np.float32)
        if not np.all(np.isfinite(coefficient) & (coefficient > 0)):
            raise UnsupportedOp(f"a step of 2**{exponent} over squares of scales", at=name)
        held = self.builder.constant(coefficient, stem=f"{name}.coefficient")
        self.builder.add(op, [*inputs, self.exponent, self.rate, self.counter, held], name=name)

    def spread(
        self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding,
        factors: np.ndarray, count_padding: bool,
    ) -> Gradient:  # fmt: skip
        x = at.types.input(0)
        overlap = prod(-(-w // s) for w, s in zip(window, form.stride, strict=True))
        if at.types.output.shape[1:3] == (1, 1):
            overlap = 1
        fit = fit_factors(factors, REACH // overlap)
        shift, exponent = self._shift(g.exponent - fit.places, REACH)
        multiplier = tuple(int(n) for n in fit.multiplier)
        op = GradientSpread(
            x.shape[1], x.shape[2], window, multiplier, form.stride, form.pad, count_padding,
            shift, REACH, g.reach,
        )  # fmt: skip
        value = self._add(op, [g.value], f"{at.node.name}.spread")
        return Mantissas(value, exponent, REACH)

    def route(self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding) -> Gradient:
        next(self.peaks)
        op = MaxPoolGradient(window, form.stride, form.pad)
        inputs = [at.node.inputs[0], at.node.outputs[0], g.value]
        return Mantissas(self._add(op, inputs, f"{at.node.name}.route"), g.exponent, REACH)

    def moved(self, at: Site, g: Gradient, op: Op) -> Gradient:
        return replace(g, value=self._add(op, [g.value], f"{at.node.name}.moved"))

    def add(self, at: Node, a: Gradient, b: Gradient) -> Gradient:
        """Both are brought to the exponent of the sum: the finer one exactly if 14 bits allow."""
        low, high = min(a.exponent, b.exponent), max(a.exponent, b.exponent)
        wanted = exponent_for(next(self.peaks), REACH)
        exponent = low if wanted is None else max(wanted, low)
        most = MOST_FACTOR.bit_length() - 1
        # factors are 2**(e - exponent + shift): whole for the finer, within limits for the other
        shift = min(exponent - low, most - (high - exponent))
        if shift < 0:
            shift, exponent = 0, high
        first, second = (
            2 ** (g.exponent - exponent + shift) if g.exponent - exponent + shift >= 0 else 0
            for g in (a, b)
        )
        op = GradientAdd((first, second), shift)
        return Mantissas(self._add(op, [a.value, b.value], f"{at.name}.sum"), exponent, REACH)


def salt(seed: int, place: int) -> int:
    """The number by which a layer's noise differs from that of others and of other seeds."""
    return int(mix(np.uint32((int(mix(np.uint32(seed & 0xFFFFFFFF))) + place) & 0xFFFFFFFF)))


def loss_op(scheme: Scheme) -> Loss:
    """The op of a scheme's loss."""
    if scheme.loss == "squared":
        return SquaredLoss()
    return MarginLoss(scheme.margin) if scheme.loss == "margin" else SoftmaxLoss()


def build(
    graph: Graph,
    scheme: Scheme,
    samples: Sequence[Sample] = (),
    *,
    output: str | None = None,
) -> Training:
    """A model's inference and training step.

    ``graph`` is lowered int8; ``samples`` set the exponents of gradients, without them they are
    guessed. Raises ``InvalidScheme`` and ``UnsupportedOp``.
    """
    logits = logits_of(graph, output)
    parts = parts_of(ancestors(graph, logits), scheme)
    inference, trained = with_variables(graph, parts)
    forward = ancestors(inference, logits)
    by_output = {part.layer.node.outputs[0]: t for part, t in zip(parts, trained, strict=True)}
    op = loss_op(scheme)
    flat = _as_row(forward, logits)
    if samples:
        runs = [
            (values, np.asarray(target))
            for inputs, target in samples
            for values in [interpret(flat, inputs, {})]
        ]
        peaks = measured_peaks(flat, flat.outputs[0].value, op, runs, by_output)
    else:
        peaks = expected_peaks(flat, flat.outputs[0].value, by_output)
    step, loss, counter = _step(flat, op, scheme, by_output, peaks)
    verify(step)
    return Training(inference, step, trained, flat.outputs[0].value, loss, counter, scheme)


def _as_row(graph: Graph, logits: str) -> Graph:
    """The graph with its output as [1, K]."""
    kind = graph.type(logits)
    if kind.rank == 2:
        return graph
    builder = GraphBuilder.of(graph, nodes=graph.nodes)
    shape = (1, kind.count)
    (row,) = builder.add(Reshape(shape), [logits], name="logits", quants=[kind.quant])
    builder.outputs = [Port(row, "logits", shape, (0, 1))]
    return builder.finish()


def _step(
    forward: Graph,
    op: Loss,
    scheme: Scheme,
    trained: Mapping[str, Trained],
    peaks: Sequence[float],
) -> tuple[Graph, str, str]:
    """The step's graph, its loss and its counter."""
    logits = forward.outputs[0].value
    builder = GraphBuilder.of(forward)
    kind = forward.type(logits)
    wants = "target" if isinstance(op, SquaredLoss) else "label"
    target = TensorType(kind.shape, DType.INT8, kind.quant)
    if wants == "label":
        target = TensorType((1,), DType.INT32)
    ends = {}
    for name, found in ((wants, target), ("rate", TensorType((1,), DType.FLOAT32))):
        ends[name] = name if name not in builder.types else builder.fresh(name)
        builder.types[ends[name]] = found
        order = tuple(range(len(found.shape)))
        builder.inputs.append(Port(ends[name], name, found.shape, order))
    counter = "steps" if "steps" not in builder.types else builder.fresh("steps")
    builder.types[counter] = TensorType((1,), DType.INT32)
    builder.variables[counter] = np.zeros(1, np.int32)
    loss, g, exponent = builder.add(op, [logits, ends[wants]], name="loss")
    tape = MantissaTape(
        forward, builder, trained, _kept(forward, trained), iter(peaks), scheme, exponent,
        ends["rate"], counter,
    )  # fmt: skip
    backward(forward, logits, Mantissas(g, 0, 1 << 14), tuple(trained), tape)
    builder.add(CountStep(), [counter], name="count")
    nodes: list[Node] = []
    for node in forward.nodes:
        nodes.append(node)
        for value in node.outputs:
            nodes += tape.masks_after.get(value, [])
    builder.nodes = [*nodes, *builder.nodes]
    builder.outputs = [Port(loss, "loss", (1,), (0,)), *forward.outputs]
    return builder.finish(), loss, counter


def _kept(graph: Graph, trained: Mapping[str, Trained]) -> frozenset[str]:
    """The values that the backward pass reads whole."""
    live = live_values(graph, tuple(trained))
    kept: set[str] = set()
    for node in graph.nodes:
        learning = trained.get(node.outputs[0]) if node.outputs else None
        if learning is not None and learning.weights is not None:
            kept.add(node.inputs[0])
        if node.inputs and node.inputs[0] in live and isinstance(node.op, Table | MaxPool):
            kept |= {node.inputs[0], *(node.outputs if isinstance(node.op, MaxPool) else ())}
    roots = graph.alias_roots
    held = {roots.get(value, value) for value in kept}
    return frozenset(v for v in graph.types if roots.get(v, v) in held)


def frozen_values(graph: Graph) -> frozenset[str]:
    """The values of a step that are the same each time its model's input is."""
    varying = set(graph.variables)
    varying |= {p.value for p in graph.inputs if p.name in ("label", "target", "rate")}
    frozen = {port.value for port in graph.inputs} - varying
    for node in graph.nodes:
        read = {name for name in node.inputs if name and not graph.is_constant(name)}
        if read and read <= frozen and not node.op.mutates:
            frozen |= set(node.outputs)
    return frozenset(frozen)


def split(graph: Graph) -> tuple[Graph, Graph]:
    """A step as two graphs: what is computed once for each input, up to the first trained layer,
    and the rest, whose inputs are the outputs of the first."""
    frozen = frozen_values(graph)
    first = [node for node in graph.nodes if node.outputs and set(node.outputs) <= frozen]
    rest = [node for node in graph.nodes if node not in first]
    ends = {port.value for port in graph.outputs}
    made = {port.value for port in graph.inputs} | {v for node in first for v in node.outputs}
    border = []
    for value in (v for node in rest for v in (*node.inputs, *node.outputs)):
        if value in frozen and value in made and value not in border:
            border.append(value)
    border += [v for v in ends if v in frozen and v not in border]
    ports = []
    for value in border:
        shape = graph.type(value).shape
        ports.append(Port(value, value, shape, tuple(range(len(shape)))))
    before = GraphBuilder.of(graph, nodes=first)
    before.inputs = [port for port in graph.inputs if port.value in frozen]
    before.outputs = ports
    before.variables = {}
    after = GraphBuilder.of(graph, nodes=rest)
    after.inputs = [*ports, *(port for port in graph.inputs if port.value not in frozen)]
    return before.finish(), after.finish()


def from_frozen(training: Training) -> tuple[Graph, Training]:
    """What is computed once for each input, and the training of the rest: its inputs are the
    outputs of the first, its steps and variables those of ``training``.

    With many rounds over the same samples this is what to run; the arithmetic is the same.
    """
    frozen, step = split(training.step)
    inference = ancestors(step, training.logits)
    return frozen, replace(training, inference=inference, step=step)
