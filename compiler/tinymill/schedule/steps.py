"""Node -> Step: which kernel computes a node, whole or a few rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import UnsupportedOp
from ..ir import Flat, Graph, KernelCall, Node, Reading, Rows, TensorType, Types, Window
from .call_facts import CallFacts
from .kernels import Kernel, choose
from .plan import Step

Optimize = Literal["time", "size"]


@dataclass(frozen=True)
class Reader:
    """One reading of a value by a node that runs row by row, for 0, 1, ... rows of its output
    done: the first input row still to be read (all, when there are none left), and the number
    of input rows that they took."""

    value: str
    unread: np.ndarray
    taken: np.ndarray

    @classmethod
    def of(cls, value: str, window: Reading, outputs: int, inputs: int) -> Reader:
        first, last = window.spans(outputs, inputs)
        return cls(value, np.append(first, inputs), np.insert(last, 0, 0))


@dataclass(frozen=True)
class _Strip:
    """What a node sees in a strip of columns: types, columns of padding at both sides, and for each
    map the byte of its row where the strip begins and the distance between rows."""

    types: Types
    left: int
    right: int
    place: Mapping[str, tuple[int, int]]


class Workshop:
    """Makes the steps of a graph for a core; each is made once."""

    def __init__(self, graph: Graph, features: Iterable[str], optimize: Optimize) -> None:
        self.graph = graph
        self.features = frozenset(features)
        self.optimize = optimize
        self._made: dict[tuple[int, int], Step | None] = {}
        self._facts: dict[tuple[int, bool], tuple[CallFacts, Kernel] | None] = {}
        self._scratch: dict[tuple[int, int], int] = {}
        self._by_channel: dict[int, bool] = {}
        self._readers: dict[int, tuple[Reader, ...] | None] = {}
        self._columns: dict[int, tuple[Reader, ...] | None] = {}
        self._strip_scratch: dict[tuple[Any, ...], int | None] = {}
        self._strips: dict[tuple[Any, ...], tuple[CallFacts, Kernel] | None] = {}

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that compute something, in order."""
        return tuple(node for node in self.graph.nodes if self.step(node) is not None)

    def step(self, node: Node, rows: int = 0) -> Step | None:
        """The step of ``node``, in calls of at most ``rows`` rows; 0: one call computes it all.

        None where nothing is computed (an alias). Raises ``UnsupportedOp`` naming the node that
        no kernel serves.
        """
        key = id(node), rows
        if key not in self._made:
            self._made[key] = self._make(node, rows)
        return self._made[key]

    def scratch_bytes(self, node: Node, rows: int) -> int:
        """Scratch of calls of at most ``rows`` rows."""
        key = id(node), rows
        if key not in self._scratch:
            found = self._called(node, by_rows=rows > 0)
            self._scratch[key] = (
                0 if found is None else found[1].scratch_bytes(found[0].banded(rows))
            )
        return self._scratch[key]

    def by_channel(self, node: Node) -> bool:
        """Whether calls of one row read a channel of the first input before they write it."""
        key = id(node)
        if key not in self._by_channel:
            found = self._called(node, by_rows=True)
            self._by_channel[key] = found is not None and found[1].is_by_channel(found[0].banded(1))
        return self._by_channel[key]

    def may_feed(self, node: Node, reader: Node) -> bool:
        """Whether ``node`` can make the last row that ``reader`` reads while that one runs."""
        made, read = self._called(node, by_rows=True), self._called(reader, by_rows=True)
        return (
            made is not None
            and read is not None
            and made[1].feeds
            and read[1].fed is not None
            and self.by_channel(reader)
        )

    def _make(self, node: Node, rows: int) -> Step | None:
        found = self._called(node, by_rows=rows > 0)
        if found is None:
            return None
        facts, kernel = found
        facts = facts.banded(rows)
        types = self.graph.node_types(node)
        output = types.outputs[0] if types.outputs else None
        spatial = output is not None and output.rank == 4
        height = output.shape[1] if output is not None and spatial else 1
        channels = (0, output.shape[-1]) if output is not None and output.rank else (0, 1)
        return Step(
            node, types, facts.call, kernel.packed(facts), kernel, height, channels,
            kernel.scratch_bytes(facts), kernel.rows_at_once(facts), kernel.defines(facts),
            rows == 0 and kernel.may_replace(facts) and _image_by_image(types),
            kernel.pushed_bytes(facts), rows > 0 and not _takes_rows(facts.call),
            by_channel=kernel.is_by_channel(facts),
        )  # fmt: skip

    def _called(self, node: Node, *, by_rows: bool) -> tuple[CallFacts, Kernel] | None:
        """The call of ``node`` and its kernel: for all rows, or one that can be made by rows."""
        key = id(node), by_rows
        if key not in self._facts:
            try:
                self._facts[key] = self._choose(node, by_rows)
            except UnsupportedOp as error:
                if error.at is None:
                    at = f"{node.op.name} '{node.name}'"
                    raise UnsupportedOp(error.problem, at=at, hint=error.hint) from error
                raise
        return self._facts[key]

    def _choose(self, node: Node, by_rows: bool) -> tuple[CallFacts, Kernel] | None:
        types = self.graph.node_types(node)
        if by_rows:
            whole = self._called(node, by_rows=False)
            if whole is None or _takes_rows(whole[0].call):
                return whole
            types = row_types(node, types)
        call = node.op.kernel(node.inputs, node.outputs, types, self._constants(node))
        if call is None:
            return None
        facts = CallFacts(call, {"optimize_time": int(self.optimize == "time")})
        return facts, choose(facts, self.features)

    def strip_step(
        self, node: Node, columns: Mapping[str, tuple[int, int]], inside: Collection[str], rows: int
    ) -> Step | None:
        """The step of ``node`` for a strip of columns, in calls of at most ``rows`` rows.

        ``columns`` are the columns [first, behind) that are held of each value that is one of
        ``inside``, or computed of an output. None where no kernel takes the strip so.
        """
        strip = self._strip(node, columns, inside)
        called = None if strip is None else self._strip_called(node, strip)
        if strip is None or called is None:
            return None
        facts, kernel = called
        facts = facts.banded(rows)
        output = strip.types.output
        return Step(
            node, strip.types, facts.call, kernel.packed(facts), kernel, output.shape[1],
            (0, output.shape[3]), kernel.scratch_bytes(facts), kernel.rows_at_once(facts),
            kernel.defines(facts), False, kernel.pushed_bytes(facts), not _takes_rows(facts.call),
            strip.place,
        )  # fmt: skip

    def strip_scratch(
        self, node: Node, columns: Mapping[str, tuple[int, int]], inside: Collection[str], rows: int
    ) -> int | None:
        """The scratch of the step that ``strip_step`` makes; None where it makes none."""
        seen = [(columns[v], v in inside) for v in (*node.inputs, *node.outputs) if v in columns]
        key = id(node), rows, *seen
        if key not in self._strip_scratch:
            strip = self._strip(node, columns, inside)
            called = None if strip is None else self._strip_called(node, strip)
            found = None if called is None else called[1].scratch_bytes(called[0].banded(rows))
            self._strip_scratch[key] = found
        return self._strip_scratch[key]

    def _strip(
        self, node: Node, columns: Mapping[str, tuple[int, int]], inside: Collection[str]
    ) -> _Strip | None:
        """What ``node`` sees in a strip; None where it has no columns."""
        graph, types = self.graph, self.graph.node_types(node)
        windows = node.op.column_windows(types)
        if windows is None:
            return None
        first, behind = columns[node.outputs[0]]
        place: dict[str, tuple[int, int]] = {}

        def held(value: str, start: int) -> tuple[int, int]:
            """First and last column, exclusive, of the memory that holds ``value``."""
            kind = graph.type(value)
            pixel = kind.shape[3] * kind.dtype.size
            low, high = columns[value] if value in inside else (0, kind.shape[2])
            place[value] = (start - low) * pixel, (high - low) * pixel
            return low, high

        left = right = 0
        inputs = list(types.inputs)
        for index, (name, window, kind) in enumerate(
            zip(node.inputs, windows, types.inputs, strict=True)
        ):
            if window is None or kind is None:
                continue
            if not isinstance(window, Window):
                return None
            begin = first * window.stride - window.pad
            end = (behind - 1) * window.stride - window.pad
            end += (window.kernel - 1) * window.dilation + 1
            left, right = max(left, -begin), max(right, end - kind.shape[2])
            start = max(0, begin)
            inputs[index] = _wide(kind, held(name, start)[1] - start)
        for name in node.outputs:
            held(name, first)
        outputs = tuple(_wide(kind, behind - first) for kind in types.outputs)
        return _Strip(Types(tuple(inputs), outputs), left, right, place)

    def _strip_called(self, node: Node, strip: _Strip) -> tuple[CallFacts, Kernel] | None:
        """The call of a strip and its kernel; None where no kernel takes it so."""
        widths = [None if kind is None else kind.shape[2:3] for kind in strip.types.inputs]
        key = id(node), strip.left, strip.right, strip.types.output.shape[2], *widths
        if key not in self._strips:
            self._strips[key] = self._choose_strip(node, strip)
        return self._strips[key]

    def _choose_strip(self, node: Node, strip: _Strip) -> tuple[CallFacts, Kernel] | None:
        whole = self._called(node, by_rows=False)
        if whole is None:
            return None
        by_part = _takes_rows(whole[0].call)
        asked = strip.types if by_part else row_types(node, strip.types)
        op = node.op.strip(strip.left, strip.right)
        call = op.kernel(node.inputs, node.outputs, asked, self._constants(node))
        if call is None or _takes_rows(call) != by_part:
            return None
        facts = CallFacts(call, {"optimize_time": int(self.optimize == "time")})
        try:
            return facts, choose(facts, self.features)
        except UnsupportedOp:
            return None

    def _constants(self, node: Node) -> list[np.ndarray | None]:
        graph = self.graph
        return [
            graph.constant(name) if name and graph.is_constant(name) else None
            for name in node.inputs
        ]

    def readers(self, node: Node) -> tuple[Reader, ...] | None:
        """What ``node`` reads row by row; None where it can only be computed whole."""
        key = id(node)
        if key not in self._readers:
            self._readers[key] = self._find_readers(node)
        return self._readers[key]

    def column_readers(self, node: Node) -> tuple[Reader, ...] | None:
        """What ``node``, which runs row by row, reads column by column; None where it can't be
        computed in strips."""
        key = id(node)
        if key not in self._columns:
            self._columns[key] = self._find_column_readers(node)
        return self._columns[key]

    def _find_column_readers(self, node: Node) -> tuple[Reader, ...] | None:
        types = self.graph.node_types(node)
        windows = node.op.column_windows(types)
        if windows is None or len({kind.shape[2] for kind in types.outputs}) != 1:
            return None
        found = []
        rows = {reader.value for reader in self.readers(node) or ()}
        for name, window, kind in zip(node.inputs, windows, types.inputs, strict=True):
            if (window is None) == (name in rows):
                return None
            if window is not None and kind is not None:
                found.append(Reader.of(name, window, types.output.shape[2], kind.shape[2]))
        return tuple(found)

    def _find_readers(self, node: Node) -> tuple[Reader, ...] | None:
        graph, types = self.graph, self.graph.node_types(node)
        heights = {_height(kind) for kind in types.outputs}
        if node.op.mutates or len(heights) != 1 or None in heights:
            return None
        if any(name in graph.alias_roots for name in node.outputs):
            return None
        height = heights.pop()
        assert height is not None
        found = []
        windows = node.op.windows(types)
        for name, window, kind in zip(node.inputs, windows, types.inputs, strict=True):
            if window is None or not name:
                continue
            inputs = None if kind is None else _height(kind)
            if inputs is None or graph.is_constant(name) or name in graph.variable_views:
                return None
            found.append(Reader.of(name, window, height, inputs))
        if not found:
            return None
        called = self._called(node, by_rows=False)
        if called is None:
            return None
        call = called[0].call
        if _takes_rows(call):
            streams = {item.value for item in call.operands if isinstance(item, Rows)}
            alike = all(reader.value in streams for reader in found)
            return tuple(found) if alike else None
        rows = np.arange(height + 1)
        same = all(
            np.array_equal(reader.unread, rows) and np.array_equal(reader.taken, rows)
            for reader in found
        )
        # a window over the whole of a flat operand is no row
        flat = {item.value for item in call.operands if isinstance(item, Flat)}
        return tuple(found) if same and flat >= {reader.value for reader in found} else None


def _takes_rows(call: KernelCall) -> bool:
    return any(isinstance(item, Rows) for item in call.operands)


def row_types(node: Node, types: Types) -> Types:
    """The types of one row: that of each output and of each input read row by row."""
    windows = node.op.windows(types)
    inputs = tuple(
        kind if kind is None or window is None else _one_row(kind)
        for kind, window in zip(types.inputs, windows, strict=True)
    )
    return Types(inputs, tuple(_one_row(kind) for kind in types.outputs))


def _wide(kind: TensorType, columns: int) -> TensorType:
    return replace(kind, shape=(*kind.shape[:2], columns, *kind.shape[3:]))


def _one_row(kind: TensorType) -> TensorType:
    return replace(kind, shape=(kind.shape[0], 1, *kind.shape[2:]))


def _height(kind: TensorType) -> int | None:
    """Rows of a single map; None for what is none."""
    return kind.shape[1] if kind.rank == 4 and kind.shape[0] == 1 and kind.count else None


def _image_by_image(types: Types) -> bool:
    """Whether each image of the output has the place of the same image of the first input."""
    first, output = types.input(0), types.output
    return first.bytes == output.bytes or first.shape[0] == 1
