"""A new classifier for other classes: the last layer anew, small seeded weights, its own scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ..errors import InvalidScheme, UnsupportedOp
from ..ir import (
    DType,
    FixedPoint,
    Graph,
    GraphBuilder,
    Node,
    Port,
    Quant,
    TensorType,
    interpret,
    verify,
)
from ..ops.arithmetic import fixed_point, float_scale
from ..ops.conv import Conv2D, zero_of
from ..ops.dense import FullyConnected
from ..ops.reshape import Reshape
from .step import ancestors, logits_of

LOGITS = (4.0, 16.0)
"""The largest logit, at least and at most: what the largest weights make of the samples. A
difference of 32 is a probability of 1e-14; steps too coarse hide what is learnt."""
SPREAD = 0.5
"""The standard deviation of new logits."""
MOST_SPREAD = 32.0
"""The most standard deviation of a new weight's integers: room to grow, whatever the samples."""
GUESSED = 32.0
"""The root mean square of a feature's integers where there are no samples."""
MOST_CLASSES = 1 << 15


def with_new_head(
    graph: Graph,
    classes: int,
    seed: int,
    samples: Sequence[Mapping[str, np.ndarray]] = (),
    *,
    output: str | None = None,
) -> Graph:
    """The model with a new last layer of ``classes`` outputs, the logits, which take the place of
    ``output`` (the first one).

    Weights are drawn so that logits of ``samples`` (inputs by value) have a standard deviation of
    ``SPREAD``; biases centre them. Weights keep the median scale of the former layer, the range of
    a classifier on these features. Raises ``InvalidScheme``, ``UnsupportedOp``.
    """
    if not 2 <= classes <= MOST_CLASSES:
        raise InvalidScheme(f"{classes} classes, must be 2 to {MOST_CLASSES:,}")
    logits = logits_of(graph, output)
    head = _last_layer(graph, logits)
    assert isinstance(head.op, Conv2D | FullyConnected)
    if head.op.rescale is None or (isinstance(head.op, Conv2D) and head.op.groups != 1):
        raise UnsupportedOp("a new head in place of this layer", at=head.name)
    x, old = graph.type(head.inputs[0]), graph.type(head.inputs[1])
    scale = float(np.float32(np.median(zero_of(old).scale)))
    shape = (classes, *old.shape[1:])
    features = _features(graph, head, samples, prod(shape[1:]))
    weights, bias = _initial(shape, scale, x, features, seed)
    quant = Quant((scale,) * classes, (0,) * classes, 0)
    reach = LOGITS[1]
    if len(features):
        reach = float(np.clip(np.median(np.abs(features).sum(axis=1)) * 127 * scale, *LOGITS))
    out_quant = Quant((float(np.float32(reach / 127)),), (0,))
    m = np.full(classes, np.float64(x.scale) * scale / np.float64(out_quant.scale[0]))
    fixed = isinstance(head.op.rescale, FixedPoint)
    how = fixed_point(m) if fixed else float_scale(m)
    replaced = {head.outputs[0]} | _after(graph, head)
    builder = GraphBuilder.of(
        graph, nodes=[node for node in graph.nodes if not replaced & set(node.outputs)]
    )
    held = [
        head.inputs[0],
        builder.constant(weights, stem=f"{head.name}.weights", quant=quant),
        builder.constant(bias, stem=f"{head.name}.bias"),
    ]
    op = replace(head.op, rescale=how, clamp=None, folded=False)
    (value,) = builder.add(op, held, name=head.name, quants=[out_quant])
    if builder.types[value].shape != (1, classes):
        (value,) = builder.add(Reshape((1, classes)), [value], name="logits", quants=[out_quant])
    place = next((p for p in graph.outputs if p.name == output), graph.outputs[0])
    ports = []
    for port in graph.outputs:
        if port is place:
            ports.append(Port(value, port.name, (1, classes), (0, 1)))
        elif port.value not in replaced:
            ports.append(port)
    builder.outputs = ports
    found = builder.finish()
    verify(found)
    return found


def _last_layer(graph: Graph, logits: str) -> Node:
    """The layer that gives the logits; raises ``UnsupportedOp`` where another op does."""
    node = graph.producers.get(logits)
    while node is not None and isinstance(node.op, Reshape):
        node = graph.producers.get(node.inputs[0])
    if node is None or not isinstance(node.op, Conv2D | FullyConnected):
        raise UnsupportedOp(
            "a new head for a model that does not end in a fully connected layer",
            at=None if node is None else node.name,
        )
    if graph.type(node.outputs[0]).count != graph.type(logits).shape[-1]:
        raise UnsupportedOp("a new head for an output of more than one place", at=node.name)
    return node


def _after(graph: Graph, head: Node) -> set[str]:
    """The values that come from the head."""
    found = {head.outputs[0]}
    for node in graph.nodes:
        if found & set(node.inputs):
            found |= set(node.outputs)
    return found


def _features(
    graph: Graph, head: Node, samples: Sequence[Mapping[str, np.ndarray]], depth: int
) -> np.ndarray:
    """Reals [samples, depth] that the head sees."""
    kind = graph.type(head.inputs[0])
    before = ancestors(graph, head.inputs[0])
    rows = [interpret(before, inputs)[head.inputs[0]].reshape(depth) for inputs in samples]
    found = np.array(rows, np.float64).reshape(-1, depth)
    return (found - kind.zero_point) * kind.scale


def _initial(
    shape: tuple[int, ...], scale: float, x: TensorType, features: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and int32 bias."""
    assert x.dtype is DType.INT8
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((shape[0], prod(shape[1:])))
    if len(features):
        centre = features.mean(axis=0)
        spread = float(np.std((features - centre) @ weights.T)) if len(features) > 1 else 0.0
    else:
        centre, spread = np.zeros(weights.shape[1]), 0.0
    if spread == 0.0:
        spread = GUESSED * x.scale * weights.shape[1] ** 0.5
    q = np.clip(np.rint(weights * min(SPREAD / spread / scale, MOST_SPREAD)), -127, 127)
    bias = np.clip(np.rint(-(q @ centre) / x.scale), -(1 << 30), 1 << 30)
    return q.astype(np.int8).reshape(shape), bias.astype(np.int32)
