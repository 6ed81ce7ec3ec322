"""What a plan costs in instructions, before anything is compiled.

A call of a kernel costs what it does: so many blocks, so many steps of an inner loop, so many
elements gathered. What a kernel does follows from its source (``runtime_c/src``) and is counted
here exactly or nearly so (``Work``); what each of these costs is fitted to exact counts of
simulated cores and stands in ``runtime_c/costs.toml``, which ``benchmarks/calibrate.py`` writes.
How good it is: ``docs/planning.md``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal
from weakref import ref

from ..ir import Rows, Table
from ..share import share
from .call_facts import CallFacts
from .mve import BLOCK, WORDS
from .plan import Step
from .planes import Planes

SEGMENT = 20
"""Instructions that a segment of several turns costs by itself."""
FEED_CALL, FEED_PATCH = 450, 290
"""Instructions that it costs to make a row some channels at a time: each time, and each time for
each three pixels, which are widened anew."""

LIKE = {"gemm_2x3_plain": "gemm_2x3_narrow", "dense_4_plain": "dense_4_narrow"}
"""Layouts whose kernel does what it does with another one, and is as fast."""

Work = Mapping[str, float]
"""How often a kernel does what: each name is a column of runtime_c/costs.toml."""
Called = Callable[[int, "How"], Work]
"""The work of a call of so many rows."""


def cost_of(step: Step, turns: Sequence[int]) -> int:
    """Instructions of ``step`` in turns of so many rows each; [step.height]: computed whole.

    A sum over calls of (what a call does) x (instructions fitted to QEMU's counts on the kernel's
    own kind of core; kernels for all cores: Cortex-M4). Which rows a turn computes is not known:
    those at the edge of a map are shared out evenly.
    """
    known = _KNOWN.get(id(step))
    if known is None:
        key = id(step)
        known = _Costs(step), ref(step, lambda _: _KNOWN.pop(key, None))
        _KNOWN[key] = known
    costs = known[0]
    if len(turns) == 1 and turns[0] == step.height:
        return costs.whole
    return sum(map((costs if _aligned(turns) else costs.split).__getitem__, turns))


def feeding_cost(step: Step, rows: int) -> int:
    """What it costs ``step``, beside the row itself, that a row is fed to it ``rows`` times."""
    _, _, width, channels = step.types.input(0).shape
    # kernels that widen patches do it anew; calls of others cost about as much
    return rows * -(-channels // 4) * (FEED_CALL + FEED_PATCH * -(-width // 3))


def _aligned(turns: Sequence[int]) -> bool:
    """Whether turns end where a ring of as many rows as the largest turn does.

    A padding at the top makes the first turn smaller; then all others lie across the ring's end,
    and kernels that compute several rows at once compute some before it and some behind it.
    """
    return not turns or turns[0] == max(turns)


How = Literal["whole", "turn", "split"]
"""A call for all rows; for rows that lie one behind the other; for some across a ring's end."""


class _Turns(dict[int, int]):
    """Instructions of a turn by its rows."""

    def __init__(self, priced: Callable[[int, How], int], how: How) -> None:
        super().__init__()
        self._priced = priced
        self._how = how

    def __missing__(self, rows: int) -> int:
        return self.setdefault(rows, self._priced(rows, self._how))


class _Costs(_Turns):
    """All that is known of a step. Holds no step."""

    def __init__(self, step: Step) -> None:
        rates = rates_of(step)
        work = work_of(step) if rates.exact else _plain(step)
        each = rates.instructions

        def priced(rows: int, how: How) -> int:
            return round(sum(each.get(name, 0.0) * n for name, n in work(rows, how).items()))

        super().__init__(priced, "turn")
        self.split = _Turns(priced, "split")
        self.whole = priced(step.height, "whole")


@dataclass(frozen=True)
class Rates:
    """Instructions for each unit of work; ``exact``: fitted to this very kernel, else to what all
    kernels of its family for all cores have in common."""

    instructions: Mapping[str, float]
    exact: bool


def rates_of(step: Step) -> Rates:
    """The row of runtime_c/costs.toml for a step: that of its kernel and the layout of its
    constants, else that of its family and data type, else that of all."""
    kernel = step.kernel
    table = _table()
    layout = kernel.layout or ""
    key = kernel.name, LIKE.get(layout, layout)
    if key in table:
        return Rates(table[key], True)
    for key in ((kernel.family, kernel.dtype), ("any", kernel.dtype), ("any", "s8")):
        if key in table:
            return Rates(table[key], False)
    raise AssertionError("runtime_c/costs.toml has no row for all kernels")


