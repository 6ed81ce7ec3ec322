"""The report: one HTML page that needs nothing but a browser.

plotly.js is written into it once. A policy in its head lets the browser run the page's own scripts
by their hashes, and load nothing from anywhere; names of layers are text wherever they stand.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..errors import TinymillError, one_line
from ..files import written_whole
from ..share import share
from .arena import PARTS, Block
from .charts import COLOURS, FAMILIES, NAMES, charts_of, error_names, plotly
from .findings import Finding, findings_of
from .flash import GROUPS
from .layers import CORES, Layer, Tensor
from .network import BOX, WIDTH, drawing_of, network_of
from .picture import short_name, short_size
from .subject import Subject

SUFFIX = ".html"
NARROW = 15
"""Letters of a layer's name beside a chart on a phone."""
TITLE, NAME, SHAPE = 25, 34, 16
"""Letters in a box of the network."""
MICRO = 1e-6


def check_report(path: str | Path) -> None:
    """Raises ``TinymillError`` if no report can have this name, ``ToolMissing`` if none can be
    made here."""
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise TinymillError("a report is written as .html", at=str(path))
    if not path.parent.is_dir():
        raise TinymillError("can't be written: there is no such folder", at=str(path))
    if path.is_dir():
        raise TinymillError("can't be written: it is a folder", at=str(path))
    plotly()


def save_report(subject: Subject, path: str | Path) -> int:
    """Writes the page, whole or not at all; gives its bytes."""
    check_report(path)
    content = page_of(subject).encode()
    with written_whole(Path(path)) as stream:
        stream.write(content)
    return len(content)


def page_of(subject: Subject) -> str:
    """The page's HTML. The same subject gives the same text."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    findings = findings_of(subject)
    library = Markup(get_plotlyjs().replace("\r\n", "\n").replace("</script", "<\\/script"))
    script = Markup(_text("page.js"))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            subject=subject,
            title=one_line(subject.model, 120),
            version=__version__,
            library=library,
            script=script,
            hashes=[_hash(library), _hash(script)],
            style=Markup(_text("page.css")),
            data=Markup(data_text(_data(subject))),
            cards=_cards(subject),
            network=_network(subject),
            findings=findings,
            counted=subject.counted is not None,
            layer_names=[layer.short for layer in subject.layers],
            quantization=list(_quantization(subject)),
            front=subject.alternatives,
            command=subject.command(*subject.chosen),
            groups=_groups(subject),
            parts=_parts(subject),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(share("templates") / "report"),
        undefined=StrictUndefined,
        line_statement_prefix="//%",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )


def _text(name: str) -> str:
    return (share("templates") / "report" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def data_text(data: Any) -> str:
    """JSON that nothing in a page can end or begin anything from: ASCII without <, > and &."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def count_text(count: float) -> str:
    """A count in four characters and a unit."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 999 * factor else f"{count:,.0f}"
    return f"{count:.0f}"


def seconds_text(seconds: float) -> str:
    """A time in three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / MICRO:.3g} \N{GREEK SMALL LETTER MU}s"


def _cards(subject: Subject) -> list[dict[str, Any]]:
    """The headline: RAM, flash, instructions, time."""
    found = []
    for kind, title in (("ram", "RAM"), ("flash", "Flash")):
        size = subject.available(kind)
        used = subject.used(kind)
        parts = ", ".join(
            f"{name} {count:,}" for m in subject.memories if m.kind == kind
            for name, count in m.parts
        )  # fmt: skip
        unknown = []
        if kind == "ram" and subject.stack is None:
            unknown.append("stack not known")
        if kind == "flash" and subject.code is None:
            unknown.append("code not known")
        found.append({
            "name": title, "value": short_size(used), "exact": f"{used:,} bytes",
            "of": None if size is None else f"of {short_size(size)}",
            "share": None if size is None else used / max(size, 1),
            "over": any(m.kind == kind for m in subject.missing),
            "note": "; ".join([parts, *unknown]),
            "memories": [m for m in subject.memories if m.kind == kind],
        })  # fmt: skip
    counted = subject.measured is not None
    count = subject.instructions
    macs = subject.plan.macs
    each = f"; {count / macs:.2f} per multiply-accumulate, of which there are" if macs else ""
    note = "counted in the simulator" if counted else "estimated by the cost model"
    found.append({
        "name": "Instructions", "value": count_text(count), "exact": f"{count:,}",
        "of": "an inference", "share": None, "over": False, "memories": [],
        "note": f"{note}{each} {macs:,}" if macs else note,
    })  # fmt: skip
    seconds = subject.seconds
    if seconds is not None and subject.board.clock_hz:
        clock = subject.board.clock_hz / 1e6
        cycles = None if subject.measured is None else subject.measured.cycles
        how = (
            "if every instruction took one cycle"
            if cycles is None
            else f"by an estimate of {cycles:,} cycles"
        )
        found.append({
            "name": "Time", "value": seconds_text(seconds), "exact": f"{1 / seconds:.3g} a second"
            if seconds > 0 else "", "of": f"at {clock:g} MHz", "share": None, "over": False,
            "memories": [], "note": how,
        })  # fmt: skip
    return found


