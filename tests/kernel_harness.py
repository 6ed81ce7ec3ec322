"""Builds cases of kernel_cases.py into one program, runs it, and says which cases go wrong.

Each case is emitted in several forms: the whole output in one call, rectangles of rows and
channels one after the other, bands of rows over the planner's placement, one rectangle alone,
bands through rings of rows, rectangles of strips of wider maps. Places of buffers are not in the
code but in a table of the program, so that one form runs both where the planner lays it (in
place, if it may) and with every buffer apart from the others between guards: poisoned for the
address sanitizer on the host, checked for their pattern everywhere. Between the rows of strips,
and of some rings, there are guards, too.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from kernel_cases import Case, graph_of, inputs_of
from tinymill.boards import Board
from tinymill.deploy import qemu
from tinymill.deploy.project import target_files
from tinymill.deploy.recipe import WARNINGS, recipe
from tinymill.emit.facts import SourceFacts, StepFacts, facts_of
from tinymill.emit.project import render
from tinymill.ir import Graph, Rows, TensorType, interpret
from tinymill.schedule import plan
from tinymill.schedule.call_facts import CallFacts
from tinymill.schedule.kernels import Kernel, choose
from tinymill.schedule.plan import Placement, Plan, Step
from tinymill.schedule.planner import Optimize

TESTS = Path(__file__).resolve().parent
RUNTIME = TESTS.parent / "runtime_c"
HOST_FLAGS = (
    "-std=c11", "-O1", "-g", "-ffp-contract=off", *WARNINGS, "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
)  # fmt: skip
FIRST_PLACE = 918_273_600
"""In emitted code this plus k stands for the place of buffer k."""

FORMS = ("parts", "bands", "piece", "ring", "strip")
"""Beside the whole output in one call."""

WHOLE_PIXELS = frozenset({"resize_nearest", "resize_bilinear"})
"""Families whose kernels compute all channels, whatever the part says. Of others, a kernel's
first comment may say "Channels: all" or "Channels: multiples of 4"."""

MOST_RESTARTS = 12


@dataclass(frozen=True)
class Target:
    """What kernels are chosen for."""

    features: frozenset[str]
    optimize: Optimize = "time"

    def kernel_of(self, case: Case) -> Kernel:
        """The kernel that serves a case, as the planner chooses it."""
        key = (case, self)
        if key not in _CHOSEN:
            try:
                _CHOSEN[key] = self._choose(case)
            except Exception as error:
                error.add_note(f"while choosing a kernel for {case}")
                raise
        return _CHOSEN[key]

    def _choose(self, case: Case) -> Kernel:
        graph = graph_of(case, "case")
        node = graph.nodes[0]
        constants = [graph.constants.get(name) for name in node.inputs]
        call = node.op.kernel(node.inputs, node.outputs, graph.node_types(node), constants)
        assert call is not None
        return choose(
            CallFacts(call, {"optimize_time": int(self.optimize == "time")}), self.features
        )


_CHOSEN: dict[tuple[Case, Target], Kernel] = {}


@dataclass
class Variant:
    """One way to run a case: the form of its code and the places of its buffers."""

    case: Case
    unit: str
    form: str
    placed: str
    offsets: list[int]
    sizes: list[int]
    inputs: list[int]
    output: int
    arena: int
    runs: list[bytes]
    """The inputs of each run."""
    wanted: list[np.ndarray]
    mask: np.ndarray | None = None
    """The bytes of the output that are computed, None: all."""
    finish: str = ""
    problem: str = ""
    fed: tuple[int, ...] = ()
    """Bytes of each input."""
    between: tuple[tuple[int, int], ...] = ()
    """What lies between the rows of a buffer."""

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """What lies between the buffers."""
        end, found = 0, []
        for offset, size in sorted(zip(self.offsets, self.sizes, strict=True)):
            if offset > end:
                found.append((end, offset))
            end = max(end, offset + size)
        found += self.between
        return [*found, (end, self.arena)] if end < self.arena else found

    @property
    def overlay(self) -> bool:
        spans = sorted(zip(self.offsets, self.sizes, strict=True))
        return self.output in self.inputs or any(a + n > b for (a, n), (b, _) in pairwise(spans))


@dataclass
class Unit:
    """The C of one form of a case."""

    name: str
    defines: tuple[str, ...]
    body: str
    files: dict[str, str]
    kernels: tuple[SourceFacts, ...]
    weights_bytes: int


class Batch:
    """Cases for one program."""

    def __init__(self, target: Target, *, guard: int, shift: int, runs: int) -> None:
        self.target = target
        self.guard, self.shift, self.runs = guard, shift, runs
        self.units: list[Unit] = []
        self.variants: list[Variant] = []

    @property
    def arena(self) -> int:
        return max((variant.arena for variant in self.variants), default=1)

    @property
    def constants(self) -> int:
        return sum(unit.weights_bytes for unit in self.units)

    def add(self, case: Case, forms: Sequence[str], *, arena: int = 1 << 30) -> bool:
        """Adds the whole call and ``forms`` of it; False if it takes more than ``arena``."""
        number = len(self.units)
        graph = graph_of(case, "case")
        planned = plan(graph, self.target.features, optimize=self.target.optimize)
        assert len(planned.steps) == 1, case
        assert planned.steps[0].kernel is self.target.kernel_of(case), (
            "the planner chooses otherwise"
        )
        found, joined = planned, planned.steps[0].in_place
        if joined:
            # apart only if the input must stay
            found = plan(
                graph, self.target.features, optimize=self.target.optimize, keep_inputs=True
            )
        runs = inputs_of(case, graph, self.runs)
        truths = [interpret(graph, values)[graph.outputs[0].value] for values in runs]
        offsets, end = self._apart(found.buffers, 0)
        if end > arena:
            return False
        whole = f"c{number}"
        self._emit(whole, found, None)
        feed = [b"".join(v[p.value].tobytes() for p in graph.inputs) for v in runs]
        self._variant(case, whole, "whole", "apart", found, offsets, end, feed, truths)
        overlaid = [planned.placement.offsets[b.name] + self.guard for b in planned.buffers]
        top = planned.placement.peak + 2 * self.guard
        if joined:
            self._emit(f"{whole}_joined", planned, whole)
        unit = f"{whole}_joined" if joined else whole
        self._variant(case, unit, "whole", "planned", planned, overlaid, top, feed[:2], truths)
        in_place = self.variants[-1].overlay and not joined
        if not (in_place or joined):
            self.variants.pop()
        chance = random.Random(case.seed)
        step = found.steps[0]
        if not any(isinstance(operand, Rows) for operand in step.call.operands):
            return True
        offsets, end = self._apart(found.buffers, self.shift)
        for form in forms:
            name = f"{whole}_{form}"
            rectangles = _rectangles(step, graph, form, chance)
            if form in ("ring", "strip"):
                self._rows_apart(
                    case, name, whole, form, found, rectangles, feed[:1], truths, arena
                )
                continue
            if form == "bands" and not in_place:
                continue
            mask = None
            if form == "piece":
                rectangles = [chance.choice(rectangles)]
                mask = np.zeros(truths[0].shape, bool)
                (r0, r1), (c0, c1) = rectangles[0]
                mask[:, r0:r1, :, c0:c1] = True
            self._emit(name, found, whole, [_Call(part) for part in rectangles])
            places, top_, placed = (
                (overlaid, top, "planned") if form == "bands" else (offsets, end, "apart")
            )
            self._variant(case, name, form, placed, found, places, top_, feed[:1], truths, mask)
        return True

    def _apart(self, buffers: Sequence, shift: int) -> tuple[list[int], int]:
        """Places with guards between; ``shift`` modulo 16 where the alignment allows."""
        end, offsets = 0, []
        for buffer in buffers:
            start = -(-(end + self.guard) // 16) * 16
            start += shift if shift % buffer.align == 0 else 0
            offsets.append(start)
            end = start + buffer.size
        return offsets, end + self.guard

    def _emit(
        self, name: str, found: Plan, weights_of: str | None, calls: Sequence[_Call] = ()
    ) -> None:
        places = {b.name: FIRST_PLACE + k for k, b in enumerate(found.buffers)}
        facts = facts_of(replace(found, placement=Placement(places, 1, 1)), name)
        if calls:
            (segment,) = facts.segments
            steps = [
                _called(segment.steps[0], found.steps[0], call, k) for k, call in enumerate(calls)
            ]
            segments = (replace(segment, index=k, steps=(s,)) for k, s in enumerate(steps))
            facts = replace(facts, steps=tuple(steps), segments=tuple(segments))
        files = render(facts, found)
        body = files.pop(f"{name}.c")
        body = re.sub(rf"\barena \+ {FIRST_PLACE // 100}(\d\d)\b", _place, body)
        assert not re.search(rf"\b{FIRST_PLACE // 100}\d\d\b", body), "an address of another form"
        # one source file holds many forms: it includes each kernel once, before all of them
        head, rest = body.split("#ifdef TM_PROFILE", 1)
        includes = re.findall(rf'^#include "{name}.*\n', head, flags=re.MULTILINE)
        body = "".join(includes) + "#ifdef TM_PROFILE" + rest
        weights = facts.weights_bytes
        if weights_of is not None:
            files.pop(f"{name}_weights.c")
            files.pop(f"{name}_weights.h")
            body = body.replace(f"{name}_weights.h", f"{weights_of}_weights.h")
            body = re.sub(rf"\b{name}_w(\d+)\b", rf"{weights_of}_w\1", body)
            weights = 0
        self.units.append(Unit(name, facts.defines, body, files, facts.kernels, weights))

    def _variant(
        self,
        case: Case,
        unit: str,
        form: str,
        placed: str,
        found: Plan,
        offsets: list[int],
        arena: int,
        feed: list[bytes],
        truths: list[np.ndarray],
        mask: np.ndarray | None = None,
        finish: str = "",
        more: Sequence[int] = (),
        between: Sequence[tuple[int, int]] = (),
    ) -> None:
        names = [buffer.name for buffer in found.buffers]
        holders = [found.buffer_of(port.value) for port in found.graph.inputs]
        output = found.buffer_of(found.graph.outputs[0].value)
        assert output is not None and all(holders)
        self.variants.append(
            Variant(
                case,
                unit,
                form,
                placed,
                offsets,
                [*(b.size for b in found.buffers), *more],
                [names.index(b.name) for b in holders if b],
                names.index(output.name),
                arena,
                feed,
                truths[: len(feed)],
                mask,
                finish,
                fed=tuple(found.graph.type(p.value).bytes for p in found.graph.inputs),
                between=tuple(between),
            )
        )

    def _rows_apart(
        self,
        case: Case,
        name: str,
        whole: str,
        form: str,
        found: Plan,
        parts: list[Rectangle],
        feed: list[bytes],
        truths: list[np.ndarray],
        arena: int,
    ) -> None:
        """Rectangles, input and output passing through rings as small as they can be, or through
        strips of wider maps; the rows of strips, and of some rings, lie apart. None that takes
        more than ``arena``."""
        step, graph = found.steps[0], found.graph
        x, y = graph.type(graph.inputs[0].value), graph.type(graph.outputs[0].value)
        if x.rank != 4 or y.rank != 4 or x.shape[0] != 1 or y.shape[0] != 1:
            return
        chance = random.Random(case.seed + 1)
        strip = form == "strip"
        window = step.node.op.windows(graph.node_types(step.node))[0]
        reads = []
        for (r0, r1), _ in parts:
            if strip:
                reads.append((0, x.shape[1]))
            elif window is None:
                reads.append((0, 0))
            else:
                first, last = window.spans(y.shape[1], x.shape[1])
                reads.append((int(first[r0]), max(int(first[r0]), int(last[r1 - 1]))))
        moved = strip or window is not None
        count = len(found.buffers)
        source = _Ring(
            count, max(1, *(b - a for a, b in reads)), x.bytes // x.shape[1],
            _pitch(chance, x, strip),
        )  # fmt: skip
        tall = y.shape[1] if strip else max(r1 - r0 for (r0, r1), _ in parts)
        target = _Ring(count + 1, tall, y.bytes // y.shape[1], _pitch(chance, y, strip))
        names = [buffer.name for buffer in found.buffers]
        inputs, outputs = (names.index(p[0].value) for p in (graph.inputs, graph.outputs))
        offsets, end = self._apart(found.buffers, self.shift)
        more, between = [], []
        for ring, used in ((source, moved), (target, True)):
            start = -(-end // 16) * 16 + self.shift
            offsets.append(start)
            more.append((ring.rows - 1) * ring.pitch + ring.row if used else 1)
            if used and ring.pitch > ring.row:
                ends = [start + k * ring.pitch for k in range(1, ring.rows)]
                between += [(at + ring.row - ring.pitch, at) for at in ends]
            end = start + more[-1] + self.guard
        if end > arena:
            return
        calls, filled, before = [], 0, (0, 0)
        for part, (low, high) in zip(parts, reads, strict=True):
            start = max(filled, low)
            into = source.moves("tm_ring_in", inputs, (start, max(start, high)))
            filled = max(filled, high)
            out = target.moves("tm_ring_out", outputs, before)
            calls.append(_Call(part, (source, into) if moved else None, (target, out)))
            before = part[0]
        self._emit(name, found, whole, calls)
        finish = f"(void){target.moves('tm_ring_out', outputs, before)};"
        self._variant(
            case,
            name,
            form,
            "apart",
            found,
            offsets,
            end,
            feed,
            truths,
            None,
            finish,
            more,
            between,
        )

    # -- program --------------------------------------------------------------------------

    def write(self, folder: Path, *, both: bool) -> list[str]:
        """Writes the sources; returns those of the model's side. ``both``: half of the cases
        are compiled with both forms of rescaling, as models that mix them are."""
        groups: dict[tuple[str, ...], list[Unit]] = {}
        files: dict[str, str] = {}
        forms = ("TM_RESCALE_FIXED", "TM_RESCALE_FLOAT")
        for unit in self.units:
            for path, text in unit.files.items():
                assert files.setdefault(path, text) == text, f"two files {path}"
            number = int(re.sub(r"\D", "", unit.name.split("_")[0]))
            defines = unit.defines
            if both and number % 2 and set(defines) & set(forms):
                defines = tuple(sorted(set(defines) | set(forms)))
            groups.setdefault(defines, []).append(unit)
        sources = []
        for index, (defines, units) in enumerate(sorted(groups.items())):
            lines = ["#include <math.h>", "#include <string.h>", '#include "cases.h"']
            lines += [f"#define {define}" for define in defines]
            kernels = {kernel: None for unit in units for kernel in unit.kernels}
            for kernel in sorted(kernels, key=lambda kernel: (kernel.name, kernel.suffix)):
                lines += _inclusion(kernel)
            lines += [unit.body for unit in units]
            files[f"group{index}.c"] = "\n".join(lines)
            sources.append(f"group{index}.c")
        weights = [f'#include "{p}"' for p in files if p.endswith("_weights.c")]
        files["cases_weights.c"] = "\n".join([*weights, "typedef int tm_no_weights;", ""])
        files["cases.h"] = self._header()
        files["table.c"] = self._table()
        files["main.c"] = (TESTS / "kernel_main.c").read_text()
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return [*sources, "cases_weights.c"]

    def _header(self) -> str:
        most = max((len(v.inputs) for v in self.variants), default=1)
        return HEADER.format(cases=len(self.variants), inputs=most, arena=self.arena)

    def _table(self) -> str:
        lines = ['#include "cases.h"']
        lines += [f'#include "{unit.name}.h"' for unit in self.units]
        for k, v in enumerate(self.variants):
            lines += [
                f"static int call{k}(uint8_t *arena) {{",
                f"  {v.unit}_context context;",
                f"  int status = (int){v.unit}_init(&context, arena, 1);",
                f"  status = status == 0 ? (int){v.unit}_run(&context) : status;",
                f"  {v.finish}",
                "  return status;",
                "}",
                f"static const uint32_t offsets{k}[] = {{{', '.join(map(str, v.offsets))}}};",
                f"static const tm_operand inputs{k}[] = {{"
                + ", ".join(f"{{{i}, {n}}}" for i, n in zip(v.inputs, v.fed, strict=True)) + "};",
                f"static const tm_gap gaps{k}[] = {{"
                + ", ".join(f"{{{a}, {b}}}" for a, b in v.gaps) + "};",
            ]  # fmt: skip
        lines += ["const tm_case tm_cases[] = {"]
        for k, v in enumerate(self.variants):
            lines.append(
                f"    {{call{k}, offsets{k}, inputs{k}, gaps{k}, {{{v.output}, "
                f"{v.wanted[0].nbytes}}}, {len(v.inputs)}, {len(v.gaps)}, {len(v.runs)}, "
                f"{v.arena}, {int(v.overlay)}}},"
            )
        return "\n".join([*lines, "};", ""])

    # -- running --------------------------------------------------------------------------

    def feed(self, first: int) -> bytes:
        runs = [run for variant in self.variants[first:] for run in variant.runs]
        return first.to_bytes(4, "little") + b"".join(runs)

    def judge(self, first: int, last: int, text: str, output: bytes) -> None:
        """Compares what variants ``first`` to ``last`` (not included) wrote."""
        for line in text.splitlines():
            words = line.split()
            if words[:1] == ["wrong"]:
                variant = self.variants[int(words[1])]
                variant.problem = variant.problem or self._complaint(variant, words)
        place = 0
        for variant in self.variants[first:last]:
            for run, want in enumerate(variant.wanted):
                got = np.frombuffer(output[place : place + want.nbytes], np.uint8)
                place += want.nbytes
                if variant.problem:
                    continue
                if len(got) != want.nbytes:
                    variant.problem = "its output is cut short"
                    continue
                variant.problem = _difference(variant, run, got, want)

    @staticmethod
    def _complaint(variant: Variant, words: list[str]) -> str:
        run, what, number = int(words[2]), words[3], int(words[4])
        if what != "guard":
            return f"run {run}: {what} {number}"
        near = []
        for k, (offset, size) in enumerate(zip(variant.offsets, variant.sizes, strict=True)):
            name = "input" if k in variant.inputs else "output" if k == variant.output else "other"
            near.append(f"{name} [{offset}, {offset + size})")
        return f"run {run}: byte {number} was written, outside of {', '.join(near)}"

    def problems(self) -> dict[Case, str]:
        """The first thing wrong with each case."""
        found: dict[Case, str] = {}
        for v in self.variants:
            if v.problem:
                text = f"{v.form}, buffers {v.placed}: {v.problem}"
                found.setdefault(v.case, text)
        return found


Rectangle = tuple[tuple[int, int], tuple[int, int]]
"""Rows and channels."""


@dataclass(frozen=True)
class _Ring:
    """Some rows of a map in a buffer of their own, ``pitch`` bytes apart."""

    buffer: int
    rows: int
    row: int
    pitch: int

    def moves(self, how: str, whole: int, rows: tuple[int, int]) -> str:
        """C that copies rows between this and the whole map, and gives the first row's place."""
        return (
            f"{how}(arena + tm_at[{whole}], arena + tm_at[{self.buffer}], {rows[0]}, {rows[1]}, "
            f"{self.rows}, {self.row}, {self.pitch})"
        )


