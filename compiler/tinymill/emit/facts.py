"""Plan -> facts: everything the templates print, computed and frozen beforehand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isinf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CompileError
from ..ir import (
    DType,
    FixedPoint,
    Flat,
    FloatScale,
    Graph,
    KernelCall,
    Operand,
    Param,
    Port,
    Rows,
    Table,
    Window,
)
from ..schedule import Plan, Segment, Step, changed_by, sharing

if TYPE_CHECKING:
    from .front import FrontFacts

C_TYPES = {dtype.numpy: dtype.c for dtype in DType}
LINE = 12
MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class ArrayFacts:
    """One constant array of the model."""

    name: str
    c_type: str
    count: int
    bytes: int
    align: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ViewFacts:
    """One ``tm_rows`` of a step."""

    name: str
    base: str
    pad: str
    row_bytes: int
    rows: int
    ring: int


@dataclass(frozen=True)
class FeedFacts:
    """The step that makes row ``row`` of a step's input on the way, where ``when`` holds: called
    through ``fed``, with its scratch at ``scratch``."""

    fed: str
    maker: StepFacts
    row: str
    when: str
    scratch: str


@dataclass(frozen=True)
class StepFacts:
    """One kernel call: its params, views and arguments as C text."""

    index: int
    title: str
    kernel: str
    params_type: str
    params: tuple[tuple[str, str], ...]
    views: tuple[ViewFacts, ...]
    part: tuple[int, int, int, int] | None
    arguments: tuple[str, ...]
    batch: int
    row_by_row: bool
    feed: FeedFacts | None = None


@dataclass(frozen=True)
class SegmentFacts:
    """Steps that take turns, or a single one computed whole (no ``turns``).

    ``turns`` are lines of C initialisers {step, rows, first row}, ``count`` their number.
    """

    index: int
    title: str
    first_layer: int
    layers: int
    steps: tuple[StepFacts, ...]
    turns: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class ArrivalFacts:
    """An input that comes row by row: where row y goes, and how many turns each row sets free."""

    base: str
    rows: int
    row_bytes: int
    ring: int
    type: str
    turns: tuple[str, ...]


@dataclass(frozen=True)
class SlidingFacts:
    """A window that takes ``rows`` new rows a step: ``filling`` steps renew all of its
    ``window`` rows. A row of zeros is the byte ``fill`` over and over, or ``zeros``."""

    rows: int
    window: int
    filling: int
    fill: int | None
    zeros: str


@dataclass(frozen=True)
class PortFacts:
    """One input or output of the model."""

    index: int
    name: str
    c_type: str
    shape: str
    quant: str
    bytes: int
    address: str
    note: str


@dataclass(frozen=True)
class StateFacts:
    """One variable: where it lies in the context's state, and its initial bytes."""

    name: str
    offset: int
    bytes: int
    fill: int | None
    initial: str


@dataclass(frozen=True)
class SourceFacts:
    """One inclusion of a kernel's source. ``suffix`` makes its names unique where ``defines``
    make it one of several."""

    name: str
    defines: tuple[tuple[str, int], ...]
    suffix: str


@dataclass(frozen=True)
class Training:
    """What makes a project trainable: the plan of a step, its number of classes, and a digest of
    the model that images of the trained part carry.

    The step's graph has the model's inputs, then a label (int32) and a rate (float32); its first
    output is the loss (float32). It shares variables with the model's graph, by name. Of those that
    it changes ``learned`` are the weights and biases, which ``trained_crc32`` is of.
    """

    plan: Plan
    classes: int
    digest: int
    learned: tuple[str, ...]


@dataclass(frozen=True)
class MoveFacts:
    """An input that a step reads elsewhere than where it is written."""

    source: str
    target: str
    bytes: int


@dataclass(frozen=True)
class TrainFacts:
    """All that model.h and model.c show of training. ``step`` computes one step; ``trained`` are
    the variables that it changes, in the order in which they are saved, the first ``learned`` of
    them weights and biases."""

    step: ModelFacts
    moves: tuple[MoveFacts, ...]
    label: str
    rate: str
    loss: str
    classes: int
    digest: int
    trained: tuple[StateFacts, ...]
    learned: int

    @property
    def trained_bytes(self) -> int:
        return sum(state.bytes for state in self.trained)


