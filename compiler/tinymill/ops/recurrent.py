"""LSTM, GRU, RNN: recurrent layers in float32 by the ONNX definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Example, Flat, KernelCall, Op, Operand, Param, TensorType, Types
from .registry import from_onnx
from .transpose import Transpose

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}
ACTIVATIONS = {"lstm": ["Sigmoid", "Tanh", "Tanh"], "gru": ["Sigmoid", "Tanh"], "rnn": ["Tanh"]}
OUTPUTS = ("y", "h", "c")


@dataclass(frozen=True)
class Recurrent(Op):
    """A layer of ``cell`` "lstm", "gru" or "rnn" over a sequence.

    Inputs: x [T, N, I], weights [D, G * H, I], recurrent weights [D, G * H, H], bias
    [D, 2 * G * H], first h [D, N, H]; lstm: first c [D, N, H], peephole [D, 3 * H]. From the
    bias on each may be left out.
    Outputs are those that ``wanted`` names: "y" all states [T, D, N, H], "h" and "c" the last
    ones [D, N, H]. ``reset_after`` is ONNX's linear_before_reset; ``relu`` the rnn's function.
    """

    cell: str
    direction: str = "forward"
    wanted: tuple[str, ...] = ("y",)
    reset_after: bool = False
    relu: bool = False

    @property
    def name(self) -> str:
        return self.cell.upper()

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weights, inner = inputs[0], inputs[1], inputs[2]
        assert x is not None and weights is not None and inner is not None
        if any(kind is not None and kind.dtype is not DType.FLOAT32 for kind in inputs):
            raise UnsupportedOp(f"{self.cell} of other types than float32")
        directions, gates = len(DIRECTIONS[self.direction]), GATES[self.cell]
        if x.rank != 3 or weights.rank != 3 or inner.rank != 3:
            raise InvalidModel(f"{self.cell} of {x} with weights {weights}, {inner}")
        hidden = inner.shape[2]
        state = (directions, x.shape[1], hidden)
        wanted = (
            (directions, gates * hidden, x.shape[2]), (directions, gates * hidden, hidden),
            (directions, 2 * gates * hidden), state, state, (directions, 3 * hidden),
        )  # fmt: skip
        for kind, shape in zip(inputs[1:], wanted, strict=False):
            if kind is not None and kind.shape != shape:
                raise InvalidModel(f"{self.cell}: an input of shape {kind.shape}, not {shape}")
        if not self.wanted or not set(self.wanted) <= set(OUTPUTS):
            raise InvalidModel(f"{self.cell} with outputs {self.wanted}")
        shapes = {"y": (x.shape[0], *state), "h": state, "c": state}
        return tuple(TensorType(shapes[name], DType.FLOAT32) for name in self.wanted)

    def macs(self, types: Types) -> int:
        x, weights, inner = types.input(0), types.input(1), types.input(2)
        return x.shape[0] * x.shape[1] * (weights.count + inner.count)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, weights, inner, bias, first_h, first_c, peephole = (
            None if array is None else array.astype(np.float64)
            for array in (*inputs, *([None] * (7 - len(inputs))))
        )
        assert x is not None and weights is not None and inner is not None
        steps, batch, _ = x.shape
        directions, _, hidden = inner.shape
        rows = GATES[self.cell] * hidden
        y = np.zeros((steps, directions, batch, hidden))
        last_h = np.zeros((directions, batch, hidden))
        last_c = np.zeros((directions, batch, hidden))
        for d, backward in enumerate(DIRECTIONS[self.direction]):
            h = np.zeros((batch, hidden)) if first_h is None else first_h[d]
            c = np.zeros((batch, hidden)) if first_c is None else first_c[d]
            front, back = np.zeros(rows), np.zeros(rows)
            if bias is not None:
                front, back = bias[d, :rows], bias[d, rows:]
            holes = np.zeros(3 * hidden) if peephole is None else peephole[d]
            for t in range(steps)[:: -1 if backward else 1]:
                g = x[t] @ weights[d].T + front
                if self.cell == "lstm":
                    h, c = _lstm(g + h @ inner[d].T + back, c, holes)
                elif self.cell == "gru":
                    h = _gru(g, h, inner[d], back, self.reset_after)
                else:
                    total = g + h @ inner[d].T + back
                    h = np.maximum(total, 0) if self.relu else np.tanh(total)
                y[t, d] = h
            last_h[d], last_c[d] = h, c
        found = {"y": y, "h": last_h, "c": last_c}
        return tuple(found[name].astype(np.float32) for name in self.wanted)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, inner = types.input(0), types.input(2)
        backward = DIRECTIONS[self.direction]
        params: dict[str, Param] = {
            "steps": x.shape[0], "batch": x.shape[1], "directions": len(backward),
            "inputs": x.shape[2], "hidden": inner.shape[2],
            "backward": (backward[0], backward[-1]),
        }  # fmt: skip
        if self.cell == "gru":
            params["reset_after"] = int(self.reset_after)
        if self.cell == "rnn":
            params["relu"] = int(self.relu)
        count = 7 if self.cell == "lstm" else 5
        made = dict(zip(self.wanted, outputs, strict=True))
        given = [inputs[i] if i < len(inputs) else "" for i in range(count)]
        results = [made.get(name, "") for name in OUTPUTS[: 3 if self.cell == "lstm" else 2]]
        operands: tuple[Operand, ...] = tuple(
            Flat(value) if value else None for value in (*given, *results)
        )
        return KernelCall(f"{self.cell}_layer", "f32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        steps, batch, size, hidden = 3, 2, 4, 5
        x = TensorType((steps, batch, size), DType.FLOAT32)
        for cell, gates in GATES.items():
            for direction, order in DIRECTIONS.items():
                d = len(order)
                shapes = [
                    (d, gates * hidden, size), (d, gates * hidden, hidden),
                    (d, 2 * gates * hidden), (d, batch, hidden), (d, batch, hidden),
                    (d, 3 * hidden),
                ]  # fmt: skip
                full = (x, *(TensorType(shape, DType.FLOAT32) for shape in shapes))
                full = full if cell == "lstm" else full[:5]
                wanted = OUTPUTS if cell == "lstm" else OUTPUTS[:2]
                turned = direction == "reverse"
                for op, kinds in (
                    (cls(cell, direction, wanted, turned, turned), full),
                    (cls(cell, direction, wanted[1:]), full[:3]),
                ):
                    types = Types(kinds, op.infer(kinds))
                    yield Example(op, types, ranges=(-0.8, 0.8))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _lstm(g: np.ndarray, c: np.ndarray, holes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next h and c from the gates i, o, f, c before their functions."""
    enter, leave, forget, new = np.split(g, 4, axis=-1)
    hole_enter, hole_leave, hole_forget = np.split(holes, 3)
    kept = _sigmoid(forget + hole_forget * c) * c
    c = kept + _sigmoid(enter + hole_enter * c) * np.tanh(new)
    return _sigmoid(leave + hole_leave * c) * np.tanh(c), c