@dataclass(frozen=True)
class _Call:
    """A part of the output. ``source`` and ``target`` are rings and what moves rows between them
    and the whole maps before the call; None: the map itself."""

    part: Rectangle
    source: tuple[_Ring, str] | None = None
    target: tuple[_Ring, str] | None = None


def _pitch(chance: random.Random, kind: TensorType, strip: bool) -> int:
    """Bytes from row to row of a strip or a ring."""
    row = kind.bytes // kind.shape[1]
    if not strip and chance.random() < 0.6:
        return row
    return row + kind.dtype.size * chance.choice((1, 3, 4, 8, 16, 17, 40))


def _inclusion(kernel: SourceFacts) -> list[str]:
    """The lines with which the model's template includes a kernel."""
    lines = [f"#define {macro} {value}" for macro, value in kernel.defines]
    if kernel.suffix:
        lines.append("#undef TM_INSTANCE")
        lines.append(f"#define TM_INSTANCE(name) name##{kernel.suffix}")
    lines.append(f'#include "kernels/{kernel.name}.c"')
    if kernel.suffix:
        lines.append("#undef TM_INSTANCE")
    return lines + [f"#undef {macro}" for macro, _ in kernel.defines]


def _place(match: re.Match[str]) -> str:
    return f"arena + tm_at[{int(match[1])}]"


