"""Cross-layer equalisation: channels of consecutive layers scaled to like ranges.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling: Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019 (arXiv:1906.04721), section 4.1.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from .edit import Editor

PASSING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool")
"""Ops for which f(s * x) = s * f(x), s > 0, channel by channel."""
ROUNDS = 40
CLOSE = 1e-3
"""The greatest change of a scale in a round that counts as none."""


def equalize(editor: Editor) -> int:
    """Equalises all pairs of layers, until nothing changes any more; how many pairs there are.

    With r1 and r2 the ranges of channel i in the first layer's outputs and the second one's
    inputs, s = sqrt(r1 * r2) / r2 makes both ranges sqrt(r1 * r2): the first layer's weights and
    bias are divided by s, the second one's weights multiplied (equation 11 of the paper). What
    the model computes stays the same.
    """
    pairs = _pairs(editor)
    for _ in range(ROUNDS):
        changes = [_equalize_pair(editor, first, second) for first, second in pairs]
        if max(changes, default=0.0) < CLOSE:
            break
    return len(pairs)


def _pairs(editor: Editor) -> list[tuple[NodeProto, NodeProto]]:
    found = []
    for layer in editor.layers():
        follower = editor.only_reader(layer.output[0])
        while follower is not None and follower.op_type in PASSING and len(follower.output) == 1:
            follower = editor.only_reader(follower.output[0])
        if (
            follower is not None
            and editor.is_layer(follower)
            and len(editor.by_output_channel(layer)) == len(editor.by_input_channel(follower))
            and (layer.op_type == "Gemm") == (follower.op_type == "Gemm")
        ):
            found.append((layer, follower))
    return found


def _equalize_pair(editor: Editor, first: NodeProto, second: NodeProto) -> float:
    """Equalises one pair; the greatest change of any channel, 0 for none."""
    outputs = editor.by_output_channel(first)
    inputs = editor.by_input_channel(second)
    r1, r2 = np.abs(outputs).max(axis=1), np.abs(inputs).max(axis=1)
    # a channel that is always or never zero has nothing to be equalised with
    live = (r1 > 0) & (r2 > 0)
    scale = np.ones(len(r1))
    scale[live] = np.sqrt(r1[live] * r2[live]) / r2[live]
    editor.set_by_output_channel(first, outputs / scale[:, None])
    editor.set_bias(first, editor.bias(first) / scale)
    editor.set_by_input_channel(second, inputs * scale[:, None])
    return float(np.abs(scale - 1).max(initial=0.0))
