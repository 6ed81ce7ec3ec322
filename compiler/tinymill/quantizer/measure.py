"""What quantising cost: signal to quantisation noise layer by layer, and right answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log10

import numpy as np
import onnx

from .edit import Editor
from .runtime import Session

Feeds = Callable[[int], dict[str, np.ndarray]]
MOVING = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that leave each value as it is, and so its error."""
EXACT_DB = 200.0
"""Of an output without any error, where it is averaged with others."""
_SUFFIX = "_QuantizeLinear_Input"
"""What the quantiser appends to a value's name where its old name goes to the quantised one."""


@dataclass(frozen=True)
class LayerError:
    """One quantised value against the float model's, over all samples.

    ``sqnr_db`` is 10 log10(sum x^2 / sum (x - q)^2) with all errors before it, ``own_db`` the
    same for rounding this value alone (its range and step), where the layers before were exact;
    infinite where nothing differs.
    """

    name: str
    op: str
    tensor: str
    sqnr_db: float
    own_db: float


def layer_errors(
    real: onnx.ModelProto,
    quantized: onnx.ModelProto,
    feed: Feeds,
    count: int,
    step: Callable[[], None],
) -> tuple[LayerError, ...]:
    """The error of each value that a QuantizeLinear makes int8, in the float model's order, but of
    those that are only moved."""
    found = Editor(quantized)
    floats = Editor(real)
    taps: dict[str, tuple[str, float, int]] = {}
    for node in quantized.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in found.producers:
            continue
        made = found.producers[node.input[0]]
        name = made.input[0].removesuffix(_SUFFIX)
        if made.op_type != "QuantizeLinear" or name not in floats.producers:
            continue
        step_size, zero_point = (found.constant(each) for each in made.input[1:3])
        taps.setdefault(name, (node.output[0], float(step_size), int(zero_point)))
    order = [
        name
        for node in real.graph.node
        for name in node.output
        if name in taps and node.op_type not in MOVING
    ]
    if not order:
        return ()
    truth = Session(real, order)
    rounded = Session(quantized, [taps[name][0] for name in order], exact=True)
    sums = {name: np.zeros(3) for name in order}
    for index in range(count):
        given = feed(index)
        reals, integers = truth.run(given), rounded.run(given)
        for name in order:
            dequantized, scale, zero = taps[name]
            x = reals[name].astype(np.float64)
            alone = (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale
            sums[name] += (
                (x**2).sum(),
                ((x - integers[dequantized]) ** 2).sum(),
                ((x - alone) ** 2).sum(),
            )
        step()
    return tuple(
        LayerError(
            *_layer(floats, name),
            name,
            _db(sums[name][0], sums[name][1]),
            _db(sums[name][0], sums[name][2]),
        )
        for name in order
    )


def _layer(editor: Editor, value: str) -> tuple[str, str]:
    """Name and op of the node that makes a value; an activation goes by the layer before it."""
    node = editor.producers[value]
    before = editor.producers.get(node.input[0]) if node.op_type in ("Relu", "Clip") else None
    if before is None or editor.only_reader(node.input[0]) is not node:
        return node.name, node.op_type
    return before.name, f"{before.op_type}, {node.op_type}"


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal > 0 else -inf


def output_sqnr(
    real: onnx.ModelProto,
    quantized: Sequence[onnx.ModelProto],
    feed: Feeds,
    count: int,
    step: Callable[[], None],
) -> tuple[float, ...]:
    """For each int8 model the mean over its outputs of their signal to noise, in dB, each at most
    ``EXACT_DB``; the float model gives the truth."""
    truth = Session(real)
    rounded = [Session(model, truth.taps, exact=True) for model in quantized]
    sums = np.zeros((len(quantized), len(truth.taps), 2))
    for index in range(count):
        given = feed(index)
        reals = truth.run(given)
        for which, session in enumerate(rounded):
            found = session.run(given)
            for place, name in enumerate(truth.taps):
                x = reals[name].astype(np.float64)
                sums[which, place] += ((x**2).sum(), ((x - found[name]) ** 2).sum())
        step()
    return tuple(
        sum(min(max(_db(*pair), -EXACT_DB), EXACT_DB) for pair in pairs) / len(pairs)
        for pairs in sums
    )


def class_count(model: onnx.ModelProto, feed: Feeds) -> int:
    """How many values the first output has."""
    session = Session(model)
    return int(session.run(feed(0))[session.taps[0]].size)


def right_answers(
    model: onnx.ModelProto,
    feed: Feeds,
    labels: np.ndarray,
    step: Callable[[], None],
) -> int:
    """How many samples' largest value of the first output is at their label."""
    session = Session(model)
    right = 0
    for index, label in enumerate(labels):
        answer = session.run(feed(index))[session.taps[0]]
        right += int(answer.reshape(-1).argmax()) == int(label)
        step()
    return right
