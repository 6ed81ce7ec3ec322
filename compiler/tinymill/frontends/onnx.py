"""ONNX -> Graph, opset 11 and later.

Each op is imported in the file's own layout; ops over maps are wrapped in transposes (NCHW to
NHWC and back), which the passes then move out of the way. QuantizeLinear/DequantizeLinear stay
nodes, and the QLinear ops become DequantizeLinear, op, QuantizeLinear: one path for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from ..errors import CompileError, InvalidModel, TinymillError, UnsupportedOp
from ..ir import DType, Graph, GraphBuilder, Op, Port, Quant, TensorType, Types
from ..ops.arithmetic import dequantize
from ..ops.conv import out_size, same_pad
from ..ops.quantization import Dequantize
from ..ops.registry import ONNX
from ..ops.reshape import Reshape
from ..ops.transpose import Transpose
from .coverage import check_supported
from .limits import MAX_FILE, MAX_NODES, checked_shape

OLDEST_OPSET = 11
FOLD_ELEMENTS = 1 << 24
_TYPES: dict[int, DType] = {
    onnx.TensorProto.INT8: DType.INT8,
    onnx.TensorProto.UINT8: DType.UINT8,
    onnx.TensorProto.INT16: DType.INT16,
    onnx.TensorProto.INT32: DType.INT32,
    onnx.TensorProto.INT64: DType.INT64,
    onnx.TensorProto.FLOAT: DType.FLOAT32,
    onnx.TensorProto.BOOL: DType.BOOL,
}
_DOMAINS = ("", "ai.onnx", "com.microsoft")
# What onnx, protobuf and numpy raise on bytes that are no model.
_BROKEN = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, MemoryError,
    RecursionError, AssertionError, UnicodeDecodeError, ZeroDivisionError,
)  # fmt: skip


def check_opset(version: int) -> None:
    """Raises ``UnsupportedOp`` for an opset that the installed onnx does not know yet: an op may
    mean something else there."""
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise UnsupportedOp(
            f"opset {version}, the installed onnx {onnx.__version__} knows those up to {newest}",
            hint="export the model with an earlier opset, or pip install -U onnx",
        )


def read_onnx(
    content: bytes,
    name: str,
    shapes: Mapping[str, Sequence[int]],
    folder: Path | None = None,
) -> Graph:
    """The graph of an ONNX file's bytes.

    ``shapes`` fixes the shapes of inputs, by name, whose sizes the file leaves open; an
    unknown leading size is 1. ``folder`` is where the file lies, for constants that it keeps in
    files beside it. Raises ``InvalidModel`` and ``UnsupportedOp``.
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, *_BROKEN) as error:
        raise InvalidModel(f"no ONNX model ({type(error).__name__})") from error
    if folder is not None:
        _load_external(model, folder)
    if not model.graph.node and not model.graph.input:
        raise InvalidModel("no ONNX model (it has neither nodes nor inputs)")
    try:
        return _Reader(model, name, shapes).read()
    except TinymillError:
        raise
    except _BROKEN as error:
        raise InvalidModel(f"broken ONNX file ({type(error).__name__}: {error})") from error


