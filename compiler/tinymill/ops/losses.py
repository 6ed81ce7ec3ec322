"""Losses on int8 outputs: the value in float32, the gradient as int16 mantissas, the exponent.

Mantissas come from integers and one division, so that every target has the same. They are
normalised: the largest is in [2**13, 2**14]. The exponent is that of the whole step: the
derivative of the loss by the output's integer q is g * 2**E.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput, InvalidModel
from ..ir import DType, Example, Flat, KernelCall, Op, Param, Quant, Table, TensorType, Types

PLACES = 24
"""Binary places of the table of exponentials."""
LN2 = np.float32(math.log(2.0))
MOST_CLASSES = 1 << 15
MARGIN = 1.0


def significand(scale: float) -> tuple[int, int]:
    """``scale`` as (m, e): scale ~ m * 2**e with m in [2**30, 2**31)."""
    fraction, exponent = math.frexp(scale)
    m = round(fraction * (1 << 31))
    if m == 1 << 31:
        m, exponent = m >> 1, exponent + 1
    return m, exponent - 31


def log_of(total: int) -> np.float32:
    """float32 natural logarithm of an integer >= 1, by float32 products and one division.

    With total = m * 2**k, m in [1, 2), cut to 24 bits: k * ln 2 + 2 (y + y^3/3 + ... y^11/11),
    y = (m - 1) / (m + 1), from the highest power down.
    """
    bits = total.bit_length()
    top = total >> (bits - 24) if bits > 24 else total << (24 - bits)
    m = np.float32(top) * np.float32(2.0**-23)
    y = (m - np.float32(1)) / (m + np.float32(1))
    square = y * y
    series = np.float32(1 / 11)
    for power in (9, 7, 5, 3, 1):
        series = series * square + np.float32(1 / power)
    return np.float32(bits - 1) * LN2 + np.float32(2) * (y * series)


def normalised(r: np.ndarray, factor: int) -> tuple[np.ndarray, int]:
    """Mantissas g and n with r * factor ~ g * 2**n.

    r are int64, ``factor`` is in [1, 2**15]. All zero: (0, 0).
    """
    most = int(np.max(np.abs(r)))
    if most == 0:
        return np.zeros(r.shape, np.int16), 0
    first = most.bit_length() - 15
    short = _shifted(r, first)
    product = short * factor
    second = int(np.max(np.abs(product))).bit_length() - 14
    return _shifted(product, second).astype(np.int16), first + second


def _shifted(v: np.ndarray, places: int) -> np.ndarray:
    """v / 2**places, half up."""
    if places > 0:
        return (v + (np.int64(1) << (places - 1))) >> places
    return v << -places


class Loss(Op):
    """Inputs: y int8 [1, K], per-tensor quantised, and what it should be; outputs: loss float32
    [1], gradient int16 [1, K], exponent int32 [1]."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        y, target = inputs[0], inputs[1]
        assert y is not None and target is not None
        if y.rank != 2 or y.shape[0] != 1 or y.dtype is not DType.INT8 or y.quant is None:
            raise InvalidModel(f"a loss of {y}")
        if not 2 <= y.shape[1] <= MOST_CLASSES and not isinstance(self, SquaredLoss):
            raise InvalidModel(f"a loss over {y.shape[1]} classes")
        if (target.shape, target.dtype) != self._target(y):
            raise InvalidModel(f"a loss of {y} to {target}")
        return (
            TensorType((1,), DType.FLOAT32),
            TensorType(y.shape, DType.INT16),
            TensorType((1,), DType.INT32),
        )

    def _target(self, y: TensorType) -> tuple[tuple[int, ...], DType]:
        """Shape and type of the second input."""
        return (1,), DType.INT32

    def _params(self, types: Types) -> dict[str, Param]:
        raise NotImplementedError

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        params = {"count": types.input(0).count} | self._params(types)
        # y, target, loss, gradient, exponent
        operands = (*(Flat(name) for name in inputs), *(Flat(name) for name in outputs))
        family = {"SoftmaxLoss": "softmax_loss", "SquaredLoss": "squared_loss"}
        return KernelCall(family.get(self.name, "margin_loss"), "s8", params, operands)

    @classmethod
    def _examples(cls, ops: Sequence[Loss], scales: Sequence[float]) -> Iterator[Example]:
        for op in ops:
            for scale in scales:
                for count in (2, 10, 100):
                    y = TensorType(
                        (1, count), DType.INT8, Quant((float(np.float32(scale)),), (-3,))
                    )
                    target = TensorType((1,), DType.INT32)
                    for label in (3 % count, count - 1) if count == 10 else (1,):
                        yield Example(
                            op,
                            Types((y, target), op.infer((y, target))),
                            {1: np.array([label], np.int32)},
                        )


def label_of(target: np.ndarray, count: int) -> int:
    """The label; raises ``InvalidInput`` where it is none of ``count`` classes."""
    label = int(target[0])
    if not 0 <= label < count:
        raise InvalidInput(f"label {label}, there are {count} classes")
    return label


