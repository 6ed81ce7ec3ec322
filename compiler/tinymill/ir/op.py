"""What every op must tell the rest of the compiler. The ops themselves live in ``ops/``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import UnsupportedOp
from .types import TensorType


@dataclass(frozen=True)
class Types:
    """The types of one node's inputs (None where an optional input is left out) and outputs."""

    inputs: tuple[TensorType | None, ...]
    outputs: tuple[TensorType, ...]

    def input(self, index: int) -> TensorType:
        found = self.inputs[index]
        assert found is not None
        return found

    @property
    def output(self) -> TensorType:
        return self.outputs[0]


@dataclass(frozen=True)
class Window:
    """The rows of an input that one output row reads: y * stride - pad + k * dilation."""

    kernel: int
    stride: int
    dilation: int
    pad: int

    def spans(self, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        """For each output row the first input row that it or a later one reads, and the row
        behind the last one that it or an earlier one reads; both within [0, inputs]."""
        first = np.arange(outputs, dtype=np.int64) * self.stride - self.pad
        last = first + (self.kernel - 1) * self.dilation + 1
        return np.clip(first, 0, inputs), np.clip(last, 0, inputs)


POINT = Window(kernel=1, stride=1, dilation=1, pad=0)
SAME_ROW = Window(kernel=1, stride=1, dilation=1, pad=0)


@dataclass(frozen=True)
class RowTable:
    """The rows of an input that output row y reads: first[y] up to, without, last[y]."""

    first: tuple[int, ...]
    last: tuple[int, ...]

    def spans(self, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        """As ``Window.spans``."""
        first = np.minimum.accumulate(np.array(self.first, np.int64)[::-1])[::-1]
        last = np.maximum.accumulate(np.array(self.last, np.int64))
        return np.clip(first, 0, inputs), np.clip(last, 0, inputs)


Reading = Window | RowTable
"""Which rows of an input the rows of the output read."""


@dataclass(frozen=True)
class Rows:
    """Operand handed to a kernel as a ``tm_rows`` view (a spatial map of rank 4).

    ``pad`` is the value that stands outside the map, None where the kernel never leaves it.
    """

    value: str
    pad: int | float | None = None


@dataclass(frozen=True)
class Flat:
    """Operand handed to a kernel as a plain pointer.

    ``role`` names one that stands where kernels usually read a constant (``Table``): weights or
    a bias that are variables.
    """

    value: str
    role: str = ""


@dataclass(frozen=True)
class Table:
    """Constant array made at compile time; ``role`` names it in the emitted C.

    ``axes`` names its axes for the packing that the chosen kernel asks for ("OHWI"), empty
    where the order is fixed by the contract.
    """

    role: str
    array: np.ndarray
    axes: str = ""


Operand = Rows | Flat | Table | None
"""None is passed as NULL."""

Param = int | float | Table | Sequence[int] | Sequence[float] | None
"""A field of a kernel's params: a number, a constant array by pointer, an inline array, NULL."""


@dataclass(frozen=True)
class KernelCall:
    """One call of a kernel family: ``tm_<family>_<dtype>(&params, operands..., part, scratch)``.

    ``params`` are fields of ``tm_<family>_<dtype>_params`` (see the family's header),
    ``facts`` what the kernel table may choose by, beside the numbers among the params.
    ``operands`` are in the order of the C contract, outputs included. Families whose
    operands include ``Rows`` also get a ``tm_part``: the rows and channels to compute.
    """

    family: str
    dtype: str
    params: Mapping[str, Param]
    operands: tuple[Operand, ...]
    facts: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """One case from which the contract tests are generated.

    ``constants`` maps input index to the value it must have (weights, axes); inputs without
    one are random. ``ranges`` bounds random floats of an input.
    """

    op: Op
    types: Types
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    ranges: tuple[float, float] = (-2.0, 2.0)


class Op(ABC):
    """Base of all ops: frozen dataclasses whose fields are the attributes.

    An op is asked, never told: it holds no graph and no values. Inputs and outputs are
    positional; an optional input that is left out is None.
    """

    mutates: ClassVar[tuple[int, ...]] = ()
    """Inputs that are variables and get a new value; ``reference`` returns it after the outputs."""

    of_variables: ClassVar[tuple[int, ...]] = ()
    """Inputs that must be variables and are left as they are."""

    movement: ClassVar[bool] = False
    """True where values are only moved, so that the op commutes with per-tensor quantisation."""

    alike: ClassVar[bool] = False
    """True where all inputs are data of one layout (elementwise, concat), not only the first."""

    bias_at: ClassVar[int | None] = None
    """The input that is added to the accumulator, in its scale, where there is one."""

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        """Types of the outputs, without quantisation. Raises ``InvalidModel``."""

    @abstractmethod
    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        """The outputs in numpy: the truth for every kernel."""

    @abstractmethod
    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        """The call that computes this node; None where nothing is computed (``alias``).

        Raises ``UnsupportedOp`` for a combination of types that no kernel family covers.
        ``constants`` holds the values of constant inputs; one that is absent (weightless
        graph) is an array of the right shape that takes no memory.
        """

    def macs(self, types: Types) -> int:
        """Multiply-accumulates of one run."""
        return 0

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        """For each input, the rows that a row of any output reads; None: all of it.

        Rows are those of axis 1 of NHWC maps; ``POINT`` at any rank means that output
        element i reads element i of this input and no other, ``SAME_ROW`` that row y reads
        row y. An op whose inputs are all None or read so must give the right ``kernel`` for
        types of a single row.
        """
        return (None,) * len(types.inputs)

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        """As ``windows``, for the columns (axis 2) that a column of the output reads; None where
        the op can't be computed for a strip of columns (``strip``)."""
        windows = self.windows(types)
        for kind, window in zip(types.inputs, windows, strict=True):
            if window is None and kind is not None and kind.rank > 2 and kind.shape[-2] > 1:
                return None
        return windows if all(w is None or w is POINT for w in windows) else None

    def strip(self, left: int, right: int) -> Op:
        """The op on a strip of columns, beside which there are ``left`` and ``right`` columns of
        padding that its windows reach."""
        return self

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        """For each input the window along ``axis``, the first that is not 1, that a place of any
        output reads; None: all of it, or not known.

        What is not known is known of no input: an op that gives a window for one reads others
        at the same place, or all of them at every place.
        """
        found: tuple[Reading | None, ...] | None = None
        if all(kind.rank == 4 for kind in types.outputs) and axis in (1, 2):
            found = self.windows(types) if axis == 1 else self.column_windows(types)
        elif all(window is None or window is POINT for window in self.windows(types)):
            found = self.windows(types)
            rank = max((kind.rank for kind in types.outputs), default=0)
            for window, kind in zip(found, types.inputs, strict=True):
                place = axis - rank + (0 if kind is None else kind.rank)
                if window is None and kind is not None and place >= 0 and kind.shape[place] != 1:
                    found = None  # broadcast, with places of its own
                    break
        if found is None or any(isinstance(window, RowTable) for window in found):
            return (None,) * len(types.inputs)
        return tuple(window if isinstance(window, Window) else None for window in found)

    def cut(self, axis: int, size: int, before: int, after: int) -> Op:
        """The op that computes ``size`` places along ``axis`` from those that they read, beside
        which there are ``before`` and ``after`` places of padding."""
        return self

    def alias(self, types: Types) -> int | None:
        """Input whose bytes are the output's bytes (reshape): no kernel, no memory."""
        return None

    def alias_offset(self, types: Types) -> int:
        """Bytes of the ``alias`` input that lie before the output; not 0 for variables only."""
        return 0

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        """The same op when its (data) input comes with its axes permuted by ``order``.

        ``op(transpose(x, order)) == transpose(permuted(x), order)``; None where it can't be.
        Used to move transposes out of the way.
        """
        return None

    def quantized(self, types: Types) -> Op | None:
        """The integer form of this float op on quantised types, by the ONNX definition.

        ``types`` are those of the integers that the dequantised inputs come from and the
        quantised output becomes. None where there is no integer form of its own: the op then
        runs in float between Dequantize and Quantize. Moving ops need equal quantisation.
        """
        if not self.movement:
            return None
        quants = {kind.quant for kind in (*types.inputs, *types.outputs) if kind and kind.quant}
        return self if len(quants) == 1 else None

    def gradient(self, write: Any, at: Any, gs: Any) -> tuple[str | None, ...]:
        """Gradients by the inputs of this float32 op, None where none is wanted.

        ``write`` (``ops.writing.Writing``) adds the nodes that make them, ``at`` is the ``Site``,
        ``gs`` the gradients by the outputs, None where there is none; the first is always there
        unless an op has several. Raises ``UnsupportedOp`` where there is no rule.
        """
        raise UnsupportedOp(f"the gradient of {self.name}", at=at.node.name)

    def quantized_gradient(self, tape: Any, at: Any, g: Any) -> tuple[Any, ...]:
        """Gradients by the inputs of this int8 op, None where none is wanted (``at.wanted``).

        ``tape`` is a ``Tape``, ``at`` the ``Site``, ``g`` the gradient by the integers of the
        first output. Raises ``UnsupportedOp`` where there is no rule.
        """
        raise UnsupportedOp(f"the gradient of {self.name}", at=at.node.name)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        """Cases for the contract tests: this op over types and attributes."""
        return iter(())