def _called(facts: StepFacts, step: Step, call: _Call, index: int) -> StepFacts:
    """The step as the ``index``-th of the calls that compute it part by part."""
    rows = [operand for operand in step.call.operands if isinstance(operand, Rows)]
    views = []
    for view, operand in zip(facts.views, rows, strict=True):
        # of several inputs the first goes through a ring
        source = call.source if operand.value == step.node.inputs[0] else None
        place = call.target if operand.value in step.node.outputs else source
        if place is None:
            views.append(view)
        else:
            ring, base = place
            views.append(replace(view, base=base, ring=ring.rows, row_bytes=ring.pitch))
    (r0, r1), (c0, c1) = call.part
    return replace(facts, index=index, views=tuple(views), part=(r0, r1, c0, c1))


def _cuts(chance: random.Random, size: int, most: int, grain: int = 1) -> list[tuple[int, int]]:
    """[0, size) in up to ``most`` pieces that begin at multiples of ``grain``."""
    inner = list(range(grain, size, grain))
    places = sorted(chance.sample(inner, min(len(inner), chance.randrange(most))))
    ends = [0, *places, size]
    return list(pairwise(ends))


def channel_grain(kernel: Kernel) -> int:
    """Of what number a part's channels must begin at multiples; 0: a part has all channels."""
    if kernel.family in WHOLE_PIXELS:
        return 0
    first = re.match(r"/\*.*?\*/", kernel.source.read_text(), re.DOTALL)
    said = re.search(r"Channels: (all|multiples of (\d+))", " ".join(_words(first)))
    return 1 if said is None else int(said[2] or 0)