class _Reader:
    def __init__(
        self, model: onnx.ModelProto, name: str, shapes: Mapping[str, Sequence[int]]
    ) -> None:
        self.model = model
        self.shapes = dict(shapes)
        self.builder = GraphBuilder(name)
        self.values: dict[str, str] = {"": ""}
        self.initializers = {item.name: item for item in model.graph.initializer}
        self.opset = max(
            (item.version for item in model.opset_import if item.domain in ("", "ai.onnx")),
            default=0,
        )

    def read(self) -> Graph:
        if self.opset < OLDEST_OPSET:
            raise UnsupportedOp(
                f"opset {self.opset}, {OLDEST_OPSET} or later is supported",
                hint="convert the file with onnx.version_converter",
            )
        check_opset(self.opset)
        graph = self.model.graph
        _check_names(graph)
        if graph.sparse_initializer:
            raise UnsupportedOp("sparse initializers")
        for item in graph.input:
            if item.name not in self.initializers:
                self._input(item)
        unknown = set(self.shapes) - {port.name for port in self.builder.inputs}
        if unknown:
            raise InvalidModel(f"--shape names no input: {', '.join(sorted(unknown))}")
        nodes = _sorted(graph)
        check_supported(((_kind(node), _label(node)) for node in nodes), ONNX, "ONNX")
        for node in nodes:
            try:
                ONNX[node.op_type](OnnxNode(self, node))
            except CompileError as error:
                error.at = error.at or _label(node)
                raise
        for item in graph.output:
            value = self.value(item.name)
            shape = self.builder.types[value].shape
            order = tuple(range(len(shape)))
            self.builder.outputs.append(Port(value, item.name, shape, order))
        if not self.builder.outputs:
            raise InvalidModel("the model has no outputs")
        return self.builder.finish()

    def _input(self, item: onnx.ValueInfoProto) -> None:
        if not item.type.HasField("tensor_type"):
            raise UnsupportedOp("an input that is no tensor", at=item.name)
        tensor = item.type.tensor_type
        if tensor.elem_type not in _TYPES:
            raise UnsupportedOp(f"tensor type {tensor.elem_type}", at=item.name)
        sizes: list[int | None] = [
            dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
        ]
        given = self.shapes.get(item.name)
        if given is not None:
            if tensor.HasField("shape") and (
                len(given) != len(sizes)
                or any(n not in (None, 0, m) for n, m in zip(sizes, given, strict=True))
            ):
                raise InvalidModel(
                    f"--shape {list(given)} does not fit the file's {sizes}", at=item.name
                )
            sizes = list(given)
        elif not tensor.HasField("shape"):
            raise InvalidModel(
                "its shape is unknown", at=item.name, hint=f"give --shape {item.name}=1,..."
            )
        if sizes and not sizes[0]:
            sizes[0] = 1
        if any(not n for n in sizes):
            raise InvalidModel(
                f"sizes of {sizes} are unknown",
                at=item.name,
                hint=f"give --shape {item.name}=" + ",".join(str(n or "N") for n in sizes),
            )
        shape = checked_shape([n for n in sizes if n is not None], item.name)
        self.builder.types[item.name] = TensorType(shape, _TYPES[tensor.elem_type])
        self.values[item.name] = item.name
        order = tuple(range(len(shape)))
        self.builder.inputs.append(Port(item.name, item.name, shape, order))

    def value(self, name: str) -> str:
        """The name in the graph being built of a value of the file."""
        if name in self.values:
            return self.values[name]
        if name not in self.initializers:
            raise InvalidModel("used, but nothing makes it", at=name)
        array = to_array(self.initializers[name], name)
        self.values[name] = self.constant(array, name)
        return self.values[name]

    def constant(self, array: np.ndarray, stem: str) -> str:
        """Adds a constant of a type that the IR has; float16 and float64 become float32."""
        if array.dtype in (np.float16, np.float64):
            array = array.astype(np.float32)
        try:
            DType.of(array.dtype)
        except KeyError as error:
            raise UnsupportedOp(f"constant of type {array.dtype}", at=stem) from error
        return self.builder.constant(np.asarray(array, order="C"), stem=stem)

    def fresh(self, name: str) -> str:
        return name if name and name not in self.builder.types else self.builder.fresh(name)


