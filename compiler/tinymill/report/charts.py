"""The charts of a page, as plotly figures; plotly is an extra.

Texts are escaped: plotly reads some HTML in them. Colours of text and lines are the page's own, set
there for light and dark; those of marks serve both.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ToolMissing
from .arena import PARTS, Arena
from .layers import SHORT, first_parts
from .picture import short_name, short_size, telling
from .subject import Subject

INSTALL = "pip install 'tinymill[report]'"
# Paul Tol's light palette, as in the pictures: told apart by every eye, black text is readable on
# each, and each stands out on white as on black
COLOURS = {
    "input": "#44bb99", "output": "#ee8866", "activation": "#77aadd", "ring": "#eedd88",
    "scratch": "#ffaabb", "shared": "#99ddff", "unused": "#dddddd", "context": "#aaaa00",
    "stack": "#bbcc33",
    "weights": "#77aadd", "code": "#ee8866", "parameters": "#eedd88", "library": "#44bb99",
    "other": "#dddddd",
}  # fmt: skip
NAMES = {
    "input": "input", "output": "output", "activation": "values between layers",
    "ring": "rings of rows", "scratch": "scratch",
    "shared": "shared: an output takes a dying input's bytes", "unused": "not used at this step",
    "context": "context", "stack": "stack",
    "weights": "weights", "code": "code of kernels and model",
    "parameters": "parameters and tables of calls", "library": "C library",
    "other": "alignment and unnamed",
}  # fmt: skip
FAMILIES = {
    "convolution": "#77aadd", "depthwise convolution": "#44bb99", "matrix product": "#bbcc33",
    "pooling, reduction": "#eedd88", "elementwise": "#ee8866", "softmax": "#ffaabb",
    "recurrent": "#99ddff", "conversion of types": "#aaaa00", "other": "#bbbbbb",
}  # fmt: skip
INK = "#111111"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
ROW = 20
"""Pixels of a bar among a layer's."""


def plotly() -> Any:
    """The package. Raises ``ToolMissing``."""
    try:
        return importlib.import_module("plotly")
    except ImportError as error:
        raise ToolMissing("plotly", install=INSTALL) from error


def charts_of(subject: Subject) -> dict[str, dict[str, Any]]:
    """Every chart that there is something to draw for, by name, as plotly.js takes it."""
    plotly()
    found = {"arena": _arena(subject.arena), "bytes": _bytes(subject), "time": _time(subject)}
    if subject.pieces:
        found["flash"] = _flash(subject)
    if subject.front:
        found["front"] = _front(subject)
    if subject.errors is not None and subject.errors.layers:
        found["errors"] = _errors(subject)
    return {name: figure.to_plotly_json() for name, figure in found.items()}


def _figure(traces: Sequence[Any], **layout: Any) -> Any:
    from plotly import graph_objects as go  # noqa: PLC0415

    plain = {
        "template": "none", "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8}, "dragmode": False, "showlegend": False,
        "font": {"size": 12, "family": FONT},
    }  # fmt: skip
    return go.Figure(data=list(traces), layout={**plain, **layout})


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8}, "automargin": True, "zeroline": False,
        "fixedrange": True, **more,
    }  # fmt: skip


def byte_ticks(top: int, most: int = 6) -> dict[str, Any]:
    """Ticks at round numbers of bytes."""
    step = 1
    while top / step > most:
        step *= 2
    places = list(range(0, top + 1, step))
    texts = [short_size(place) if place else "0" for place in places]
    return {"tickmode": "array", "tickvals": places, "ticktext": texts}


