"""Weights and biases of an ONNX graph's linear layers, seen by their channels and changed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Linear layers with weights as input 1 and an optional bias as input 2."""


class Editor:
    """A model that is changed in place. Constants are its initializers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.index()

    def index(self) -> None:
        """Reads the graph again after nodes were added or removed."""
        graph = self.model.graph
        self.constants = {item.name: item for item in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.outputs = {item.name for item in graph.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    # -- the graph ------------------------------------------------------------------------

    def readers(self, value: str) -> list[NodeProto]:
        """The nodes that read a value, once for each time they do."""
        return self._readers.get(value, [])

    def only_reader(self, value: str) -> NodeProto | None:
        """The node that alone reads a value, which is no output of the model."""
        found = self.readers(value)
        return found[0] if len(found) == 1 and value not in self.outputs else None

    def layers(self) -> list[NodeProto]:
        """The linear layers that can be changed, in order."""
        return [node for node in self.model.graph.node if self.is_layer(node)]

    def is_layer(self, node: NodeProto) -> bool:
        """A linear layer with constant weights and bias."""
        return node.op_type in LAYERS and self._obstacle(node) is None

    def left_out(self) -> list[tuple[str, str]]:
        """Name of each layer with weights that can't be changed here, and why."""
        return [
            (node.name, reason)
            for node in self.model.graph.node
            if node.op_type in (*LAYERS, "MatMul") and (reason := self._obstacle(node)) is not None
        ]

    def _obstacle(self, node: NodeProto) -> str | None:
        if node.op_type == "MatMul":
            return "a MatMul, not a Conv or Gemm"
        if attribute(node, "transA", 0):
            return "its input is transposed"
        held = [name for name in node.input[1:3] if name]
        if not held or not all(name in self.constants for name in held):
            return "its weights or bias are computed by the model"
        return None

    def layer_before(self, node: NodeProto) -> NodeProto | None:
        """The linear layer whose output ``node`` alone reads as its first input."""
        found = self.producers.get(node.input[0])
        if found is None or not self.is_layer(found):
            return None
        return found if self.only_reader(node.input[0]) is node else None

    def skip(self, node: NodeProto) -> None:
        """Takes out a node of one output that only passes its first input on: what made that
        input makes the node's output instead."""
        before = self.producers[node.input[0]]
        before.output[list(before.output).index(node.input[0])] = node.output[0]
        self.model.graph.node.remove(node)
        self.index()

    def name_nodes(self) -> None:
        """Gives a name to every node that has none or another's."""
        used = {node.name for node in self.model.graph.node}
        seen: set[str] = set()
        for number, node in enumerate(self.model.graph.node):
            if not node.name or node.name in seen:
                name = f"{node.op_type}_{number}"
                while name in used:
                    name += "_"
                node.name = name
                used.add(name)
            seen.add(node.name)

    # -- numbers --------------------------------------------------------------------------

    def is_constant(self, name: str) -> bool:
        return name in self.constants

    def constant(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def set_constant(self, name: str, array: np.ndarray) -> None:
        """Sets an initializer, also for all others who read it."""
        fresh = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        if name in self.constants:
            self.constants[name].CopyFrom(fresh)
        else:
            self.constants[name] = self.model.graph.initializer.add()
            self.constants[name].CopyFrom(fresh)

    def by_output_channel(self, layer: NodeProto) -> np.ndarray:
        """The weights as float64 [output channels, rest]."""
        return _rows(self._grouped(layer), (0, 1, 2, 3))

    def set_by_output_channel(self, layer: NodeProto, rows: np.ndarray) -> None:
        self._set(layer, rows, (0, 1, 2, 3))

    def by_input_channel(self, layer: NodeProto) -> np.ndarray:
        """The weights as float64 [input channels, rest]."""
        return _rows(self._grouped(layer), (0, 2, 1, 3))

    def set_by_input_channel(self, layer: NodeProto, rows: np.ndarray) -> None:
        self._set(layer, rows, (0, 2, 1, 3))

    def bias(self, layer: NodeProto) -> np.ndarray:
        """What is added to each output channel, float64; zeros where there is no bias."""
        count = len(self.by_output_channel(layer))
        if len(layer.input) < 3 or not layer.input[2]:
            return np.zeros(count)
        bias = self.constant(layer.input[2]).astype(np.float64) * attribute(layer, "beta", 1.0)
        return np.broadcast_to(bias.reshape(-1), (count,)).copy()

    def set_bias(self, layer: NodeProto, bias: np.ndarray) -> None:
        """Sets the bias; a layer that has none gets one."""
        if len(layer.input) < 3 or not layer.input[2]:
            name = f"{layer.input[1]}_bias"
            while name in self.constants or name in self.producers:
                name += "_"
            del layer.input[2:]
            layer.input.append(name)
            self._readers[name] = [layer]
        name = self._own(layer, 2)
        self.set_constant(name, bias / (attribute(layer, "beta", 1.0) or 1.0))

    def _own(self, layer: NodeProto, place: int) -> str:
        """The name of a constant input that is the layer's alone: exporters write equal weights
        of several layers once."""
        name = layer.input[place]
        readers = self.readers(name)
        if len(readers) < 2 and name not in self.outputs:
            return name
        fresh = f"{name}_of_{layer.name or layer.output[0]}"
        while fresh in self.constants or fresh in self.producers:
            fresh += "_"
        # by identity: protobuf's messages are equal where their content is
        self._readers[name] = [each for each in readers if each is not layer]
        layer.input[place] = fresh
        self._readers[fresh] = [layer]
        return fresh

    def _grouped(self, layer: NodeProto) -> np.ndarray:
        """The weights as [groups, outputs of a group, inputs of a group, kernel]."""
        weights = self.constant(layer.input[1]).astype(np.float64)
        groups = int(attribute(layer, "group", 1))
        if layer.op_type == "Conv":
            return weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
        if layer.op_type == "ConvTranspose":
            inner = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
            return inner.transpose(0, 2, 1, 3)
        rows = weights if attribute(layer, "transB", 0) else weights.T
        return rows[None, :, :, None]

    def _set(self, layer: NodeProto, rows: np.ndarray, order: tuple[int, ...]) -> None:
        shape = self._grouped(layer).shape
        turned = rows.reshape(shape[0], *(shape[axis] for axis in order[1:]))
        grouped = turned.transpose(order)  # each order is its own inverse
        before = self.constant(layer.input[1])
        if layer.op_type == "ConvTranspose" or (
            layer.op_type == "Gemm" and not attribute(layer, "transB", 0)
        ):
            grouped = grouped.transpose(0, 2, 1, 3)
        self.set_constant(self._own(layer, 1), grouped.reshape(before.shape))


def _rows(grouped: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    turned = grouped.transpose(order)
    return turned.reshape(turned.shape[0] * turned.shape[1], -1)


def attribute(node: NodeProto, name: str, default: float) -> float | int:
    """A number among a node's attributes."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default