@dataclass(frozen=True)
class ModelFacts:
    """All that model.h, model.c and model_weights.* show. ``symbols`` begins the names of what
    computes: the model's own, or those of a step of training."""

    name: str
    macro: str
    arena_bytes: int
    slow_bytes: int
    arena_align: int
    state_bytes: int
    inputs: tuple[PortFacts, ...]
    outputs: tuple[PortFacts, ...]
    states: tuple[StateFacts, ...]
    arrays: tuple[ArrayFacts, ...]
    steps: tuple[StepFacts, ...]
    segments: tuple[SegmentFacts, ...]
    turn_types: tuple[str, str, str]
    arrival: ArrivalFacts | None
    sliding: SlidingFacts | None
    defines: tuple[str, ...]
    kernels: tuple[SourceFacts, ...]
    weights_bytes: int
    inputs_kept: bool
    weights_const: str
    symbols: str
    front: FrontFacts | None = None
    train: TrainFacts | None = None

    @property
    def uses_turns(self) -> bool:
        return any(segment.turns for segment in self.segments)

    @property
    def any_turns(self) -> bool:
        return self.uses_turns or (self.train is not None and self.train.step.uses_turns)

    @property
    def layer_count(self) -> int:
        return sum(segment.layers for segment in self.segments)

    @property
    def plain_segments(self) -> bool:
        return any(not segment.turns for segment in self.segments)

    @property
    def input_bytes(self) -> int:
        return sum(port.bytes for port in self.inputs)

    @property
    def output_bytes(self) -> int:
        return sum(port.bytes for port in self.outputs)


def c_name(text: str) -> str:
    """``text`` as a C identifier in lower case; "model" where it has no letter or digit of C's."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    name = name[:NAME_LENGTH].strip("_")
    # headers of the C library and of the kernels go by <name>.h too
    if not name:
        return "model"
    if name[0].isdigit() or name in TAKEN or name.startswith("tm_"):
        name = f"m_{name}"
    return f"{name}_" if name in C_KEYWORDS else name


NAME_LENGTH = 64
TAKEN = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath "
    "threads time uchar wchar wctype unistd memory strings malloc alloca features port measure "
    "start target".split()
)
C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while main".split()
)


def facts_of(
    plan: Plan,
    name: str,
    *,
    weights_in_ram: bool = False,
    sliding: tuple[int, int] | None = None,
    training: Training | None = None,
) -> ModelFacts:
    """The facts of ``plan`` for a model called ``name`` (a C identifier).

    With ``sliding`` (rows, window) the plan is that of a step, its input ``rows`` new rows of a
    window of ``window`` rows. ``weights_in_ram`` makes the constants variables, which start-up
    code copies to RAM. ``training`` adds a step of training to the model: one context, one arena
    that is as large as the larger of the two plans.
    """
    if training is None:
        found = _Collector(plan, name, sliding).collect()
    else:
        found = _trainable(plan, name, training)
    return replace(found, weights_const="") if weights_in_ram else found


def _trainable(plan: Plan, name: str, training: Training) -> ModelFacts:
    for each in (plan, training.plan):
        if each.arriving is not None or each.slow_bytes:
            raise CompileError(
                "training with an input that comes row by row or an arena in two memories"
            )
    run, step = sharing(plan, training.plan, training.learned)
    first = _Collector(run, name, None)
    second = _Collector(step, name, None, f"{name}_train", first)
    for size, count in second.pads.items():
        second.pads[size] = first.pads[size] = max(count, first.pads.get(size, 0))
    model, trained = first.collect(), second.collect()
    arrays = tuple(first.arrays.values())
    kernels = {(each.name, each.suffix): each for each in (*model.kernels, *trained.kernels)}
    names = changed_by(step.graph, training.learned)
    return replace(
        model,
        arena_bytes=max(model.arena_bytes, trained.arena_bytes),
        arena_align=max(model.arena_align, trained.arena_align),
        arrays=arrays,
        weights_bytes=sum(array.bytes for array in arrays),
        defines=tuple(dict.fromkeys((*model.defines, *trained.defines))),
        kernels=tuple(sorted(kernels.values(), key=lambda s: (bool(s.suffix), s.name, s.suffix))),
        train=second.training(first, trained, training, names),
    )


def _sources(plan: Plan) -> tuple[SourceFacts, ...]:
    """The kernels of a plan, each once for each set of its macros.

    Those that are compiled once come first: headers give them the macros' default values.
    """
    found = {
        step.symbol: SourceFacts(
            step.kernel.name,
            tuple(step.defines.items()),
            step.symbol.removeprefix(step.kernel.name),
        )
        for step in plan.steps
    }
    return tuple(sorted(found.values(), key=lambda s: (bool(s.suffix), s.name, s.suffix)))


def _varies(call: KernelCall) -> bool:
    """Whether params of variable weights and biases are among the call's."""
    return not {"bias_limit", "bias_terms", "records"}.isdisjoint(call.params)


