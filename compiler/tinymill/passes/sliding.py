"""A model whose input is a window over a stream becomes a step: new rows in, the outputs for the
window with them out.

When the window moves on by some rows, a row of a map that has touched no padding is the row that
was computed for the window before, at another place. Such rows are kept in variables and moved
(``Slide``); only the others that somebody reads are computed: new ones at the end, and those at
both ends whose windows reach into padding. What reads a whole map (mean, dense) is computed
anew. The numbers are those of the whole model, as every row is computed by the same sums.

Rows are counted along the first axis that is not 1: axis 1 of a map, axis 2 where a model over
time is a map of height 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from ..errors import InvalidInput, TinymillError, UnsupportedOp
from ..ir import Graph, GraphBuilder, Node, Op, Port, TensorType, Window, verify
from ..ops.concat import Concat
from ..ops.reshape import Reshape
from ..ops.slice import Slice
from ..ops.slide import Slide, View

Borders = Literal["kept", "anew"]
"""Rows that are read at the beginning of a map only because others at the top padding read them:
kept like all others, which takes a variable as long as the map, or computed anew each step."""
BORDERS: tuple[Borders, ...] = ("kept", "anew")


@dataclass(frozen=True)
class Stepped:
    """``graph`` takes ``rows`` new rows of a window of ``window`` rows; ``axis`` counts the rows
    of its input in the source's layout."""

    graph: Graph
    rows: int
    window: int
    axis: int

    @property
    def filling(self) -> int:
        """Steps until nothing is left of what the window held before."""
        return -(-self.window // self.rows)


@dataclass(frozen=True)
class _Rows:
    """How the rows of a value move: row y, for ``low`` <= y < ``high``, is what row y + ``shift``
    was one step ago; where low is not below high, all rows are new each step."""

    axis: int
    count: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class _Run:
    """Rows [start, end) of a value, as one value of the new graph; ``variable`` if it lies in
    one."""

    start: int
    end: int
    name: str
    variable: bool = False


@dataclass(frozen=True)
class _Need:
    """Which rows of a value a step holds in a variable and which it computes.

    Rows [begin, end) are in the variable, of which [low, high) stay from the step before; empty
    where ``begin == end``.
    """

    computed: np.ndarray
    begin: int = 0
    low: int = 0
    high: int = 0
    end: int = 0

    @property
    def held(self) -> bool:
        return self.end > self.begin


def stepped(graph: Graph, rows: int, *, borders: Borders = "kept") -> Stepped:
    """The step of ``rows`` rows of a model whose one input is the window.

    Its variables hold nothing yet: ``Stepped.filling`` steps of any rows make them those of the
    window. Raises ``InvalidInput`` where the window can't move so, and ``UnsupportedOp``, naming
    the layer that is in the way, where a step would compute as much as the whole model.
    """
    return _Stepping(graph, rows, borders).result()


class _Stepping:
    def __init__(self, graph: Graph, step: int, borders: Borders) -> None:
        if len(graph.inputs) != 1:
            raise UnsupportedOp(f"{len(graph.inputs)} inputs, of which one would be a window")
        if graph.variables:
            raise UnsupportedOp(
                "a model that keeps variables of its own is a step already",
                at=next(iter(graph.variables)),
            )
        self.graph = graph
        self.step = step
        self.borders = borders
        self.port = graph.inputs[0]
        self.names = _window_names(graph)
        self.input = self.names[-1]
        self.obstacle: tuple[Node, str] | None = None
        """The first node that is computed whole though rows of its inputs stay."""
        self.rows: dict[str, _Rows] = {self.input: self._input_rows()}
        self.reshaped: dict[str, str] = {}
        """Values that are others whose rows have another shape."""
        self.windows: dict[int, tuple[Window | None, ...]] = {}
        """Of the nodes that are computed in part, by id."""
        for node in graph.nodes:
            self._follow(node)
        self.needs: dict[str, _Need] = {}
        self.runs: dict[int, list[tuple[int, int]]] = {}
        """Rows of their outputs that the nodes compute, by id."""
        self._decide()
        self.builder = GraphBuilder(graph.name)
        self.pieces: dict[str, list[_Run]] = {}

    def _input_rows(self) -> _Rows:
        kind = self.graph.type(self.input)
        axis = next((a for a, n in enumerate(kind.shape) if n != 1), kind.rank)
        if axis >= kind.rank - 1:
            raise UnsupportedOp(f"an input of shape {list(kind.shape)} is no window of rows",
                                at=self.port.name)  # fmt: skip
        count = kind.shape[axis]
        if not 0 < self.step < count:
            raise InvalidInput(
                f"a step of {self.step} rows; the window has {count}",
                at=self.port.name, hint=f"1 to {count - 1} rows are possible",
            )  # fmt: skip
        return _Rows(axis, count, self.step, 0, count - self.step)

    # -- which rows stay ------------------------------------------------------------------

    def _follow(self, node: Node) -> None:
        """Finds how the rows of a node's outputs move."""
        if not any(value in self.rows for value in node.inputs):
            return
        if isinstance(node.op, Reshape):
            rows = self._reshaped(node)
            if rows is not None:
                self.rows[node.outputs[0]] = rows
                self.reshaped[node.outputs[0]] = node.inputs[0]
                return
        windows = self._windows(node)
        if windows is None:
            self._hinders(node, "reads all rows")
            return
        rows = self._moving(node, windows)
        if not self._may_be_cut(node, rows, windows):
            self._hinders(node, "can't be computed for a part of its rows")
            return
        self.windows[id(node)] = windows
        self.rows |= dict.fromkeys(node.outputs, rows)

    def _hinders(self, node: Node, reason: str) -> None:
        if self.obstacle is None:
            self.obstacle = node, reason

    def _reshaped(self, node: Node) -> _Rows | None:
        """Where only what a row is has another shape: the rows of the output."""
        rows, kind = self.rows[node.inputs[0]], self.graph.type(node.outputs[0])
        axis = next((a for a, n in enumerate(kind.shape) if n != 1), kind.rank)
        if axis == kind.rank or kind.shape[axis] != rows.count:
            return None
        return replace(rows, axis=axis)

    def _windows(self, node: Node) -> tuple[Window | None, ...] | None:
        """The windows along the rows with which all inputs that have rows are read; None where
        one is read whole, or rows are joined that are none of the window's."""
        types = self.graph.node_types(node)
        axis = next(self.rows[value].axis for value in node.inputs if value in self.rows)
        kinds = types.outputs
        if not kinds or len({(kind.rank, kind.shape[axis : axis + 1]) for kind in kinds}) != 1:
            return None
        if kinds[0].rank <= axis or any(prod(kind.shape[:axis]) != 1 for kind in kinds):
            return None
        windows = node.op.along(types, axis)
        for value, kind, window in zip(node.inputs, types.inputs, windows, strict=True):
            rows = self.rows.get(value)
            if (window is not None) != (rows is not None):
                return None
            if rows is None or window is None or kind is None:
                continue
            if (rows.axis, kind.rank) != (axis, kinds[0].rank):
                return None
            start, end, _, _ = _reach(window, 0, kinds[0].shape[axis], rows.count)
            if start >= end:
                return None  # nothing but padding
        return windows

    def _moving(self, node: Node, windows: Sequence[Window | None]) -> _Rows:
        """The rows of the outputs; none of them stay where a stride or another value is in the
        way, and the first such place is remembered."""
        readings = [
            (self.rows[value], window)
            for value, window in zip(node.inputs, windows, strict=True)
            if window is not None
        ]
        axis = readings[0][0].axis
        count = self.graph.type(node.outputs[0]).shape[axis]
        still = _Rows(axis, count, 1, 0, 0)
        if any(rows.high <= rows.low for rows, _ in readings):
            return still
        for value, window in zip(node.inputs, windows, strict=True):
            if value and window is None and not self.graph.is_constant(value):
                self._hinders(node, "reads a value that a step makes anew")
                return still
        for rows, window in readings:
            if rows.shift % window.stride:
                reason = f"{rows.shift} rows are no multiple of its stride of {window.stride}"
                self._hinders(node, reason)
                return still
        shifts = {rows.shift // window.stride for rows, window in readings}
        if len(shifts) != 1:
            self._hinders(node, "joins rows that move at different paces")
            return still
        shift = shifts.pop()
        low, high = 0, count - shift
        for rows, window in readings:
            reach = (window.kernel - 1) * window.dilation
            low = max(low, -(-(rows.low + window.pad) // window.stride))
            high = min(high, (rows.high - 1 + window.pad - reach) // window.stride + 1)
        if high <= low:
            self._hinders(node, "has no row that stays for another step")
            return still
        return _Rows(axis, count, shift, low, high)

    def _may_be_cut(self, node: Node, rows: _Rows, windows: Sequence[Window | None]) -> bool:
        """Whether the op takes a single one of its rows."""
        types = self.graph.node_types(node)
        first, last = self._widened(node, windows, (rows.low, rows.low + 1))
        op, spans = self._part(node, windows, rows.axis, first, last)
        kinds = [
            kind if kind is None or span is None else _sized(kind, rows.axis, span[1] - span[0])
            for kind, span in zip(types.inputs, spans, strict=True)
        ]
        try:
            found = op.infer(kinds)
        except TinymillError:
            return False
        wanted = [_sized(kind, rows.axis, last - first).shape for kind in types.outputs]
        return [kind.shape for kind in found] == wanted

    def _part(
        self, node: Node, windows: Sequence[Window | None], axis: int, first: int, last: int
    ) -> tuple[Op, list[tuple[int, int] | None]]:
        """The op that computes output rows [first, last), and the rows of the inputs that it
        reads."""
        spans: list[tuple[int, int] | None] = []
        before = after = 0
        for value, window in zip(node.inputs, windows, strict=True):
            if window is None:
                spans.append(None)
                continue
            start, end, above, below = _reach(window, first, last, self.rows[value].count)
            spans.append((start, end))
            before, after = max(before, above), max(after, below)
        return node.op.cut(axis, last - first, before, after), spans

    def _widened(
        self, node: Node, windows: Sequence[Window | None], run: tuple[int, int]
    ) -> tuple[int, int]:
        """The run, made longer where all that it reads is padding."""
        first, last = run
        for value, window in zip(node.inputs, windows, strict=True):
            if window is not None:
                count = self.rows[value].count
                while _reach(window, first, last, count)[0] >= count:
                    first -= 1
                while _reach(window, first, last, count)[1] <= 0:
                    last += 1
        return first, last

    # -- which rows are needed ------------------------------------------------------------

    def _decide(self) -> None:
        """From the last node to the first: the rows that are read, held and computed."""
        read = {value: np.zeros(rows.count, bool) for value, rows in self.rows.items()}
        for port in self.graph.outputs:
            if port.value in read:
                read[port.value][:] = True
        for node in reversed(self.graph.nodes):
            windows = self.windows.get(id(node))
            if node.outputs[:1] and node.outputs[0] in self.reshaped:
                read[node.inputs[0]] |= read[node.outputs[0]]
                continue
            if windows is None:
                for value in node.inputs:
                    if value in read:
                        read[value][:] = True
                continue
            computed = np.zeros(self.rows[node.outputs[0]].count, bool)
            for value in node.outputs:
                self.needs[value] = self._divided(self.rows[value], read[value])
                computed |= self.needs[value].computed
            runs = [self._widened(node, windows, run) for run in _runs(computed)]
            self.runs[id(node)] = runs = _runs(_mask(runs, len(computed)))
            for value, window in zip(node.inputs, windows, strict=True):
                if window is None:
                    continue
                for first, last in runs:
                    start, end, _, _ = _reach(window, first, last, len(read[value]))
                    read[value][start:end] = True
        rows = self.rows[self.input]
        borders, self.borders = self.borders, "kept"  # there is nothing to compute an input from
        self.needs[self.input] = self._divided(rows, read[self.input])
        self.borders = borders

    def _divided(self, rows: _Rows, read: np.ndarray) -> _Need:
        stays = np.zeros(rows.count, bool)
        stays[rows.low : rows.high] = True
        held = read & stays
        if self.borders == "anew":
            held &= _mask(_runs(read)[-1:], rows.count)
        computed = read & ~held
        if not held.any():
            return _Need(computed)
        # a row that stays was one of the rows behind it before, up to those just computed
        low = int(np.argmax(held))
        end = max(rows.high + rows.shift, int(np.flatnonzero(read)[-1]) + 1)
        computed[low:end] = False
        computed[rows.high : end] = True
        begin = low
        while begin and computed[begin - 1]:
            begin -= 1
        return _Need(computed, begin, low, rows.high, end)

    # -- the new graph --------------------------------------------------------------------

    def result(self) -> Stepped:
        graph, builder = self.graph, self.builder
        builder.constants = dict(graph.constants)
        builder.types = dict(graph.types)
        rows = self.rows[self.input]
        new = builder.fresh(f"{self.port.value} step")
        kind = builder.types[new] = _sized(graph.type(self.input), rows.axis, rows.shift)
        self.pieces[self.input] = [_Run(rows.high, rows.count, new)]
        axis, shape = self._source_shape()
        builder.inputs = [Port(new, self.port.name, shape, self.port.order)]
        assert prod(shape) == kind.count
        self._hold(self.input, self.port.name)
        for node in graph.nodes:
            if id(node) in self.windows:
                self._add_parts(node)
            elif not set(node.outputs) & {*self.names, *self.reshaped}:
                inputs = tuple(
                    self._rows_of(v, 0, self.rows[v].count) if v in self.rows else v
                    for v in node.inputs
                )
                builder.nodes.append(replace(node, inputs=inputs))
        builder.outputs = [
            replace(port, value=self._rows_of(port.value, 0, self.rows[port.value].count))
            if port.value in self.rows
            else port
            for port in graph.outputs
        ]
        found = builder.finish()
        verify(found)
        self._check_gain(found)
        return Stepped(found, self.step, rows.count, axis)

    def _source_shape(self) -> tuple[int, tuple[int, ...]]:
        """The axis of the source's input that counts rows, and its shape for a step."""
        rows = self.rows[self.input]
        shape = list(self.port.shape)
        axis = next(a for a in self.port.order if shape[a] != 1)
        if shape[axis] % rows.count:
            raise UnsupportedOp(
                f"an input of shape {shape} that is read as rows of "
                f"{list(self.graph.type(self.input).shape)}", at=self.port.name,
            )  # fmt: skip
        shape[axis] = shape[axis] // rows.count * self.step
        return axis, tuple(shape)

    def _add_parts(self, node: Node) -> None:
        """The node for each run of rows that a step computes."""
        windows, builder = self.windows[id(node)], self.builder
        axis = self.rows[node.outputs[0]].axis
        runs = self.runs[id(node)]
        for first, last in runs:
            # parts of one layer are told apart by their rows
            name = node.name if len(runs) == 1 else f"{node.name} rows {first} to {last - 1}"
            op, spans = self._part(node, windows, axis, first, last)
            inputs = [
                value if span is None else self._rows_of(value, *span)
                for value, span in zip(node.inputs, spans, strict=True)
            ]
            quants = [self.graph.type(value).quant for value in node.outputs]
            made = builder.add(op, inputs, name=name, quants=quants)
            for value, part in zip(node.outputs, made, strict=True):
                assert builder.types[part].shape[axis] == last - first
                self.pieces.setdefault(value, []).append(_Run(first, last, part))
        for value in node.outputs:
            self._hold(value, node.name)

    def _hold(self, value: str, name: str) -> None:
        """Moves the rows of ``value`` that stay and puts the computed ones beside them."""
        need, rows = self.needs[value], self.rows[value]
        if not need.held:
            return
        builder = self.builder
        kind = _sized(self.graph.type(value), rows.axis, need.end - need.begin)
        variable = builder.fresh(f"{value} window")
        builder.types[variable] = kind
        builder.variables[variable] = np.zeros(kind.shape, kind.dtype.numpy)
        inputs = [variable, self._rows_of(value, need.high, need.end)]
        if need.begin < need.low:
            inputs.append(self._rows_of(value, need.begin, need.low))
        builder.add(Slide(rows.axis, rows.shift), inputs, name=name)
        self.pieces.setdefault(value, []).insert(0, _Run(need.begin, need.end, variable, True))

    def _rows_of(self, value: str, start: int, end: int) -> str:
        """The value of the new graph that is rows [start, end) of ``value``."""
        pieces = self.pieces.setdefault(value, [])
        for run in pieces:
            if (run.start, run.end) == (start, end):
                return run.name
        axis = self.rows[value].axis
        builder = self.builder
        quant = self.graph.type(value).quant
        if value in self.reshaped:
            source = self._rows_of(self.reshaped[value], start, end)
            shape = _sized(self.graph.type(value), axis, end - start).shape
            (name,) = builder.add(Reshape(shape), [source], name=value, quants=[quant])
            pieces.append(_Run(start, end, name))
            return name
        for run in pieces:
            if run.start <= start and end <= run.end:
                shape = builder.types[run.name].shape
                op: View | Slice = View(axis, start - run.start, end - start)
                if not run.variable:
                    begin = [0] * len(shape)
                    begin[axis] = start - run.start
                    size = (*shape[:axis], end - start, *shape[axis + 1 :])
                    op = Slice(tuple(begin), size, (1,) * len(shape))
                (name,) = builder.add(op, [run.name], name=value, quants=[quant])
                pieces.append(_Run(start, end, name))
                return name
        parts = []
        place = start
        while place < end:
            run = max(
                (r for r in pieces if r.start <= place < r.end), key=lambda r: min(r.end, end)
            )
            parts.append(self._rows_of(value, place, min(run.end, end)))
            place = min(run.end, end)
        (name,) = builder.add(Concat(axis), parts, name=value, quants=[quant])
        pieces.append(_Run(start, end, name))
        return name

    def _check_gain(self, found: Graph) -> None:
        """Raises ``UnsupportedOp`` where a step computes no less than the whole model."""
        if _work(found) < _work(self.graph):
            return
        at, reason = None, "no layer has rows that stay"
        if self.obstacle is not None:
            node, reason = self.obstacle
            at = f"{node.op.name} '{node.name}'"
        raise UnsupportedOp(
            f"a step of {self.step} rows computes as much as the whole window: {reason}", at=at
        )


def _window_names(graph: Graph) -> list[str]:
    """The input and, where it is flat and reshaped before it is read, the map that it becomes."""
    names = [graph.inputs[0].value]
    while graph.type(names[-1]).rank < 3:
        reader = graph.only_reader(names[-1])
        if reader is None or not isinstance(reader.op, Reshape):
            break
        names.append(reader.outputs[0])
    return names


def _reach(window: Window, first: int, last: int, count: int) -> tuple[int, int, int, int]:
    """The input rows [start, end) that output rows [first, last) read, and the rows of padding
    before and behind them."""
    start = first * window.stride - window.pad
    end = (last - 1) * window.stride - window.pad + (window.kernel - 1) * window.dilation + 1
    inside = max(start, 0), min(end, count)
    return *inside, inside[0] - start, end - inside[1]


def _sized(kind: TensorType, axis: int, size: int) -> TensorType:
    return kind.with_shape((*kind.shape[:axis], size, *kind.shape[axis + 1 :]))


def _mask(runs: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    found = np.zeros(count, bool)
    for first, last in runs:
        found[first:last] = True
    return found


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """The stretches of rows that are set, each [first, last)."""
    edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _work(graph: Graph) -> int:
    """Multiply-accumulates, and for what has none the elements of its outputs."""
    total = 0
    for node in graph.nodes:
        types = graph.node_types(node)
        if node.op.alias(types) is None:
            total += node.op.macs(types) or sum(kind.count for kind in types.outputs)
    return total