def _gru(
    g: np.ndarray, h: np.ndarray, inner: np.ndarray, back: np.ndarray, reset_after: bool
) -> np.ndarray:
    """The next h from the input's part of the gates z, r, h."""
    size = h.shape[-1]
    z, r = np.split(_sigmoid(g[:, : 2 * size] + h @ inner[: 2 * size].T + back[: 2 * size]), 2, 1)
    if reset_after:
        new = r * (h @ inner[2 * size :].T + back[2 * size :])
    else:
        new = (r * h) @ inner[2 * size :].T + back[2 * size :]
    return (1 - z) * np.tanh(g[:, 2 * size :] + new) + z * h


@from_onnx("LSTM", "GRU", "RNN")
def _from_onnx(node: Any) -> None:
    cell = node.kind.lower()
    direction = node.attribute("direction", b"forward").decode()
    if direction not in DIRECTIONS:
        raise node.invalid(f"direction {direction}")
    by_batch = bool(node.attribute("layout", 0))
    x = node.type(0)
    if x.rank != 3:
        raise node.invalid(f"input of rank {x.rank}")
    steps = x.shape[1 if by_batch else 0]
    if node.has(4) and not (node.constant(4) == steps).all():
        raise node.unsupported("sequences of other lengths than the input's")
    if node.attribute("clip", None) is not None or node.attribute("input_forget", 0):
        raise node.unsupported("clip or input_forget")
    relu = _is_relu(node, cell, len(DIRECTIONS[direction]))
    states = range(5, 7) if cell == "lstm" else range(5, 6)
    inputs = [node.input(0), node.input(1), node.input(2), node.optional(3)]
    inputs += [node.optional(i) for i in states]
    if cell == "lstm":
        inputs.append(node.optional(7))
    if by_batch:
        inputs = [
            node.emit(Transpose((1, 0, 2)), [value]) if i in (0, 4, 5) and value else value
            for i, value in enumerate(inputs)
        ]
    labels = {name: label for name, label in zip(OUTPUTS, node.outputs, strict=False) if label}
    if not labels:
        raise node.invalid("no outputs")
    op = Recurrent(
        cell, direction, tuple(labels), bool(node.attribute("linear_before_reset", 0)), relu
    )
    _define(node, op, inputs, labels, by_batch)


def _define(
    node: Any, op: Recurrent, inputs: Sequence[str], labels: dict[str, str], by_batch: bool
) -> None:
    """Adds the op; its outputs, put in the file's order of axes, are the named ones."""
    outputs = node.outputs
    node.outputs = [node.builder.fresh(label) if by_batch else label for label in labels.values()]
    made = node.add(op, inputs)
    for name, label, value in zip(labels, labels.values(), made, strict=True):
        if by_batch:
            # y [T, D, N, H] to [N, T, D, H], states [D, N, H] to [N, D, H]
            order = (2, 0, 1, 3) if name == "y" else (1, 0, 2)
            node.outputs = [label]
            node.add(Transpose(order), [value])
    node.outputs = outputs


def _is_relu(node: Any, cell: str, directions: int) -> bool:
    """Whether an RNN's function is Relu; other activations than the default are unsupported."""
    found = node.attribute("activations", None)
    if found is None:
        return False
    names = [item.decode() for item in found]
    if cell == "rnn" and names == ["Relu"] * directions:
        return True
    if names != ACTIVATIONS[cell] * directions:
        raise node.unsupported(f"activations {', '.join(names)}")
    return False
