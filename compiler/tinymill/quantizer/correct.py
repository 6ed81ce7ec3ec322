"""Bias correction: takes out the mean error that rounded weights give a layer's output.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling: Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019 (arXiv:1906.04721), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from .edit import Editor
from .runtime import Session

Feeds = Callable[[int], dict[str, np.ndarray]]


def rounded(rows: np.ndarray) -> np.ndarray:
    """Weights [output channels, rest] rounded to int8 and back: symmetric, one scale a channel,
    max |w| / 127, half to even."""
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1.0
    return np.rint(rows / scale) * scale


def correct_bias(editor: Editor, feed: Feeds, count: int, step: Callable[[], None]) -> int:
    """Subtracts E[(W' - W) x] from each layer's bias, W' being the rounded weights; how many
    layers there are.

    A layer is linear, so the mean over samples is the layer of the mean input, which the float
    model gives for the ``count`` samples (the paper derives it from batch normalisation
    instead); over a map it is the mean of all its places. ``step`` is called for each sample.
    """
    layers = editor.layers()
    if not layers:
        return 0
    inputs = list(dict.fromkeys(layer.input[0] for layer in layers))
    session = Session(editor.model, [name for name in inputs if name in editor.producers])
    sums: dict[str, np.ndarray] = {}
    for index in range(count):
        given = feed(index)
        values = {**given, **session.run(given)} if session.taps else given
        for name in inputs:
            sums[name] = sums.get(name, 0.0) + values[name].astype(np.float64)
        step()
    means = {name: (total / count).astype(np.float32) for name, total in sums.items()}
    errors = _errors(editor, means)
    for layer in layers:
        editor.set_bias(layer, editor.bias(layer) - errors[layer.output[0]])
    return len(layers)


def _errors(editor: Editor, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each layer's output the mean of (W' - W) x by channel."""
    apart = onnx.ModelProto()
    apart.CopyFrom(editor.model)
    copies = Editor(apart)
    for layer in copies.layers():
        rows = copies.by_output_channel(layer)
        copies.set_by_output_channel(layer, rounded(rows) - rows)
    nodes = []
    for layer in copies.layers():
        node = NodeProto()
        node.CopyFrom(layer)
        del node.input[2:]  # no bias
        nodes.append(node)
    given = {name: f"mean of {name}" for name in means}
    for node in nodes:
        node.input[0] = given[node.input[0]]
    graph = helper.make_graph(
        nodes,
        "errors",
        [
            helper.make_tensor_value_info(given[name], TensorProto.FLOAT, array.shape)
            for name, array in means.items()
        ],
        [onnx.ValueInfoProto(name=node.output[0]) for node in nodes],
        [copies.constants[node.input[1]] for node in nodes],
    )
    model = helper.make_model(graph, opset_imports=list(editor.model.opset_import))
    model.ir_version = editor.model.ir_version
    found = Session(model).run({given[name]: array for name, array in means.items()})
    # channels stand at axis 1 of maps and of rows
    return {
        name: array.astype(np.float64).mean(axis=(0, *range(2, array.ndim)))
        for name, array in found.items()
    }