class OnnxNode:
    """One node, as importers in ``ops/`` see it. Types and shapes are in the file's layout."""

    def __init__(self, reader: _Reader, node: onnx.NodeProto) -> None:
        self.reader = reader
        self.builder = reader.builder
        self.kind = node.op_type
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        self.name = _label(node)
        self.opset = reader.opset
        self._attributes = {item.name: item for item in node.attribute}

    def unsupported(self, problem: str) -> UnsupportedOp:
        return UnsupportedOp(f"{self.kind}: {problem}", at=self.name)

    def invalid(self, problem: str) -> InvalidModel:
        return InvalidModel(f"{self.kind}: {problem}", at=self.name)

    # -- inputs ---------------------------------------------------------------------------

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] != ""

    def input(self, position: int) -> str:
        """Name of a required input."""
        if not self.has(position):
            raise self.invalid(f"input {position} is missing")
        return self.reader.value(self.inputs[position])

    def optional(self, position: int) -> str:
        """Name of an input that may be left out."""
        return self.input(position) if self.has(position) else ""

    def type(self, position: int) -> TensorType:
        return self.builder.types[self.input(position)]

    def type_of(self, value: str) -> TensorType:
        return self.builder.types[value]

    def is_constant(self, position: int) -> bool:
        """Whether an input's numbers are known, also behind DequantizeLinear."""
        if not self.has(position):
            return False
        value = self.input(position)
        return value in self.builder.constants or self._quantized_constant(value) is not None

    def constant(self, position: int) -> np.ndarray:
        """The numbers of a constant input, dequantised where the file keeps them quantised."""
        if not self.is_constant(position):
            raise self.unsupported(f"input {position} is not constant")
        value = self.input(position)
        if value in self.builder.constants:
            return self.builder.constants[value]
        source = self._quantized_constant(value)
        assert source is not None
        quant = self.builder.types[source].quant
        assert quant is not None
        return dequantize(self.builder.constants[source], quant)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute's value; strings are bytes."""
        if name not in self._attributes:
            return default
        item = self._attributes[name]
        if item.ref_attr_name:
            raise self.unsupported(f"attribute {name} refers to a function's")
        value = onnx.helper.get_attribute_value(item)
        if isinstance(value, onnx.TensorProto):
            return to_array(value, self.name)
        return list(value) if item.type >= onnx.AttributeProto.FLOATS else value

    def axes(self, position: int, default: Sequence[int]) -> list[int]:
        """Axes from an input or the attribute "axes", made non-negative."""
        rank = self.type(0).rank
        found = self.attribute("axes", None)
        if found is None and self.has(position):
            found = self.constant(position).ravel().tolist()
        axes = [axis + rank if axis < 0 else axis for axis in (default if found is None else found)]
        if any(not 0 <= axis < rank for axis in axes) or len(set(axes)) != len(axes):
            raise self.invalid(f"axes {axes} of rank {rank}")
        return axes

    def axis(self, default: int, rank: int | None = None) -> int:
        """Attribute "axis", made non-negative."""
        rank = self.type(0).rank if rank is None else rank
        axis = self.attribute("axis", default)
        axis = axis + rank if axis < 0 else axis
        if not 0 <= axis < rank:
            raise self.invalid(f"axis {axis} of rank {rank}")
        return axis

    def spatial(self, name: str, count: int, default: int | None) -> tuple[int, ...]:
        """An attribute with one positive number for each spatial axis."""
        found = self.attribute(name, None if default is None else [default] * count)
        if found is None or len(found) != count or min(found, default=1) < 1:
            raise self.invalid(f"{name} {found}")
        return tuple(int(n) for n in found)

    def padding(
        self,
        size: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int],
    ) -> tuple[int, ...]:
        """Padding before each spatial axis, then after each, ceil_mode counted in."""
        count = len(size)
        mode = self.attribute("auto_pad", b"NOTSET").decode()
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            pairs = [same_pad(*each) for each in zip(size, kernel, stride, dilation, strict=True)]
            if mode == "SAME_LOWER":
                pairs = [(after, before) for before, after in pairs]
            before, after = [p[0] for p in pairs], [p[1] for p in pairs]
        elif mode == "VALID":
            before, after = [0] * count, [0] * count
        elif mode == "NOTSET":
            pads = self.attribute("pads", [0] * 2 * count)
            if len(pads) != 2 * count or min(pads, default=0) < 0:
                raise self.invalid(f"pads {pads}")
            before, after = list(pads[:count]), list(pads[count:])
        else:
            raise self.invalid(f"auto_pad {mode}")
        if self.attribute("ceil_mode", 0):
            if self.attribute("count_include_pad", 0) and any((*before, *after)):
                raise self.unsupported("ceil_mode with count_include_pad")
            for i in range(count):
                span = (kernel[i] - 1) * dilation[i] + 1
                rest = (size[i] + before[i] + after[i] - span) % stride[i]
                # one more window, unless it would start in the padding after the map
                out = out_size(size[i], kernel[i], stride[i], dilation[i], (before[i], after[i]))
                if rest and out * stride[i] < size[i] + before[i]:
                    after[i] += stride[i] - rest
        return (*before, *after)

    # -- layout ---------------------------------------------------------------------------

    def nhwc(self, position: int) -> str:
        """An input over maps ([N, C, H, W] or [N, C, L]) as [N, H, W, C]."""
        return self.nhwc_of(self.input(position))

    def nhwc_of(self, value: str) -> str:
        """A value over maps ([N, C, H, W] or [N, C, L]) as [N, H, W, C]."""
        rank = self.builder.types[value].rank
        if rank == 4:
            return self.emit(Transpose((0, 2, 3, 1)), [value])
        if rank != 3:
            raise self.unsupported(f"maps of rank {rank}")
        value = self.emit(Transpose((0, 2, 1)), [value])
        n, length, channels = self.builder.types[value].shape
        return self.emit(Reshape((n, 1, length, channels)), [value])

    def add_nhwc(self, op: Op, inputs: Sequence[str]) -> None:
        """Adds ``op``, whose one output is a map, and gives the file's value its layout."""
        value = self.emit(op, inputs)
        n, _, width, channels = self.builder.types[value].shape
        if self.type(0).rank == 3:
            value = self.emit(Reshape((n, width, channels)), [value])
            self.add(Transpose((0, 2, 1)), [value])
        else:
            self.add(Transpose((0, 3, 1, 2)), [value])

    def oihw_weights(self, position: int) -> str:
        """Convolution weights [O, I, H, W] or [O, I, L] as [O, H, W, I]."""
        rank = self.type(position).rank
        if rank == 4:
            return self.permuted(position, (0, 2, 3, 1))
        if rank != 3:
            raise self.unsupported(f"weights of rank {rank}")
        value = self.permuted(position, (0, 2, 1))
        outs, length, depth = self.builder.types[value].shape
        return self._reshaped_constant(value, (outs, 1, length, depth))

    def permuted(self, position: int, order: Sequence[int]) -> str:
        """An input with its axes permuted; a constant, also behind DequantizeLinear, at once."""
        value = self.input(position)
        if sorted(order) != list(range(self.builder.types[value].rank)):
            raise self.invalid(f"input {position} has rank {self.builder.types[value].rank}")
        source = self._quantized_constant(value)
        if source is None:
            return self.emit(Transpose(tuple(order)), [value])
        kind = self.builder.types[source]
        quant = kind.quant
        if quant is not None and quant.axis is not None:
            quant = Quant(quant.scale, quant.zero_point, list(order).index(quant.axis))
        array = np.ascontiguousarray(self.builder.constants[source].transpose(order))
        name = self.builder.constant(array, stem=source, quant=quant)
        return self.emit(Dequantize(), [name])

    def _reshaped_constant(self, value: str, shape: tuple[int, ...]) -> str:
        source = self._quantized_constant(value)
        if source is None:
            return self.emit(Reshape(shape), [value])
        quant = self.builder.types[source].quant
        assert quant is None or quant.axis in (None, 0)
        array = self.builder.constants[source].reshape(shape)
        return self.emit(Dequantize(), [self.builder.constant(array, stem=source, quant=quant)])

    def _quantized_constant(self, value: str) -> str | None:
        """The integer constant that ``value`` is the DequantizeLinear of."""
        for node in reversed(self.builder.nodes):
            if value in node.outputs:
                if isinstance(node.op, Dequantize) and node.inputs[0] in self.builder.constants:
                    return node.inputs[0]
                return None
        return None

    # -- results --------------------------------------------------------------------------

    def add(
        self, op: Op, inputs: Sequence[str], *, quants: Sequence[Quant | None] | None = None
    ) -> tuple[str, ...]:
        """Adds ``op`` as this node; its outputs are the file's."""
        made = self._add(op, inputs, quants, self.outputs)
        for label, value in zip(self.outputs, made, strict=False):
            if label:
                self.reader.values[label] = value
        return made

    def emit(self, op: Op, inputs: Sequence[str], quant: Quant | None = None) -> str:
        """Adds an intermediate node and returns the name of its one output."""
        return self._add(op, inputs, [quant], [])[0]

    def define(self, value: str) -> None:
        """Makes an existing value the node's first output."""
        self.reader.values[self.outputs[0]] = value

    def emit_constant(self, array: np.ndarray) -> str:
        """Adds a constant and returns its name."""
        return self.reader.constant(array, self.name)

    def define_constant(self, array: np.ndarray) -> None:
        """Makes a constant the node's first output."""
        self.define(self.emit_constant(array))

    def _add(
        self,
        op: Op,
        inputs: Sequence[str],
        quants: Sequence[Quant | None] | None,
        labels: Sequence[str],
    ) -> tuple[str, ...]:
        kinds = op.infer([self.builder.types[value] if value else None for value in inputs])
        for kind in kinds:
            checked_shape(kind.shape, self.name)
        if (quants is None or not any(quants)) and op.movement:
            quants = [self.builder.types[inputs[0]].quant] * len(kinds)
        if quants is None:
            quants = [None] * len(kinds)
        folded = self._folded(op, inputs, kinds, quants)
        if folded is not None:
            return folded
        names = [
            self.reader.fresh(labels[i] if i < len(labels) and labels[i] else self.name)
            for i in range(len(kinds))
        ]
        return self.builder.add(op, inputs, name=self.name, outputs=names, quants=quants)

    def _folded(
        self,
        op: Op,
        inputs: Sequence[str],
        kinds: Sequence[TensorType],
        quants: Sequence[Quant | None],
    ) -> tuple[str, ...] | None:
        """The outputs as constants where all inputs are; sizes and axes are computed so.

        DequantizeLinear stays a node, for its integers are what quantised ops want.
        """
        if isinstance(op, Dequantize) or op.mutates or not inputs:
            return None
        if any(value and value not in self.builder.constants for value in inputs):
            return None
        if max(kind.count for kind in kinds) > FOLD_ELEMENTS:
            return None
        types = Types(
            tuple(self.builder.types[value] if value else None for value in inputs),
            tuple(
                TensorType(kind.shape, kind.dtype, quant)
                for kind, quant in zip(kinds, quants, strict=True)
            ),
        )
        arrays = op.reference(
            [self.builder.constants[value] if value else None for value in inputs], types
        )
        return tuple(
            self.builder.constant(np.asarray(array, order="C"), stem=self.name, quant=quant)
            for array, quant in zip(arrays, quants, strict=True)
        )


