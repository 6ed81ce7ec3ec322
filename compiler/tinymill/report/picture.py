"""Pictures: the arena over time, and arena against instructions. matplotlib is an extra."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TinymillError, ToolMissing, one_line
from ..files import written_whole
from ..schedule import Buffer, Plan
from .figures import SegmentFigures, kind_of, marks_of, segments_of

FORMATS = (".png", ".svg")
INSTALL = "pip install 'tinymill[plot]'"
STYLE = {
    "svg.hashsalt": "tinymill",  # the same plan gives the same file
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are names, whatever they hold
    "font.family": "DejaVu Sans",
    "hatch.linewidth": 0.7,
    "axes.unicode_minus": False,
}
# Paul Tol's light palette: told apart by every eye, black text is readable on each
COLOURS = {
    "input": "#44bb99", "output": "#ee8866", "activation": "#77aadd", "ring": "#eedd88",
    "scratch": "#dddddd",
}  # fmt: skip
NAMES = {
    "input": "input", "output": "output", "activation": "value between layers",
    "ring": "ring of rows", "scratch": "scratch",
}  # fmt: skip
INK, FAINT, EDGE, PEAK = "#1a1a1a", "#e6e6e6", "#3c4650", "#aa1133"
FONT, SMALL = 8.0, 7.0
"""Points of a label, and of the smallest."""
LEAST_WIDTH, SPREAD, END_WIDTH = 0.17, 7.0, 0.4
"""Inches: of a segment at least, of all of them by their instructions, of before and after."""
MOST_WIDTH = 48.0
DOTS = "\N{HORIZONTAL ELLIPSIS}"
ENOUGH = 6
"""Letters of a name that are left at least when it is shortened by what others share."""
HATCH = "////"
LINE = 1.3
"""Height of a line of text, in parts of its size."""


def check_picture(path: str | Path) -> None:
    """Raises ``TinymillError`` if no picture can have this name, ``ToolMissing`` if none can
    be drawn here."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise TinymillError("pictures are written as .png or .svg", at=str(path))
    if not path.parent.is_dir():
        raise TinymillError("can't be written: there is no such folder", at=str(path))
    _matplotlib()


def save_picture(found: Plan | Sequence[Plan], path: str | Path, *, title: str = "") -> None:
    """Draws a plan, or several as a front, to a .png or .svg file, whole or not at all."""
    check_picture(path)
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    with _style():
        figure = _Arena(found, title).draw() if isinstance(found, Plan) else _front(found, title)
        creator = {"Date": None, "Creator": "tinymill"} if kind == "svg" else {"Software": None}
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata=creator)
    with written_whole(path) as file:
        file.write(stream.getvalue())


def _matplotlib() -> Any:
    try:
        return importlib.import_module("matplotlib")
    except ImportError as error:
        raise ToolMissing("matplotlib", install=INSTALL) from error


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """matplotlib's own settings and ours, whatever the user's are, for a while."""
    matplotlib = _matplotlib()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are boxes
        backend = matplotlib.rcParams["backend"]
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "backend": backend})
        yield


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _measure(figure: Any) -> Callable[[str, float], float]:
    """Inches that a line of text takes."""
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415

    renderer = figure.canvas.get_renderer()

    def width(text: str, size: float) -> float:
        extent = renderer.get_text_width_height_descent(text, FontProperties(size=size), False)
        return float(extent[0]) / figure.dpi

    return width