def _parts(subject: Subject) -> list[tuple[str, str]]:
    """What bytes of RAM are for anywhere in this plan: name, colour."""
    sums = [sum(column) for column in zip(*(m.parts for m in subject.arena.moments), strict=True)]
    kinds = {block.kind for block in subject.arena.blocks}
    used = {part for part, total in zip(PARTS, sums, strict=True) if total} | kinds
    return [
        (NAMES[part], COLOURS[part])
        for part in (*PARTS[:-1], "context", "stack", PARTS[-1])
        if part in used or part in ("context", "stack")
    ]


def _groups(subject: Subject) -> list[tuple[str, str, int, float]]:
    """The groups of flash: name, colour, bytes, share."""
    sums: dict[str, int] = {}
    for piece in subject.pieces:
        sums[piece.group] = sums.get(piece.group, 0) + piece.bytes
    total = max(sum(sums.values()), 1)
    return [
        (NAMES[group], COLOURS[group], sums[group], sums[group] / total)
        for group in GROUPS
        if group in sums
    ]


def _network(subject: Subject) -> dict[str, Any]:
    """The drawing of the network, box by box."""
    network = network_of(subject.plan)
    drawing = drawing_of(network)
    first = len(network.inputs)
    total = max(sum(subject.times), 1)
    most = max([*subject.times, 1])
    graph = subject.plan.graph
    boxes = []
    for index, top in enumerate(drawing.tops):
        box: dict[str, Any] = {"top": top, "layer": None, "share": 0.0, "percent": ""}
        if index < first or index >= first + network.layers:
            ports = graph.inputs if index < first else graph.outputs
            place = index if index < first else index - first - network.layers
            port = ports[place]
            kind = graph.type(port.value)
            box |= {
                "title": "Input" if index < first else "Output", "kind": "port",
                "name": short_name(one_line(port.name or port.value, 200), NAME),
                "full": one_line(port.name or port.value, 200), "colour": "",
                "shape": short_name("\N{MULTIPLICATION SIGN}".join(map(str, port.shape)), SHAPE),
                "percent": kind.dtype.name.lower(),
            }  # fmt: skip
        else:
            place = index - first
            layer = subject.layers[place]
            box |= {
                "title": short_end(layer.title, TITLE), "kind": "layer", "layer": place,
                "name": f"{place} {short_name(layer.short, NAME - 4)}", "full": layer.name,
                "colour": FAMILIES[layer.family],
                "shape": short_name(layer.main.shape, SHAPE),
                "share": subject.times[place] / most,
                "percent": f"{subject.times[place] / total:.1%}",
            }  # fmt: skip
        boxes.append(box)
    used = {box["colour"] for box in boxes if box["kind"] == "layer"}
    return {
        "drawing": drawing, "boxes": boxes, "box": BOX, "width": WIDTH, "first": first,
        "families": [(name, colour) for name, colour in FAMILIES.items() if colour in used],
    }  # fmt: skip


def short_end(text: str, most: int) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _quantization(subject: Subject) -> Iterator[dict[str, str]]:
    """A row for each layer that writes a quantised value."""
    for index, layer in enumerate(subject.layers):
        out = layer.main
        if out.scales is None:
            continue
        weights = next((t for t in layer.inputs if t.place == "flash" and t.scales), None)
        yield {
            "index": str(index), "name": layer.short, "title": layer.title, "dtype": out.dtype,
            "scale": scale_text(out), "zero": "" if out.zero_point is None else str(out.zero_point),
            "weights": "" if weights is None else scale_text(weights),
        }  # fmt: skip


def scale_text(tensor: Tensor) -> str:
    """The scale, or how many there are and between what they lie."""
    if tensor.scales is None:
        return ""
    least, most = tensor.scales
    if tensor.count == 1:
        return f"{least:.5g}"
    return f"{tensor.count} scales from {least:.3g} to {most:.3g}"


