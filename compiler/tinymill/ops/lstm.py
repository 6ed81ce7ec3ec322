"""Lstm: a unidirectional LSTM over a sequence, its two states in variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Quant,
    Table,
    TensorType,
    Types,
)
from .arithmetic import fixed_multiplier, scale_fixed
from .conv import fold_offset, zero_of
from .registry import from_tflite

GATES = ("input", "forget", "cell", "output")
GATE_SCALE = 2.0**-12  # what goes into a gate's sigmoid or tanh: int16 with 3 integer bits
UNIT_SCALE = 2.0**-15  # what comes out
Factor = tuple[int, int]
Gate = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Input weights, recurrent weights, bias."""


@dataclass(frozen=True)
class LstmFixed:
    """TFLite Micro's fixed-point parameters; gates in the order of ``GATES``.

    ``clip`` of the cell is in its integers, 0 for none. ``cell_shift`` scales the cell for
    tanh: (multiplier, right shift).
    """

    input: tuple[Factor, ...]
    recurrent: tuple[Factor, ...]
    forget_times_cell: Factor
    input_times_gate: Factor
    hidden: Factor
    cell_shift: Factor
    clip: int = 0


@dataclass(frozen=True)
class Lstm(Op):
    """i, f, o = sigmoid(W x + R h + b), g = tanh(W x + R h + b); c = f c + i g; h = o tanh(c).

    Inputs: x [N, T, I] or with ``time_major`` [T, N, I]; four W [S, I], four R [S, S], four
    biases [S], each in the order of ``GATES``; the variables h and c [N, S]. Output: h of each
    step, [N, T, S] or [T, N, S]. int8: c is int16; both functions are tables of int16.
    ``clip`` bounds c of the float form.
    """

    time_major: bool = False
    fixed: LstmFixed | None = None
    clip: float = 0.0
    mutates = (13, 14)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        kinds = [kind for kind in inputs if kind is not None]
        if len(kinds) != 15 or kinds[0].rank != 3:
            raise InvalidModel(f"LSTM of {len(kinds)} inputs")
        x, hidden, cell = kinds[0], kinds[13], kinds[14]
        batch = x.shape[1 if self.time_major else 0]
        units = kinds[1].shape[0]
        if any(kind.shape != (units, x.shape[2]) for kind in kinds[1:5]):
            raise InvalidModel(f"LSTM of {x} with {units} units: input weights do not fit")
        if any(kind.shape != (units, units) for kind in kinds[5:9]):
            raise InvalidModel(f"LSTM of {units} units: recurrent weights do not fit")
        if any(kind.count != units for kind in kinds[9:13]):
            raise InvalidModel(f"LSTM of {units} units: a bias does not fit")
        if hidden.count != batch * units or cell.count != batch * units:
            raise InvalidModel(f"LSTM of {units} units: states {hidden}, {cell}")
        if hidden.dtype is not x.dtype:
            raise InvalidModel(f"LSTM of {x} with state {hidden}")
        return (TensorType((*x.shape[:2], units), x.dtype),)

    def macs(self, types: Types) -> int:
        return 4 * types.output.count * (types.input(0).shape[2] + types.output.shape[2])

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        arrays = [x for x in inputs if x is not None]
        x = arrays[0] if self.time_major else arrays[0].swapaxes(0, 1)
        units = types.output.shape[2]
        hidden = arrays[13].reshape(-1, units)
        cell = arrays[14].reshape(-1, units)
        gates = list(zip(arrays[1:5], arrays[5:9], arrays[9:13], strict=True))
        rows = []
        for row in x:
            if self.fixed is None:
                hidden, cell = self._float_step(row, hidden, cell, gates)
            else:
                hidden, cell = self._fixed_step(row, hidden, cell, gates, types)
            rows.append(hidden)
        y = np.stack(rows)
        y = np.ascontiguousarray(y if self.time_major else y.swapaxes(0, 1))
        return y, hidden.reshape(arrays[13].shape), cell.reshape(arrays[14].shape)

    def _float_step(
        self,
        x: np.ndarray,
        hidden: np.ndarray,
        cell: np.ndarray,
        gates: Sequence[Gate],
    ) -> tuple[np.ndarray, np.ndarray]:
        i, f, g, o = (
            x.astype(np.float64) @ w.T + hidden.astype(np.float64) @ r.T + b for w, r, b in gates
        )
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        cell = f * cell + i * np.tanh(g)
        if self.clip > 0:
            cell = np.clip(cell, -self.clip, self.clip)
        return (o * np.tanh(cell)).astype(np.float32), cell.astype(np.float32)

    def _fixed_step(
        self,
        x: np.ndarray,
        hidden: np.ndarray,
        cell: np.ndarray,
        gates: Sequence[Gate],
        types: Types,
    ) -> tuple[np.ndarray, np.ndarray]:
        fixed = self.fixed
        assert fixed is not None
        centred = x.astype(np.int64) - types.input(0).zero_point
        state = hidden.astype(np.int64) - types.input(13).zero_point
        sums = []
        for k, (weights, recurrent, bias) in enumerate(gates):
            first = centred @ weights.T.astype(np.int64) + bias.astype(np.int64)
            second = state @ recurrent.T.astype(np.int64)
            sums.append(
                clip16(
                    clip16(scale_fixed(first, *fixed.input[k]))
                    + clip16(scale_fixed(second, *fixed.recurrent[k]))
                )
            )
        i, f, o = (sigmoid16(sums[k]) for k in (0, 1, 3))
        g = tanh16(sums[2], 3, 0)
        kept = clip16(scale_fixed(f * cell.astype(np.int64), *fixed.forget_times_cell))
        new = clip16(scale_fixed(i * g, *fixed.input_times_gate))
        cell = clip16(kept + new)
        if fixed.clip:
            cell = np.clip(cell, -fixed.clip, fixed.clip)
        y = scale_fixed(o * tanh16(cell, *fixed.cell_shift), *fixed.hidden)
        y = np.clip(y + types.input(13).zero_point, -128, 127)
        return y.astype(np.int8), cell.astype(np.int16)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        weights, recurrent, bias = (
            [array for array in constants[first : first + 4] if array is not None]
            for first in (1, 5, 9)
        )
        if any(len(arrays) != 4 for arrays in (weights, recurrent, bias)):
            raise UnsupportedOp("weights or bias computed at run time")
        steps, batch = x.shape[:2] if self.time_major else (x.shape[1], x.shape[0])
        params: dict[str, Param] = {
            "batch": batch, "steps": steps, "depth": x.shape[2], "units": y.shape[2],
            # elements from one step, and from one sequence of the batch, to the next
            "step": batch if self.time_major else 1,
            "sequence": 1 if self.time_major else steps,
        }  # fmt: skip
        operands = [Flat(inputs[0])]
        states = [Flat(inputs[13]), Flat(inputs[14]), Flat(outputs[0])]
        if self.fixed is None:
            if x.dtype is not DType.FLOAT32:
                raise UnsupportedOp(f"LSTM of {x}")
            params["clip"] = self.clip
            tables = [
                Table("weights", np.stack(weights).astype(np.float32)),
                Table("recurrent", np.stack(recurrent).astype(np.float32)),
                Table("bias", np.stack(bias).astype(np.float32)),
            ]
            return KernelCall("lstm", "f32", params, (*operands, *tables, *states))
        fixed = self.fixed
        zero, kind = types.input(13).zero_point, Quant((1.0,), (0,))
        folded = [fold_offset(w, kind, x.zero_point, b) for w, b in zip(weights, bias, strict=True)]
        offsets = [fold_offset(r, kind, zero, None) for r in recurrent]
        tables = [
            Table("weights", np.stack(weights)),
            Table("recurrent", np.stack(recurrent)),
            Table("bias", np.stack(folded)),
            Table("recurrent_bias", np.stack(offsets)),
        ]
        pairs = {
            "cell_factor": fixed.forget_times_cell, "gate_factor": fixed.input_times_gate,
            "hidden_factor": fixed.hidden, "tanh_factor": fixed.cell_shift,
        }  # fmt: skip
        params |= {
            "hidden_zero": zero,
            "clip": fixed.clip,
            "input_multiplier": [m for m, _ in fixed.input],
            "input_shift": [s for _, s in fixed.input],
            "recurrent_multiplier": [m for m, _ in fixed.recurrent],
            "recurrent_shift": [s for _, s in fixed.recurrent],
            **pairs,
            "sigmoid": Table("sigmoid", sigmoid_table().astype(np.uint16).view(np.int16)),
        }
        return KernelCall("lstm", "s8", params, (*operands, *tables, *states))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(6)
        batch, steps, depth, units = 2, 4, 5, 6
        for time_major in (False, True):
            shape = (steps, batch, depth) if time_major else (batch, steps, depth)
            shapes = [
                *[(units, depth)] * 4, *[(units, units)] * 4, *[(units,)] * 4,
                *[(batch, units)] * 2,
            ]  # fmt: skip
            x = TensorType(shape, DType.FLOAT32)
            kinds = [TensorType(s, DType.FLOAT32) for s in shapes]
            values = [rng.uniform(-1, 1, s).astype(np.float32) for s in shapes[:12]]
            op: Lstm = cls(time_major, clip=0.5 if time_major else 0.0)
            types = Types((x, *kinds), op.infer((x, *kinds)))
            yield Example(op, types, dict(enumerate(values, 1)))
            hidden = Quant((1 / 120,), (-3,))
            qx = TensorType(shape, DType.INT8, Quant((0.02,), (5,)))
            quants = [
                *[TensorType(s, DType.INT8, Quant((0.008,), (0,))) for s in shapes[:8]],
                *[TensorType(s, DType.INT32) for s in shapes[8:12]],
                TensorType(shapes[12], DType.INT8, hidden),
                TensorType(shapes[13], DType.INT16, Quant((2.0**-11,), (0,))),
            ]
            numbers: list[np.ndarray] = [
                *[rng.integers(-127, 128, s).astype(np.int8) for s in shapes[:8]],
                *[rng.integers(-3000, 3000, s).astype(np.int32) for s in shapes[8:12]],
            ]
            clip = 3.0 if time_major else 0.0
            op = cls(time_major, tflite_fixed(qx, quants, clip))
            plain = op.infer((qx, *quants))[0]
            types = Types((qx, *quants), (TensorType(plain.shape, DType.INT8, hidden),))
            yield Example(op, types, dict(enumerate(numbers, 1)))