@cache
def _table() -> dict[tuple[str, str], dict[str, float]]:
    rows = tomllib.loads((share("runtime_c") / "costs.toml").read_text())["cost"]
    found = {}
    for row in rows:
        if "kernel" in row:
            found[row["kernel"], row.get("layout", "")] = row["instructions"]
        else:
            found[row["family"], row["dtype"]] = row["instructions"]
    return found


_KNOWN: dict[int, tuple[_Costs, ref[Step]]] = {}
"""By id, while a step lives: steps of a search are asked for some ten thousand times."""


def work_of(step: Step) -> Called:
    """What a call of the step's kernel for so many rows does."""
    kernel = step.kernel
    form = _FORMS.get(kernel.name) or _FAMILIES.get(kernel.family, _plain)
    if form is _pool and "window_h" not in step.packed.params:
        form = _plain
    return form(step)


def total_work(step: Step, turns: Sequence[int]) -> dict[str, float]:
    """What all turns of a step do together."""
    return _total(step, work_of(step), turns)


def _total(step: Step, work: Called, turns: Sequence[int]) -> dict[str, float]:
    how: How = "turn" if _aligned(turns) else "split"
    if len(turns) == 1 and turns[0] == step.height:
        how = "whole"
    found: dict[str, float] = {}
    for rows in turns:
        for name, value in work(rows, how).items():
            found[name] = found.get(name, 0.0) + value
    return found


def plain_work(step: Step, turns: Sequence[int]) -> dict[str, float]:
    """What all turns of a step do together, in units that every kernel has."""
    return _total(step, _plain(step), turns)