def _kind(node: onnx.NodeProto) -> str:
    """The op type, with its domain where that is not one of those tinymill knows."""
    return node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"


def _label(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _load_external(model: onnx.ModelProto, folder: Path) -> None:
    """Reads the constants that the model keeps in files beside it (torch's newer exporter)."""
    outside = [t for t in model.graph.initializer if uses_external_data(t)]
    if not outside:
        return
    names = {entry.value for t in outside for entry in t.external_data if entry.key == "location"}
    try:
        size = sum((folder / name).stat().st_size for name in names)
        if size > MAX_FILE:
            raise InvalidModel(f"{size:,} bytes of constants in other files", at=str(folder))
        for tensor in outside:
            # refuses locations outside the folder
            load_external_data_for_tensor(tensor, str(folder))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    except (OSError, ValidationError, *_BROKEN) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InvalidModel(
            f"its numbers are in another file, which can't be read ({reason})",
            at=outside[0].name,
        ) from error


def to_array(tensor: onnx.TensorProto, at: str) -> np.ndarray:
    """The numbers of an initializer. Raises ``InvalidModel`` where they are missing."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InvalidModel(
            "its numbers are in another file", at=at, hint="save the model with them inside"
        )
    checked_shape([max(1, n) for n in tensor.dims], at)
    try:
        return numpy_helper.to_array(tensor)
    except _BROKEN as error:
        raise InvalidModel(f"its numbers are missing or broken ({error})", at=at) from error


def _check_names(graph: onnx.GraphProto) -> None:
    """protobuf gives text that is no UTF-8 as bytes. Raises ``InvalidModel``."""
    items: tuple[Any, ...] = (*graph.input, *graph.output, *graph.initializer)
    names = [item.name for item in items]
    if len(graph.node) > MAX_NODES:
        raise InvalidModel(f"{len(graph.node):,} nodes, at most {MAX_NODES:,} are supported")
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [item.name for item in node.attribute]
    if not all(isinstance(name, str) for name in names):
        raise InvalidModel("a name in the file is no UTF-8 text")
    for ends in (graph.input, graph.initializer):
        found = [item.name for item in ends]
        if len(set(found)) != len(found) or (ends is graph.input and "" in found):
            raise InvalidModel("two inputs or constants have one name, or one has none")


def _sorted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes in execution order, the file's where that is one. ``InvalidModel`` on a cycle."""
    producer: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and name in producer:
                raise InvalidModel("made by two nodes", at=name)
            if name:
                producer[name] = index
    if all(
        producer.get(name, -1) < index
        for index, node in enumerate(graph.node)
        for name in node.input
    ):
        return list(graph.node)
    order = nx.DiGraph()
    order.add_nodes_from(range(len(graph.node)))
    for index, node in enumerate(graph.node):
        order.add_edges_from((producer[name], index) for name in node.input if name in producer)
    try:
        return [graph.node[i] for i in nx.lexicographical_topological_sort(order)]
    except nx.NetworkXUnfeasible as error:
        raise InvalidModel("the graph has a cycle") from error
