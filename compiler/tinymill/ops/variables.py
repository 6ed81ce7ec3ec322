"""Variables: values that live from one run to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidModel
from ..ir import DType, Example, Flat, KernelCall, Op, Quant, TensorType, Types
from .registry import from_tflite


@dataclass(frozen=True)
class ReadVariable(Op):
    """A copy of a variable as it is at this point of the run."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, x.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (x.copy(),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        return KernelCall("copy", "b8", {"bytes": types.output.bytes}, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            x = TensorType((3, 5), dtype)
            yield Example(cls(), Types((x,), (x,)))


@dataclass(frozen=True)
class AssignVariable(Op):
    """Gives a variable (the first input) the value of the second. No outputs."""

    mutates = (0,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        variable, value = inputs[0], inputs[1]
        assert variable is not None and value is not None
        if (variable.shape, variable.dtype) != (value.shape, value.dtype):
            raise InvalidModel(f"a variable of {variable} assigned {value}")
        return ()

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        value = inputs[1]
        assert value is not None
        return (value.copy(),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        operands = (Flat(inputs[1]), Flat(inputs[0]))
        return KernelCall("copy", "b8", {"bytes": types.input(0).bytes}, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            x = TensorType((3, 5), dtype, Quant((0.5,), (3,)) if dtype is DType.INT8 else None)
            yield Example(cls(), Types((x, x), ()))


@from_tflite("VAR_HANDLE")
def _var_handle(node: Any) -> None:
    node.declare_variable()


@from_tflite("READ_VARIABLE")
def _read_variable(node: Any) -> None:
    variable = node.variable(node.output_type(0))
    if node.may_read_in_place():
        node.define(variable)
    else:
        node.add(ReadVariable(), [variable])


@from_tflite("ASSIGN_VARIABLE")
def _assign_variable(node: Any) -> None:
    value = node.inputs_from(1)[0]
    node.add(AssignVariable(), [node.variable(node.type_of(value)), value])


@from_tflite("CALL_ONCE")
def _call_once(node: Any) -> None:
    node.run_once(node.options("CallOnceOptions").InitSubgraphIndex())