def _arena(arena: Arena) -> Any:
    """Rectangles: steps along x, bytes along y; one trace for each kind of buffer."""
    from plotly import graph_objects as go  # noqa: PLC0415

    traces = []
    for kind in ("activation", "input", "output", "ring", "scratch"):
        places = [index for index, block in enumerate(arena.blocks) if block.kind == kind]
        if not places:
            continue
        blocks = [arena.blocks[index] for index in places]
        traces.append(
            go.Bar(
                name=NAMES[kind],
                x=[block.first + 0.5 for block in blocks], offset=0,
                width=[block.last - block.first + 1 for block in blocks],
                base=[block.offset for block in blocks], y=[block.size for block in blocks],
                text=[html.escape(block.short) for block in blocks],
                hovertext=[
                    f"<b>{html.escape(block.name)}</b><br>{NAMES[kind]}, {block.size:,} bytes"
                    f"{'' if block.rows is None else f' ({block.rows} rows)'}<br>"
                    f"at {block.offset:,} to {block.offset + block.size:,}<br>"
                    f"steps {block.first + 1} to {block.last + 1}"
                    for block in blocks
                ],
                hoverinfo="text", customdata=places, textposition="inside",
                insidetextanchor="middle", textangle=0, constraintext="inside", opacity=0.9,
                insidetextfont={"color": INK}, selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0.4}, "textfont": {"color": "rgba(0,0,0,0)"}},
                marker={
                    "color": COLOURS[kind], "line": {"width": 1},
                    "pattern": {"shape": "/" if kind == "ring" else "", "size": 6, "solidity": 0.2,
                                "fillmode": "overlay"},
                },
            )
        )  # fmt: skip
    count = len(arena.moments)
    shapes = [
        {"type": "rect", "xref": "x", "yref": "paper", "x0": arena.peak - 0.5,
         "x1": arena.peak + 0.5, "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below",
         "fillcolor": "rgba(128,128,128,0.25)"},
    ]  # fmt: skip
    annotations = []
    if arena.fast_bytes is not None and 0 < arena.fast_bytes < arena.bytes:
        shapes.append(
            {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1,
             "y0": arena.fast_bytes, "y1": arena.fast_bytes,
             "line": {"width": 1.5, "dash": "dash", "color": "#ee7733"}}
        )  # fmt: skip
        annotations.append(
            {"xref": "paper", "x": 1, "y": arena.fast_bytes, "yanchor": "bottom",
             "xanchor": "right", "text": "above: second memory", "showarrow": False}
        )  # fmt: skip
    return _figure(
        traces, barmode="overlay", bargap=0, shapes=shapes, annotations=annotations,
        hovermode="closest", height=460,
        uniformtext={"mode": "hide", "minsize": 9},
        xaxis=_axis("step", range=[-0.5, count - 0.5], tickformat="d", showgrid=False,
                    tick0=0, dtick=max(1, -(-count // 12))),
        yaxis=_axis("place in the arena, bytes", range=[0, max(arena.bytes, 1) * 1.02],
                    **byte_ticks(max(arena.bytes, 1))),
    )  # fmt: skip


def parts_at(subject: Subject, moment: int) -> dict[str, int]:
    """All RAM at a moment by what it is for, outside of the arena too."""
    parts = dict(zip(PARTS, subject.arena.moments[moment].parts, strict=True))
    parts["context"], parts["stack"] = subject.static, subject.stack or 0
    return parts


def _bytes(subject: Subject) -> Any:
    """Two bars: all RAM at the peak, and at the step that is chosen (the page fills it in)."""
    from plotly import graph_objects as go  # noqa: PLC0415

    peak = parts_at(subject, subject.arena.peak)
    order = (*PARTS[:-1], "context", "stack", PARTS[-1])
    used = [
        part
        for part in order
        if peak[part] or any(
            part in PARTS and moment.parts[PARTS.index(part)] for moment in subject.arena.moments
        )
    ]  # fmt: skip
    traces = [
        go.Bar(
            name=NAMES[part], orientation="h", y=["this step", "the peak"],
            x=[peak[part], peak[part]], marker={"color": COLOURS[part], "line": {"width": 0}},
            opacity=0.4 if part == "unused" else 1, customdata=[part, part],
            hovertemplate=f"{NAMES[part]}: %{{x:,}} bytes<extra></extra>",
        )
        for part in used
    ]  # fmt: skip
    top = sum(peak.values())
    return _figure(
        traces, barmode="stack", bargap=0.35, height=150, hovermode="closest",
        xaxis=_axis("bytes of RAM", range=[0, max(top, 1)], **byte_ticks(max(top, 1))),
        yaxis={"automargin": True, "fixedrange": True, "ticks": "", "ticklen": 0},
    )  # fmt: skip


def _time(subject: Subject) -> Any:
    """A bar a layer, in order."""
    from plotly import graph_objects as go  # noqa: PLC0415

    total = max(sum(subject.times), 1)
    layers, times = subject.layers, subject.times
    colours = [FAMILIES[layer.family] for layer in layers]
    source = "counted" if subject.counted else "estimated"
    hover = [
        f"<b>{index} {html.escape(layer.name)}</b><br>{html.escape(layer.title)}<br>"
        f"{time:,} instructions ({source}), {time / total:.1%}"
        + (f"<br>{layer.macs:,} multiply-accumulates" if layer.macs else "")
        + (f"<br>{time / layer.macs:.2f} instructions each" if layer.macs else "")
        + (f"<br>cost model: {layer.estimate:,}" if subject.counted else "")
        for index, (layer, time) in enumerate(zip(layers, times, strict=True))
    ]
    labels = [f"{index} {html.escape(layer.short)}" for index, layer in enumerate(layers)]
    most = max([*times, 1])
    bars = go.Bar(
        orientation="h", y=list(range(len(layers))), x=list(times), customdata=list(
            range(len(layers))), hovertext=hover, hoverinfo="text",
        marker={"color": colours, "line": {"width": 0}},
        text=[f"{time / total:.1%}" for time in times], textposition="outside", cliponaxis=False,
        unselected={"marker": {"opacity": 0.45}},
    )  # fmt: skip
    return _figure(
        [bars], height=ROW * max(len(layers), 1) + 64, bargap=0.25, hovermode="closest",
        xaxis=_axis("instructions", side="top", range=[0, most * 1.1],
                    nticks=5, tickformat="~s"),
        yaxis=_axis("", range=[max(len(layers), 1) - 0.5, -0.5], tickmode="array", ticks="",
                    tickvals=list(range(len(layers))), ticktext=labels, showgrid=False),
    )  # fmt: skip


def _flash(subject: Subject) -> Any:
    """A treemap: groups, in them layers or functions."""
    from plotly import graph_objects as go  # noqa: PLC0415

    sums: dict[tuple[str, str], dict[str, int]] = {}
    users: dict[tuple[str, str], tuple[int, ...]] = {}
    for piece in subject.pieces:
        rows = sums.setdefault((piece.group, piece.owner), {})
        rows[piece.name] = rows.get(piece.name, 0) + piece.bytes
        known = users.get((piece.group, piece.owner), ())
        users[piece.group, piece.owner] = tuple(sorted({*known, *piece.layers}))
    ids, labels, parents, values, colours, hovers, places = ["all"], ["flash"], [""], [0], [""], [
        ""], [-1]  # fmt: skip
    groups: dict[str, int] = {}
    for (group, _), rows in sums.items():
        groups[group] = groups.get(group, 0) + sum(rows.values())
    total = sum(groups.values())
    values[0] = total
    colours[0] = COLOURS["other"]
    hovers[0] = f"{total:,} bytes of flash"
    for group, count in groups.items():
        ids.append(group)
        labels.append(NAMES[group])
        parents.append("all")
        values.append(count)
        colours.append(COLOURS[group])
        hovers.append(f"<b>{NAMES[group]}</b><br>{count:,} bytes, {count / max(total, 1):.1%}")
        places.append(-1)
    for index, ((group, owner), rows) in enumerate(sums.items()):
        count = sum(rows.values())
        layers = users[group, owner]
        text = f"<b>{html.escape(owner)}</b><br>{count:,} bytes, {count / max(total, 1):.1%}"
        if group == "weights":
            text += "".join(
                f"<br>{html.escape(name)}: {part:,}"
                for name, part in sorted(rows.items(), key=lambda row: -row[1])[:6]
            )
        elif layers:
            shown = ", ".join(map(str, layers[:12])) + (", ..." if len(layers) > 12 else "")
            text += f"<br>computes layer{'s' * (len(layers) > 1)} {shown}"
        ids.append(f"{group} {index}")
        labels.append(html.escape(owner))
        parents.append(group)
        values.append(count)
        colours.append(COLOURS[group])
        hovers.append(text)
        places.append(layers[0] if len(layers) == 1 else -1)
    tree = go.Treemap(
        ids=ids, labels=labels, parents=parents, values=values, branchvalues="total",
        hovertext=hovers, hoverinfo="text", customdata=places, sort=True,
        marker={"colors": colours, "line": {"width": 1}}, tiling={"pad": 2},
        texttemplate="%{label}<br>%{value:,}", textfont={"color": INK},
        pathbar={"visible": True, "thickness": 22}, root={"color": "rgba(0,0,0,0)"},
    )  # fmt: skip
    return _figure(
        [tree],
        height=480,
        margin={"l": 0, "r": 0, "t": 24, "b": 0},
        uniformtext={"mode": "hide", "minsize": 10},
    )


def _front(subject: Subject) -> Any:
    """Arena against instructions; a point is a plan."""
    from plotly import graph_objects as go  # noqa: PLC0415

    plans = subject.alternatives
    fastest = max(min(plan.instructions for plan in plans), 1)
    costs = [plan.instructions for plan in plans]
    arenas = [plan.arena for plan in plans]
    spread = max(max(costs) - min(costs), fastest // 200, 1)
    top = int(max([*arenas, subject.plan.arena_bytes, 1]) * 1.15)
    left, right = min(costs), max(costs)
    hovers = [
        f"{'<b>' + plan.mark + '</b><br>' if plan.mark else ''}{plan.arena:,} bytes of arena<br>"
        f"{plan.instructions:,} instructions, +{plan.instructions / fastest - 1:.2%}<br>click: its "
        "command"
        for plan in plans
    ]
    traces = [
        go.Scatter(
            x=costs, y=arenas, mode="lines+markers+text", line={"shape": "hv", "width": 1.5,
                                                                "color": "#77aadd"},
            marker={"size": 11, "color": "#77aadd"}, customdata=list(range(len(plans))),
            text=[plan.mark for plan in plans],
            textposition=["top right", *["bottom left"] * (len(plans) - 1)],
            hovertext=hovers, hoverinfo="text", name="plans", cliponaxis=False,
        )
    ]  # fmt: skip
    own = (subject.plan.cost, subject.plan.arena_bytes)
    left, right = min(left, own[0]), max(right, own[0])
    spread = max(spread, right - left)
    traces.append(
        go.Scatter(
            x=[own[0]], y=[own[1]], mode="markers", name="this plan", hoverinfo="skip",
            marker={"size": 19, "symbol": "circle-open", "color": "#ee7733",
                    "line": {"width": 3}},
        )
    )  # fmt: skip
    return _figure(
        traces, height=380, hovermode="closest",
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        xaxis=_axis("estimated instructions of an inference", nticks=6, tickformat=".5~s",
                    range=[left - 0.06 * spread, right + 0.14 * spread]),
        yaxis=_axis("bytes of the arena", range=[0, top], **byte_ticks(top)),
    )  # fmt: skip


def _errors(subject: Subject) -> Any:
    """Signal to quantisation noise of each layer, and of its own rounding."""
    from plotly import graph_objects as go  # noqa: PLC0415

    assert subject.errors is not None
    layers = [each for each in subject.errors.layers if each.sqnr_db is not None]
    names = [html.escape(name) for name in error_names(subject)]
    places = places_of(subject)
    bars = go.Bar(
        orientation="h", y=list(range(len(layers))), x=[each.sqnr_db for each in layers],
        name="all errors up to here", marker={"color": "#77aadd", "line": {"width": 0}},
        customdata=[places.get(each.name, -1) for each in layers],
        hovertemplate="%{x:.1f} dB, all errors up to here<extra></extra>",
    )  # fmt: skip
    marks = go.Scatter(
        y=[index for index, each in enumerate(layers) if each.own_db is not None],
        x=[each.own_db for each in layers if each.own_db is not None],
        mode="markers", name="its own rounding alone",
        marker={"color": "#ee8866", "symbol": "diamond", "size": 8},
        hovertemplate="%{x:.1f} dB, its own rounding alone<extra></extra>",
    )  # fmt: skip
    return _figure(
        [bars, marks], height=ROW * max(len(layers), 1) + 96, bargap=0.3, hovermode="closest",
        margin={"t": 8, "b": 8, "l": 8,
                                                                        "r": 16},
        xaxis=_axis("dB, more is better", nticks=6),
        yaxis=_axis("", range=[max(len(layers), 1) - 0.5, -0.5], tickmode="array", ticks="",
                    tickvals=list(range(len(layers))), ticktext=names, showgrid=False),
    )  # fmt: skip


def error_names(subject: Subject, most: int = SHORT) -> list[str]:
    """The rows of the errors' chart: short names of layers, those of the plan where it has them."""
    assert subject.errors is not None
    known = {layer.name: layer.short for layer in subject.layers}
    layers = [each.name for each in subject.errors.layers if each.sqnr_db is not None]
    shorts = telling(first_parts(layers))
    return [
        f"{index} {short_name(known.get(name, short), most)}"
        for index, (name, short) in enumerate(zip(layers, shorts, strict=True))
    ]


def places_of(subject: Subject) -> Mapping[str, int]:
    """Names of layers, as their source has them, to their places."""
    return {layer.name: index for index, layer in enumerate(subject.layers)}
