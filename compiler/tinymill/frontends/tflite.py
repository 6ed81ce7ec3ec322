"""TFLite flatbuffer -> Graph.

Quantised uint8 tensors become int8 with the zero point less 128: the same reals, the same
arithmetic, one set of kernels. Only at the model's ends the bytes are turned (``Recode``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tflite

from ..errors import InvalidModel, TinymillError, UnsupportedOp
from ..ir import DType, FixedPoint, Graph, GraphBuilder, Op, Port, Quant, TensorType, interpret
from ..ops.arithmetic import dequantize, fixed_point
from ..ops.conv import same_pad
from ..ops.quantization import Recode
from ..ops.registry import TFLITE
from .coverage import check_supported
from .limits import MAX_NODES, checked_shape

_OPERATORS = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
_TYPES = {
    tflite.TensorType.INT8: DType.INT8,
    tflite.TensorType.UINT8: DType.UINT8,
    tflite.TensorType.INT16: DType.INT16,
    tflite.TensorType.INT32: DType.INT32,
    tflite.TensorType.INT64: DType.INT64,
    tflite.TensorType.FLOAT32: DType.FLOAT32,
    tflite.TensorType.BOOL: DType.BOOL,
}
_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: (-np.inf, np.inf),
    tflite.ActivationFunctionType.RELU: (0.0, np.inf),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
}
MAX_INITIAL = 1 << 26
"""Bytes of values that the subgraph with the initial values may make."""
# Operators whose output is their input's bytes: a variable can't be read through them.
_ALIASES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# What the flatbuffer classes and numpy raise on bytes that are no model.
_BROKEN = (
    struct.error, IndexError, ValueError, TypeError, OverflowError, KeyError, AttributeError,
    MemoryError, RecursionError, AssertionError,
)  # fmt: skip


def read_tflite(content: bytes, name: str) -> Graph:
    """The graph of a TFLite file's bytes. Raises ``InvalidModel`` and ``UnsupportedOp``."""
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise InvalidModel("no TFLite model (the file identifier TFL3 is missing)")
    try:
        return _Reader(content, name).read()
    except TinymillError:
        raise
    except _BROKEN as error:
        raise InvalidModel(f"broken TFLite file ({type(error).__name__}: {error})") from error