def clip16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def sigmoid_table() -> np.ndarray:
    """sigmoid(i / 24) in 1 / 65536, i = 0 .. 255: the table that TFLite's int16 functions read.

    The places between are interpolated, so each knot is raised by a sixteenth of the second
    derivative, which makes the greatest error of the chords least; the last one is the limit.
    """
    exact = 1 / (1 + np.exp(-np.arange(256) / 24.0))
    bend = exact * (1 - exact) * (2 * exact - 1) / 24.0**2
    table = np.floor((exact + bend / 16) * 65536 + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


def sigmoid16(x: np.ndarray) -> np.ndarray:
    """sigmoid of int16 with 3 integer bits, in 1 / 32768 (TFLite's int16 LOGISTIC)."""
    table = sigmoid_table()
    scaled = np.asarray(x, np.int64) * 3
    size = np.abs(scaled)
    place, rest = size >> 9, size & 511
    at = np.minimum(place, 254)
    y = (table[at] << 9) + rest * (table[at + 1] - table[at])
    y = np.where(place >= 255, 0x7FFF << 10, y)
    return np.where(scaled >= 0, y + (1 << 9), (1 << 25) - y + (1 << 9) - 1) >> 10


def tanh16(x: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """tanh of int16 scaled to 1 / (3 * 4096), in 1 / 32768 (TFLite's int16 TANH)."""
    table = sigmoid_table()
    scaled = (np.asarray(x, np.int64) * multiplier + ((1 << shift) >> 1)) >> shift
    size = np.abs(scaled)
    place, rest = size >> 8, size & 255
    at = np.minimum(place, 254)
    y = (table[at] << 8) + rest * (table[at + 1] - table[at])
    y = np.where(place >= 255, 0xFFFF << 8, y)
    half, unit = 1 << 7, 1 << 23
    return np.where(scaled >= 0, y - unit + half, -y + unit + half - 1) >> 8


def tflite_fixed(x: TensorType, kinds: Sequence[TensorType], clip: float) -> LstmFixed:
    """TFLite Micro's PrepareGateParametersInteger and CreateLstmCellStateInfo.

    ``kinds`` are the types of all inputs but x.
    """
    hidden, cell = kinds[12], kinds[13]

    def gate(first: TensorType, second: TensorType) -> Factor:
        # the product of two scales is float32 there
        product = float(np.float32(first.scale) * np.float32(second.scale))
        return fixed_multiplier(product / GATE_SCALE)

    power = round(log2(float(cell.scale)))
    left = 15 + power - 3
    ratio = float(np.float32(clip)) / float(cell.scale)
    return LstmFixed(
        tuple(gate(x, kind) for kind in kinds[:4]),
        tuple(gate(hidden, kind) for kind in kinds[4:8]),
        fixed_multiplier(UNIT_SCALE * float(cell.scale) / float(cell.scale)),
        fixed_multiplier(UNIT_SCALE * UNIT_SCALE / float(cell.scale)),
        fixed_multiplier(UNIT_SCALE * UNIT_SCALE / float(hidden.scale)),
        (3, -left) if left < 0 else (3 << left, 0),
        int(min(max(ratio, -32768.0), 32767.0)),
    )


@from_tflite("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _from_tflite(node: Any) -> None:
    options = node.options("UnidirectionalSequenceLSTMOptions")
    # TFLite: input, forget, cell, output weights at 1-4, recurrent 5-8, peephole 9-11,
    # biases 12-15, projection 16-17, states 18-19, layer normalisation 20-23
    extra = [i for i in (9, 10, 11, 16, 17, 20, 21, 22, 23) if node.optional(i)]
    if extra or any(not node.optional(i) for i in (*range(9), *range(12, 16), 18, 19)):
        raise node.unsupported("peepholes, projection, layer normalisation or coupled gates")
    if options.FusedActivationFunction() != 4 or options.ProjClip() or options.CellClip() < 0:
        raise node.unsupported("another activation than tanh, or projection clipping")
    places = (*range(9), *range(12, 16), 18, 19)
    kinds = [node.type(i) for i in places]
    inputs = [node.optional(i) for i in places]
    if any(value not in node.builder.variables for value in inputs[13:]):
        raise node.invalid("a state is no variable")
    x, clip = kinds[0], float(options.CellClip())
    if x.dtype is DType.FLOAT32:
        if any(kind.dtype is not x.dtype for kind in kinds):
            raise node.unsupported("float activations with integer weights")
        node.add(Lstm(options.TimeMajor(), clip=clip), inputs)
        return
    expected = [DType.INT8] * 9 + [DType.INT32] * 4 + [DType.INT8, DType.INT16]
    if [kind.dtype for kind in kinds] != expected:
        raise node.unsupported(f"{x} with state {kinds[14]}")
    quantised = (*kinds[:9], *kinds[13:])
    if any(kind.quant is None or not kind.quant.per_tensor for kind in quantised):
        raise node.unsupported("quantisation that is not per tensor")
    if any(zero_of(kind).zero_point[0] for kind in kinds[1:9]):
        raise node.unsupported("weights with a zero point")
    node.add(Lstm(options.TimeMajor(), tflite_fixed(x, kinds[1:], clip)), inputs)