def _plain(step: Step) -> Called:
    """Calls, rows, pixels, elements: of a call without rows the caller makes one for each row."""
    by_rows = not any(isinstance(item, Rows) for item in step.call.operands)
    height = max(1, step.height)
    made = (*step.types.outputs, *(step.types.input(index) for index in step.node.op.mutates))
    output = made[0] if made else None
    outputs = (output.count if output is not None else 0) / height
    depth = output.shape[-1] if output is not None and output.rank else 1
    first = next((kind for kind in step.types.inputs if kind is not None), None)
    inputs = (first.count if first is not None else 0) / height
    params = step.call.params
    macs = step.macs / height
    bytes_ = params.get("bytes")
    pieces = _number(params, "outer", 0) * len(bytes_) if isinstance(bytes_, tuple) else 0

    def work(rows: int, how: How) -> Work:
        calls = rows if by_rows and how != "whole" else 1
        each = rows * outputs / calls
        return {
            "calls": calls,
            "vectors": calls * (each // 16),
            "rests": calls * (each % 16),
            "rows": rows,
            "pixels": rows * outputs / max(1, depth),
            "outputs": rows * outputs,
            "inputs": rows * inputs,
            "pieces": rows * pieces / height,
            "macs": rows * macs,
        }

    return work


def _number(params: Mapping[str, object], name: str, default: int = 1) -> int:
    value = params.get(name, default)
    return int(value) if isinstance(value, int | float) else default


def _pool(step: Step) -> Called:
    """Pooling: the taps of a window that lie in the map, so many channels at a time."""
    params = step.packed.params
    height, width = step.height, _number(params, "out_w")
    lanes = {"dsp": 4, "mve": 16}.get(step.kernel.folder, 1)
    channels = _number(params, "channels")
    in_h = step.types.input(0).shape[1] if step.types.input(0).rank == 4 else 1
    high = _inside(height, in_h, params, "h", "top")
    wide = _inside(width, _number(params, "in_w"), params, "w", "left")

    def work(rows: int, how: How) -> Work:
        pixels = rows * width
        blocks, rests = pixels * (channels // lanes), pixels * (channels % lanes)
        part = pixels * (channels % lanes > 0)
        return {
            "calls": 1, "rows": rows, "pixels": pixels, "pixel_lines": pixels * high,
            "blocks": blocks, "block_lines": blocks * high, "block_taps": blocks * high * wide,
            "parts": part, "part_lines": part * high, "part_taps": part * high * wide,
            "rests": rests, "rest_lines": rests * high, "rest_taps": rests * high * wide,
        }  # fmt: skip

    return work


def _inside(places: int, size: int, params: Mapping[str, object], axis: str, side: str) -> float:
    """Taps of a window along an axis that lie in the map, on average."""
    window, stride = (_number(params, f"{name}_{axis}") for name in ("window", "stride"))
    pad = _number(params, f"pad_{side}", 0)
    firsts = [place * stride - pad for place in range(places)]
    return sum(min(x + window, size) - max(x, 0) for x in firsts) / max(1, places)


@dataclass(frozen=True)
class _Map:
    """A convolution's sizes, as its params have them."""

    height: int
    in_h: int
    in_w: int
    in_c: int
    out_w: int
    out_c: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    group_in: int
    group_out: int
    signed: int
    clamped: int
    real: int
    exceptions: int

    @classmethod
    def of(cls, step: Step) -> _Map:
        params = step.packed.params
        found = {
            name: _number(params, name)
            for name in cls.__annotations__
            if name not in ("height", "in_h", "signed", "clamped", "real", "exceptions")
        }
        exceptions = params.get("exceptions")
        return cls(
            height=step.height,
            in_h=int(step.call.facts["in_h"]),
            signed=step.defines.get("TM_SIGNED", 0),
            clamped=int((params.get("lo"), params.get("hi")) != (-128, 127)),
            real=int(isinstance(step.call.params.get("scale"), Table)),
            exceptions=exceptions.array.size - 1 if isinstance(exceptions, Table) else 0,
            **found,
        )

    @property
    def groups(self) -> int:
        return self.in_c // self.group_in

    @property
    def taps(self) -> int:
        return self.kernel_h * self.kernel_w

    @property
    def edge_rows(self) -> float:
        """The part of output rows whose windows leave the map."""
        reach = (self.kernel_h - 1) * self.dilation_h
        inside = sum(
            y * self.stride_h - self.pad_top >= 0
            and y * self.stride_h - self.pad_top + reach < self.in_h
            for y in range(self.height)
        )
        return 1 - inside / max(1, self.height)

    @property
    def edge_columns(self) -> float:
        """The part of output columns whose windows leave the map."""
        reach = (self.kernel_w - 1) * self.dilation_w
        inside = sum(
            x * self.stride_w - self.pad_left >= 0
            and x * self.stride_w - self.pad_left + reach < self.in_w
            for x in range(self.out_w)
        )
        return 1 - inside / max(1, self.out_w)


def _gemm(step: Step) -> Called:
    """tm_conv2d_gemm_s8: three pixels (a patch) by two channels (a tile) at a time."""
    m = _Map.of(step)
    wide = step.defines.get("TM_WIDE", 1)
    joined = m.dilation_w == 1 and m.group_in == m.in_c
    run = m.kernel_w * m.group_in if joined else m.group_in
    runs = m.kernel_h * (1 if joined else m.kernel_w)
    pairs = runs * ((run + 1) // 2 if wide else (run + 3) // 4 * 2)
    blocks = -(-m.group_out // 2)
    single = (
        m.groups == m.taps == 1 and m.stride_h == m.stride_w == 1 and m.out_w == m.in_w
        and m.pad_top == m.pad_left == 0
    )  # fmt: skip
    reach = (m.kernel_w - 1) * m.dilation_w
    plain = m.groups == 1 and m.out_c % 2 == 0 and not m.exceptions
    edge_rows = m.edge_rows

    def of_row(start: int) -> tuple[int, int, int]:
        """Patches inside a row and others, of a row whose first ``start`` pixels are done, and
        pixels of the next one that go with them."""
        fast = other = 0
        x = start
        while x < m.out_w:
            left = x * m.stride_w - m.pad_left
            inside = left >= 0 and left + 2 * m.stride_w + reach < m.in_w and x + 3 <= m.out_w
            fast += inside
            other += not inside
            x += 3
        return fast, other, x - m.out_w

    def of_rows(rows: int) -> tuple[float, float]:
        if rows == 0 or m.out_w == 0:
            return 0.0, 0.0
        fast = other = start = 0
        count = 0
        # it repeats after at most three rows
        for _ in range(min(rows, 3)):
            if start < m.out_w:
                more = of_row(start)
                fast, other, start = fast + more[0], other + more[1], more[2]
            else:
                start -= m.out_w
            count += 1
        return fast * rows / count, other * rows / count

    def work(rows: int, how: How) -> Work:
        if single:
            parts = (1, rows - 1) if how == "split" and rows > 1 else (rows,)
            fast = float(sum(part * m.out_w // 3 for part in parts))
            other = float(sum(part * m.out_w % 3 > 0 for part in parts))
        else:
            fast, other = of_rows(rows)
            fast, other = fast * (1 - edge_rows), other + fast * edge_rows
        both = (fast + other) * m.groups
        tiles = both * blocks
        bytes_ = m.taps * m.group_in
        fill = "" if how == "whole" else "turn_"
        return {
            "calls": 1,
            "turns": how != "whole",
            "rows": rows,
            "patches": fast * m.groups,
            "edge_patches": other * m.groups,
            "odd_patches": 0 if plain else both,
            f"{fill}runs": fast * m.groups * runs,
            f"{fill}quads": fast * m.groups * runs * (run // 4),
            f"{fill}rests": fast * m.groups * runs * (run % 4 > 0),
            f"{fill}edge_taps": other
            * m.groups
            * (m.kernel_h if joined and m.group_in % 4 else m.taps),
            f"{fill}edge_bytes": other * m.groups * bytes_,
            f"{fill}edge_odd_bytes": other * m.groups * bytes_ * (joined and m.group_in % 4 > 0),
            "tiles": tiles,
            "signed_tiles": tiles * m.signed,
            "clamped_tiles": tiles * m.clamped,
            "tile_pairs": tiles * pairs,
            "tile_loops": tiles * (-(-pairs // 8) if pairs > 8 or not wide else 0),
            "exceptions": (fast + other) * m.exceptions,
            "exception_pairs": (fast + other) * m.exceptions * pairs,
        }

    return work


def _planes(step: Step) -> Called:
    """tm_dwconv2d_planes_s8: lines of four channels are widened, then outputs summed in strips of
    six, four and two. Each band of lines reads its halo again."""
    m = _Map.of(step)
    facts = CallFacts(step.call, {})
    down = m.in_w == 1
    lanes = 4.0 if m.in_c >= 4 else float(m.in_c)
    quads = -(-m.in_c // 4)
    sixes = step.defines.get("TM_SIXES", 1)
    fours = step.defines.get("TM_FOURS", 1)

    def strips(outputs: int) -> list[tuple[int, int]]:
        found = []
        left = outputs
        while left > 0:
            width = 6 if left >= 5 and sixes else 4 if left >= 3 and fours else 2
            count = 1 if left < width else left // width
            found.append((width, count))
            left -= width * count
        return found

    def work(rows: int, how: How) -> Work:
        planes: Planes = facts.banded(0 if how == "whole" else rows).planes
        across, stride, along = planes.across, planes.stride, planes.along
        words = along // 2 + 1 if stride == 1 else (along + 1) // 2
        step_across = m.stride_w if down else m.stride_h
        span = (across - 1) * (m.dilation_w if down else m.dilation_h)
        outputs, lines = (rows, m.out_w) if down else (m.out_w, rows)
        at_once = max(1, min(lines, planes.lines))
        bands = -(-lines // at_once)
        if how == "split" and lines > 1:
            bands = max(bands, 2)
        read = bands * (span + 1 - step_across) + lines * step_across
        even = -(-outputs // 2) * 2
        line_words = (even // 2 if stride == 1 else even) + words - 1
        kinds = strips(outputs)
        plain = m.in_c < 4
        found: dict[str, float] = {
            "calls": 1,
            "turns": how != "whole",
            "bands": bands,
            "band_quads": bands * quads,
            "band_channels": bands * m.out_c,
            "lines": read * quads,
            "pad_words": read * line_words if not plain else 0,
            "words": read * line_words * quads if not plain else 0,
            "gathered": read * line_words * quads * lanes if plain else 0,
            "jobs": bands * quads * len(kinds),
            "jobs_channels": bands * m.out_c * len(kinds),
            "exceptions": m.exceptions * lines * outputs,
            "exception_taps": m.exceptions * lines * outputs * across * words,
        }
        for width, count in kinds:
            n = count * m.out_c
            found[f"strips_{width}"] = found.get(f"strips_{width}", 0) + n * bands
            n *= lines
            for name, value in (
                (f"lines_{width}", n),
                ("loads", n * across * ((width // 2 if stride == 1 else width) + words - 1)),
                ("line_weights", n * across * (words if stride == 2 or words == 2 else 2 * words)),
                (f"line_taps_{min(max(words, 2), 4)}_{stride}", n * across),
                (f"products_{min(max(words, 2), 4)}_{stride}", n * across * width * words),
                ("clamped", n * width * m.clamped),
                ("signed", n * width * m.signed),
            ):
                found[name] = found.get(name, 0) + value
        return found

    return work


def _windows(step: Step) -> Called:
    """Convolutions in general: patches of pixels, blocks of channels, rows gathered."""
    m = _Map.of(step)
    depth = m.taps * m.group_in
    blocks = m.groups * -(-m.group_out // 4)
    pieces = -(-depth // 16)
    edge_rows, edge_columns = m.edge_rows, m.edge_columns
    edge = 1 - (1 - edge_rows) * (1 - edge_columns)
    outs = max(1, step.defines.get("TM_OUTS", 4))
    in_place = m.taps == 1 and m.pad_top == m.pad_left == 0

    def work(rows: int, how: How) -> Work:
        pixels = rows * m.out_w
        outputs = pixels * m.out_c
        turned = "" if how == "whole" else "turn_"
        patched = 0 if in_place else pixels * m.groups
        strips = rows * m.out_c * -(-m.out_w // outs)
        pairs = -(-pixels // 2)
        return {
            "calls": 1,
            "turns": how != "whole",
            "rows": rows,
            "odd_rows": rows * (m.out_w % 2),
            "pairs": pairs * m.groups,
            "edge_pixels": pixels * edge,
            f"{turned}runs": patched * m.kernel_h,
            f"{turned}pieces": patched * m.kernel_h * -(-m.kernel_w * m.group_in // 16),
            f"{turned}bytes": patched * depth,
            f"{turned}edge_taps": patched * edge * m.taps,
            f"{turned}edge_bytes": patched * edge * depth,
            "tiles": pairs * blocks,
            "tile_pieces": pairs * blocks * pieces,
            "tile_taps": pairs * blocks * depth,
            "outputs": outputs,
            "signed": outputs * m.signed,
            "clamped": outputs * m.clamped,
            "real": outputs * m.real,
            "macs": outputs * depth,
            "channels": rows * m.out_c,
            "strips": strips,
            "strip_taps": strips * m.taps,
            "strip_columns": strips * m.kernel_h * ((outs - 1) * m.stride_w + m.kernel_w),
            "edge_strips": strips * edge * m.taps,
            "exceptions": pixels * m.exceptions,
            "exception_macs": pixels * m.exceptions * depth,
        }

    return work


def _mve_windows(step: Step) -> Called:
    """tm_dwconv2d_mve_s8: rows are interleaved for a block of channels, then windows gathered,
    four at a time; small ones serve two rows where the first of them is even."""
    m = _Map.of(step)
    paired = step.defines.get("TM_PAIRS", 0)
    padded = any(isinstance(item, Rows) and item.pad is not None for item in step.call.operands)
    groups = 1 if paired else -(-m.kernel_h // 4)
    row_fours = -(-m.out_w // 4)
    line = m.in_w == m.kernel_w == 1 and not padded
    band = max(4, ((WORDS // (groups * m.in_c) - 1) // m.stride_h + 1) // 4 * 4)

    def work(rows: int, how: How) -> Work:
        upright = line and how == "whole" and not paired
        doubles = (rows - (how == "split")) // 2 if paired else 0
        singles = rows - 2 * doubles
        if upright:
            singles = -(-rows // band)
            columns, fours = (band - 1) * m.stride_h + 1, -(-rows // 4) / singles
        else:
            columns = 4 * row_fours + 2
            fours = row_fours
            if not paired:
                reach = (m.kernel_w - 1) * m.dilation_w
                columns = (4 * row_fours - 1) * m.stride_w + reach + 1
        steps = doubles + singles
        blocks = 1
        if groups * columns * m.in_c > WORDS:
            blocks = -(-m.in_c // (max(WORDS // (groups * columns) // BLOCK, 1) * BLOCK))
        size = min(-(-m.in_c // (blocks * BLOCK)) * BLOCK, m.in_c) if blocks > 1 else m.in_c
        blocks = -(-m.in_c // size)
        inside: float = min(columns - m.pad_left, m.in_w)
        if upright:
            inside = (rows / singles - 1) * m.stride_h + 1
        loads = steps * groups * blocks
        words = -(-m.kernel_w * groups // 4) if not upright else -(-groups // 4)
        channels = size * blocks
        return {
            "calls": 1,
            "steps": steps,
            "loads": loads,
            "load_words": loads * inside * size / 16,
            "load_columns": loads * inside * (blocks > 1),
            "load_rests": loads * (int(inside) * size % 16) * (blocks == 1),
            "fills": loads * (m.pad_left > 0) + loads * (columns > inside + m.pad_left),
            "fill_words": loads * (columns - inside) * size / 4,
            "doubles": doubles * channels,
            "double_fours": doubles * channels * fours,
            "singles": singles * channels * paired,
            "single_fours": singles * channels * fours * paired,
            "channels": singles * channels * (not paired),
            "windows": singles * channels * fours * (not paired),
            "window_words": singles * channels * fours * words * (not paired),
            "upright": singles * channels * fours * upright,
            "rests": steps * channels * (-m.out_w % 4) * (not upright),
            "real": steps * channels * fours * m.real,
            "signed": steps * channels * fours * m.signed,
            "clamped": steps * channels * fours * m.clamped,
        }

    return work


def _dense(step: Step) -> Called:
    """Fully connected: four outputs at a time, each input once for them."""
    params = step.packed.params
    rows, depth, outs = (_number(params, name) for name in ("rows", "depth", "outs"))
    blocks = rows * -(-outs // 4)
    signed = step.defines.get("TM_SIGNED", 0)
    exceptions = params.get("exceptions")
    listed = exceptions.array.size - 1 if isinstance(exceptions, Table) else 0
    found = {
        "rows": rows, "blocks": blocks, "block_quads": blocks * (depth // 4),
        "block_pieces": blocks * -(-depth // 16), "block_rests": blocks * (depth % 4),
        "signed": blocks * signed, "outputs": rows * outs, "macs": rows * outs * depth,
        "exceptions": rows * listed, "exception_macs": rows * listed * depth,
    }  # fmt: skip
    of_row = 1.0 if step.row_by_row else 1 / max(1, step.height)

    def work(rows: int, how: How) -> Work:
        done = {name: n * rows * of_row for name, n in found.items()}
        return {**done, "calls": 1 if how == "whole" else rows}

    return work


def _weight_update(step: Step) -> Called:
    """Steps of weights, all at once: two outputs by four inputs over pairs of places."""
    params = step.packed.params
    names = ("batch", "out_h", "out_w", "out_c", "kernel_h", "kernel_w", "chosen_count")
    batch, height, width, outs, kernel_h, kernel_w, chosen = (_number(params, n) for n in names)
    places, taps = batch * height * width, kernel_h * kernel_w
    blocks = taps * -(-chosen // 4)
    whole = blocks if chosen % 4 == 0 and params.get("chosen") is None else 0
    found: dict[str, float] = {
        "calls": 1, "channels": outs, "weights": outs * taps * chosen,
        "blocks": -(-outs // 2) * blocks, "products": -(-outs // 2) * blocks * -(-places // 2),
        "streams": -(-outs // 2) * places, "columns": whole * places,
        "odd_columns": (blocks - whole) * places,
    }  # fmt: skip
    return lambda rows, how: found


def _bias_update(step: Step) -> Called:
    """Steps of biases, all at once: sums over pixels."""
    pixels, channels = (_number(step.packed.params, name) for name in ("pixels", "channels"))
    eights = channels // 8
    found: dict[str, float] = {
        "calls": 1, "channels": channels, "eights": eights, "sums": eights * pixels,
        "rests": channels % 8 * pixels,
    }  # fmt: skip
    return lambda rows, how: found


_FORMS: dict[str, Callable[[Step], Called]] = {
    "tm_conv2d_gemm_s8": _gemm,
    "tm_dwconv2d_planes_s8": _planes,
    "tm_dwconv2d_mve_s8": _mve_windows,
}
_FAMILIES: dict[str, Callable[[Step], Called]] = {
    "conv2d": _windows, "dense": _dense, "conv_weight_update": _weight_update,
    "bias_update": _bias_update,
}  # fmt: skip
_FAMILIES |= dict.fromkeys(
    ("avgpool", "avgpool_line", "avgpool_scaled", "maxpool"), _pool
)  # fmt: skip