class _Reader:
    def __init__(self, content: bytes, name: str, *, once: bool = False) -> None:
        self.content = content
        self.once = once
        self.size = len(content)
        self.model = tflite.Model.GetRootAs(content, 0)
        self.builder = GraphBuilder(name)
        self.values: dict[int, str] = {}
        self.resources: dict[int, str] = {}
        self.variables: dict[str, str] = {}
        self.initial: dict[str, np.ndarray] = {}

    def read(self) -> Graph:
        if self.model.SubgraphsLength() < 1:
            raise InvalidModel("no subgraph")
        graph = self._subgraph(0)
        self._limit(graph.TensorsLength(), "tensors")
        self._limit(graph.OperatorsLength(), "operators", MAX_NODES)
        for index in graph.InputsAsNumpy() if graph.InputsLength() else ():
            self._input(graph, int(index))
        self._operators(graph)
        outputs = graph.OutputsAsNumpy() if graph.OutputsLength() else ()
        for index in outputs:
            self._output(graph, int(index))
        if not self.builder.outputs:
            raise InvalidModel("the model has no outputs")
        return self.builder.finish()

    # -- variables ------------------------------------------------------------------------

    def initial_values(self, index: int) -> dict[str, np.ndarray]:
        """What the variables hold, by resource name, after subgraph ``index`` ran once."""
        if self.once:
            raise UnsupportedOp("CALL_ONCE inside of what is called once")
        inner = _Reader(self.content, f"{self.builder.name} once", once=True)
        graph = inner._subgraph(index)
        inner._limit(graph.OperatorsLength(), "operators", MAX_NODES)
        inner._operators(graph)
        made = inner.builder.finish()
        if sum(kind.bytes for kind in made.types.values()) > MAX_INITIAL:
            raise UnsupportedOp(f"more than {MAX_INITIAL:,} bytes of initial values")
        state = dict(made.variables)
        interpret(made, {}, state)
        return {
            resource: state[name] for resource, name in inner.variables.items() if name in state
        }

    def variable(self, resource: str, kind: TensorType) -> str:
        """The variable of a resource; made, with its initial value, where first used."""
        if resource not in self.variables:
            name = self._fresh(resource)
            array = self.initial.get(resource)
            if array is None:
                array = np.zeros(kind.shape, kind.dtype.numpy)
            if (array.shape, array.dtype) != (kind.shape, kind.dtype.numpy):
                raise InvalidModel(f"initial value {array.dtype}{array.shape} of {kind}", at=name)
            self.builder.types[name] = kind
            self.builder.variables[name] = array
            self.variables[resource] = name
        return self.variables[resource]

    def reads_end_early(self, graph: Any, index: int, tensor: int, resource: str) -> bool:
        """Whether all that reads ``tensor``, read from a variable by operator ``index``, does so
        before the variable is next assigned, so that it may as well read the variable."""
        if tensor in (graph.OutputsAsNumpy() if graph.OutputsLength() else ()):
            return False
        assigned = False
        for later in range(index + 1, graph.OperatorsLength()):
            operator = graph.Operators(later)
            inputs = [int(i) for i in operator.InputsAsNumpy()] if operator.InputsLength() else []
            kind = self.kind_of(operator)
            if tensor in inputs and (assigned or kind in _ALIASES):
                return False
            assigned = (
                assigned
                or kind == "CALL_ONCE"
                or (
                    kind == "ASSIGN_VARIABLE"
                    # a handle not yet declared may be any
                    and self.resources.get(inputs[0], resource) == resource
                )
            )
        return True

    def _subgraph(self, index: int) -> Any:
        graph = self.model.Subgraphs(index)
        if graph is None:
            raise InvalidModel(f"no subgraph {index}")
        return graph

    def _limit(self, count: int, what: str, most: int | None = None) -> None:
        # each takes some bytes of the file, so a larger number is a broken length
        if count > self.size:
            raise InvalidModel(f"{count:,} {what} in a file of {self.size:,} bytes")
        if most is not None and count > most:
            raise InvalidModel(f"{count:,} {what}, at most {most:,} are supported")

    # -- tensors --------------------------------------------------------------------------

    def _tensor(self, graph: Any, index: int) -> Any:
        if not 0 <= index < graph.TensorsLength():
            raise InvalidModel(f"tensor {index} of {graph.TensorsLength()}")
        return graph.Tensors(index)

    def raw_type(self, graph: Any, index: int) -> TensorType:
        """The type as the file has it, uint8 included."""
        tensor = self._tensor(graph, index)
        at = self.tensor_name(graph, index)
        if tensor.Type() not in _TYPES:
            raise UnsupportedOp(f"tensor type {tensor.Type()}", at=at)
        shape = tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []
        kind = TensorType(checked_shape(shape, at), _TYPES[tensor.Type()])
        return replace(kind, quant=_quant(tensor.Quantization(), kind, at))

    def tensor_name(self, graph: Any, index: int) -> str:
        raw = self._tensor(graph, index).Name()
        return (raw or b"").decode("utf-8", "replace") or f"tensor{index}"

    def data(self, graph: Any, index: int) -> np.ndarray | None:
        """The numbers of a constant tensor as the file has them; None where there are none."""
        tensor = self._tensor(graph, index)
        buffer = tensor.Buffer()
        if not 0 <= buffer < self.model.BuffersLength():
            raise InvalidModel(f"buffer {buffer}", at=self.tensor_name(graph, index))
        found = self.model.Buffers(buffer)
        if found is None or found.DataLength() == 0:
            return None
        raw = found.DataAsNumpy()
        kind = self.raw_type(graph, index)
        if raw.nbytes != kind.bytes:
            raise InvalidModel(
                f"{raw.nbytes:,} bytes of data for {kind}", at=self.tensor_name(graph, index)
            )
        return np.frombuffer(raw.tobytes(), kind.dtype.numpy).reshape(kind.shape)

    def value(self, graph: Any, index: int) -> str:
        """The name of tensor ``index`` in the graph being built."""
        if index < 0:
            return ""
        if index in self.values:
            return self.values[index]
        kind = as_int8(self.raw_type(graph, index))
        name = self._fresh(self.tensor_name(graph, index))
        array = self.data(graph, index)
        tensor = self._tensor(graph, index)
        if array is not None:
            if _is_turned(self.raw_type(graph, index)):
                array = (array ^ np.uint8(0x80)).view(np.int8)
            self.builder.constants[name] = array
        elif tensor.IsVariable():
            # as TFLite Micro starts them: bytes at the zero point, all else at 0
            bytewise = kind.quant is not None and kind.dtype is DType.INT8
            zero = kind.zero_point if bytewise else 0
            self.builder.variables[name] = np.full(kind.shape, zero, kind.dtype.numpy)
        else:
            raise InvalidModel("used before anything writes it", at=name)
        self.builder.types[name] = kind
        self.values[index] = name
        return name

    def define(self, graph: Any, index: int) -> tuple[str, TensorType]:
        """A fresh name and the type for a tensor that an operator writes."""
        kind = as_int8(self.raw_type(graph, index))
        if index in self.values:
            raise InvalidModel("written twice", at=self.tensor_name(graph, index))
        name = self._fresh(self.tensor_name(graph, index))
        self.values[index] = name
        return name, kind

    def _fresh(self, name: str) -> str:
        if name not in self.builder.types and name:
            return name
        return self.builder.fresh(name)

    # -- ends -----------------------------------------------------------------------------

    def _input(self, graph: Any, index: int) -> None:
        raw = self.raw_type(graph, index)
        label = self.tensor_name(graph, index)
        name = self._fresh(label)
        order = tuple(range(raw.rank))
        self.builder.types[name] = raw
        self.builder.inputs.append(Port(name, label, raw.shape, order))
        if _is_turned(raw):
            (name,) = self.builder.add(
                Recode(), [name], name=f"{label} to int8", quants=[as_int8(raw).quant]
            )
        self.values[index] = name

    def _output(self, graph: Any, index: int) -> None:
        raw = self.raw_type(graph, index)
        label = self.tensor_name(graph, index)
        name = self.value(graph, index)
        if _is_turned(raw):
            (name,) = self.builder.add(
                Recode(), [name], name=f"{label} to uint8", quants=[raw.quant]
            )
        self.builder.outputs.append(Port(name, label, raw.shape, tuple(range(raw.rank))))

    # -- operators ------------------------------------------------------------------------

    def kind_of(self, operator: Any) -> str:
        """The operator's name in TFLite's schema; "CUSTOM name" for a custom one."""
        code = operator.OpcodeIndex()
        if not 0 <= code < self.model.OperatorCodesLength():
            raise InvalidModel(f"an operator has code {code}")
        entry = self.model.OperatorCodes(code)
        number = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
        kind = _OPERATORS.get(number, str(number))
        if kind == "CUSTOM":
            kind = f"CUSTOM {(entry.CustomCode() or b'').decode('utf-8', 'replace')}"
        return kind

    def _operators(self, graph: Any) -> None:
        nodes = [self._node(graph, index) for index in range(graph.OperatorsLength())]
        check_supported(((node.kind, node.name) for node in nodes), TFLITE, "TFLite")
        for node in nodes:
            TFLITE[node.kind](node)

    def _node(self, graph: Any, index: int) -> TfliteNode:
        operator = graph.Operators(index)
        return TfliteNode(self, graph, operator, self.kind_of(operator), index)