class _Collector:
    def __init__(
        self, plan: Plan, name: str, sliding: tuple[int, int] | None, symbols: str = "",
        beside: _Collector | None = None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.sliding = sliding
        self.graph: Graph = plan.graph
        self.name = name
        self.symbols = symbols or name
        self.arrays: dict[tuple[str, bytes], ArrayFacts] = {} if beside is None else beside.arrays
        self.elements = 0
        self.pads = self._pad_sizes()

    def collect(self) -> ModelFacts:
        plan, graph = self.plan, self.graph
        segments = self._segments()
        steps = tuple(step for segment in segments for step in segment.steps)
        states = tuple(self._state(name) for name in graph.variables)
        inputs = tuple(self._port(i, port) for i, port in enumerate(graph.inputs))
        outputs = tuple(self._port(i, port) for i, port in enumerate(graph.outputs))
        sliding = self._sliding()
        arrays = tuple(self.arrays.values())
        forms = {type(getattr(step.node.op, "rescale", None)) for step in plan.steps}
        defines = [
            macro
            for macro, form in (("TM_RESCALE_FIXED", FixedPoint), ("TM_RESCALE_FLOAT", FloatScale))
            if form in forms
        ]
        if any(_varies(step.packed) for step in plan.steps):
            defines.append("TM_VARIABLE_WEIGHTS")
        end = len(plan.segments)
        kept = all(
            (buffer := plan.buffer_of(port.value)) is None or buffer.last == end
            for port in graph.inputs
        )
        return ModelFacts(
            self.name, self.name.upper(), plan.arena_bytes - plan.slow_bytes, plan.slow_bytes,
            plan.arena_align, plan.state_bytes,
            inputs, outputs, states, arrays, steps, segments, self._turn_types(),
            self._arrival(), sliding, tuple(defines),
            _sources(plan),
            sum(array.bytes for array in arrays), kept, "const ", self.symbols,
        )  # fmt: skip

    def training(
        self, model: _Collector, step: ModelFacts, training: Training, names: Sequence[str]
    ) -> TrainFacts:
        """What a model's facts say of its training; this collects the step's."""
        count = len(model.graph.inputs)
        ports = self.graph.inputs
        kinds = [self.graph.type(port.value) for port in ports]
        wanted = [model.graph.type(port.value) for port in model.graph.inputs]
        scalars = [(kind.count, kind.dtype) for kind in kinds[count:]]
        if len(scalars) == 2 and scalars[0] != (1, DType.INT32):
            raise CompileError(
                f"a step of training to a target of {kinds[count]}", at=ports[count].name,
                hint="emitted steps take a label: losses softmax and margin",
            )  # fmt: skip
        loss = self.graph.type(self.graph.outputs[0].value)
        assert kinds[:count] == wanted, "a step reads the model's inputs"
        assert scalars == [(1, DType.INT32), (1, DType.FLOAT32)], "and then label and rate"
        assert (loss.count, loss.dtype) == (1, DType.FLOAT32), "and gives the loss"
        moves = []
        for mine, other, kind in zip(ports[:count], model.graph.inputs, kinds, strict=False):
            source = model._outside_address(other.value)
            target = self._outside_address(mine.value)
            if source != target:
                moves.append(MoveFacts(source, target, kind.bytes))
        label, rate = (self._outside_address(port.value) for port in ports[count:])
        return TrainFacts(
            step, in_order(moves), label, rate, self._outside_address(self.graph.outputs[0].value),
            training.classes, training.digest, tuple(self._state(name) for name in names),
            sum(name in training.learned for name in names),
        )  # fmt: skip

    # -- constants ------------------------------------------------------------------------

    def _array(self, array: np.ndarray) -> str:
        """The C name of a constant array; equal arrays are one."""
        array = np.ascontiguousarray(array)
        self.elements += array.size
        if self.elements > MOST_ELEMENTS:
            raise CompileError(
                f"constants of more than {MOST_ELEMENTS:,} elements", hint="C text can't hold more"
            )
        key = (array.dtype.str, array.tobytes())
        if key not in self.arrays:
            name = f"{self.name}_w{len(self.arrays)}"
            self.arrays[key] = ArrayFacts(
                name, C_TYPES[array.dtype], array.size, array.nbytes,
                max(4, array.dtype.itemsize), number_lines(array),
            )  # fmt: skip
        return self.arrays[key].name

    def _pad_sizes(self) -> dict[tuple[DType, float], int]:
        """For each pad value, the elements of the longest row that it stands for."""
        sizes: dict[tuple[DType, float], int] = {}
        for step in self.plan.steps:
            for operand in step.call.operands:
                if isinstance(operand, Rows) and operand.pad is not None:
                    kind = self.graph.type(operand.value)
                    key = (kind.dtype, float(operand.pad))
                    sizes[key] = max(sizes.get(key, 0), kind.shape[2] * kind.shape[3])
        return sizes

    def _pad(self, dtype: DType, value: float) -> str:
        count = self.pads[dtype, float(value)]
        return self._array(np.full(count, value, dtype.numpy))

    # -- addresses ------------------------------------------------------------------------

    def _address(self, value: str) -> str:
        """C expression of type ``uint8_t *`` for the first byte of a value in RAM."""
        if value in self.plan.state:
            return f"(uint8_t *)context->state + {self.plan.state[value]}"
        buffer = self.plan.buffer_of(value)
        assert buffer is not None, value
        return self._place(buffer.name)

    def _outside_address(self, value: str) -> str:
        """The same where neither arena has a name of its own."""
        return re.sub(r"^(arena|slow) ", r"context->\1 ", self._address(value))

    def _place(self, buffer: str) -> str:
        return place_of(self.plan, buffer)

    # -- steps ----------------------------------------------------------------------------

    def _segments(self) -> tuple[SegmentFacts, ...]:
        found = []
        layer = count = 0
        for index, segment in enumerate(self.plan.segments):
            steps = tuple(
                self._step(count + place, step, segment) for place, step in enumerate(segment.steps)
            )
            steps = tuple(
                each
                if step.fed_scratch is None
                else replace(each, feed=self._feed(step, each, before, segment))
                for step, each, before in zip(
                    segment.steps, steps, (None, *steps[:-1]), strict=True
                )
            )
            count += len(steps)
            first, layer = layer, layer + segment.layers
            turns: tuple[str, ...] = ()
            if not segment.whole:
                turns = joined(
                    f"{{{turn.step}, {turn.row1 - turn.row0}, {turn.row0}}}"
                    for turn in segment.turns
                )
            title = f"layers {first} to {layer - 1} take turns"
            if len(steps) > segment.layers:
                title += f" in {len(steps) // segment.layers} strips of columns"
            found.append(
                SegmentFacts(index, title, first, segment.layers, steps, turns, len(segment.turns))
            )
        return tuple(found)

    def _turn_types(self) -> tuple[str, str, str]:
        """Types of a turn's step, rows and first row: the smallest that hold them all."""
        turns = [turn for s in self.plan.segments if not s.whole for turn in s.turns]
        return (
            _unsigned(max((turn.step for turn in turns), default=0)),
            _unsigned(max((turn.row1 - turn.row0 for turn in turns), default=0)),
            _unsigned(max((turn.row0 for turn in turns), default=0)),
        )

    def _arrival(self) -> ArrivalFacts | None:
        plan = self.plan
        if plan.arriving is None:
            return None
        value = plan.arriving
        kind = self.graph.type(value)
        buffer = plan.buffer_of(value)
        assert buffer is not None
        rows = kind.shape[1]
        return ArrivalFacts(
            self._outside_address(value),
            rows, kind.bytes // rows, buffer.rows or rows,
            _unsigned(len(plan.segments[0].turns)),
            joined(str(n) for n in plan.segments[0].arrivals),
        )  # fmt: skip

    def _sliding(self) -> SlidingFacts | None:
        if self.sliding is None:
            return None
        rows, window = self.sliding
        kind = self.graph.type(self.graph.inputs[0].value)
        zero = kind.zero_point if kind.quant is not None and kind.quant.per_tensor else 0
        zeros = np.full(kind.count, zero, kind.dtype.numpy)
        raw = zeros.view(np.uint8)
        plain = bool((raw == raw[0]).all())
        return SlidingFacts(
            rows, window, -(-window // rows),
            int(raw[0]) if plain else None, "" if plain else self._array(zeros),
        )  # fmt: skip

    def _step(self, index: int, step: Step, segment: Segment) -> StepFacts:
        graph, node, call = self.graph, step.node, step.packed
        views: list[ViewFacts] = []
        arguments: list[str] = []
        batch = 1
        for operand in call.operands:
            if isinstance(operand, Rows):
                batch = max(batch, graph.type(operand.value).shape[0])
        moving: frozenset[str] = frozenset()
        if step.row_by_row:
            windows = node.op.windows(graph.node_types(node))
            read = (n for n, window in zip(node.inputs, windows, strict=True) if window)
            moving = frozenset((*read, *node.outputs))
        for operand in call.operands:
            arguments.append(self._argument(operand, step, views, batch, moving))
        spatial = bool(views)
        params = tuple((name, self._param(value)) for name, value in call.params.items())
        name = segment.scratch if step.scratch_bytes else None
        scratch = self._place(name) if name is not None else "NULL"
        source = ", ".join(_typed(graph, value) for value in node.inputs if value)
        target = ", ".join(_typed(graph, value) for value in node.outputs)
        return StepFacts(
            index,
            _comment(f"{index} {node.op.name} '{node.name}': {source} -> {target}"),
            step.symbol,
            f"tm_{call.family}_{call.dtype}_params",
            params,
            tuple(views),
            (0, step.height, *step.channels) if spatial else None,
            (*arguments, scratch),
            batch,
            step.row_by_row,
        )

    def _feed(
        self, step: Step, facts: StepFacts, maker: StepFacts | None, segment: Segment
    ) -> FeedFacts:
        """What ``step`` must know of the step before, which feeds rows to it."""
        assert maker is not None and segment.scratch is not None and step.kernel.fed is not None
        window = step.node.op.windows(self.graph.node_types(step.node))[0]
        assert isinstance(window, Window)
        ahead = window.kernel - 1 - window.pad
        row = f"row0 * {window.stride} + {ahead}"
        height = self.graph.type(step.node.inputs[0]).shape[1]
        scratch = "NULL"
        if maker.arguments[-1] != "NULL":
            scratch = f"{self._place(segment.scratch)} + {step.fed_scratch}"
        fed = step.kernel.fed + step.symbol.removeprefix(step.kernel.name)
        return FeedFacts(fed, maker, row, f"{row} < {height}", scratch)

    def _argument(
        self, operand: Operand, step: Step, views: list[ViewFacts], batch: int,
        moving: frozenset[str],
    ) -> str:  # fmt: skip
        if operand is None:
            return "NULL"
        if isinstance(operand, Table):
            return self._array(np.ascontiguousarray(operand.array))
        if isinstance(operand, Rows):
            kind = self.graph.type(operand.value)
            row = kind.shape[2] * kind.shape[3] * kind.dtype.size
            pad = "NULL" if operand.pad is None else self._pad(kind.dtype, operand.pad)
            name = f"v{len(views)}"
            base = self._address(operand.value)
            if batch > 1:
                base = f"{base} + n * {row * kind.shape[1]}"
            if step.strip is not None:
                offset, row = step.strip[operand.value]
                base = f"{base} + {offset}"
            buffer = self.plan.buffer_of(operand.value)
            ring = kind.shape[1] if buffer is None else buffer.rows or kind.shape[1]
            if operand.value in self.plan.guests:
                base, ring = f"{base} + {self._guest_place(operand.value, 'row0')}", 1
            views.append(ViewFacts(name, base, pad, row, kind.shape[1], ring))
            return f"&{name}"
        assert isinstance(operand, Flat)
        value = operand.value
        kind = self.graph.type(value)
        if self.graph.is_constant(value):
            if value not in self.graph.constants:
                raise CompileError("a constant whose numbers are absent", at=value)
            return self._array(self.graph.constants[value])
        writes = value in step.node.outputs or any(
            step.node.inputs[i] == value for i in step.node.op.mutates
        )
        const = "" if writes else "const "
        address = self._address(value)
        if value in moving:
            holder = self.plan.buffer_of(value)
            kept = None if holder is None else holder.rows
            place = "y" if kept is None else f"y % {kept}" if kept > 1 else "0"
            offset, row = 0, kind.bytes // kind.shape[1]
            if step.strip is not None:
                offset, row = step.strip[value]
            if value in self.plan.guests:
                address = f"{address} + {self._guest_place(value, 'y')}"
            else:
                address = f"{address} + {offset} + {place} * {row}"
        return f"({const}{kind.dtype.c} *)(void *)({address})"

    def _guest_place(self, value: str, row: str) -> str:
        """C expression for the byte of the host's ring at which a row of a guest begins."""
        guest = self.plan.guests[value]
        kind = self.graph.type(guest.host)
        times = f"{row} * {guest.stride}" if guest.stride > 1 else row
        return f"({times} + {guest.shift}) % {guest.rows} * {kind.bytes // kind.shape[1]}"

    def _param(self, value: Param) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, Table):
            return self._array(np.ascontiguousarray(value.array))
        if isinstance(value, int | float | np.integer | np.floating):
            return number(value)
        return "{" + ", ".join(number(item) for item in value) + "}"

    # -- ports and state ------------------------------------------------------------------

    def _port(self, index: int, port: Port) -> PortFacts:
        kind = self.graph.type(port.value)
        address = self._outside_address(port.value)
        quant = ""
        if kind.quant is not None and kind.quant.per_tensor:
            quant = f", real = {kind.scale:.9g} * (q - {kind.zero_point})"
        note = ""
        if list(port.order) != sorted(port.order):
            source = "x".join(map(str, port.shape))
            note = f" (source [{source}], axes {list(port.order)})"
        shape = "x".join(map(str, kind.shape)) or "1"
        return PortFacts(
            index, _comment(port.name), kind.dtype.c, shape, quant, kind.bytes, address, note
        )

    def _state(self, name: str) -> StateFacts:
        initial = np.ascontiguousarray(self.graph.variables[name])
        raw = np.frombuffer(initial.tobytes(), np.uint8)
        offset = self.plan.state[name]
        if len(raw) and bool((raw == raw[0]).all()):
            return StateFacts(_comment(name), offset, len(raw), int(raw[0]), "")
        return StateFacts(_comment(name), offset, len(raw), None, self._array(initial))


def in_order(moves: Sequence[MoveFacts]) -> tuple[MoveFacts, ...]:
    """The moves so that none destroys what a later one moves. Raises ``CompileError`` where there
    is no such order."""

    def span(address: str, size: int) -> range:
        first = int(address.rsplit(" ", 1)[-1])
        return range(first, first + size)

    left, found = list(moves), []
    while left:
        for move in left:
            to = span(move.target, move.bytes)
            others = (span(each.source, each.bytes) for each in left if each is not move)
            if all(to.stop <= other.start or other.stop <= to.start for other in others):
                break
        else:
            raise CompileError(f"{len(left)} inputs that a step of training moves in a circle")
        left.remove(move)
        found.append(move)
    return tuple(found)


def place_of(plan: Plan, buffer: str) -> str:
    """C expression for the first byte of a buffer, in terms of ``arena`` and ``slow``."""
    offset, fast = plan.placement.offsets[buffer], plan.fast_bytes
    return f"arena + {offset}" if fast is None or offset < fast else f"slow + {offset - fast}"


def number(value: int | float | np.integer | np.floating) -> str:
    """A number as a C constant of type int32_t or float, exact."""
    if isinstance(value, int | np.integer):
        if not -(1 << 31) <= value < 1 << 32:
            raise CompileError(f"the number {value} does not fit 32 bits")
        return _integer(int(value))
    value = float(value)
    if isnan(value):
        return "NAN"
    if isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{value.hex()}f"


def _integer(value: int) -> str:
    # the least int32_t and int64_t have no literal
    return f"({value + 1} - 1)" if value in (-(1 << 31), -(1 << 63)) else str(int(value))


def joined(items: Iterable[str]) -> tuple[str, ...]:
    """Items of a C initialiser as lines."""
    items = list(items)
    return tuple(", ".join(items[i : i + LINE]) for i in range(0, len(items), LINE))


def _unsigned(most: int) -> str:
    return "uint8_t" if most < 1 << 8 else "uint16_t" if most < 1 << 16 else "uint32_t"


def number_lines(array: np.ndarray) -> tuple[str, ...]:
    """The elements of an array as lines of C initialisers."""
    flat = array.ravel()
    text: Callable[[Any], str]
    if array.dtype == np.float32:
        text = number
    elif array.dtype == np.int8:
        text = _INT8.__getitem__
    else:
        text = _integer
    # line by line: all elements as Python objects at once take ten times the array
    return tuple(
        ", ".join(map(text, flat[start : start + LINE].tolist()))
        for start in range(0, len(flat), LINE)
    )


_INT8 = {x: str(x) for x in range(-128, 128)}


def _typed(graph: Graph, value: str) -> str:
    return str(graph.type(value))


def _comment(text: str) -> str:
    """``text`` made safe inside a C comment: ASCII, one line, not too long."""
    text = "".join(c if " " <= c <= "~" else "_" for c in " ".join(text.split()))
    text = text.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
    return text if len(text) <= 200 else f"{text[:197]}..."