def _data(subject: Subject) -> dict[str, Any]:
    """What the page's script works with."""
    writers: dict[str, int] = {}
    for index, step in enumerate(subject.plan.layers):
        for value in step.node.outputs:
            writers[value] = index
    charts = charts_of(subject)
    return {
        "layers": [
            _layer_data(subject, index, layer) for index, layer in enumerate(subject.layers)
        ],
        "blocks": [_block_data(block, writers) for block in subject.arena.blocks],
        "moments": [
            {
                "name": moment.name, "detail": moment.detail, "layers": moment.layers,
                "blocks": moment.blocks, "top": moment.top, "used": moment.used,
                "parts": dict(zip(PARTS, moment.parts, strict=True)),
            }
            for moment in subject.arena.moments
        ],
        "peak": subject.arena.peak,
        "arena": subject.arena.bytes,
        "outside": {"context": subject.static, "stack": subject.stack},
        "colours": COLOURS,
        "names": NAMES,
        "charts": charts,
        "narrow": _narrow(subject),
        "front": [
            {"command": plan.command, "file": plan.file, "schedule": plan.schedule,
             "mark": plan.mark, "arena": plan.arena, "instructions": plan.instructions,
             "current": plan.current}
            for plan in subject.alternatives
        ],
    }  # fmt: skip


def _narrow(subject: Subject) -> Mapping[str, list[str]]:
    """Labels of the charts' rows where there is little room."""
    found = {
        "time": [
            f"{index} {html.escape(short_name(layer.short, NARROW))}"
            for index, layer in enumerate(subject.layers)
        ]
    }
    if subject.errors is not None:
        names = error_names(subject, NARROW)
        found["errors"] = [html.escape(name) for name in names]
    return found


def _block_data(block: Block, writers: Mapping[str, int]) -> dict[str, Any]:
    written = [writers[value] for value in block.values if value in writers]
    return {
        "name": one_line(block.name, 200), "short": block.short, "kind": block.kind,
        "offset": block.offset, "size": block.size, "rows": block.rows,
        "first": block.first + 1, "last": block.last + 1,
        "layer": min(written, default=None),
    }  # fmt: skip


def _layer_data(subject: Subject, index: int, layer: Layer) -> dict[str, Any]:
    """A layer for the panel of details: rows of a name and a text."""
    rows: list[tuple[str, str]] = [
        ("name", layer.name),
        ("operation", layer.title if layer.title == layer.op else f"{layer.title} ({layer.op})"),
    ]
    rows += [
        *((("input", "constant", "state")[("arena", "flash", "context").index(t.place)],
           _tensor_text(t)) for t in layer.inputs),
        *(("output", _tensor_text(t)) for t in layer.outputs),
    ]  # fmt: skip
    rows.append(("kernel", f"{layer.kernel} ({CORES.get(layer.core, layer.core)})"))
    if layer.macs:
        rows.append(("multiply-accumulates", f"{layer.macs:,}"))
    total = max(sum(subject.times), 1)
    if subject.counted is not None:
        rows.append(
            ("instructions", f"{subject.counted[index]:,} counted, "
             f"{subject.counted[index] / total:.1%}; cost model {layer.estimate:,}")
        )  # fmt: skip
    else:
        rows.append(("instructions", f"{layer.estimate:,} estimated, {layer.estimate / total:.1%}"))
    rows.append(("constants of its own", f"{layer.constants:,} bytes of flash"))
    if layer.scratch:
        rows.append(("scratch", f"{layer.scratch:,} bytes"))
    moment = subject.arena.moments[layer.moment]
    rows.append(("step", f"{layer.moment}: {moment.name}, {moment.detail}"))
    rows += list(layer.attributes)
    node = subject.plan.layers[index].node
    held = {subject.plan.buffer_of(value) for value in (*node.inputs, *node.outputs) if value}
    values = {value for buffer in held if buffer is not None for value in buffer.values}
    blocks = [
        place
        for place, block in enumerate(subject.arena.blocks)
        if values.intersection(block.values)
    ]
    return {"name": layer.short, "moment": layer.moment, "rows": rows, "blocks": blocks}


def _tensor_text(tensor: Tensor) -> str:
    text = f"{tensor.shape} {tensor.dtype}, {tensor.bytes:,} bytes"
    if tensor.place != "arena":
        text += f" of {tensor.place}"
    if tensor.scales is not None:
        text += f", {'scale ' if tensor.count == 1 else ''}{scale_text(tensor)}"
        if tensor.zero_point is not None:
            text += f", zero point {tensor.zero_point}"
    return text


__all__ = ["Finding", "check_report", "page_of", "save_report"]
