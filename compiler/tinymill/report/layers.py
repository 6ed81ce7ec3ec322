"""What the page tells of each layer: shapes, quantisation, kernel, constants, instructions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..emit import ModelFacts
from ..errors import one_line
from ..ir import DType, Flat, Graph, Table, TensorType
from ..schedule import Plan, Step
from ..schedule.cost import cost_of
from .picture import short_name, telling

SHORT = 30
"""Letters of a layer's short name."""
MOST_TEXT = 60
FLOATS = ("Quantize", "Dequantize")
ROOMS = {
    "conv_transpose": "convolution", "conv": "convolution", "dense": "matrix product",
    "matmul": "matrix product", "pool": "pooling, reduction", "reduce": "pooling, reduction",
    "binary": "elementwise", "unary": "elementwise", "arithmetic": "elementwise",
    "compare": "elementwise", "prelu": "elementwise", "lookup": "elementwise",
    "batch_norm": "elementwise", "normalize": "elementwise", "softmax": "softmax",
    "table_softmax": "softmax", "log_softmax": "softmax", "lstm": "recurrent",
    "svdf": "recurrent", "recurrent": "recurrent", "quantization": "conversion of types",
    "cast": "conversion of types",
}  # fmt: skip
"""Families of ops, by the file that an op is in."""
CORES = {"dsp": "DSP instructions", "mve": "Helium", "generic": "any core"}


@dataclass(frozen=True)
class Tensor:
    """A value that a layer reads or writes. ``scales`` are the least and the greatest of ``count``
    scales; None where it is not quantised. ``place`` is "arena", "flash" or "context"."""

    name: str
    shape: str
    dtype: str
    bytes: int
    place: str
    scales: tuple[float, float] | None
    zero_point: int | None
    count: int


@dataclass(frozen=True)
class Constant:
    """A constant array of the emitted C and the layers (places in ``Plan.layers``) that read it."""

    name: str
    role: str
    bytes: int
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One computed node. ``estimate`` are instructions by the cost model; ``is_float`` where it
    computes floats, conversions to and from them not counted. ``moment`` is its step in
    ``Arena.moments``, ``constants`` its bytes of flash that no other layer reads."""

    name: str
    short: str
    op: str
    family: str
    title: str
    attributes: tuple[tuple[str, str], ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernel: str
    core: str
    symbol: str
    macs: int
    estimate: int
    scratch: int
    moment: int
    constants: int
    is_float: bool

    @property
    def main(self) -> Tensor:
        """The value that it makes; what only changes a variable makes that one, its input."""
        return (*self.outputs, *self.inputs)[0]


def layers_of(plan: Plan, constants: Sequence[Constant]) -> tuple[Layer, ...]:
    """The layers of a plan, in the order in which they begin."""
    names = [step.node.name or (*step.node.outputs, "")[0] for step in plan.layers]
    shorts = telling(first_parts(names))
    costs = layer_instructions(plan)
    own = [0] * len(names)
    for constant in constants:
        if len(constant.layers) == 1:
            own[constant.layers[0]] += constant.bytes
    found = []
    index = 0
    for moment, segment in enumerate(plan.segments, 1):
        for step in segment.steps[: segment.layers]:
            graph, node = plan.graph, step.node
            found.append(
                Layer(
                    one_line(names[index], 200), short_name(shorts[index], SHORT), node.op.name,
                    family_of(step), title_of(step), _attributes(step),
                    tuple(tensor_of(graph, value) for value in node.inputs if value),
                    tuple(tensor_of(graph, value) for value in node.outputs),
                    step.kernel.name, step.kernel.folder, step.symbol,
                    node.op.macs(graph.node_types(node)), costs[index], step.scratch_bytes, moment,
                    own[index], _is_float(graph, step),
                )
            )  # fmt: skip
            index += 1
    return tuple(found)


def first_parts(names: Sequence[str]) -> list[str]:
    """Names of fused layers ("relu;bn;conv") by their first part, where that tells them apart."""
    parts = [name.split(";")[0] or name for name in names]
    return parts if len(set(parts)) == len(set(names)) else list(names)


def layer_instructions(plan: Plan) -> tuple[int, ...]:
    """Estimated instructions of each layer. What a segment of several turns costs by itself is no
    layer's: the sum is ``Plan.cost`` less that."""
    found = []
    for segment in plan.segments:
        rows: list[list[int]] = [[] for _ in segment.steps]
        for turn in segment.turns:
            rows[turn.step].append(turn.row1 - turn.row0)
        sums = [0] * segment.layers
        for place, (step, each) in enumerate(zip(segment.steps, rows, strict=True)):
            sums[place % segment.layers] += cost_of(step, each)
        found += sums
    return tuple(found)