class TfliteNode:
    """One operator, as importers in ``ops/`` see it."""

    def __init__(self, reader: _Reader, graph: Any, operator: Any, kind: str, index: int) -> None:
        self.reader = reader
        self.graph = graph
        self.operator = operator
        self.kind = kind
        self.index = index
        self.builder = reader.builder
        self.input_indices = [
            int(i) for i in (operator.InputsAsNumpy() if operator.InputsLength() else ())
        ]
        self.output_indices = [
            int(i) for i in (operator.OutputsAsNumpy() if operator.OutputsLength() else ())
        ]

    @property
    def name(self) -> str:
        """The source layer's name: that of its first output."""
        if self.output_indices:
            return self.reader.tensor_name(self.graph, self.output_indices[0])
        return f"{self.kind}{self.index}"

    @property
    def depthwise(self) -> bool:
        return self.kind == "DEPTHWISE_CONV_2D"

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs; "" where one is left out."""
        return [self.reader.value(self.graph, i) for i in self.input_indices]

    def inputs_from(self, position: int) -> list[str]:
        """Names of the inputs from ``position`` on."""
        return [self.reader.value(self.graph, i) for i in self.input_indices[position:]]

    # -- variables ------------------------------------------------------------------------

    def declare_variable(self) -> None:
        """Makes this operator's output a handle of the variable its options name."""
        options = self.options("VarHandleOptions")
        names = (options.Container() or b"", options.SharedName() or b"")
        resource = "/".join(part.decode("utf-8", "replace") for part in names if part)
        self.reader.resources[self.output_indices[0]] = resource or "variable"

    def _resource(self) -> str:
        handle = self.input_indices[0] if self.input_indices else -1
        if handle not in self.reader.resources:
            raise self.unsupported("a handle that is not from VAR_HANDLE before it")
        return self.reader.resources[handle]

    def variable(self, kind: TensorType) -> str:
        """The variable that the first input is a handle of."""
        return self.reader.variable(self._resource(), kind)

    def may_read_in_place(self) -> bool:
        """Whether the readers of the output may read the variable itself."""
        output = self.output_indices[0]
        kind = self.output_type(0)
        return self.type_of(self.variable(kind)) == kind and self.reader.reads_end_early(
            self.graph, self.index, output, self._resource()
        )

    def define(self, value: str) -> None:
        """Makes an existing value this operator's first output."""
        self.reader.values[self.output_indices[0]] = value

    def run_once(self, subgraph: int) -> None:
        """Takes the variables' initial values from a subgraph."""
        if self.reader.variables:
            raise self.unsupported("variables used before it")
        self.reader.initial.update(self.reader.initial_values(subgraph))

    # -- errors ---------------------------------------------------------------------------

    def unsupported(self, problem: str) -> UnsupportedOp:
        return UnsupportedOp(f"{self.kind}: {problem}", at=self.name)

    def invalid(self, problem: str) -> InvalidModel:
        return InvalidModel(f"{self.kind}: {problem}", at=self.name)

    def optional(self, position: int) -> str:
        """Name of an input that may be left out."""
        inputs = self.input_indices
        if position >= len(inputs) or inputs[position] < 0:
            return ""
        return self.reader.value(self.graph, inputs[position])

    def type(self, position: int) -> TensorType:
        """Type of an input, uint8 already turned into int8."""
        if position >= len(self.input_indices):
            raise self.invalid(f"input {position} is missing")
        name = self.reader.value(self.graph, self.input_indices[position])
        if not name:
            raise self.invalid(f"input {position} is missing")
        return self.builder.types[name]

    def type_of(self, value: str) -> TensorType:
        return self.builder.types[value]

    def output_type(self, position: int) -> TensorType:
        """Type that the file states for an output, uint8 already turned into int8."""
        return as_int8(self.reader.raw_type(self.graph, self.output_indices[position]))

    def was_uint8(self, position: int) -> bool:
        """Whether an output is a legacy uint8 tensor in the file (some rounding differs)."""
        return _is_turned(self.reader.raw_type(self.graph, self.output_indices[position]))

    def constant(self, position: int) -> np.ndarray:
        """The numbers of a constant input."""
        name = self.optional(position)
        if name not in self.builder.constants:
            raise self.unsupported(f"input {position} is not constant")
        return self.builder.constants[name]

    def is_constant(self, position: int) -> bool:
        return self.optional(position) in self.builder.constants

    def permute_constant(self, position: int, order: Sequence[int]) -> str:
        """A constant input with its axes permuted, as a new constant."""
        kind = self.type(position)
        if kind.rank != len(order):
            raise self.invalid(f"input {position} has rank {kind.rank}")
        array = np.ascontiguousarray(self.constant(position).transpose(order))
        quant = kind.quant
        if quant is not None and quant.axis is not None:
            quant = Quant(quant.scale, quant.zero_point, list(order).index(quant.axis))
        return self.builder.constant(array, stem=self.optional(position), quant=quant)

    def float_weights(self, value: str) -> str:
        """Constant weights for float activations: integer ones as the reals they stand for.

        TFLite (not TFLite Micro, which refuses such files) would quantise the activations at
        run time instead; the reals are what its quantisation approximates.
        """
        kind = self.builder.types[value]
        if kind.dtype is DType.FLOAT32 or kind.quant is None:
            return value
        if value not in self.builder.constants:
            raise self.unsupported("float activations with integer weights")
        array = dequantize(self.builder.constants[value], kind.quant)
        return self.builder.constant(array, stem=value)

    def options(self, table: str) -> Any:
        """The operator's options as the class ``table`` of package tflite; None if absent."""
        raw = self.operator.BuiltinOptions()
        if raw is None:
            raise self.invalid(f"no {table}")
        options = getattr(tflite, table)()
        options.Init(raw.Bytes, raw.Pos)
        return options

    def padding(
        self,
        kind: int,
        size: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        dilation: Sequence[int] = (1, 1),
    ) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of TFLite's SAME or VALID padding."""
        if min(*kernel, *stride, *dilation) < 1:
            raise self.invalid(f"kernel {kernel}, stride {stride}, dilation {dilation}")
        if kind == tflite.Padding.VALID:
            return (0, 0, 0, 0)
        (top, bottom), (left, right) = (
            same_pad(size[i], kernel[i], stride[i], dilation[i]) for i in (0, 1)
        )
        return (top, left, bottom, right)

    def activation(self, function: int, y: TensorType) -> tuple[float, float] | None:
        """The clamp of a fused activation, in output integers or in reals."""
        if function not in _ACTIVATIONS:
            raise self.unsupported(f"fused activation {function}")
        low, high = _ACTIVATIONS[function]
        if y.dtype is DType.FLOAT32:
            return None if function == tflite.ActivationFunctionType.NONE else (low, high)
        least, most = y.dtype.limits
        if y.quant is None:
            return (least, most)
        return (
            float(max(least, _quantized(low, y))) if np.isfinite(low) else float(least),
            float(min(most, _quantized(high, y))) if np.isfinite(high) else float(most),
        )

    def rescale_by_channel(
        self, x: TensorType, weights: TensorType, y: TensorType, channels: int
    ) -> FixedPoint | None:
        """s_x * s_w / s_y for each output channel in fixed point; None for float types."""
        if x.dtype is DType.FLOAT32:
            if weights.dtype is not DType.FLOAT32:
                raise self.unsupported("float activations with integer weights")
            return None
        if x.dtype is not DType.INT8 or weights.dtype is not DType.INT8 or y.dtype is not x.dtype:
            raise self.unsupported(f"types {x}, {weights} -> {y}")
        if not (
            x.quant and weights.quant and y.quant and x.quant.per_tensor and y.quant.per_tensor
        ):
            raise self.invalid("quantisation parameters are missing")
        if len(weights.quant.scale) not in (1, channels):
            raise self.invalid(f"{len(weights.quant.scale)} scales for {channels} channels")
        if self.was_uint8(0):
            # legacy uint8: the product of the two scales is float32
            products = [float(np.float32(x.scale) * np.float32(s)) for s in weights.quant.scale]
        else:
            products = [float(x.scale) * float(s) for s in weights.quant.scale]
        return fixed_point([product / float(y.scale) for product in products])

    def add(
        self,
        op: Op,
        inputs: Sequence[str],
        *,
        quants: Sequence[Quant | None] | None = None,
    ) -> tuple[str, ...]:
        """Adds ``op`` as this operator; its outputs get the file's names and types.

        Raises ``InvalidModel`` where the shapes that follow from the inputs are not those
        that the file states.
        """
        named = [self.reader.define(self.graph, index) for index in self.output_indices]
        names = [name for name, _ in named]
        if quants is None:
            quants = [kind.quant for _, kind in named]
        made = self.builder.add(op, inputs, name=self.name, outputs=names, quants=quants)
        for name, stated in named:
            kind = self.builder.types[name]
            checked_shape(kind.shape, self.name)
            if (kind.shape, kind.dtype) != (stated.shape, stated.dtype):
                raise self.invalid(f"the file states {stated} for an output that is {kind}")
        return made

    def emit(self, op: Op, inputs: Sequence[str], quant: Quant | None = None) -> str:
        """Adds an intermediate node and returns the name of its one output."""
        (name,) = self.builder.add(op, inputs, name=self.name, quants=[quant])
        return name


