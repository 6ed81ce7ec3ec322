"""Executes a plan turn by turn on a real arena, in Python, and says where memory would be lost.

Each byte of the arena carries a tag: which byte of which value it is. A turn finds the rows that
the op's windows name, checks that each byte of them is there, and writes its own. Nothing of how
the plan was found is used here: only its turns and places, the graph, and the contract of kernels:

- what a call reads is there when it begins, and its scratch is spoilt;
- rows are written in increasing order, ``Step.rows_at_once`` of them before the input rows of
  the first are let go;
- where an input is read element by element (``POINT``), an element is read before its place is
  written;
- a call of one row by a kernel that is ``by_channel`` has read a channel of its first input when
  it begins to write that channel;
- a kernel that has no ``overlays``, and an input that is read whole, bear no overlap; with
  ``Step.in_place`` the output may begin at the first input's very place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CompileError, InvalidInput
from ..ir import POINT, Reading, Window, interpret
from .plan import Buffer, Plan, Segment, Step

POISON = 0xA5
NOTHING = -1
SHIFT = 40
"""A tag is the number of a value shifted so far, plus the number of the byte."""


class BrokenPlan(CompileError):
    """By this plan a value would be read where it is not, or not yet, or not any more."""


def rehearse(
    plan: Plan, inputs: Mapping[str, np.ndarray] | None = None, *, recompute: bool = False
) -> dict[str, np.ndarray]:
    """The outputs by value, taken from the arena after a run of ``plan`` on ``inputs``.

    ``inputs`` are by value and in our layout, as for ``interpret``; without them the bytes of all
    values are made up, which tells as much about the plan and needs no weights. With ``recompute``
    rows may be computed more than once, as tiles with a halo do. Raises ``BrokenPlan`` naming the
    turn, the value and the row that is not in its place, and what is there instead.
    """
    return _Rehearsal(plan, inputs, recompute).run()


@dataclass(frozen=True)
class _Shape:
    """A value as rows: those of a single map, else all of it as one."""

    rows: int
    row_bytes: int
    pixel: int


@dataclass(frozen=True)
class _Bytes:
    """Bytes of a value: their numbers within it (``flat``) and addresses, row by row."""

    value: str
    rows: np.ndarray
    flat: np.ndarray
    at: np.ndarray


@dataclass(frozen=True)
class _Call:
    """Rows [row0, row1) of a step, computed at once."""

    segment: int
    turn: int
    step: Step
    row0: int
    row1: int
    first_column: int | None

    def __str__(self) -> str:
        node = self.step.node
        rows = f"row {self.row0}"
        if self.row1 > self.row0 + 1:
            rows = f"rows {self.row0} to {self.row1 - 1}"
        strip = "" if self.first_column is None else f" from column {self.first_column} on"
        what = f"{rows} of {node.op.name} '{node.name}'{strip}"
        return f"segment {self.segment}, turn {self.turn} ({what})"


class _Rehearsal:
    def __init__(
        self, plan: Plan, inputs: Mapping[str, np.ndarray] | None, recompute: bool
    ) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.recompute = recompute
        self.real = inputs is not None
        self.truth = self._truth(inputs)
        self.numbers = {value: number for number, value in enumerate(self.truth)}
        self.names = list(self.truth)
        self.made = {value: np.zeros(len(raw), bool) for value, raw in self.truth.items()}
        size = plan.arena_bytes
        self.memory = np.full(size, POISON, np.uint8)
        self.tags = np.full(size, NOTHING, np.int64)
        self.writer = np.zeros(size, np.int64)
        """For each byte of the arena the number of the event that wrote it last."""
        self.events: list[str] = ["nothing"]
        self.row_at = np.full(size, NOTHING, np.int64)
        self.element_at = np.full(size, NOTHING, np.int64)
        """What the running call writes where: row and element of its output."""

    def run(self) -> dict[str, np.ndarray]:
        """The whole run, then what is read after it."""
        plan = self.plan
        self._check_places()
        for port in self.graph.inputs:
            if plan.arriving is None:
                self._write(self._bytes(port.value), f"input '{port.name}'")
        for index, segment in enumerate(plan.segments):
            self._segment(index, segment)
        for port in self.graph.inputs:
            buffer = plan.buffer_of(port.value)
            if buffer is None or buffer.last < len(plan.segments):
                continue
            # else an output has taken its place
            if {self._root(value) for value in buffer.values} == {self._root(port.value)}:
                self._check(self._bytes(port.value), f"after the run (input '{port.name}', kept)")
        found = {}
        for port in self.graph.outputs:
            if port.value in plan.state:
                continue
            held = self._bytes(port.value)
            self._check(held, f"after the run (output '{port.name}')")
            kind = self.graph.type(port.value)
            raw = self.memory[held.at.reshape(-1)].tobytes()
            found[port.value] = np.frombuffer(raw, kind.dtype.numpy).reshape(kind.shape)
        return found

    # -- what is true -------------------------------------------------------------------------

    def _truth(self, inputs: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The bytes of each value that the arena may hold."""
        graph = self.graph
        names = [
            name
            for name in graph.types
            if not graph.is_constant(name)
            and name not in graph.alias_roots
            and name not in graph.variable_views
        ]
        if inputs is None:
            chance = np.random.default_rng(0)
            return {v: chance.integers(0, 256, graph.type(v).bytes, np.uint8) for v in names}
        for port in graph.inputs:
            kind, array = graph.type(port.value), inputs.get(port.value)
            if array is None or array.shape != kind.shape or array.dtype != kind.dtype.numpy:
                given = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
                raise InvalidInput(f"is {given}, not {kind}", at=f"input '{port.value}'")
        values = interpret(graph, inputs)
        return {
            v: np.frombuffer(np.ascontiguousarray(values[v]).tobytes(), np.uint8) for v in names
        }

    def _root(self, value: str) -> str:
        return self.graph.alias_roots.get(value, value)

    # -- where it lies ------------------------------------------------------------------------

    def _check_places(self) -> None:
        """Buffers lie in the arena, at multiples of their alignment."""
        for buffer in self.plan.buffers:
            start = self.plan.placement.offsets[buffer.name]
            if start < 0 or start + buffer.size > self.plan.arena_bytes:
                raise BrokenPlan(
                    f"lies at {start} to {start + buffer.size} of an arena of "
                    f"{self.plan.arena_bytes} bytes", at=f"buffer '{buffer.name}'",
                )  # fmt: skip
            if start % buffer.align:
                raise BrokenPlan(
                    f"at {start}, no multiple of {buffer.align}", at=f"buffer '{buffer.name}'"
                )

    def _in_arena(self, value: str) -> bool:
        graph = self.graph
        return bool(value) and not graph.is_constant(value) and value not in graph.variable_views

    def _shape(self, value: str) -> _Shape:
        kind = self.graph.type(value)
        if self._is_map(value):
            row = kind.bytes // kind.shape[1]
            return _Shape(kind.shape[1], row, row // kind.shape[2])
        return _Shape(1, kind.bytes, kind.bytes)

    def _bytes(
        self,
        value: str,
        rows: Sequence[int] | np.ndarray | None = None,
        strip: tuple[int, int, int, int] | None = None,
        *,
        at: object = "",
    ) -> _Bytes:
        """Rows of a value (None: all). ``strip``: the columns [first, behind), and where the
        strip's first one lies in its row and how far rows are apart."""
        buffer = self.plan.buffer_of(value)
        if buffer is None:
            raise BrokenPlan(f"no buffer holds '{value}'", at=str(at) or None)
        shape = self._shape(value)
        numbers = np.arange(shape.rows) if rows is None else np.asarray(rows, np.int64)
        first, behind, place, apart = (0, 1, 0, shape.row_bytes) if strip is None else strip
        width = shape.row_bytes if strip is None else (behind - first) * shape.pixel
        inside = np.arange(width)
        flat = numbers[:, None] * shape.row_bytes + first * shape.pixel + inside
        ring = shape.rows if buffer.rows is None else buffer.rows
        places = numbers % ring
        guest = self.plan.guests.get(value)
        if guest is not None:
            places, apart = guest.places(numbers), self._shape(guest.host).row_bytes
        offsets = places[:, None] * apart + place + inside
        if flat.size and (offsets.min() < 0 or offsets.max() >= buffer.size):
            raise BrokenPlan(
                f"'{value}' reaches from byte {offsets.min()} to {offsets.max()} of its "
                f"{buffer.size}", at=str(at) or None,
            )  # fmt: skip
        return _Bytes(value, numbers, flat, self.plan.placement.offsets[buffer.name] + offsets)

    # -- memory -------------------------------------------------------------------------------

    def _event(self, what: str) -> int:
        self.events.append(what)
        return len(self.events) - 1

    def _write(self, held: _Bytes, what: str) -> None:
        """Puts bytes of a value in their places."""
        root = self._root(held.value)
        if not self.recompute and self.made[root][held.flat].any():
            row = held.rows[self.made[root][held.flat].any(axis=1)][0]
            raise BrokenPlan(f"row {row} of '{held.value}' is computed twice", at=what)
        self.made[root][held.flat] = True
        self.memory[held.at] = self.truth[root][held.flat]
        self.tags[held.at] = (self.numbers[root] << SHIFT) + held.flat
        self.writer[held.at] = self._event(what)
        wrong = self.tags[held.at] != (self.numbers[root] << SHIFT) + held.flat
        if wrong.any():
            row = held.rows[wrong.any(axis=1)][0]
            raise BrokenPlan(
                f"overwrites row {row} of '{held.value}', which it has written", at=what
            )

    def _spoil(self, buffer: Buffer, size: int, what: str) -> None:
        start = self.plan.placement.offsets[buffer.name]
        if size > buffer.size:
            raise BrokenPlan(f"needs {size} bytes of scratch and has {buffer.size}", at=what)
        self.memory[start : start + size] = POISON
        self.tags[start : start + size] = NOTHING
        self.writer[start : start + size] = self._event(f"the scratch of {what}")

    def _check(self, held: _Bytes, what: object) -> None:
        """Raises where bytes are not in their places."""
        root = self._root(held.value)
        wrong = self.tags[held.at] != (self.numbers[root] << SHIFT) + held.flat
        if not wrong.any():
            wrong = self.memory[held.at] != self.truth[root][held.flat]
        if wrong.any():
            row, byte = (int(i) for i in np.argwhere(wrong)[0])
            self._lost(held, row, byte, what)

    def _lost(self, held: _Bytes, row: int, byte: int, what: object) -> None:
        place, flat = int(held.at[row, byte]), int(held.flat[row, byte])
        shape = self._shape(held.value)
        problem = f"reads row {held.rows[row]} of '{held.value}', of which byte "
        problem += f"{flat % shape.row_bytes}, at {place}, "
        if not self.made[self._root(held.value)][flat]:
            problem += "is not there yet"
        else:
            problem += f"is lost: there is {self._named(int(self.tags[place]))}"
            problem += f" by {self.events[int(self.writer[place])]}"
        raise BrokenPlan(problem, at=str(what))

    def _named(self, tag: int) -> str:
        if tag == NOTHING:
            return "rubbish"
        value = self.names[tag >> SHIFT]
        flat = tag & ((1 << SHIFT) - 1)
        return f"row {flat // self._shape(value).row_bytes} of '{value}'"

    # -- turns --------------------------------------------------------------------------------

    def _segment(self, index: int, segment: Segment) -> None:
        firsts = self._first_columns(segment)
        count = len(segment.turns)
        if index > 0 or self.plan.arriving is None:
            for turn in range(count):
                self._turn(index, segment, turn, firsts)
            return
        value = self.plan.arriving
        if len(segment.arrivals) != self._shape(value).rows:
            raise BrokenPlan(f"knows of {len(segment.arrivals)} rows of '{value}'", at="arrivals")
        done = 0
        for row, able in enumerate(segment.arrivals):
            self._write(self._bytes(value, [row]), f"the arrival of row {row} of '{value}'")
            if able < done:
                raise BrokenPlan(f"row {row} of '{value}' takes turns back", at="arrivals")
            for turn in range(done, able):
                self._turn(index, segment, turn, firsts)
            done = able
        if done != count:
            raise BrokenPlan(f"{count - done} turns are not made when all rows came", at="arrivals")

    def _first_columns(self, segment: Segment) -> list[int | None]:
        """For each step the first column that it computes; None where it computes all.

        Known of what is held whole; of values held in part, from what reads them.
        """
        found: list[int | None] = []
        lows: dict[str, int] = {}
        for place in range(len(segment.steps) - 1, -1, -1):
            step = segment.steps[place]
            if (place + 1) % segment.layers == 0:
                lows = {}
            if step.strip is None:
                found.append(None)
                continue
            node = step.node
            known = [v for v in node.outputs if v in lows or not self._in_part(v)]
            if not known:
                raise BrokenPlan("nothing tells which columns it computes", at=f"'{node.name}'")
            value = known[0]
            first = lows.get(value, 0) + step.strip[value][0] // self._shape(value).pixel
            found.append(first)
            for name, window in zip(node.inputs, self._columns(step), strict=True):
                if window is not None and name in step.strip:
                    start = max(0, first * window.stride - window.pad)
                    lows.setdefault(name, start - step.strip[name][0] // self._shape(name).pixel)
        return found[::-1]

    def _in_part(self, value: str) -> bool:
        buffer = self.plan.buffer_of(value)
        return buffer is not None and buffer.rows is not None

    def _columns(self, step: Step) -> list[Window | None]:
        """What a strip reads of its inputs, by columns."""
        windows = step.node.op.column_windows(self.graph.node_types(step.node))
        if windows is None or any(not isinstance(w, Window | None) for w in windows):
            raise BrokenPlan("can't be computed in strips", at=f"'{step.node.name}'")
        return [w if isinstance(w, Window) else None for w in windows]

    def _turn(
        self, index: int, segment: Segment, number: int, firsts: Sequence[int | None]
    ) -> None:
        turn = segment.turns[number]
        step = segment.steps[turn.step]
        if not 0 <= turn.row0 < turn.row1 <= step.height:
            raise BrokenPlan(
                f"rows {turn.row0} to {turn.row1 - 1} of {step.height}",
                at=f"segment {index}, turn {number} ('{step.node.name}')",
            )
        scratch = None
        if step.scratch_bytes:
            scratch = next((b for b in self.plan.buffers if b.name == segment.scratch), None)
            if scratch is None:
                raise BrokenPlan("has no scratch", at=f"'{step.node.name}'")
        if turn.fed:
            self._fed_turn(index, segment, number, scratch)
            return
        rows = range(turn.row0, turn.row1) if step.row_by_row else (None,)
        for row in rows:
            row0, row1 = (turn.row0, turn.row1) if row is None else (row, row + 1)
            call = _Call(index, number, step, row0, row1, firsts[turn.step])
            self._call(call, scratch)

    def _fed_turn(self, index: int, segment: Segment, number: int, scratch: Buffer | None) -> None:
        """A turn that reads a last row which the step before makes, channel after channel.

        Of a channel all other rows are read before that row is written, all before the output's
        channel is: either may lie over what is read, channel over channel.
        """
        turn = segment.turns[number]
        step, feeder = segment.steps[turn.step], segment.steps[turn.step - 1]
        call = _Call(index, number, step, turn.row0, turn.row1, None)
        value = step.node.inputs[0]
        window = step.node.op.windows(self.graph.node_types(step.node))[0]
        if (
            not step.by_channel or window is None or turn.row1 != turn.row0 + 1
            or list(feeder.node.outputs) != [value] or step.fed_scratch is None
            or step.fed_scratch + feeder.scratch_bytes > step.scratch_bytes
        ):  # fmt: skip
            raise BrokenPlan("can't be fed", at=str(call))
        *others, row = rows_read(window, turn.row0, self._shape(value).rows)
        making = _Call(index, number, feeder, row, row + 1, None)
        sources, (made,) = self._reads(making), [self._written(making, value)]
        rest = self._bytes(value, others, at=call)
        output = self._written(call, step.node.outputs[0])
        if scratch is not None:
            self._spoil(scratch, step.scratch_bytes, str(call))
        for read in sources:
            self._check(read.held, making)
        self._check(rest, call)
        # what the feeder reads it reads for each channel anew
        for held in (made, output):
            for read in sources:
                self._check_channels(held, read.held, -1, call)
        depth = self.graph.type(value).shape[3]
        self._check_channels(made, rest, depth, call)
        self._check_channels(output, rest, depth, call)
        self._check_channels(output, made, depth, call)
        self._write(made, str(making))
        self._check(made, call)
        self._write(output, str(call))
        if scratch is not None:
            self._spoil(scratch, step.scratch_bytes, str(call))
        self._check(output, f"{call}, when it ends")

    def _check_channels(self, written: _Bytes, read: _Bytes, depth: int, call: _Call) -> None:
        """Raises where bytes are written over any that are read but those of the same channel, of
        ``depth`` channels (-1: over any at all)."""
        self.element_at[read.at] = read.flat % depth if depth > 0 else POISON
        found = self.element_at[written.at]
        self.element_at[read.at] = NOTHING
        wrong = found != NOTHING
        if depth > 0:
            wrong &= found != written.flat % self.graph.type(written.value).shape[3]
        if wrong.any():
            where, byte = (int(i) for i in np.argwhere(wrong)[0])
            raise BrokenPlan(
                f"writes row {written.rows[where]} of '{written.value}' over what it still reads "
                f"of '{read.value}', at {int(written.at[where, byte])}",
                at=str(call),
            )

    def _call(self, call: _Call, scratch: Buffer | None) -> None:
        step = call.step
        inputs = self._reads(call)
        outputs = [
            self._written(call, value) for value in step.node.outputs if self._in_arena(value)
        ]
        if scratch is not None:
            self._spoil(scratch, step.scratch_bytes, str(call))
        for read in inputs:
            self._check(read.held, call)
        for held in outputs:
            size = self.graph.type(held.value).dtype.size
            self.row_at[held.at] = held.rows[:, None]
            self.element_at[held.at] = held.flat // size
        for read in inputs:
            self._check_overlap(call, read, outputs)
        for held in outputs:
            self.row_at[held.at] = self.element_at[held.at] = NOTHING
            self._write(held, str(call))
        if scratch is not None:
            self._spoil(scratch, step.scratch_bytes, str(call))
        for held in outputs:
            self._check(held, f"{call}, when it ends")

    def _reads(self, call: _Call) -> list[_Read]:
        step = call.step
        types = self.graph.node_types(step.node)
        windows = step.node.op.windows(types)
        columns = self._columns(step) if step.strip is not None else [None] * len(windows)
        found = []
        for index, (value, window) in enumerate(zip(step.node.inputs, windows, strict=True)):
            if not self._in_arena(value):
                continue
            if not self._is_map(value):
                # of what has no rows, single elements can be told apart at most
                whole = self._bytes(value, at=call)
                found.append(_Read(index, whole, POINT if window is POINT else None, None))
                continue
            if window is None:
                found.append(_Read(index, self._bytes(value, at=call), None, None))
                continue
            height = self._shape(value).rows
            last: dict[int, int] = {}
            for y in range(call.row0, call.row1):
                last.update(dict.fromkeys(rows_read(window, y, height), y))
            rows = sorted(last)
            strip = self._strip_read(call, index, columns[index])
            held = self._bytes(value, rows, strip, at=call)
            found.append(_Read(index, held, window, np.array([last[row] for row in rows])))
        return found

    def _strip_read(
        self, call: _Call, index: int, window: Window | None
    ) -> tuple[int, int, int, int] | None:
        """The columns of an input that a strip reads, and where they lie."""
        step, first = call.step, call.first_column
        value = step.node.inputs[index]
        if step.strip is None or first is None or window is None or value not in step.strip:
            return None
        width = self.graph.type(value).shape[2]
        behind = first + step.types.output.shape[2]
        start = max(0, first * window.stride - window.pad)
        end = (behind - 1) * window.stride - window.pad + (window.kernel - 1) * window.dilation + 1
        end = min(width, max(start, end))
        seen = start + step.types.input(index).shape[2]
        if end > seen:
            raise BrokenPlan(
                f"takes column {seen} of '{value}' for padding: it sees {start} to {seen - 1}",
                at=str(call),
            )
        place, apart = step.strip[value]
        return start, end, place, apart

    def _written(self, call: _Call, value: str) -> _Bytes:
        step = call.step
        if not self._is_map(value):
            if (call.row0, call.row1) != (0, step.height):
                raise BrokenPlan(f"computes a part of '{value}', which has no rows", at=str(call))
            return self._bytes(value, at=call)
        strip = None
        if step.strip is not None and call.first_column is not None:
            behind = call.first_column + step.types.output.shape[2]
            strip = (call.first_column, behind, *step.strip[value])
        rows = np.arange(call.row0, call.row1)
        return self._bytes(value, rows, strip, at=call)

    def _is_map(self, value: str) -> bool:
        kind = self.graph.type(value)
        return kind.rank == 4 and kind.shape[0] == 1 and kind.count > 0

    def _check_overlap(self, call: _Call, read: _Read, outputs: Sequence[_Bytes]) -> None:
        """Raises where the call would write over what it has still to read."""
        step, held = call.step, read.held
        row = self.row_at[held.at]
        if (row == NOTHING).all():
            return
        same_place = len(outputs) == 1 and outputs[0].at.min() == held.at.min()
        if step.in_place and read.index == 0 and same_place:
            return
        if step.by_channel and read.index == 0 and call.row1 == call.row0 + 1:
            # a channel is read before it is written, another one perhaps not
            element = held.flat // self.graph.type(held.value).dtype.size
            written = self.element_at[held.at]
            depth, other = self.graph.type(held.value).shape[3], step.types.output.shape[3]
            wrong = (row != NOTHING) & (written % other != element % depth)
        elif not step.kernel.overlays or read.window is None or len(outputs) != 1:
            wrong = row != NOTHING
        elif read.window is POINT:
            element = held.flat // self.graph.type(held.value).dtype.size
            written = self.element_at[held.at]
            wrong = (written != NOTHING) & (written < element)
        else:
            assert read.last is not None
            wrong = (row != NOTHING) & (row <= read.last[:, None] + step.rows_at_once - 1)
        if wrong.any():
            where, byte = (int(i) for i in np.argwhere(wrong)[0])
            place = int(held.at[where, byte])
            raise BrokenPlan(
                f"writes row {int(row[where, byte])} of its output over row {held.rows[where]} of "
                f"'{held.value}', at {place}, before it has read that",
                at=str(call),
            )


@dataclass(frozen=True)
class _Read:
    """What a call reads of its ``index``-th input: which bytes and, row by row, the ``last`` row
    of the output that needs them; ``window`` None: all of it is needed all the time."""

    index: int
    held: _Bytes
    window: Reading | None
    last: np.ndarray | None


def rows_read(window: Reading, row: int, height: int) -> list[int]:
    """The rows of an input, of ``height``, that a row of the output reads."""
    if isinstance(window, Window):
        start = row * window.stride - window.pad
        taps = range(start, start + window.kernel * window.dilation, window.dilation)
        return [y for y in taps if 0 <= y < height]
    return list(range(window.first[row], window.last[row]))