def family_of(step: Step) -> str:
    """What kind of work a layer is, as colours show it."""
    if _is_depthwise(step):
        return "depthwise convolution"
    return ROOMS.get(type(step.node.op).__module__.rsplit(".", 1)[-1], "other")


def _is_depthwise(step: Step) -> bool:
    groups = getattr(step.node.op, "groups", 1)
    return isinstance(groups, int) and groups > 1 and groups == step.types.input(0).shape[-1]


def title_of(step: Step) -> str:
    """The op as an engineer would say it: "Depthwise 3x3, stride 2"."""
    op, types = step.node.op, step.types
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", op.name)
    shape = getattr(op, "window", None)
    if op.name == "Conv2D" and len(types.inputs) > 1:
        weights = types.input(1).shape
        shape = weights[1:3] if len(weights) == 4 else None
        groups = getattr(op, "groups", 1)
        if _is_depthwise(step):
            name = "Depthwise"
        elif groups > 1:
            name = f"Conv2D in {groups} groups"
    if isinstance(shape, tuple) and len(shape) == 2:
        name += f" {shape[0]}x{shape[1]}"
    stride = getattr(op, "stride", None)
    if isinstance(stride, tuple) and any(each > 1 for each in stride):
        same = len(set(stride)) == 1
        name += f", stride {stride[0] if same else 'x'.join(map(str, stride))}"
    return one_line(name, MOST_TEXT)


def _attributes(step: Step) -> tuple[tuple[str, str], ...]:
    """The op's attributes that are numbers or words."""
    found = []
    op: Any = step.node.op
    for each in fields(op):
        value = getattr(op, each.name)
        if isinstance(value, DType):
            value = value.name.lower()
        plain = isinstance(value, bool | int | float | str) or (
            isinstance(value, tuple) and all(isinstance(item, int | float) for item in value)
        )
        if plain and value != ():
            text = ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
            found.append((each.name.replace("_", " "), one_line(text, MOST_TEXT)))
    return tuple(found)


def shape_text(kind: TensorType) -> str:
    """The shape without a leading 1, as the C has it."""
    shape = kind.shape[1:] if kind.rank > 1 and kind.shape[0] == 1 else kind.shape
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape)) or "1"


def tensor_of(graph: Graph, value: str) -> Tensor:
    """A value's facts."""
    kind = graph.type(value)
    place = "arena"
    if graph.is_constant(value):
        place = "flash"
    elif value in graph.variable_views:
        place = "context"
    quant = kind.quant
    return Tensor(
        one_line(value, 200), shape_text(kind), kind.dtype.name.lower(), kind.bytes, place,
        None if quant is None else (min(quant.scale), max(quant.scale)),
        quant.zero_point[0] if quant is not None and len(set(quant.zero_point)) == 1 else None,
        0 if quant is None else len(quant.scale),
    )  # fmt: skip


def _is_float(graph: Graph, step: Step) -> bool:
    kinds = [graph.type(value).dtype for value in step.node.outputs]
    return step.node.op.name not in FLOATS and DType.FLOAT32 in kinds


def constants_of(plan: Plan, facts: ModelFacts) -> tuple[Constant, ...]:
    """The constant arrays of the emitted C, and who reads them."""
    name = re.compile(rf"\b{re.escape(facts.name)}_w\d+\b")
    layer_of: dict[int, int] = {}
    index = layer = 0
    for segment in plan.segments:
        for place in range(len(segment.steps)):
            layer_of[index] = layer + place % segment.layers
            index += 1
        layer += segment.layers
    readers: dict[str, dict[int, None]] = {each.name: {} for each in facts.arrays}
    roles: dict[str, str] = {}

    def note(text: str, layer: int, role: str) -> None:
        for found in name.findall(text):
            readers[found][layer] = None
            roles.setdefault(found, role)

    for index, (step, emitted) in enumerate(zip(plan.steps, facts.steps, strict=True)):
        layer = layer_of[index]
        for operand, text in zip(step.packed.operands, emitted.arguments, strict=False):
            role = "constant"
            if isinstance(operand, Table):
                role = operand.role
            elif isinstance(operand, Flat):
                role = _constant_role(step, operand.value)
            note(text, layer, role)
        for parameter, text in emitted.params:
            note(text, layer, parameter)
        for view in emitted.views:
            note(view.pad, layer, "padding")
    return tuple(
        Constant(
            each.name, roles.get(each.name, "other").replace("_", " "), each.bytes,
            tuple(sorted(readers[each.name])),
        )
        for each in facts.arrays
    )  # fmt: skip


def _constant_role(step: Step, value: str) -> str:
    inputs, bias = step.node.inputs, step.node.op.bias_at
    if bias is not None and bias < len(inputs) and inputs[bias] == value:
        return "bias"
    return "weights" if value in inputs[1:] else "constant"
