"""Cross-layer equalisation: channels of consecutive layers scaled to like ranges.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling: Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019 (arXiv:1906.04721), section 4.1. The paper takes a
channel's range from its weights; here it is that of what the channel gives, if that is more: where
a bias stands over weights near zero, the bias is the channel's range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from .edit import Editor
from .runtime import Session

Feeds = Callable[[int], dict[str, np.ndarray]]
PASSING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool")
"""Ops for which f(s * x) = s * f(x), s > 0, channel by channel."""
ROUNDS = 40
CLOSE = 1e-3
"""The greatest change of a scale in a round that counts as none."""
LEAST = 1e-4
"""Of a layer's greatest range: a channel below it counts as one of that range."""


@dataclass(frozen=True)
class Pair:
    """Two layers that can be equalised, and the value between them that is quantised."""

    first: NodeProto
    second: NodeProto
    between: str


def equalize(editor: Editor, given: Mapping[str, np.ndarray]) -> int:
    """Equalises all pairs of layers, until nothing changes any more; how many pairs there are.

    With r1 and r2 the ranges of channel i in the first layer's outputs and the second one's
    inputs, s = sqrt(r1 * r2) / r2 makes both ranges sqrt(r1 * r2): the first layer's weights and
    bias are divided by s, the second one's weights multiplied (equation 11 of the paper). What
    the model computes stays the same. ``given`` is the greatest value that each channel between
    two layers has, as ``channel_ranges`` finds it; a value that it lacks has the ranges of its
    weights.
    """
    pairs = pairs_of(editor)
    reaches = {name: array.copy() for name, array in given.items()}
    for _ in range(ROUNDS):
        changes = [_equalize_pair(editor, pair, reaches) for pair in pairs]
        if max(changes, default=0.0) < CLOSE:
            break
    return len(pairs)


def channel_ranges(
    editor: Editor, feed: Feeds, count: int, step: Callable[[], None]
) -> dict[str, np.ndarray]:
    """The greatest magnitude of each channel of the values between the pairs, over ``count``
    samples. ``step`` is called for each."""
    names = [pair.between for pair in pairs_of(editor)]
    if not names:
        return {}
    session = Session(editor.model, names)
    found: dict[str, np.ndarray] = {}
    for index in range(count):
        for name, array in session.run(feed(index)).items():
            # channels stand at axis 1 of maps and of rows
            reach = np.abs(array).max(axis=(0, *range(2, array.ndim)))
            found[name] = np.maximum(found.get(name, 0.0), reach)
        step()
    return found


def pairs_of(editor: Editor) -> list[Pair]:
    """The pairs of layers with nothing but ``PASSING`` between them."""
    found = []
    for layer in editor.layers():
        between = layer.output[0]
        follower = editor.only_reader(between)
        if follower is not None and follower.op_type in ("Relu", "LeakyRelu"):
            between = follower.output[0]
        while follower is not None and follower.op_type in PASSING and len(follower.output) == 1:
            follower = editor.only_reader(follower.output[0])
        if (
            follower is not None
            and editor.is_layer(follower)
            and len(editor.by_output_channel(layer)) == len(editor.by_input_channel(follower))
            and (layer.op_type == "Gemm") == (follower.op_type == "Gemm")
        ):
            found.append(Pair(layer, follower, between))
    return found


def _equalize_pair(editor: Editor, pair: Pair, reaches: dict[str, np.ndarray]) -> float:
    """Equalises one pair, ``reaches`` with it; the greatest change of any channel, 0 for none."""
    outputs = editor.by_output_channel(pair.first)
    inputs = editor.by_input_channel(pair.second)
    r1, r2 = np.abs(outputs).max(axis=1), np.abs(inputs).max(axis=1)
    reach = reaches.get(pair.between)
    if reach is not None and reach.max() > 0 and r1.max() > 0:
        r1 = np.maximum(r1, reach * (r1.max() / reach.max()))
    # a channel that is always or never zero has nothing to be equalised with
    live = (r1 > 0) & (r2 > 0)
    if not live.any():
        return 0.0
    r1, r2 = (np.maximum(each, LEAST * each.max()) for each in (r1, r2))
    scale = np.ones(len(r1))
    scale[live] = np.sqrt(r1[live] * r2[live]) / r2[live]
    change = float(np.abs(scale - 1).max())
    if change < CLOSE:
        return change
    editor.set_by_output_channel(pair.first, outputs / scale[:, None])
    if len(pair.first.input) > 2 and pair.first.input[2]:
        editor.set_bias(pair.first, editor.bias(pair.first) / scale)
    editor.set_by_input_channel(pair.second, inputs * scale[:, None])
    if reach is not None:
        reaches[pair.between] = reach / scale
    return change
