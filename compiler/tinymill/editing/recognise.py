"""What exporters write out in small ops becomes one op again: group norms, SiLU, attention.

Chains of Reshape and Transpose are not matched by shape: labels are sent through them, and what
comes out must be what the one op would see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ..ir import Graph, GraphBuilder, Node, Op, Types
from ..ops.batch_norm import BatchNorm
from ..ops.binary import Binary
from ..ops.conv_transpose import ConvTranspose
from ..ops.matmul import MatMul
from ..ops.normalize import GroupNorm
from ..ops.reduce import Reduce
from ..ops.reshape import Reshape
from ..ops.slice import Slice
from ..ops.softmax import Softmax
from ..ops.split import Split
from ..ops.transpose import Transpose
from ..ops.unary import Unary
from .operations import Attend, Modulate

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


class _Rewriter:
    """Replaces values: new nodes stand where the node that made the old value stood."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = GraphBuilder.of(graph)
        self.instead: dict[str, list[tuple[Op, tuple[str, ...]]]] = {}
        """For a value the ops that make it anew; "" among the inputs is the op before."""

    def chain(self, value: str, steps: Sequence[tuple[Op, tuple[str, ...]]]) -> None:
        self.instead[value] = list(steps)

    def constant(self, array: np.ndarray, stem: str) -> str:
        return self.builder.constant(np.ascontiguousarray(array, np.float32), stem=stem)

    def finish(self) -> Graph:
        for node in self.graph.nodes:
            steps = self.instead.get(node.outputs[0]) if len(node.outputs) == 1 else None
            if steps is None:
                self.builder.nodes.append(node)
                continue
            last = ""
            for index, (op, inputs) in enumerate(steps):
                names = [name or last for name in inputs]
                outputs = node.outputs if index == len(steps) - 1 else None
                (last,) = self.builder.add(op, names, name=node.name, outputs=outputs)
        return _live(self.builder.finish())


