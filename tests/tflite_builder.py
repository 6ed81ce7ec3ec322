"""Builds small TFLite files: tensors and operators in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

TYPES = {
    "float32": "FLOAT32", "int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32",
    "int64": "INT64", "bool": "BOOL",
}  # fmt: skip


class TfliteBuilder:
    """One subgraph; tensors are known by their index."""

    def __init__(self) -> None:
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[str, int] = {}

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        scale: float | Sequence[float] | None = None,
        zero: int = 0,
        *,
        array: np.ndarray | None = None,
        axis: int = 0,
        variable: bool = False,
    ) -> int:
        """Adds a tensor, constant where it has an ``array``."""
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = getattr(schema.TensorType, TYPES[dtype])
        tensor.name = f"t{len(self.tensors)}"
        tensor.isVariable = variable
        tensor.buffer = 0
        if array is not None:
            buffer = schema.BufferT()
            raw = np.ascontiguousarray(array, dtype).tobytes()
            buffer.data = np.frombuffer(raw, np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if scale is not None:
            quant = schema.QuantizationParametersT()
            quant.scale = list(np.atleast_1d(scale))
            quant.zeroPoint = [zero] * len(quant.scale)
            quant.quantizedDimension = axis
            tensor.quantization = quant
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def integers(self, values: Sequence[int], shape: Sequence[int] | None = None) -> int:
        """Adds an int32 constant."""
        array = np.array(values, np.int32)
        return self.tensor(array.shape if shape is None else shape, "int32", array=array)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str | None = None,
        **options: Any,
    ) -> None:
        """Adds an operator; ``options`` are fields of the options ``table``."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(kind, len(self.codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in options.items():
                assert hasattr(operator.builtinOptions, name), name
                setattr(operator.builtinOptions, name, value)
        self.operators.append(operator)

    def build(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = 3
        model.description = ""
        model.subgraphs, model.buffers, model.operatorCodes = [graph], self.buffers, []
        for kind in self.codes:
            code = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, kind)
            code.builtinCode = number
            code.deprecatedBuiltinCode = min(number, 127)
            code.version = 1
            model.operatorCodes.append(code)
        packer = flatbuffers.Builder(1024)
        packer.Finish(model.Pack(packer), b"TFL3")
        return bytes(packer.Output())