def as_int8(kind: TensorType) -> TensorType:
    """Quantised uint8 as int8 with the zero point less 128; all else as it is."""
    if not _is_turned(kind):
        return kind
    assert kind.quant is not None
    zeros = tuple(z - 128 for z in kind.quant.zero_point)
    return TensorType(kind.shape, DType.INT8, Quant(kind.quant.scale, zeros, kind.quant.axis))


def _is_turned(kind: TensorType) -> bool:
    return kind.dtype is DType.UINT8 and kind.quant is not None


def _quantized(real: float, kind: TensorType) -> int:
    """TFLite's quantisation of an activation limit: round half away from zero in float32."""
    ratio = np.float32(real) / np.float32(kind.scale)
    return kind.zero_point + int(np.floor(np.abs(ratio) + np.float32(0.5)) * np.sign(ratio))


def _quant(parameters: Any, kind: TensorType, at: str) -> Quant | None:
    if parameters is None or parameters.ScaleLength() == 0:
        return None
    scale = tuple(float(x) for x in parameters.ScaleAsNumpy())
    zero = (
        tuple(int(z) for z in parameters.ZeroPointAsNumpy())
        if parameters.ZeroPointLength()
        else (0,)
    )
    if len(zero) == 1:
        zero = zero * len(scale)
    if len(zero) != len(scale):
        raise InvalidModel(f"{len(scale)} scales, {len(zero)} zero points", at=at)
    if not all(np.isfinite(x) and x > 0 for x in scale):
        raise InvalidModel("a quantisation scale is not a positive number", at=at)
    # in wider types and floats zero points are not used, but must still fit the arithmetic
    narrow = kind.dtype in (DType.INT8, DType.UINT8, DType.INT16)
    low, high = kind.dtype.limits if narrow else DType.INT16.limits
    if not all(low <= z <= high for z in zero):
        raise InvalidModel("a zero point is out of range", at=at)
    if len(scale) == 1:
        return Quant(scale, zero)
    # some writers give a bias the axis of its weights
    axis = parameters.QuantizedDimension() if kind.rank != 1 else 0
    if not 0 <= axis < kind.rank or kind.shape[axis] != len(scale):
        raise InvalidModel(f"{len(scale)} scales along axis {axis} of {kind}", at=at)
    return Quant(scale, zero, axis)