def _live(graph: Graph) -> Graph:
    """The graph without nodes that no output needs."""
    needed = {port.value for port in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    return GraphBuilder.of(graph, nodes=reversed(kept)).finish()


def _moved(op: Op, array: np.ndarray, graph: Graph, node: Node) -> np.ndarray:
    kind = graph.node_types(node)
    types = Types((kind.inputs[0],), kind.outputs)
    return op.reference([array], types)[0]


def _only_input(graph: Graph, value: str, kinds: tuple[type[Op], ...]) -> Node | None:
    node = graph.producers.get(value)
    return node if node is not None and isinstance(node.op, kinds) else None


# -- group normalisation ---------------------------------------------------------------------


def group_norms(graph: Graph) -> Graph:
    """Instance normalisation of reshaped groups, as torch exports group norms, becomes
    ``GroupNorm`` of the channels of an NHWC map."""
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        if isinstance(node.op, GroupNorm):
            _group_norm(rewriter, node, node.op)
    return rewriter.finish()


def _group_norm(rewriter: _Rewriter, node: Node, op: GroupNorm) -> None:
    graph = rewriter.graph
    if any(name not in graph.constants for name in node.inputs[1:3]):
        return
    before: list[Node] = []
    value = node.inputs[0]
    while found := _only_input(graph, value, (Reshape, Transpose)):
        before.insert(0, found)
        value = found.inputs[0]
        shape = graph.type(value).shape
        if len(shape) != 4:
            continue
        for axis in (1, 3):
            root = _root_of_groups(graph, node, op, before, axis)
            if root is not None:
                scale, shift = (
                    np.repeat(graph.constants[name], shape[axis] // op.groups)
                    for name in node.inputs[1:3]
                )
                names = (rewriter.constant(scale, node.name), rewriter.constant(shift, node.name))
                norm = GroupNorm(op.groups, op.epsilon)
                steps: list[tuple[Op, tuple[str, ...]]] = [(norm, (value, *names))]
                if axis == 1:
                    steps = [
                        (Transpose(_TO_LAST), (value,)),
                        (norm, ("", *names)),
                        (Transpose(_TO_FIRST), ("",)),
                    ]
                rewriter.chain(root, steps)
                return


def _root_of_groups(
    graph: Graph, node: Node, op: GroupNorm, before: Sequence[Node], axis: int
) -> str | None:
    """The value behind ``node`` that is in the form of the chain's start, where the groups are
    those of its channels along ``axis``."""
    shape = graph.type(before[0].inputs[0]).shape
    if shape[axis] % op.groups or shape[axis] == op.groups:
        return None
    groups = np.arange(shape[axis], dtype=np.int32) // (shape[axis] // op.groups)
    groups = groups.reshape([-1 if a == axis else 1 for a in range(4)])
    images = np.arange(shape[0], dtype=np.int32).reshape(-1, 1, 1, 1)
    labels = np.broadcast_to(images * op.groups + groups, shape)
    for each in before:
        labels = _moved(each.op, labels, graph, each)
    inside = labels.reshape(labels.shape[0], -1, labels.shape[-1])
    if labels.shape[-1] != op.groups or not (inside == inside[:, :1]).all():
        return None
    wanted = np.arange(shape[0] * op.groups).reshape(shape[0], -1)
    if inside.shape[0] != shape[0] or not np.array_equal(inside[:, 0], wanted):
        return None
    places = np.arange(prod(shape), dtype=np.int32).reshape(shape)
    start = places
    for each in before:
        places = _moved(each.op, places, graph, each)
    value = node.outputs[0]
    while True:
        reader = graph.only_reader(value)
        if reader is None or not isinstance(reader.op, Reshape | Transpose):
            return None
        places = _moved(reader.op, places, graph, reader)
        value = reader.outputs[0]
        if places.shape == shape and np.array_equal(places, start):
            return value


def written_out_norms(graph: Graph) -> Graph:
    """(x - mean) / sqrt(mean of squares + epsilon) over the places of a map [N, C, H, W] becomes
    ``GroupNorm``: instance normalisation as some exporters decompose it."""
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        if not (
            isinstance(node.op, Binary) and node.op.function == "div" and node.op.clamp is None
        ):
            continue
        centred, deviation = node.inputs
        sub = _only_input(graph, centred, (Binary,))
        root = _only_input(graph, deviation, (Unary,))
        if sub is None or root is None or root.op.function != "sqrt":  # type: ignore[attr-defined]
            continue
        sum_ = _only_input(graph, root.inputs[0], (Binary,))
        mean = _only_input(graph, sub.inputs[1], (Reduce,))
        if sum_ is None or mean is None or mean.inputs[0] != sub.inputs[0]:
            continue
        constant = [name for name in sum_.inputs if name in graph.constants]
        rest = [name for name in sum_.inputs if name not in graph.constants]
        square = _only_input(graph, rest[0], (Reduce,)) if len(rest) == 1 else None
        if len(constant) != 1 or graph.constants[constant[0]].size != 1 or square is None:
            continue
        x = sub.inputs[0]
        shape = graph.type(x).shape
        if not (_is(sub, "sub") and _is(sum_, "add")) or len(shape) != 4:
            continue
        if any(
            r.op.function != "mean" or tuple(sorted(r.op.axes)) != (2, 3) or not r.op.keepdims  # type: ignore[attr-defined]
            for r in (mean, square)
        ) or not _is_square(graph, square.inputs[0], centred):
            continue
        epsilon = float(graph.constants[constant[0]].ravel()[0])
        ones = rewriter.constant(np.ones(shape[1]), node.name)
        zeros = rewriter.constant(np.zeros(shape[1]), node.name)
        rewriter.chain(
            node.outputs[0],
            [
                (Transpose(_TO_LAST), (x,)),
                (GroupNorm(shape[1], epsilon), ("", ones, zeros)),
                (Transpose(_TO_FIRST), ("",)),
            ],
        )
    return rewriter.finish()


def _is_square(graph: Graph, value: str, of: str) -> bool:
    node = graph.producers.get(value)
    if node is None or node.inputs[0] != of:
        return False
    if isinstance(node.op, Unary):
        return node.op.function == "square"
    if not isinstance(node.op, Binary):
        return False
    if node.op.function == "mul":
        return node.inputs[1] == of
    exponent = graph.constants.get(node.inputs[1])
    return node.op.function == "pow" and exponent is not None and (exponent == 2).all()


# -- activations and constants ---------------------------------------------------------------


def silu(graph: Graph) -> Graph:
    """x * sigmoid(x) becomes one function."""
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        if not (
            isinstance(node.op, Binary) and node.op.function == "mul" and node.op.clamp is None
        ):
            continue
        for x, gate in (node.inputs, node.inputs[::-1]):
            made = _only_input(graph, gate, (Unary,))
            if made is not None and made.op.function == "sigmoid" and made.inputs[0] == x:  # type: ignore[attr-defined]
                rewriter.chain(node.outputs[0], [(Unary("swish", 1.0), (x,))])
    return rewriter.finish()


def modulations(graph: Graph) -> Graph:
    """x * (1 + gamma) + beta becomes ``Modulate``."""
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        if not _is(node, "add"):
            continue
        for product, beta in (node.inputs, node.inputs[::-1]):
            times = graph.producers.get(product)
            if times is None or not _is(times, "mul") or graph.only_reader(product) is not node:
                continue
            for x, factor in (times.inputs, times.inputs[::-1]):
                gamma = _less_one(graph, factor, times)
                if gamma is not None and all(
                    _fits(graph.type(name).shape, graph.type(x).shape) for name in (gamma, beta)
                ):
                    rewriter.chain(node.outputs[0], [(Modulate(), (x, gamma, beta))])
    return rewriter.finish()


def _is(node: Node, function: str) -> bool:
    return isinstance(node.op, Binary) and node.op.function == function and node.op.clamp is None


def _less_one(graph: Graph, value: str, reader: Node) -> str | None:
    """gamma, where ``value`` is 1 + gamma and only ``reader`` reads it."""
    node = graph.producers.get(value)
    if node is None or not _is(node, "add") or graph.only_reader(value) is not reader:
        return None
    for gamma, one in (node.inputs, node.inputs[::-1]):
        number = graph.constants.get(one)
        if number is not None and number.size == 1 and (number == 1).all():
            return gamma
    return None


def _fits(shape: tuple[int, ...], like: tuple[int, ...]) -> bool:
    return len(shape) <= len(like) and all(
        n in (1, m) for n, m in zip(shape[::-1], like[::-1], strict=False)
    )


def fold_affine(graph: Graph) -> Graph:
    """Factors and summands for each channel go into the normalisation before them; others become
    ``BatchNorm``. NHWC maps."""
    builder = GraphBuilder.of(graph)
    made: dict[str, int] = {}
    for node in graph.nodes:
        found = _per_channel(graph, node)
        if found is None:
            if isinstance(node.op, GroupNorm | BatchNorm) and all(
                name in builder.constants for name in node.inputs[1:3]
            ):
                made[node.outputs[0]] = len(builder.nodes)
            builder.nodes.append(node)
            continue
        x, factor, summand = found
        index = made.get(x) if graph.only_reader(x) is not None else None
        if index is None:
            op: Op = BatchNorm()
            source = x
        else:
            before = builder.nodes[index]
            scale, shift = (
                builder.constants[name].astype(np.float64) for name in before.inputs[1:]
            )
            factor, summand = scale * factor, shift * factor + summand
            op, source = before.op, before.inputs[0]
        names = [
            builder.constant(np.ascontiguousarray(array, np.float32), stem=node.name)
            for array in (factor, summand)
        ]
        new = Node(op, (source, *names), node.outputs, node.name)
        if index is None:
            made[node.outputs[0]] = len(builder.nodes)
            builder.nodes.append(new)
        else:
            # what stands between reads neither: the value had one reader
            builder.nodes[index] = new
            made[node.outputs[0]] = index
    return builder.finish()


def _per_channel(graph: Graph, node: Node) -> tuple[str, np.ndarray, np.ndarray] | None:
    """x, factor and summand of each channel, where ``node`` is such a function of a map x."""
    op = node.op
    if not isinstance(op, Binary) or op.clamp is not None or graph.type(node.outputs[0]).rank < 3:
        return None
    channels = graph.type(node.outputs[0]).shape[-1]
    first, second = node.inputs
    for x, other, turned in ((first, second, False), (second, first, True)):
        constant = graph.constants.get(other)
        if constant is None or x in graph.constants or constant.size not in (1, channels):
            continue
        if constant.size > 1 and constant.shape[-1] != channels:
            continue
        if graph.type(x).shape != graph.type(node.outputs[0]).shape:
            continue
        vector = np.broadcast_to(constant.ravel().astype(np.float64), (channels,))
        ones, zeros = np.ones(channels), np.zeros(channels)
        if op.function == "mul":
            return x, vector, zeros
        if op.function == "add":
            return x, ones, vector
        if op.function == "sub":
            return (x, -ones, vector) if turned else (x, ones, -vector)
        if op.function == "div" and not turned and (vector != 0).all():
            return x, 1 / vector, zeros
    return None


# -- attention -------------------------------------------------------------------------------


def attention(graph: Graph) -> Graph:
    """MatMul, Softmax, MatMul and the Reshape and Transpose around them become ``Attend``."""
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        if isinstance(node.op, Softmax):
            _attention(rewriter, node)
    return rewriter.finish()


def _scaled(graph: Graph, value: str) -> tuple[str, float]:
    """What lies before factors of one number, and their product."""
    factor = 1.0
    while node := _only_input(graph, value, (Binary,)):
        op: Binary = node.op  # type: ignore[assignment]
        numbers = [graph.constants.get(name) for name in node.inputs]
        at = next((i for i, n in enumerate(numbers) if n is not None and n.size == 1), None)
        if at is None or op.clamp is not None or op.function not in ("mul", "div"):
            break
        number = float(np.asarray(numbers[at]).ravel()[0])
        if op.function == "div" and (at == 0 or number == 0):
            break
        factor *= number if op.function == "mul" else 1 / number
        value = node.inputs[1 - at]
    return value, factor


def _attention(rewriter: _Rewriter, node: Node) -> None:
    graph = rewriter.graph
    value, scale = _scaled(graph, node.inputs[0])
    turned = False
    while found := _only_input(graph, value, (Transpose, Reshape)):
        if isinstance(found.op, Reshape):
            return
        turned = not turned
        value = found.inputs[0]
    scores = _only_input(graph, value, (MatMul,))
    if scores is None or turned:
        return
    reader = graph.only_reader(node.outputs[0])
    flipped = False
    weights = node.outputs[0]
    while reader is not None and isinstance(reader.op, Transpose):
        order = reader.op.order
        if order[:-2] != tuple(range(len(order) - 2)) or order[-2:] != (
            len(order) - 1,
            len(order) - 2,
        ):
            return
        flipped = not flipped
        weights = reader.outputs[0]
        reader = graph.only_reader(weights)
    if reader is None or not isinstance(reader.op, MatMul):
        return
    if reader.inputs[1 if flipped else 0] != weights:
        return
    values = reader.inputs[0 if flipped else 1]
    last = graph.type(node.outputs[0]).rank - 1
    swap = (*range(last - 1), last, last - 1)

    def swapped(array: np.ndarray) -> np.ndarray:
        return array.transpose(swap)

    def same(array: np.ndarray) -> np.ndarray:
        return array

    roots = []
    for name, view in (
        (scores.inputs[0], same), (scores.inputs[1], swapped),
        (values, swapped if flipped else same),
    ):  # fmt: skip
        root = _rows_of_heads(graph, name, view)
        if root is None:
            return
        roots.append(root)
    (q, heads, width, q_first, q_scale), (k, k_heads, k_width, k_first, k_scale) = roots[:2]
    v, v_heads, v_width, v_first, v_scale = roots[2]
    if not heads == k_heads == v_heads or width != k_width or v_scale != 1.0:
        return
    op = Attend(heads, (width, v_width), scale * q_scale * k_scale, (q_first, k_first, v_first))
    kinds = [graph.type(name) for name in (q, k, v)]
    images = kinds[0].shape[0]
    if any(kind.shape[0] != images for kind in kinds):
        return
    rows = op.infer(kinds)[0].shape
    # what the product gives, in labels of the rows
    labels = np.arange(prod(rows), dtype=np.int32).reshape(rows)
    shape = graph.type(reader.outputs[0]).shape
    y = labels.reshape(images, rows[1], heads, v_width).transpose(0, 2, 1, 3)
    y = (y.transpose(0, 1, 3, 2) if flipped else y).reshape(shape)
    value = reader.outputs[0]
    q_shape = kinds[0].shape
    steps: list[tuple[Op, tuple[str, ...]]] = [(op, (q, k, v))]
    while True:
        ends = _end_of_rows(y, rows, q_shape)
        if ends is not None:
            rewriter.chain(value, [*steps, *((each, ("",)) for each in ends)])
            return
        follower = graph.only_reader(value)
        if follower is None or not isinstance(follower.op, Reshape | Transpose):
            return
        y = _moved(follower.op, y, graph, follower)
        value = follower.outputs[0]


def _end_of_rows(y: np.ndarray, rows: tuple[int, ...], queries: tuple[int, ...]) -> list[Op] | None:
    """The ops that make labels ``y`` of the rows [N, T, C]; the rows get the queries' shape."""
    flat = np.arange(prod(rows), dtype=np.int32)
    shape = (*queries[:-1], rows[2])
    if y.shape[-1] == rows[2] and np.array_equal(y.ravel(), flat):
        return [Reshape(tuple(y.shape))]
    channels_first = flat.reshape(rows).transpose(0, 2, 1)
    turned = len(shape) == 4 and y.shape == tuple(shape[a] for a in _TO_FIRST)
    if turned and np.array_equal(y.ravel(), channels_first.ravel()):
        return [Reshape(shape), Transpose(_TO_FIRST)]
    return None


def _rows_of_heads(
    graph: Graph, value: str, view: Callable[[np.ndarray], np.ndarray]
) -> tuple[str, int, int, int, float] | None:
    """The value with channels last whose rows the heads [..., rows, channels] of ``value`` are.

    Answers it with the number of heads, the channels of one, the channel of the first, and the
    product of factors in between.
    """
    chain: list[tuple[Node, str]] = []
    factor = 1.0
    shape = view(np.empty(graph.type(value).shape, np.bool_)).shape
    while True:
        kind = graph.type(value)
        found = _heads_in(graph, value, chain, view, shape) if kind.rank >= 2 else None
        producer = graph.producers.get(value)
        # the farthest value whose rows they are: what reads channels last
        at_map = producer is None or not isinstance(
            producer.op, Reshape | Transpose | Slice | Split
        )
        if found is not None and at_map and not _is_scaled(graph, value):
            return (value, *found, factor)
        before, number = _scaled(graph, value)
        if before != value:
            factor *= number
            value = before
            continue
        if producer is None or not isinstance(producer.op, Reshape | Transpose | Slice | Split):
            return None
        chain.insert(0, (producer, value))
        value = producer.inputs[0]


def _is_scaled(graph: Graph, value: str) -> bool:
    return _scaled(graph, value)[0] != value


def _heads_in(
    graph: Graph,
    value: str,
    chain: Sequence[tuple[Node, str]],
    view: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
) -> tuple[int, int, int] | None:
    kind = graph.type(value)
    images, channels = kind.shape[0], kind.shape[-1]
    rows, width = shape[-2:]
    heads, rest = divmod(prod(shape[:-2]), images)
    if rest or rows * images * channels != kind.count:
        return None
    labels = np.arange(kind.count, dtype=np.int64).reshape(kind.shape)
    for node, output in chain:
        results = node.op.reference([labels], graph.node_types(node))
        labels = results[node.outputs.index(output)]
    labels = view(labels).reshape(images, heads, rows, width)
    first = int(labels[0, 0, 0, 0])
    n, h, t, c = np.ogrid[:images, :heads, :rows, :width]
    wanted = (n * rows + t) * channels + first + h * width + c
    return (heads, width, first) if np.array_equal(labels, wanted) else None


def fold_transposed(graph: Graph) -> Graph:
    """``BatchNorm`` after a transposed convolution goes into its weights."""
    builder = GraphBuilder.of(graph)
    made: dict[str, int] = {}
    for node in graph.nodes:
        index = made.get(node.inputs[0]) if isinstance(node.op, BatchNorm) else None
        if index is None:
            if (
                isinstance(node.op, ConvTranspose)
                and node.inputs[1] in graph.constants
                and graph.only_reader(node.outputs[0]) is not None
            ):
                made[node.outputs[0]] = len(builder.nodes)
            builder.nodes.append(node)
            continue
        layer = builder.nodes[index]
        scale, shift = (graph.constants[name].astype(np.float64) for name in node.inputs[1:3])
        old = layer.inputs[2] if len(layer.inputs) > 2 else ""
        bias = graph.constants[old].astype(np.float64) if old else 0.0
        weights = graph.constants[layer.inputs[1]] * scale.reshape(-1, 1, 1, 1)
        names = [
            builder.constant(np.ascontiguousarray(array, np.float32), stem=node.name)
            for array in (weights, bias * scale + shift)
        ]
        builder.nodes[index] = replace(
            layer, inputs=(layer.inputs[0], *names), outputs=node.outputs
        )
    return builder.finish()