def _words(comment: re.Match[str] | None) -> list[str]:
    return [] if comment is None else comment[0].replace("*", " ").split()


def _rectangles(step: Step, graph: Graph, form: str, chance: random.Random) -> list[Rectangle]:
    """The output cut into rectangles, rows in increasing order."""
    shape = graph.type(step.node.outputs[0]).shape
    rows = _cuts(chance, shape[1], 4)
    if chance.random() < 0.3 and shape[1] <= 6:
        rows = [(r, r + 1) for r in range(shape[1])]
    if form == "ring" and shape[1] > 1:
        tall = chance.choice((1, 1, 2, 3))
        rows = [(r, min(r + tall, shape[1])) for r in range(0, shape[1], tall)][:10]
        rows[-1] = (rows[-1][0], shape[1])
    channels = [(0, shape[3])]
    grain = channel_grain(step.kernel)
    if form in ("parts", "piece", "strip") and grain:
        channels = _cuts(chance, shape[3], 4, grain)
    return [(band, piece) for band in rows for piece in channels]


def _difference(variant: Variant, run: int, got: np.ndarray, want: np.ndarray) -> str:
    raw = np.ascontiguousarray(want).view(np.uint8).reshape(-1).copy()
    where = "the output"
    if variant.mask is not None:
        places = variant.offsets[variant.output] + np.arange(len(raw))
        pattern = ((0xA5 + run * 0x5B + places * 7) & 0xFF).astype(np.uint8)
        each = np.repeat(variant.mask.reshape(-1), want.itemsize)
        if (got[~each] != pattern[~each]).any():
            where = "what lies outside the part"
            rows = np.repeat(variant.mask.any(axis=(0, 2, 3)), raw.size // variant.mask.shape[1])
            if variant.mask.shape[0] == 1 and (got[~rows] == pattern[~rows]).all():
                where += ' (should its first comment say "Channels: all"?), in its rows,'
        raw = np.where(each, raw, pattern)
    wrong = np.flatnonzero(got != raw)
    if not len(wrong):
        return ""
    values = got.view(want.dtype).reshape(want.shape)
    element = int(wrong[0]) // want.itemsize
    index = tuple(int(i) for i in np.unravel_index(element, want.shape))
    expected = raw.view(want.dtype).reshape(want.shape)
    part = ""
    if variant.mask is not None:
        inside = np.argwhere(variant.mask)
        part = f" (part {inside.min(0).tolist()} to {inside.max(0).tolist()})"
    return (
        f"run {run}: {where} differs in {len(wrong)} of {len(raw)} bytes, first at {list(index)}: "
        f"{values[index]} for {expected[index]}{part}"
    )


HEADER = """\
#ifndef TM_CASES_H
#define TM_CASES_H

#include <stdint.h>
#include <string.h>

#define TM_CASES {cases}u
#define TM_CASES_INPUTS {inputs}
#define TM_CASES_ARENA {arena}u

typedef struct {{
  uint32_t buffer, bytes;
}} tm_operand;

typedef struct {{
  uint32_t start, end;
}} tm_gap;

typedef struct {{
  int (*call)(uint8_t *arena);
  const uint32_t *offsets;
  const tm_operand *input;
  const tm_gap *gap;
  tm_operand output;
  uint32_t inputs, gaps, runs, arena, overlay;
}} tm_case;

extern const tm_case tm_cases[];
extern const uint32_t *tm_at; /* the places of the buffers of the running case */

/* Brings rows [from, to) of a map into its ring. */
static inline uint8_t *tm_ring_in(const uint8_t *map, uint8_t *ring, int32_t from, int32_t to,
                                  int32_t rows, int32_t bytes, int32_t pitch) {{
  for (int32_t y = from; y < to; ++y) {{
    memcpy(ring + (y % rows) * pitch, map + y * bytes, (size_t)bytes);
  }}
  return ring;
}}

/* Takes rows [from, to) of a map out of its ring. */
static inline uint8_t *tm_ring_out(uint8_t *map, uint8_t *ring, int32_t from, int32_t to,
                                   int32_t rows, int32_t bytes, int32_t pitch) {{
  for (int32_t y = from; y < to; ++y) {{
    memcpy(map + y * bytes, ring + (y % rows) * pitch, (size_t)bytes);
  }}
  return ring;
}}

#endif
"""


def _call(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command[-4:])}:\n{done.stderr[:6000]}"