@dataclass(frozen=True)
class SoftmaxLoss(Loss):
    """Cross entropy of the softmax of y with a label int32 [1].

    t_i = table[max - q_i], table[k] = rint(exp(-s * k) * 2**24), S = sum of t. The loss is
    s * (max - q_label) + (ln S - 24 ln 2); the gradient (t_i - S * [i = label]) * s / S: the
    first factor to 15 bits, s / S as floor(m * 2**14 / S'), m and S' in [2**30, 2**31).
    """

    def table(self, scale: float) -> np.ndarray:
        """int32 [256]."""
        return np.rint(np.exp(-scale * np.arange(256)) * (1 << PLACES)).astype(np.int32)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        y, target = inputs[0], inputs[1]
        assert y is not None and target is not None
        scale = types.input(0).scale
        label = label_of(target, y.size)
        q = y.astype(np.int64).ravel()
        t = self.table(scale).astype(np.int64)[q.max() - q]
        total = int(t.sum())
        behind = np.float32(int(q.max() - q[label])) * np.float32(scale)
        loss = behind + (log_of(total) - np.float32(PLACES) * LN2)
        r = t.copy()
        r[label] -= total
        m, e = significand(scale)
        bits = total.bit_length()
        short = total >> (bits - 31) if bits > 31 else total << (31 - bits)
        g, n = normalised(r, (m << 14) // short)
        # s / S = (m * 2**e) / (short * 2**(bits - 31))
        exponent = n + e - 14 - (bits - 31) if np.any(r) else 0
        return _results(loss, g, exponent, types)

    def _params(self, types: Types) -> dict[str, Param]:
        scale = types.input(0).scale
        m, e = significand(scale)
        return {
            "scale": scale, "significand": m, "exponent": e,
            "table": Table("exponentials", self.table(scale)),
        }  # fmt: skip

    @classmethod
    def examples(cls) -> Iterator[Example]:
        return cls._examples([cls()], [0.17, 0.01, 1.5])


def _results(
    loss: np.float32, g: np.ndarray, exponent: int, types: Types
) -> tuple[np.ndarray, ...]:
    return (
        np.array([loss], np.float32),
        g.reshape(types.outputs[1].shape),
        np.array([exponent], np.int32),
    )


@dataclass(frozen=True)
class SquaredLoss(Loss):
    """The mean of (s * (q_i - t_i))**2, the target t int8 of y's shape and quantisation.

    With D = sum of (q - t)**2, an int32, the loss is float32(D) * (s * s / K); the gradient
    (q_i - t_i) * 2 * s * s / K.
    """

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        kinds = super().infer(inputs)
        if kinds[1].count > (1 << 31) // (1 << 16) - 1:
            raise InvalidModel(f"a squared loss over {kinds[1].count} values")
        return kinds

    def _target(self, y: TensorType) -> tuple[tuple[int, ...], DType]:
        return y.shape, DType.INT8

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        y, target = inputs[0], inputs[1]
        assert y is not None and target is not None
        r = y.astype(np.int64).ravel() - target.astype(np.int64).ravel()
        factor, m, e = self._factors(types)
        g, n = normalised(r, m)
        return _results(
            np.float32(int((r * r).sum())) * factor, g, n + e if np.any(r) else 0, types
        )

    def _factors(self, types: Types) -> tuple[np.float32, int, int]:
        """s * s / K, and 2 * s * s / K as m * 2**e with m of 15 bits."""
        square = types.input(0).scale ** 2 / types.input(0).count
        m, e = significand(2 * square)
        return np.float32(square), m >> 16, e + 16

    def _params(self, types: Types) -> dict[str, Param]:
        factor, m, e = self._factors(types)
        return {"factor": float(factor), "significand": m, "exponent": e}

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for count in (1, 10, 100):
            for scale in (0.17, 0.003):
                y = TensorType((1, count), DType.INT8, Quant((float(np.float32(scale)),), (-3,)))
                yield Example(cls(), Types((y, y), cls().infer((y, y))))


@dataclass(frozen=True)
class MarginLoss(Loss):
    """The mean over all classes of max(0, margin - s * (q_label - q_j)), j other than the label.

    The label is an int32 [1]. A class counts where q_label - q_j < bound = ceil(margin / s).
    With n such classes and D the sum of their q_label - q_j, the loss is (float32(n) * margin -
    float32(D) * s) * (1 / K), the gradient s / K for them and -n * s / K for the label.
    """

    margin: float = MARGIN

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        y, target = inputs[0], inputs[1]
        assert y is not None and target is not None
        label = label_of(target, y.size)
        q = y.astype(np.int64).ravel()
        ahead = q[label] - q
        counts = ahead < self._bound(types)
        counts[label] = False
        n = int(counts.sum())
        r = counts.astype(np.int64)
        r[label] = -n
        scale = types.input(0).scale
        part = np.float32(1 / q.size)
        total = int(ahead[counts].sum())
        loss = np.float32(n) * np.float32(self.margin) - np.float32(total) * np.float32(scale)
        m, e = significand(scale / q.size)
        g, shift = normalised(r, m >> 16)
        return _results(loss * part, g, shift + e + 16 if n else 0, types)

    def _bound(self, types: Types) -> int:
        return min(math.ceil(self.margin / types.input(0).scale), 1 << 15)

    def _params(self, types: Types) -> dict[str, Param]:
        y = types.input(0)
        m, e = significand(y.scale / y.count)
        return {
            "bound": self._bound(types), "margin": float(np.float32(self.margin)),
            "scale": y.scale, "part": float(np.float32(1 / y.count)),
            "significand": m >> 16, "exponent": e + 16,
        }  # fmt: skip

    @classmethod
    def examples(cls) -> Iterator[Example]:
        return cls._examples([cls(), cls(20.0)], [0.17])
