"""Graph -> Program: which layers there are, what is fused into which, how edits spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from ..errors import UnsupportedOp
from ..ir import DType, Graph, GraphBuilder, Node, Op
from ..ops.batch_norm import BatchNorm
from ..ops.binary import Binary
from ..ops.concat import Concat
from ..ops.conv import Conv2D
from ..ops.conv_transpose import ConvTranspose
from ..ops.dense import FullyConnected
from ..ops.depth_to_space import DepthToSpace
from ..ops.normalize import GroupNorm, LayerNorm
from ..ops.pad import Pad
from ..ops.pool import AveragePool, MaxPool
from ..ops.reduce import Reduce
from ..ops.reshape import Reshape
from ..ops.resize import ResizeBilinear, ResizeNearest
from ..ops.slice import Slice
from ..ops.softmax import Softmax
from ..ops.split import Split
from ..ops.unary import Unary
from .operations import Attend, Modulate
from .program import ALIGN, POINT, WHOLE, Axis, Mask, Norm, Phase, Program, Spread, Step, Value

ACTIVATIONS = {
    "relu": "RELU", "leakyrelu": "LEAKY", "tanh": "TANH", "sigmoid": "SIGMOID",
}  # fmt: skip
FUNCTIONS = ("add", "sub", "mul", "div", "min", "max")
"""In the order of tm_edit_function."""
UNARY = (
    "exp", "log", "sqrt", "reciprocal", "abs", "neg", "square", "clip", "elu", "gelu", "gelutanh",
    "softplus", "hardsigmoid", "hardswish", "swish",
)  # fmt: skip
"""In the order of tm_edit_unary."""


@dataclass(frozen=True)
class Lazy:
    """activation(norm(source)) upsampled: computed where it is read, kept only where it must be."""

    source: Value
    norm: int = -1
    activation: str = "NONE"
    leak: float = 0.0
    upsample: int = 1


@dataclass
class _Chain:
    """What follows a convolution and is done in it: up to node ``last``."""

    first: Node
    vectors: list[str]
    residual: str = ""
    activation: str = "NONE"
    leak: float = 0.0


def lower(graph: Graph, edited: str) -> Program:
    """The program that recomputes what an edit of the value ``edited`` reaches.

    Raises ``UnsupportedOp`` naming the node that has no sparse form.
    """
    return _Lowering(graph, edited).run()


def activation_of(op: Op) -> tuple[str, float] | None:
    """The fused activation that a ``Unary`` is, and its slope."""
    if not isinstance(op, Unary):
        return None
    if op.function == "swish" and op.alpha == 1.0:
        return "SILU", 0.0
    if op.function in ACTIVATIONS:
        return ACTIVATIONS[op.function], op.alpha if op.function == "leakyrelu" else 0.0
    return None


class _Lowering:
    def __init__(self, graph: Graph, edited: str) -> None:
        self.graph = graph
        self.edited = edited
        self.images = graph.type(edited).shape[0]
        self.dependent = _dependent(graph, edited)
        self.values: list[Value] = []
        self.steps: list[Step] = []
        self.norms: list[Norm] = []
        self.axes: dict[Axis, int] = {}
        self.masks: list[Mask] = []
        self.spreads: list[Spread] = []
        self.known_masks: dict[tuple, int] = {}
        self.weights: list[np.ndarray] = []
        self.weights_size = 0
        self.found: dict[str, Value | Lazy] = {}
        self.made: dict[Lazy, Value] = {}
        self.sides: dict[str, Value] = {}
        self.host_values: dict[str, Value] = {}
        self.extra = GraphBuilder.of(graph)
        self.pinned: set[int] = set()
        self.chains: dict[str, _Chain] = {}
        self.inside: set[str] = set()

    # -- the whole --------------------------------------------------------------------------

    def run(self) -> Program:
        for port in self.graph.outputs:
            if port.value not in self.dependent:
                raise UnsupportedOp("an output that does not depend on the edited input",
                                    at=port.name)  # fmt: skip
        _, height, width, channels = self.graph.type(self.edited).shape
        start = self.value(self.edited, height, width, channels, mask=-1)
        start.mask = self._new_mask(height, width, True)
        self.input = start
        self.pinned.add(id(start))
        self.found[self.edited] = start
        nodes = [node for node in self.graph.nodes if set(node.outputs) & self.dependent]
        self._fuse(nodes)
        for node in nodes:
            if node.outputs[0] not in self.inside:
                self._node(node)
        outputs: dict[str, Value] = {}
        for port in self.graph.outputs:
            found = self.material(port.value, self.graph.producers[port.value])
            outputs[port.value] = found
            self.pinned.add(id(found.root))
        host = [node for node in self.graph.nodes if not set(node.outputs) & self.dependent]
        self.extra.nodes = host + self.extra.nodes
        builder = self.extra
        builder.inputs = [p for p in self.graph.inputs if p.value != self.edited]
        builder.outputs = []
        needed = set(self.host_values)
        kept: list[Node] = []
        for node in reversed(builder.nodes):
            if needed & set(node.outputs):
                kept.insert(0, node)
                needed |= set(node.inputs)
        builder.nodes = kept
        for number, value in enumerate(self.values):
            value.index = number
        hosted = builder.finish()
        types = dict(hosted.types)
        for name in self.host_values:
            types[name] = builder.types[name]
        return Program(
            self.graph.name, self.images, self.graph, hosted.replace(types=types), start,
            self.values, self.masks, self.spreads, list(self.axes), self.norms, self.steps,
            self.weights, self.host_values, outputs, self.pinned,
        )  # fmt: skip

    def unsupported(self, node: Node, problem: str) -> UnsupportedOp:
        return UnsupportedOp(f"{node.op.name} in sparse editing: {problem}", at=node.name)

    # -- values ------------------------------------------------------------------------------

    def value(self, name: str, height: int, width: int, channels: int, *, mask: int) -> Value:
        made = Value(name, height, width, channels, mask=mask)
        self.values.append(made)
        return made

    def stored(self, array: np.ndarray) -> int:
        """Where in the weights the floats of ``array`` lie."""
        place = self.weights_size
        flat = np.ascontiguousarray(array, np.float32).ravel()
        room = -(-max(flat.size, 1) // ALIGN) * ALIGN
        self.weights.append(np.pad(flat, (0, room - flat.size)))
        self.weights_size += room
        return place

    def geometry(self, name: str, node: Node) -> tuple[int, int, int]:
        """Height, width and channels of a dependent value, by its type."""
        kind = self.graph.type(name)
        if kind.dtype is not DType.FLOAT32:
            raise self.unsupported(node, f"{kind}, only float32 is possible")
        if kind.rank < 2 or kind.shape[0] != self.images:
            raise self.unsupported(node, f"{kind} has not the {self.images} images of the input")
        if kind.rank == 4:
            return kind.shape[1], kind.shape[2], kind.shape[3]
        return 1, prod(kind.shape[1:-1]), kind.shape[-1]

    def output(self, node: Node, mask: int, shape: tuple[int, int, int] | None = None) -> Value:
        """The map of a node's first output; ``shape`` where it has that of an input."""
        name = node.outputs[0]
        made = self.value(name, *(shape or self.geometry(name, node)), mask=mask)
        self.found[name] = made
        return made

    def lazy(self, name: str, node: Node) -> Lazy:
        """A dependent value as what it is computed from."""
        found = self.found[name]
        return Lazy(found) if isinstance(found, Value) else found

    def material(self, name: str, node: Node) -> Value:
        """A value's map."""
        found = self.found[name]
        if isinstance(found, Value):
            return found
        return self._made(found, name)

    def _made(self, lazy: Lazy, name: str) -> Value:
        if lazy in self.made:
            return self.made[lazy]
        source = lazy.source
        if lazy.upsample > 1:
            before = replace(lazy, upsample=1)
            source = self._made(before, name) if before != Lazy(source) else source
            height, width = source.height * lazy.upsample, source.width * lazy.upsample
            rows, columns = (
                self.axis(Axis(tuple((i // lazy.upsample,) for i in range(n))))
                for n in (height, width)
            )
            mask = self.mask(height, width, [(source.mask, rows, columns)])
            made = self.value(name, height, width, source.channels, mask=mask)
            self.steps.append(Step("TAKE", name, made, (source,), rows=rows, columns=columns))
        else:
            made = self.value(name, source.height, source.width, source.channels, mask=source.mask)
            self.steps.append(
                Step("AFFINE", name, made, (source,), norm=lazy.norm,
                     out_activation=lazy.activation, alpha=lazy.leak)
            )  # fmt: skip
        self.made[lazy] = made
        return made

    def side(self, name: str, like: tuple[int, int, int], node: Node) -> Value:
        """A value that does not depend on the edit, broadcast to maps of shape ``like``."""
        kind = self.extra.types[name]
        if kind.dtype is not DType.FLOAT32:
            raise self.unsupported(node, f"{kind}, only float32 is possible")
        rank = self.graph.type(node.outputs[0]).rank
        shared = kind.rank < rank or kind.shape[0] == 1
        inner = kind.shape if kind.rank < rank else kind.shape[1:]
        inner = (1,) * (3 - len(inner)) + inner
        if rank == 3 and inner[:2] == (1, like[0] * like[1]):
            inner = (*like[:2], inner[2])
        if len(inner) != 3 or not (shared or kind.shape[0] == self.images):
            raise self.unsupported(node, f"{kind} beside a map")
        if any(n not in (1, m) for n, m in zip(inner, like, strict=True)):
            raise self.unsupported(node, f"{kind} beside a map of {like}")
        return self._side(name, inner, shared)

    def _side(self, name: str, inner: tuple[int, ...], shared: bool) -> Value:
        key = f"{name}:{inner}"
        if key in self.sides:
            return self.sides[key]
        made = self.value(name, *inner, mask=-1)
        made.shared = shared
        made.mask = self._still(made.height, made.width)
        array = self.extra.constants.get(name)
        if array is not None:
            made.kind = "constant"
            made.place = self.stored(array)
        else:
            self.pinned.add(id(made))
            self.host_values[name] = made
        self.sides[key] = made
        return made

    # -- masks -------------------------------------------------------------------------------

    def axis(self, axis: Axis) -> int:
        return self.axes.setdefault(axis, len(self.axes))

    def _new_mask(self, height: int, width: int, pyramid: bool) -> int:
        self.masks.append(Mask(height, width, pyramid))
        return len(self.masks) - 1

    def _still(self, height: int, width: int) -> int:
        """The mask of what never changes."""
        key = ("still", height, width)
        if key not in self.known_masks:
            self.known_masks[key] = self._new_mask(height, width, False)
        return self.known_masks[key]

    def mask(self, height: int, width: int, sources: Sequence[tuple[int, int, int]]) -> int:
        """The mask of a value that reads ``sources``: masks with axes of rows and columns."""
        kept = []
        for mask, *axes in dict.fromkeys(sources):
            rows, columns = axes
            size = self.masks[mask]
            if not any(s.target == mask for s in self.spreads) and mask != self.input_mask:
                continue  # what never changes
            if rows >= 0 and self._is_identity(rows) and self._is_identity(columns):
                rows = columns = POINT
            kept.append((mask, rows, columns, (size.height, size.width)))
        if len(kept) == 1 and kept[0][1] == POINT and kept[0][3] == (height, width):
            return kept[0][0]
        key = (height, width, frozenset(each[:3] for each in kept))
        if key in self.known_masks:
            return self.known_masks[key]
        start = self.masks[self.input_mask]
        aspect = (
            height * start.width == width * start.height
            and max(height, start.height) % min(height, start.height) == 0
        )
        whole = any(rows == WHOLE for _, rows, _, _ in kept)
        target = self._new_mask(height, width, aspect and not whole and bool(kept))
        self.spreads += [Spread(target, mask, rows, columns) for mask, rows, columns, _ in kept]
        self.known_masks[key] = target
        return target

    @property
    def input_mask(self) -> int:
        return self.input.mask

    def _is_identity(self, axis: int) -> bool:
        places = list(self.axes)[axis].places
        return all(row == (i,) for i, row in enumerate(places))

    def window(
        self, size: int, out: int, kernel: int, stride: int, dilation: int, pad: int, up: int = 1
    ) -> int:
        """The axis of a sliding window on ``size`` places, each of which counts ``up`` times."""
        places = []
        for i in range(out):
            reads = [i * stride - pad + k * dilation for k in range(kernel)]
            found = [n // up if 0 <= n < size * up else -1 for n in reads]
            unique = list(dict.fromkeys(n for n in found if n >= 0))
            places.append(tuple(unique + [-1] * (kernel - len(unique))))
        width = max(max((sum(n >= 0 for n in row) for row in places), default=1), 1)
        return self.axis(Axis(tuple(row[:width] for row in places)))

    # -- what is fused behind a convolution ---------------------------------------------------

    def _fuse(self, nodes: Sequence[Node]) -> None:
        """Finds for each convolution what follows it; the chain stands at its last node."""
        taken: set[str] = set()
        for node in nodes:
            if not isinstance(node.op, Conv2D | ConvTranspose | FullyConnected):
                continue
            chain = _Chain(node, [])
            value = node.outputs[0]
            last = node
            while (reader := self.graph.only_reader(value)) is not None:
                if reader.outputs[0] in taken or not self._extends(chain, value, reader):
                    break
                last, value = reader, reader.outputs[0]
                taken.add(value)
            if last is node:
                continue
            self.chains[last.outputs[0]] = chain
            # every node of the chain but the last is done in it
            value = node.outputs[0]
            while value != last.outputs[0]:
                self.inside.add(value)
                following = self.graph.only_reader(value)
                assert following is not None
                value = following.outputs[0]

    def _extends(self, chain: _Chain, value: str, reader: Node) -> bool:
        if chain.activation != "NONE":
            return False
        kind = self.graph.type(value)
        found = activation_of(reader.op)
        if found is not None:
            chain.activation, chain.leak = found
            return True
        if not isinstance(reader.op, Binary) or reader.op.function != "add" or reader.op.clamp:
            return False
        if reader.inputs[0] == reader.inputs[1]:
            return False
        other = reader.inputs[1 if reader.inputs[0] == value else 0]
        shape = self.graph.type(other).shape
        if other in self.dependent:
            if chain.residual or shape != kind.shape or self.graph.type(other).rank < 3:
                return False
            chain.residual = other
            return True
        channels = kind.shape[-1]
        if chain.residual or len(shape) > kind.rank or not shape or shape[-1] != channels:
            return False
        if prod(shape) not in (channels, channels * self.images):
            return False
        if prod(shape) != channels and (len(shape) != kind.rank or shape[0] != self.images):
            return False
        if self.graph.type(value).shape != self.graph.type(reader.outputs[0]).shape:
            return False
        chain.vectors.append(other)
        return True

    def _bias(self, node: Node, chain: _Chain | None, step: Step) -> None:
        """Bias of a convolution and what is added to it for each image."""
        names = [node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else []
        names += chain.vectors if chain is not None else []
        if not names:
            return
        assert step.output is not None
        channels = step.output.channels
        known = [self.extra.constants[name] for name in names if name in self.extra.constants]
        rest = [name for name in names if name not in self.extra.constants]
        rows = [array.reshape(-1, channels).astype(np.float64) for array in known]
        total = sum(rows[1:], rows[0]) if rows else None
        if total is not None and total.shape[0] == 1 and not rest:
            step.bias = self.stored(total)
            return
        if total is not None:
            rest.append(self.extra.constant(total.astype(np.float32), stem=node.name))
        name = ""
        for other in rest:
            flat = (self.extra.types[other].count // channels, channels)
            row = other
            if self.extra.types[other].shape != flat:
                row = self._host(Reshape(flat), [other], node)
            name = row if not name else self._host(Binary("add"), [name, row], node)
        shared = self.extra.types[name].count == channels
        step.bias_value = self._side(name, (1, 1, channels), shared)

    def _host(self, op: Op, inputs: Sequence[str], node: Node) -> str:
        (name,) = self.extra.add(op, inputs, name=node.name)
        return name

    # -- nodes -------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        chain = self.chains.get(node.outputs[0])
        if chain is not None:
            self._layer(chain.first, chain, node)
            return
        op = node.op
        if isinstance(op, Conv2D | ConvTranspose | FullyConnected):
            self._layer(node, None, node)
        elif isinstance(op, GroupNorm):
            self._group_norm(node, op)
        elif isinstance(op, BatchNorm):
            self._batch_norm(node)
        elif isinstance(op, Unary):
            self._unary(node, op)
        elif isinstance(op, Binary):
            self._binary(node, op)
        elif isinstance(op, ResizeNearest):
            self._nearest(node, op)
        elif isinstance(op, ResizeBilinear):
            self._mix(node, op)
        elif isinstance(op, Concat):
            self._concat(node, op)
        elif isinstance(op, Split | Slice):
            self._pieces(node, op)
        elif isinstance(op, Reshape):
            self._reshape(node)
        elif isinstance(op, Attend):
            self._attend(node, op)
        elif isinstance(op, Modulate):
            self._modulate(node)
        elif isinstance(op, DepthToSpace):
            self._shuffle(node, op)
        elif isinstance(op, Pad):
            self._pad(node, op)
        elif isinstance(op, MaxPool | AveragePool):
            self._pool(node, op)
        elif isinstance(op, Reduce):
            self._reduce(node, op)
        elif isinstance(op, LayerNorm):
            self._row_norm(node, op)
        elif isinstance(op, Softmax):
            x = self.material(node.inputs[0], node)
            out = self.output(node, x.mask, (x.height, x.width, x.channels))
            self.steps.append(Step("SOFTMAX", node.name, out, (x,), alpha=op.beta))
        else:
            raise self.unsupported(node, "it has no form that computes some pixels only")

    def _layer(self, node: Node, chain: _Chain | None, last: Node) -> None:
        """A convolution, a transposed one or a product, with what is fused into it."""
        op = node.op
        if node.inputs[0] not in self.dependent or node.inputs[1] in self.dependent:
            raise self.unsupported(node, "weights that depend on the edit")
        weights = self.extra.constants.get(node.inputs[1])
        if weights is None:
            raise self.unsupported(node, "weights computed at run time")
        if getattr(op, "clamp", None) is not None:
            raise self.unsupported(node, "a clamp")
        lazy = self.lazy(node.inputs[0], node)
        kind = self.graph.type(node.outputs[0])
        if isinstance(op, ConvTranspose) and lazy.upsample > 1:
            lazy = Lazy(self.material(node.inputs[0], node))
        source = lazy.source
        if isinstance(op, FullyConnected):
            if op.flatten and self.graph.type(node.inputs[0]).rank != 2:
                raise self.unsupported(node, "a map that is flattened")
            if weights.shape[1] != source.channels or lazy.upsample > 1:
                source = self.material(node.inputs[0], node)
                lazy = Lazy(source)
            if weights.shape[1] != source.channels:
                raise self.unsupported(node, "a map that is flattened")
            size = (source.height, source.width)
            step = self._product(last, lazy, weights, size)
        else:
            self._check_map(node, node.inputs[0], source, lazy.upsample)
            size = (kind.shape[1], kind.shape[2])
            if isinstance(op, ConvTranspose):
                step = self._transposed(last, op, lazy, weights, size)
            else:
                assert isinstance(op, Conv2D)
                plain = op.stride == (1, 1) and not any(op.pad) and op.groups == 1
                if plain and weights.shape[1:3] == (1, 1) and lazy.upsample == 1:
                    step = self._product(last, lazy, weights.reshape(len(weights), -1), size)
                else:
                    step = self._conv(last, op, lazy, weights, size)
        step.norm, step.in_activation = lazy.norm, lazy.activation
        step.alpha = lazy.leak
        assert step.output is not None
        if chain is not None:
            if (
                chain.activation == "LEAKY"
                and lazy.activation == "LEAKY"
                and (chain.leak != lazy.leak)
            ):
                # the kernel has one slope: the input is made before
                made = self._made(lazy, node.inputs[0])
                step.inputs, step.norm, step.in_activation = (made,), -1, "NONE"
            if chain.residual:
                step.residual = self.material(chain.residual, node)
                if step.residual.pixels != step.output.pixels:
                    raise self.unsupported(last, "a sum of maps of two shapes")
                step.output.mask = self.mask(
                    step.output.height, step.output.width,
                    [(step.output.mask, POINT, POINT), (step.residual.mask, POINT, POINT)],
                )  # fmt: skip
            step.out_activation = chain.activation
            step.alpha = chain.leak if chain.activation == "LEAKY" else step.alpha
        self._bias(node, chain, step)
        self.steps.append(step)

    def _check_map(self, node: Node, name: str, source: Value, upsample: int = 1) -> None:
        shape = self.graph.type(name).shape
        ours = (self.images, source.height * upsample, source.width * upsample, source.channels)
        if shape != ours:
            raise self.unsupported(node, f"a map of {ours} read as {shape}")

    def _product(self, node: Node, lazy: Lazy, weights: np.ndarray, size: tuple[int, int]) -> Step:
        source = lazy.source
        outs, depth = weights.shape
        out = self.output(node, source.mask, (*size, outs))
        phase = Phase((1, 1), (0, 0), (1, 1), size, (0, 0), self.stored(weights))
        return Step("LINEAR", node.name, out, (source,), phases=[phase], macs=outs * depth)

    def _conv(
        self, node: Node, op: Conv2D, lazy: Lazy, weights: np.ndarray, size: tuple[int, int]
    ) -> Step:
        source, up = lazy.source, lazy.upsample
        kernel = (weights.shape[1], weights.shape[2])
        rows, columns = (
            self.window(
                (source.height, source.width)[a], size[a], kernel[a], op.stride[a], op.dilation[a],
                op.pad[a], up,
            )
            for a in (0, 1)
        )  # fmt: skip
        mask = self.mask(*size, [(source.mask, rows, columns)])
        out = self.output(node, mask, (*size, weights.shape[0]))
        phase = Phase(
            kernel, (op.pad[0], op.pad[1]), op.dilation, size, (0, 0), self.stored(weights)
        )
        return Step(
            "CONV", node.name, out, (source,), phases=[phase], stride=op.stride, groups=op.groups,
            upsample=up, macs=weights.size,
        )  # fmt: skip

    def _transposed(
        self, node: Node, op: ConvTranspose, lazy: Lazy, weights: np.ndarray, size: tuple[int, int]
    ) -> Step:
        source = lazy.source
        kernel = (weights.shape[1], weights.shape[2])
        axes = []
        for a, extent in enumerate((source.height, source.width)):
            places = []
            for i in range(size[a]):
                reads = [i + op.pad[a] - k * op.dilation[a] for k in range(kernel[a])]
                found = [n // op.stride[a] for n in reads if n % op.stride[a] == 0]
                places.append([n for n in found if 0 <= n < extent])
            width = max(1, *map(len, places))
            axes.append(self.axis(Axis(tuple((*p, *[-1] * (width - len(p))) for p in places))))
        mask = self.mask(*size, [(source.mask, axes[0], axes[1])])
        out = self.output(node, mask, (*size, weights.shape[0]))
        phases = []
        for y in range(min(op.stride[0], size[0])):
            for x in range(min(op.stride[1], size[1])):
                taps = [_phase_taps(op, a, kernel[a], at) for a, at in ((0, y), (1, x))]
                part = weights[:, taps[0][0]][:, :, taps[1][0]]
                if part.size == 0:  # no weight reaches these pixels: bias alone
                    part = np.zeros((weights.shape[0], 1, 1, weights.shape[3]), np.float32)
                    taps = [(taps[0][0], 0, 1), (taps[1][0], 0, 1)]
                down, across = (-(-(size[a] - at) // op.stride[a]) for a, at in ((0, y), (1, x)))
                phases.append(
                    Phase(
                        (part.shape[1], part.shape[2]), (taps[0][1], taps[1][1]),
                        (taps[0][2], taps[1][2]), (down, across), (y, x),
                        self.stored(part),
                    )
                )  # fmt: skip
        return Step(
            "CONV", node.name, out, (source,), phases=phases, step=op.stride, groups=op.groups,
            macs=-(-weights.size // prod(op.stride)),
        )  # fmt: skip

    def _group_norm(self, node: Node, op: GroupNorm) -> None:
        scale, shift = (self.extra.constants.get(name) for name in node.inputs[1:3])
        if scale is None or shift is None:
            raise self.unsupported(node, "scale or shift computed at run time")
        x = self.material(node.inputs[0], node)
        parts = [
            (value, value.first - x.first)
            for value in self.values
            if value is not x and value.root is x.root and self._writes(value)
            and x.first <= value.first and value.first + value.channels <= x.first + x.channels
        ]  # fmt: skip
        covered = sum(value.channels for value, _ in parts)
        if not parts or covered != x.channels:
            if x.parent is not None and not self._writes(x):
                x = self._copy(x, node)
            parts = [(x, 0)]
        norm = Norm(
            node.name, op.groups, x.channels, op.epsilon, self.stored(scale), self.stored(shift),
            parts,
        )  # fmt: skip
        self.norms.append(norm)
        # the statistics of what is scratch are taken while it is there: no need to pin
        self.steps.append(Step("NORM", node.name, None, (x,), norm=len(self.norms) - 1))
        self.found[node.outputs[0]] = Lazy(x, len(self.norms) - 1)

    def _writes(self, value: Value) -> bool:
        """Whether a layer writes this value itself."""
        return value is self.input or any(step.output is value for step in self.steps)

    def _copy(self, x: Value, node: Node) -> Value:
        made = self.value(node.name, x.height, x.width, x.channels, mask=x.mask)
        self.steps.append(Step("AFFINE", node.name, made, (x,)))
        return made

    def _batch_norm(self, node: Node) -> None:
        scale, shift = (self.extra.constants.get(name) for name in node.inputs[1:3])
        if scale is None or shift is None:
            raise self.unsupported(node, "scale or shift computed at run time")
        x = self.lazy(node.inputs[0], node)
        if x != Lazy(x.source):
            x = Lazy(self.material(node.inputs[0], node))
        self.norms.append(
            Norm(node.name, 0, scale.size, 0.0, self.stored(scale), self.stored(shift), [])
        )
        self.found[node.outputs[0]] = Lazy(x.source, len(self.norms) - 1)

    def _unary(self, node: Node, op: Unary) -> None:
        fused = activation_of(op)
        lazy = self.lazy(node.inputs[0], node)
        if fused is not None:
            if lazy.activation != "NONE":
                lazy = Lazy(self.material(node.inputs[0], node))
            self.found[node.outputs[0]] = replace(lazy, activation=fused[0], leak=fused[1])
            return
        if op.function not in UNARY:
            raise self.unsupported(node, "no kernel for it")
        x = self.material(node.inputs[0], node)
        out = self.output(node, x.mask, (x.height, x.width, x.channels))
        self.steps.append(
            Step("UNARY", node.name, out, (x,), function=UNARY.index(op.function), alpha=op.alpha,
                 beta=op.beta)
        )  # fmt: skip

    def _binary(self, node: Node, op: Binary) -> None:
        if op.clamp is not None or op.function not in FUNCTIONS:
            raise self.unsupported(node, "no kernel for it")
        kinds = [self.graph.type(name) for name in node.inputs]
        big = max(
            (name for name in node.inputs if name in self.dependent),
            key=lambda name: self.graph.type(name).count,
        )
        first = self.material(big, node)
        shape = (first.height, first.width, first.channels)
        if self.graph.type(big).count != self.graph.type(node.outputs[0]).count:
            shape = self.geometry(node.outputs[0], node)
            if any(
                n not in (1, m) for n, m in zip((first.height, first.width), shape, strict=False)
            ):
                raise self.unsupported(node, f"{kinds[0]} and {kinds[1]}")
        maps = [self._operand(name, shape, node) for name in node.inputs]
        mask = self.mask(shape[0], shape[1], [(m.mask, POINT, POINT) for m in maps])
        step = Step("BINARY", node.name, None, tuple(maps), function=FUNCTIONS.index(op.function))
        self._elementwise(node, step, mask, shape)

    def _operand(self, name: str, shape: tuple[int, int, int], node: Node) -> Value:
        if name not in self.dependent:
            return self.side(name, shape, node)
        found = self.material(name, node)
        ours = (found.height, found.width, found.channels)
        if any(n not in (1, m) for n, m in zip(ours, shape, strict=True)):
            raise self.unsupported(node, f"maps of {ours} and {shape}")
        return found

    def _modulate(self, node: Node) -> None:
        name = node.inputs[0]
        if name not in self.dependent:
            raise self.unsupported(node, "a map that does not depend on the edited input")
        x = self.lazy(name, node)
        if x.activation != "NONE" or x.upsample > 1:
            x = Lazy(self.material(name, node))
        shape = (x.source.height, x.source.width, x.source.channels)
        maps = [self._operand(each, shape, node) for each in node.inputs[1:]]
        masks = [(m.mask, POINT, POINT) for m in (x.source, *maps)]
        step = Step("MODULATE", node.name, None, (x.source, *maps), norm=x.norm)
        self._elementwise(node, step, self.mask(shape[0], shape[1], masks), shape)

    def _elementwise(self, node: Node, step: Step, mask: int, shape: tuple[int, int, int]) -> None:
        """Adds a step and the activation behind it, where one follows."""
        reader = self.graph.only_reader(node.outputs[0])
        found = activation_of(reader.op) if reader is not None else None
        if reader is not None and found is not None:
            step.out_activation, step.alpha = found
            step.output = self.output(reader, mask, shape)
            self.inside.add(reader.outputs[0])
        else:
            step.output = self.output(node, mask, shape)
        self.steps.append(step)

    def _nearest(self, node: Node, op: ResizeNearest) -> None:
        lazy = self.lazy(node.inputs[0], node)
        source = lazy.source
        factor = len(op.rows) // max(source.height * lazy.upsample, 1)
        whole = factor > 1 and all(
            tuple(i // factor for i in range(len(places))) == places
            and len(places) == extent * lazy.upsample * factor
            for places, extent in ((op.rows, source.height), (op.columns, source.width))
        )
        if whole:
            self.found[node.outputs[0]] = replace(lazy, upsample=lazy.upsample * factor)
            return
        self._take(node, [(i,) for i in op.rows], [(i,) for i in op.columns])

    def _take(
        self, node: Node, rows: Sequence[tuple[int, ...]], columns: Sequence[tuple[int, ...]],
        fill: float = 0.0,
    ) -> None:  # fmt: skip
        x = self.material(node.inputs[0], node)
        self._check_map(node, node.inputs[0], x)
        down, across = self.axis(Axis(tuple(rows))), self.axis(Axis(tuple(columns)))
        mask = self.mask(len(rows), len(columns), [(x.mask, down, across)])
        out = self.output(node, mask, (len(rows), len(columns), x.channels))
        self.steps.append(Step("TAKE", node.name, out, (x,), rows=down, columns=across, alpha=fill))

    def _mix(self, node: Node, op: ResizeBilinear) -> None:
        x = self.material(node.inputs[0], node)
        self._check_map(node, node.inputs[0], x)
        rows, columns = (
            self.axis(
                Axis(
                    tuple((a, b) for a, b, _ in taps),
                    tuple((1.0 - w, w) for _, _, w in taps),
                )
            )
            for taps in (op.rows, op.columns)
        )
        mask = self.mask(len(op.rows), len(op.columns), [(x.mask, rows, columns)])
        out = self.output(node, mask, (len(op.rows), len(op.columns), x.channels))
        self.steps.append(
            Step("MIX", node.name, out, (x,), rows=rows, columns=columns, macs=4 * x.channels)
        )

    def _concat(self, node: Node, op: Concat) -> None:
        kind = self.graph.type(node.outputs[0])
        if op.axis != kind.rank - 1:
            raise self.unsupported(node, f"maps joined along axis {op.axis}")
        first = next(name for name in node.inputs if name in self.dependent)
        like = self.material(first, node)
        shape = (like.height, like.width, kind.shape[-1])
        whole = self.output(node, -1, shape)
        offset, masks = 0, []
        for name in node.inputs:
            channels = self.graph.type(name).shape[-1]
            if name in self.dependent:
                part = self.material(name, node)
            else:
                part = self.side(name, (like.height, like.width, channels), node)
            if (part.height, part.width) != shape[:2] and name in self.dependent:
                raise self.unsupported(node, "maps of two shapes")
            movable = part.parent is None and name in self.dependent
            if not movable:
                source = part
                part = self.value(name, shape[0], shape[1], channels, mask=source.mask)
                if name not in self.dependent:
                    part.mask = self._still(shape[0], shape[1])
                self.steps.append(Step("AFFINE", node.name, part, (source,)))
            part.parent, part.offset = whole, offset
            offset += channels
            masks.append((part.mask, POINT, POINT))
        whole.mask = self.mask(shape[0], shape[1], masks)

    def _pieces(self, node: Node, op: Split | Slice) -> None:
        kind = self.graph.type(node.inputs[0])
        if isinstance(op, Split):
            if op.axis != kind.rank - 1 or op.squeeze:
                raise self.unsupported(node, f"a split along axis {op.axis}")
            x = self.material(node.inputs[0], node)
            first = 0
            for name, size in zip(node.outputs, op.sizes, strict=True):
                self._view(name, x, first, size)
                first += size
            return
        last = kind.rank - 1
        same = [op.begin[a] == 0 and op.size[a] == n and op.step[a] == 1
                for a, n in enumerate(kind.shape)]  # fmt: skip
        if all(same[:-1]) and op.step[last] == 1:
            x = self.material(node.inputs[0], node)
            self._view(node.outputs[0], x, op.begin[last], op.size[last])
            return
        if kind.rank != 4 or not same[0] or not same[3]:
            raise self.unsupported(node, f"a slice from {op.begin} of {op.size}")
        rows, columns = (
            [(op.begin[a] + i * op.step[a],) for i in range(op.size[a])] for a in (1, 2)
        )
        self._take(node, rows, columns)

    def _view(self, name: str, x: Value, first: int, channels: int) -> None:
        made = self.value(name, x.height, x.width, channels, mask=x.mask)
        made.parent, made.offset = x, first
        made.shared = x.shared
        self.found[name] = made

    def _reshape(self, node: Node) -> None:
        before, after = (self.graph.type(name) for name in (node.inputs[0], node.outputs[0]))
        x = self.found[node.inputs[0]]
        same = before.shape[:1] == after.shape[:1] and before.shape[-1] == after.shape[-1]
        is_output = any(port.value == node.outputs[0] for port in self.graph.outputs)
        ends = is_output and node.outputs[0] not in self.graph.consumers
        if not (same and before.rank > 1 and after.rank > 1) and not ends:
            raise self.unsupported(node, f"{before} to {after}")
        self.found[node.outputs[0]] = x

    def _attend(self, node: Node, op: Attend) -> None:
        if node.inputs[0] not in self.dependent:
            raise self.unsupported(node, "queries that do not depend on the edited input")
        widths = (op.channels[0], op.channels[0], op.channels[1])
        found = []
        for name, first, width in zip(node.inputs, op.first, widths, strict=True):
            if name in self.dependent:
                x = self.material(name, node)
            else:
                kind = self.extra.types[name]
                inner = (1, prod(kind.shape[1:-1]), kind.shape[-1])
                x = self._side(name, inner, False)
            channels = width * op.heads
            if (first, channels) != (0, x.channels):
                view = self.value(f"{name}.{first}", x.height, x.width, channels, mask=x.mask)
                view.parent, view.offset = x, first
                x = view
            found.append(x)
        q = found[0]
        out = self.output(node, q.mask, (q.height, q.width, op.heads * op.channels[1]))
        self.pinned.add(id(out))
        keys = found[1].pixels
        self.steps.append(
            Step("ATTENTION", node.name, out, tuple(found), heads=op.heads, alpha=op.scale,
                 macs=keys * op.heads * sum(op.channels))
        )  # fmt: skip

    def _shuffle(self, node: Node, op: DepthToSpace) -> None:
        x = self.material(node.inputs[0], node)
        self._check_map(node, node.inputs[0], x)
        height, width, _ = self.geometry(node.outputs[0], node)
        b = op.block
        if op.inverse:
            axes = [
                self.axis(Axis(tuple(tuple(range(i * b, i * b + b)) for i in range(n))))
                for n in (height, width)
            ]
        else:
            axes = [self.axis(Axis(tuple((i // b,) for i in range(n)))) for n in (height, width)]
        out = self.output(node, self.mask(height, width, [(x.mask, axes[0], axes[1])]))
        function = (2 if op.inverse else 0) + (op.order == "CRD")
        self.steps.append(Step("SHUFFLE", node.name, out, (x,), function=function, block=b))

    def _pad(self, node: Node, op: Pad) -> None:
        kind = self.graph.type(node.inputs[0])
        if kind.rank != 4 or any((op.before[0], op.before[3], op.after[0], op.after[3])):
            raise self.unsupported(node, f"padding by {op.before} and {op.after}")
        axes = []
        for a in (1, 2):
            places = np.arange(kind.shape[a])
            width = (op.before[a], op.after[a])
            if op.mode == "constant":
                padded = np.pad(places, width, constant_values=-1)
            else:
                padded = np.pad(places, width, mode=op.mode)  # type: ignore[call-overload]
            axes.append([(int(n),) for n in padded])
        self._take(node, axes[0], axes[1], op.value)

    def _pool(self, node: Node, op: MaxPool | AveragePool) -> None:
        if op.clamp is not None:
            raise self.unsupported(node, "a clamp")
        x = self.material(node.inputs[0], node)
        self._check_map(node, node.inputs[0], x)
        height, width, _ = self.geometry(node.outputs[0], node)
        axes = []
        for a, (size, count) in enumerate(((x.height, height), (x.width, width))):
            places = []
            for i in range(count):
                reads = [i * op.stride[a] - op.pad[a] + k for k in range(op.window[a])]
                places.append(tuple(n if 0 <= n < size else -1 for n in reads))
            axes.append(self.axis(Axis(tuple(places))))
        mean = isinstance(op, AveragePool)
        out = self.output(node, self.mask(height, width, [(x.mask, axes[0], axes[1])]))
        self.steps.append(
            Step("MEAN_POOL" if mean else "MAX_POOL", node.name, out, (x,), rows=axes[0],
                 columns=axes[1], block=int(getattr(op, "count_padding", False)))
        )  # fmt: skip

    def _reduce(self, node: Node, op: Reduce) -> None:
        kind = self.graph.type(node.inputs[0])
        if kind.rank != 4 or tuple(sorted(op.axes)) != (1, 2) or op.function not in ("mean", "max"):
            raise self.unsupported(node, f"{op.function} along {op.axes}")
        x = self.material(node.inputs[0], node)
        self._check_map(node, node.inputs[0], x)
        axes = [self.axis(Axis((tuple(range(n)),))) for n in (x.height, x.width)]
        mask = self.mask(1, 1, [(x.mask, WHOLE, WHOLE)])
        out = self.output(node, mask, (1, 1, x.channels))
        kind_of = "MEAN_POOL" if op.function == "mean" else "MAX_POOL"
        self.steps.append(Step(kind_of, node.name, out, (x,), rows=axes[0], columns=axes[1]))

    def _row_norm(self, node: Node, op: LayerNorm) -> None:
        x = self.material(node.inputs[0], node)
        depth = self.graph.type(node.inputs[0]).shape[-1]
        if depth != x.channels:
            raise self.unsupported(node, f"rows of {depth} in a map of {x.channels} channels")
        vectors = []
        for name in node.inputs[1:]:
            if name:
                if name not in self.extra.constants:
                    raise self.unsupported(node, "scale or shift computed at run time")
                vectors.append(self._side(name, (1, 1, depth), True))
        out = self.output(node, x.mask, (x.height, x.width, x.channels))
        self.steps.append(
            Step("ROW_NORM", node.name, out, (x, *vectors), function=int(not op.centre),
                 alpha=op.epsilon)
        )  # fmt: skip


def _phase_taps(op: ConvTranspose, axis: int, kernel: int, at: int) -> tuple[list[int], int, int]:
    """Taps that reach output places ``at`` + i * stride, in the order of the input places that
    they read, with padding and dilation of the convolution that they make."""
    stride, dilation = op.stride[axis], op.dilation[axis]
    found = []
    for k in range(kernel):
        shifted = at + op.pad[axis] - k * dilation
        if shifted % stride == 0:
            found.append((shifted // stride, k))
    found.sort()
    step = dilation // gcd(stride, dilation)
    return [k for _, k in found], -found[0][0] if found else 0, step


def _dependent(graph: Graph, edited: str) -> set[str]:
    found = {edited}
    for node in graph.nodes:
        if any(name in found for name in node.inputs):
            found |= set(node.outputs)
    return found