def run_on_host(batch: Batch, folder: Path, *, cc: str = "gcc") -> None:
    """Builds and runs a batch with sanitizers; what is wrong stands in its variants."""
    sources = [*batch.write(folder, both=True), "table.c", "main.c"]
    sources.append(str(RUNTIME / "target" / "port_host.c"))
    include = ("-I.", f"-I{RUNTIME / 'target'}")
    jobs = [(source, f"{k}.o") for k, source in enumerate(sources)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for job in [
            pool.submit(_call, (cc, *HOST_FLAGS, *include, "-c", source, "-o", target), folder)
            for source, target in jobs
        ]:
            job.result()
    objects = [target for _, target in jobs]
    _call((cc, "-fsanitize=address,undefined", *objects, "-o", "main", "-lm"), folder)
    _run(batch, ("./main",), folder)


def run_on_board(batch: Batch, board: Board, folder: Path) -> None:
    """Builds a batch for a simulated core and runs it; what is wrong stands in its variants."""
    steps = recipe(board, "cases")
    sources = batch.write(folder, both=False)
    files = target_files(
        board, "cases", arena_bytes=batch.arena, weights_bytes=batch.constants
    )  # fmt: skip
    for path, text in files.items():
        if path.startswith("target/"):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
    harness = ["main.c", "table.c"]
    harness += [
        unit.source for unit in steps.units
        if unit.harness and Path(unit.source).name.startswith(("port", "start"))
    ]  # fmt: skip
    cc = (f"{board.compiler.family}-gcc", "-I.", "-Itarget")
    jobs = []
    for name, group, flags in (
        ("harness", harness, steps.harness_flags), ("model", sources, steps.model_flags)
    ):  # fmt: skip
        (folder / name).mkdir(exist_ok=True)
        for source in group:
            target = f"{name}/{Path(source).stem}.o"
            jobs.append((target, (*cc, *flags, "-c", source, "-o", target)))
    with ThreadPoolExecutor(max_workers=2) as pool:
        for job in [pool.submit(_call, command, folder) for _, command in jobs]:
            job.result()
    link = ("-T", "target/link.ld", *(target for target, _ in jobs), *steps.link_flags)
    _call((cc[0], *link, "-o", "main"), folder)
    assert board.simulator is not None
    argv = list(qemu.argv(board.simulator, "main"))
    # time need not be counted here, and runs faster uncounted
    at = argv.index("-icount")
    del argv[at : at + 2]
    _run(batch, argv, folder)


def _run(batch: Batch, argv: Sequence[str], folder: Path) -> None:
    """Runs the program, again behind every case that ends it."""
    first = 0
    for _ in range(MOST_RESTARTS):
        (folder / "input.bin").write_bytes(batch.feed(first))
        (folder / "output.bin").write_bytes(b"")
        with (folder / "stdout.txt").open("wb") as log:
            try:
                code = subprocess.run(
                    argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, timeout=120, check=False,
                    env={"ASAN_OPTIONS": "detect_leaks=0", "PATH": "/usr/bin:/bin"},
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                code = -1
        text = (folder / "stdout.txt").read_text(errors="replace")
        output = (folder / "output.bin").read_bytes()
        started = [int(line.split()[1]) for line in text.splitlines() if line.startswith("case ")]
        if "end" in text.splitlines() and code == 0:
            batch.judge(first, len(batch.variants), text, output)
            return
        assert started, f"the program does not start: {text[:2000]}"
        at = started[-1]
        batch.judge(first, at, text, output)
        why = [s for s in text.splitlines() if "rror:" in s or "ERROR" in s or "    #" in s]
        batch.variants[at].problem = f"ends with code {code}: " + " | ".join(why[:5])
        first = at + 1
        if first == len(batch.variants):
            return