def _axes(figure: Any, left: float, right: float, top: float, bottom: float) -> Any:
    """Axes with so many inches around them."""
    width, height = figure.get_size_inches()
    inside = (width - left - right, height - top - bottom)
    axes = figure.add_axes((left / width, bottom / height, inside[0] / width, inside[1] / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT, colors=INK)
    return axes


def _bytes_axis(axis: Any, top: float, inches: float) -> None:
    """Ticks at powers of two that leave room for their labels."""
    step = 1
    while top / step > max(3.0, inches / 0.45):
        step *= 2
    ticks = list(range(0, int(top) + 1, step))
    axis.set_ticks(ticks, [short_size(tick) if tick else "0" for tick in ticks])


def short_size(count: float) -> str:
    """A number of bytes in four characters and a unit."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            number = count / factor
            return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"
    return f"{count:.0f} B"


def short_name(name: str, most: int) -> str:
    """The end of a name, which tells more than its beginning."""
    name = one_line(name, 400)
    return name if len(name) <= most else f"{DOTS}{name[1 - most :].lstrip(DOTS)}"


def telling(names: Sequence[str]) -> list[str]:
    """The names without the end and the beginning that many of them share."""
    found = [one_line(name, 400) for name in names]
    marks = "/" if sum("/" in name for name in found) * 2 > len(found) else "._:"
    for backward in (True, False):
        turned = [name[::-1] if backward else name for name in found]
        part = _shared_part(turned, marks)
        turned = [
            DOTS + name[len(part) :]
            if part and name.startswith(part) and len(name) >= len(part) + ENOUGH
            else name
            for name in turned
        ]
        found = [name[::-1] if backward else name for name in turned]
    return found if len(set(found)) == len(set(names)) else list(names)


def _shared_part(names: Sequence[str], marks: str) -> str:
    """The beginning by which most letters are saved: that of a third of the names or more, up to
    a mark between words; "" where there is none."""
    counts: dict[str, int] = {}
    for name in names:
        for end in range(3, len(name) - ENOUGH + 1):
            if name[end - 1] in marks:
                counts[name[:end]] = counts.get(name[:end], 0) + 1
    saved = {
        part: count * len(part) for part, count in counts.items() if count > max(1, len(names) // 3)
    }
    return max(saved, key=lambda part: (saved[part], part), default="")


@dataclass(frozen=True)
class _Box:
    """A rectangle: inches along x, bytes along y."""

    left: float
    right: float
    low: float
    high: float


class _Arena:
    """The arena over time: segments along x, bytes along y, a rectangle for each buffer."""

    def __init__(self, plan: Plan, title: str) -> None:
        self.plan = plan
        self.title = title
        self.figures = segments_of(plan)
        widths = [END_WIDTH, *_widths(self.figures), END_WIDTH]
        self.edges = [0.0]
        for width in widths:
            self.edges.append(self.edges[-1] + width)
        values = [buffer.values[0] for buffer in plan.buffers if buffer.values]
        short = iter(telling(values))
        self.names = {b.name: next(short) if b.values else "scratch" for b in plan.buffers}
        self.top = max(plan.arena_bytes, 1)
        self.height = 5.4
        labels = [_segment_label(index, each) for index, each in enumerate(self.figures)]
        self.labels = ["before", *labels, "after"]
        self.figure = _figure(1.0, 1.0)
        self.width_of = _measure(self.figure)
        self.scale = self.height / self.top
        """Inches a byte."""

    def draw(self) -> Any:
        labels = max(self.width_of(label, SMALL) for label in self.labels)
        left, right, above, below = 0.85, 0.25, 1.05, labels + 0.6
        inside = self.edges[-1]
        # a small model's picture has room for its title and legend, too
        width = max(inside + left + right, 9.0)
        stretch = (width - left - right) / inside
        self.edges = [edge * stretch for edge in self.edges]
        self.figure.set_size_inches(width, self.height + above + below)
        axes = self.axes = _axes(self.figure, left, right, above, below)
        axes.set_xlim(0, self.edges[-1])
        axes.set_ylim(0, self.top)
        axes.margins(0)
        _bytes_axis(axes.yaxis, self.top, self.height)
        axes.set_ylabel("bytes of the arena", fontsize=FONT, color=INK)
        self._columns()
        self.shared = tuple(self._shared())
        buffers = [buffer for buffer in self.plan.buffers if buffer.size]
        for buffer in buffers:
            self._fill(buffer)
        self._wedges()
        for buffer in buffers:
            self._outline(buffer)
        for buffer in buffers:
            self._label(buffer)
        self._peak()
        self._head(width, above)
        return self.figure

    def _span(self, first: int, last: int) -> tuple[float, float]:
        return self.edges[first + 1], self.edges[last + 2]

    def _box(self, buffer: Buffer) -> _Box:
        low = self.plan.placement.offsets[buffer.name]
        return _Box(*self._span(buffer.first, buffer.last), low, low + buffer.size)

    def _columns(self) -> None:
        """A column for each segment, its name below it where there is room."""
        axes = self.axes
        for edge in self.edges[1:-1]:
            axes.axvline(edge, color=FAINT, linewidth=0.6, zorder=0)
        centres = [(a + b) / 2 for a, b in itertools.pairwise(self.edges)]
        shown: list[int] = []
        end = -1.0
        for index, centre in enumerate(centres):
            if centre - end >= SMALL * LINE / 72:
                shown.append(index)
                end = centre
        axes.set_xticks(
            [centres[index] for index in shown], [self.labels[index] for index in shown],
            rotation=90, fontsize=SMALL,
        )  # fmt: skip
        for index, label in zip(shown, axes.get_xticklabels(), strict=True):
            if 0 < index <= len(self.figures) and self.figures[index - 1].turns > 1:
                label.set_fontweight("bold")
        text = (
            "segments in order, as wide as their share of the instructions where that can be seen"
        )
        if any(each.turns > 1 for each in self.figures):
            text += "; bold: layers take turns row by row"
        axes.set_xlabel(text, fontsize=SMALL, color=INK)

    def _colour(self, buffer: Buffer) -> str:
        return COLOURS[kind_of(self.plan, buffer)]

    def _fill(self, buffer: Buffer) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415

        box = self._box(buffer)
        colour = self._colour(buffer)
        self.axes.add_patch(
            Rectangle(
                (box.left, box.low), box.right - box.left, box.high - box.low,
                facecolor=colour, edgecolor=_darker(colour), linewidth=0, zorder=1,
                hatch=None if buffer.rows is None else HATCH,
            )
        )  # fmt: skip

    def _shared(self) -> Iterator[tuple[Buffer, Buffer, _Box]]:
        """Dying input, output, and what they share: in one segment some bytes of the arena."""
        named = {buffer.name: buffer for buffer in self.plan.buffers}
        for overlay in self.plan.overlays:
            source, output = named[overlay.source], named[overlay.output]
            one, other = self._box(source), self._box(output)
            low, high = max(one.low, other.low), min(one.high, other.high)
            first, last = max(source.first, output.first), min(source.last, output.last)
            if low < high and first <= last:
                yield source, output, _Box(*self._span(first, last), low, high)

    def _wedges(self) -> None:
        """Bytes that an input leaves to an output: rows are computed upwards, so a line goes up."""
        from matplotlib.patches import Polygon  # noqa: PLC0415

        for source, output, box in self.shared:
            start, end = (box.left, box.low), (box.right, box.high)
            for corner, buffer, part in (
                ((box.left, box.high), source, 0.35),
                ((box.right, box.low), output, 0.0),
            ):
                colour = _lighter(self._colour(buffer), part)
                self.axes.add_patch(
                    Polygon([start, corner, end], facecolor=colour, linewidth=0, zorder=1.2)
                )
            self._line(start, end)

    def _line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.axes.plot(
            *zip(start, end, strict=True), color=EDGE, linewidth=0.7, zorder=1.4,
            solid_capstyle="projecting", clip_on=False,
        )  # fmt: skip

    def _outline(self, buffer: Buffer) -> None:
        """The edges of a buffer, but for those inside the other one of a wedge."""
        box = self._box(buffer)
        gone: dict[str, list[tuple[float, float]]] = {edge: [] for edge in ("l", "r", "t", "b")}
        for source, output, wedge in self.shared:
            one, other = self._box(source), self._box(output)
            if buffer is source:
                gone["r"].append((wedge.low, wedge.high))
                if other.low < one.low:
                    gone["b"].append((wedge.left, wedge.right))
            elif buffer is output:
                gone["l"].append((wedge.low, wedge.high))
                if one.high > other.high:
                    gone["t"].append((wedge.left, wedge.right))
        for edge, x in (("l", box.left), ("r", box.right)):
            for low, high in _without((box.low, box.high), gone[edge]):
                self._line((x, low), (x, high))
        for edge, y in (("b", box.low), ("t", box.high)):
            for left, right in _without((box.left, box.right), gone[edge]):
                self._line((left, y), (right, y))

    def _label(self, buffer: Buffer) -> None:
        """The name and size of a buffer, the longest form that fits where nothing else lies."""
        name = self.names[buffer.name]
        rows = "" if buffer.rows is None else f", {buffer.rows} row{'s' * (buffer.rows > 1)}"
        size = f"{short_size(buffer.size)}{rows}"
        if not buffer.values:
            forms = [["scratch", size], [f"scratch {size}"], [short_size(buffer.size)]]
        else:
            lengths = sorted({min(len(name), n) for n in (40, 28, 20, 14, 10)}, reverse=True)
            names = [short_name(name, n) for n in lengths]
            forms = [form for each in names for form in ([each, size], [f"{each}  {size}"])]
            forms += [[size], [short_size(buffer.size)]]
        free = self._free(buffer)
        for lines in forms:
            for box in free:
                for rotation in (0, 90):
                    if self._fits(lines, box, rotation):
                        self._text(lines, box, rotation, buffer)
                        return

    def _free(self, buffer: Buffer) -> list[_Box]:
        """Parts of the buffer's rectangle without wedges, the largest first."""
        box = self._box(buffer)
        wedges = [w for one, other, w in self.shared if buffer in (one, other)]
        lefts = sorted({box.left, *(w.right for w in wedges if w.right < box.right)})
        rights = sorted({box.right, *(w.left for w in wedges if w.left > box.left)})
        lows = sorted({box.low, *(w.high for w in wedges if w.high < box.high)})
        highs = sorted({box.high, *(w.low for w in wedges if w.low > box.low)})
        found = [
            _Box(left, right, low, high)
            for left in lefts for right in rights for low in lows for high in highs
            if left < right and low < high and not any(
                w.left < right and left < w.right and w.low < high and low < w.high for w in wedges
            )
        ]  # fmt: skip
        found.sort(key=lambda b: -(b.right - b.left) * (b.high - b.low))
        return found

    def _fits(self, lines: Sequence[str], box: _Box, rotation: int) -> bool:
        along = max(self.width_of(line, SMALL) for line in lines) + 0.07
        across = len(lines) * SMALL * LINE / 72 + 0.015
        width, height = box.right - box.left, (box.high - box.low) * self.scale
        if rotation:
            width, height = height, width
        return along <= width and across <= height

    def _text(self, lines: Sequence[str], box: _Box, rotation: int, buffer: Buffer) -> None:
        # on hatches, a patch of plain colour below the letters
        patch = {"facecolor": self._colour(buffer), "edgecolor": "none", "pad": 0.6}
        self.axes.text(
            (box.left + box.right) / 2, (box.low + box.high) / 2, "\n".join(lines),
            rotation=rotation, ha="center", va="center", fontsize=SMALL, color=INK,
            linespacing=1.2, zorder=3, bbox=None if buffer.rows is None else patch,
        )  # fmt: skip

    def _peak(self) -> None:
        """The line that the arena reaches, its number, and a mark over each segment there."""
        plan = self.plan
        self.axes.axhline(
            plan.arena_bytes, color=PEAK, linewidth=1.4, linestyle=(0, (5, 2)), clip_on=False,
            zorder=4,
        )  # fmt: skip
        times = range(-1, len(plan.segments) + 1)
        for time in times:
            if plan.arena_bytes and plan.top_at(time) == plan.arena_bytes:
                left, right = self._span(time, time)
                self.axes.plot(
                    (left + right) / 2, 1.012, marker="v", markersize=5, color=PEAK,
                    clip_on=False, zorder=5, transform=self.axes.get_xaxis_transform(),
                )  # fmt: skip
        bound = plan.placement.bound
        proof = "proven least for these segments"
        if bound < plan.arena_bytes:
            proof = f"proven lower bound {bound:,}"
        self.axes.annotate(
            f"peak {plan.arena_bytes:,} bytes ({proof})", (0, 1), (0, 10),
            xycoords="axes fraction", textcoords="offset points", fontsize=FONT, color=PEAK,
            fontweight="bold", ha="left", va="bottom",
        )  # fmt: skip

    def _head(self, width: float, above: float) -> None:
        from matplotlib.patches import Patch  # noqa: PLC0415

        height = self.figure.get_size_inches()[1]
        self.figure.text(
            0.85 / width, 1 - 0.16 / height, short_name(self.title, 100), fontsize=12, color=INK,
            ha="left", va="top",
        )  # fmt: skip
        kinds = {kind_of(self.plan, buffer) for buffer in self.plan.buffers}
        ringed = any(buffer.rows is not None for buffer in self.plan.buffers)
        handles = [
            Patch(facecolor=colour, edgecolor=_darker(colour), linewidth=0.6, label=NAMES[kind],
                  hatch=HATCH if kind == "ring" else None)
            for kind, colour in COLOURS.items()
            if kind in kinds or (kind == "ring" and ringed)
        ]  # fmt: skip
        if self.shared:
            handles.append(_wedge_handle())
        self.figure.legend(
            handles=handles, loc="upper left", ncols=len(handles), fontsize=SMALL, frameon=False,
            bbox_to_anchor=(0.85 / width, 1 - 0.42 / height), borderaxespad=0, borderpad=0,
            handlelength=1.6, handleheight=0.9, columnspacing=1.6, labelcolor=INK,
        )  # fmt: skip


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _darker(colour: str) -> str:
    return "#" + "".join(f"{c * 3 // 4:02x}" for c in _rgb(colour))


def _lighter(colour: str, part: float) -> str:
    return "#" + "".join(f"{round(c + (255 - c) * part):02x}" for c in _rgb(colour))


def _without(
    line: tuple[float, float], holes: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """The parts of a line outside the holes."""
    start, end = line
    for low, high in sorted(holes):
        if start < low:
            yield start, min(low, end)
        start = max(start, high)
    if start < end:
        yield start, end


def _wedge_handle() -> Any:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    return Line2D([], [], color=EDGE, linewidth=0.8, marker="none",
                  label="slope: an output takes a dying input's bytes")  # fmt: skip


def _widths(figures: Sequence[SegmentFigures]) -> list[float]:
    """Inches of each segment: its share of the instructions, but enough for its name."""
    total = sum(each.instructions for each in figures) or 1
    spread = max(SPREAD, LEAST_WIDTH * len(figures))
    widths = [max(LEAST_WIDTH, spread * each.instructions / total) for each in figures]
    shrink = min(1.0, MOST_WIDTH / (sum(widths) or 1))
    return [width * shrink for width in widths]


def _segment_label(index: int, figures: SegmentFigures) -> str:
    ops = figures.ops
    if len(ops) == 1 and figures.turns == 1:
        return f"{ops[0]}  {index}"
    if len(ops) == 1:
        return f"{ops[0]}, {figures.turns} turns  {index}"
    return f"{len(ops)} layers, {figures.turns} turns  {index}"


def _front(plans: Sequence[Plan], title: str) -> Any:
    """Arena against instructions of plans of which none is both smaller and faster."""
    figure = _figure(8.0, 5.2)
    axes = _axes(figure, left=0.95, right=0.45, top=0.8, bottom=0.65)
    fastest = min(plan.cost for plan in plans)
    costs = [plan.cost for plan in plans]
    arenas = [plan.arena_bytes for plan in plans]
    spread = max(max(costs) - fastest, fastest * 0.001, 1)
    top = max(arenas) * 1.12
    axes.set_xlim(fastest - 0.06 * spread, max(costs) + 0.16 * spread)
    axes.set_ylim(0, top)
    _bytes_axis(axes.yaxis, top, 3.4)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.step(costs, arenas, where="post", color=COLOURS["activation"], linewidth=1.4, zorder=2)
    marks = marks_of(plans)
    for plan, mark in zip(plans, marks, strict=True):
        axes.plot(
            plan.cost, plan.arena_bytes, marker="o", markersize=7 if mark else 5,
            color=PEAK if mark else EDGE, linestyle="none", zorder=3,
        )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:,.6g}")
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("estimated instructions of a run, millions", fontsize=FONT, color=INK)
    axes.set_ylabel("arena", fontsize=FONT, color=INK)
    axes.set_title(short_name(title, 76), fontsize=12, color=INK, loc="left", pad=26)
    axes.annotate(
        f"{len(plans)} plan{'s' * (len(plans) > 1)}; +%: instructions more than the fastest",
        (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", fontsize=FONT,
        color=INK,
    )  # fmt: skip
    _front_labels(figure, axes, plans, marks)
    return figure


def _front_labels(figure: Any, axes: Any, plans: Sequence[Plan], marks: Sequence[str]) -> None:
    """Labels beside the points, those with a mark first; what finds no room has none."""
    from matplotlib.transforms import Bbox  # noqa: PLC0415

    fastest = min(plan.cost for plan in plans)
    points = [axes.transData.transform((plan.cost, plan.arena_bytes)) for plan in plans]
    pixel = figure.dpi / 72
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    # the staircase goes right and then down
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        taken += [
            Bbox.from_extents(x0, y0 - 1, x1, y0 + 1),
            Bbox.from_extents(x1 - 1, y1, x1 + 1, y0),
        ]
    room = axes.get_window_extent()
    room = Bbox.from_extents(room.x0 + 2, room.y0 + 2, figure.bbox.x1 - 4, room.y1 + 4)
    for index in sorted(range(len(plans)), key=lambda index: not marks[index]):
        plan = plans[index]
        more = f"+{plan.cost / fastest - 1:.2%}" if plan.cost > fastest else ""
        numbers = f"{plan.arena_bytes:,} bytes{'  ' if more else ''}{more}"
        text = f"{marks[index]}\n{numbers}" if marks[index] else numbers
        for dx, dy, ha, va in _SIDES:
            label = axes.annotate(
                text, (plan.cost, plan.arena_bytes), (dx, dy), textcoords="offset points",
                fontsize=SMALL, ha=ha, va=va, color=PEAK if marks[index] else INK, zorder=4,
                linespacing=1.15,
                arrowprops=None if max(abs(dx), abs(dy)) < 12 else
                {"arrowstyle": "-", "color": EDGE, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
            )  # fmt: skip
            box = label.get_window_extent(figure.canvas.get_renderer()).padded(pixel)
            inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0
            if inside and box.y1 <= room.y1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


_SIDES = (
    (7, 5, "left", "bottom"), (-7, -5, "right", "top"), (7, -5, "left", "top"),
    (-7, 5, "right", "bottom"), (0, 8, "center", "bottom"), (0, -8, "center", "top"),
    *((dx, dy, "left" if dx > 0 else "right", "bottom" if dy > 0 else "top")
      for far in (16, 28, 42, 60, 80, 110)
      for dx, dy in ((far, far), (-far, -far), (12, far), (-12, -far))),
)  # fmt: skip
