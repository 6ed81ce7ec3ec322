"""Program -> files of a project: C tables by template, the runtime, weights, manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..emit.project import environment
from ..ir import Port
from ..share import share
from .build import TABLES
from .host import host_as_json
from .memory import Memory
from .program import Axis, Program, Step, Value

FORMAT = "tinymill-editing 1"
MANIFEST, WEIGHTS = "editing.json", "weights.bin"
ENGINE = ("tm_edit_engine", "tm_edit_pixels")
KERNELS = (
    "tm_edit_attention", "tm_edit_conv", "tm_edit_linear", "tm_edit_maps", "tm_edit_product",
    "tm_edit_room", "tm_edit_winograd",
)  # fmt: skip
"""C files of runtime_c/editing that a project is built from: the engine, and what tm_edit.h
declares."""

_COLUMNS = 16


@dataclass(frozen=True)
class AxisFacts:
    count: int
    taps: int
    places: list[str]
    weights: list[str]


@dataclass(frozen=True)
class ProgramFacts:
    """What templates/editing/program.c.j2 shows: rows of numbers, ready to print."""

    title: str
    header: str
    stores: list[str]
    values: list[str]
    masks: list[str]
    spreads: list[str]
    axes: list[AxisFacts]
    phases: list[str]
    parts: list[str]
    norms: list[str]
    steps: list[list[tuple[str, str]]]
    fields: list[tuple[str, str]]


def project_files(program: Program, memory: Memory) -> dict[str, bytes]:
    """The files of a project by name. The same program gives the same bytes."""
    facts = facts_of(program, memory)
    text = environment().get_template("editing/program.c.j2").render(program=facts)
    files = {TABLES: text.encode()}
    runtime = share("runtime_c") / "editing"
    for path in sorted(runtime.glob("*.h")):
        files[path.name] = path.read_bytes()
    for name in (*ENGINE, *KERNELS):
        files[f"{name}.c"] = (runtime / f"{name}.c").read_bytes()
    blocks = program.weights or [np.zeros(1, np.float32)]
    files[WEIGHTS] = np.concatenate(blocks).astype("<f4").tobytes()
    manifest = json.dumps(manifest_of(program, memory), indent=1)
    files[MANIFEST] = (manifest + "\n").encode()
    files |= host_as_json(program.host)
    return files


def write_project(files: dict[str, bytes], folder: Path) -> None:
    """Writes the files into an existing folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def manifest_of(program: Program, memory: Memory) -> dict[str, Any]:
    """What an engine must know beside the C: ends of the model, values made outside."""
    graph = program.graph

    def end(port: Port) -> dict[str, Any]:
        kind = graph.type(port.value)
        return {
            "name": port.name, "value": port.value, "shape": list(port.shape),
            "order": list(port.order), "dtype": kind.dtype.numpy.name,
        }  # fmt: skip

    outputs = []
    for port in graph.outputs:
        made = program.outputs[port.value]
        outputs.append(
            {
                **end(port),
                "map": made.index,
                "channels": made.channels,
                "ours": list(graph.type(port.value).shape),
            }
        )
    return {
        "format": FORMAT,
        "model": program.name,
        "backend": "cpu",
        "images": program.images,
        "edited": {
            **end(next(p for p in graph.inputs if p.value == program.input.name)),
            "map": program.input.index,
            "ours": list(graph.type(program.input.name).shape),
        },
        "inputs": [end(p) for p in graph.inputs if p.value != program.input.name],
        "outputs": outputs,
        "host": [
            {"value": name, "map": value.index, "shape": list(program.host.types[name].shape)}
            for name, value in program.host_values.items()
        ],
        "norms": [norm.name for norm in program.norms],
        "layers": len(program.steps),
        "recomputed": sorted(
            {v.root.name for v in program.values if memory.stores[id(v.root)].kind == "scratch"}
        ),
        "cache_bytes": memory.bytes,
        "weight_floats": max(sum(block.size for block in program.weights), 1),
    }


def facts_of(program: Program, memory: Memory) -> ProgramFacts:
    stores = list(memory.stores.items())
    number = {key: index for index, (key, _) in enumerate(stores)}
    phases: list[str] = []
    parts: list[str] = []
    norms: list[str] = []
    steps: list[list[tuple[str, str]]] = []
    for step in program.steps:
        steps.append(_step(step, len(phases)))
        for phase in step.phases:
            phases.append(
                _row(*phase.kernel, *phase.pad, *phase.dilation, *phase.size, *phase.at,
                     phase.weights)
            )  # fmt: skip
    channels = 0
    for norm in program.norms:
        norms.append(
            _row(norm.groups, norm.channels, len(parts), len(norm.parts), _float(norm.epsilon),
                 norm.scale, norm.shift, channels, _text(norm.name))
        )  # fmt: skip
        channels += norm.channels
        parts += [_row(value.index, first) for value, first in norm.parts]
    counts = {
        "images": program.images, "input": program.input.index, "stores_count": len(stores),
        "values_count": len(program.values), "masks_count": len(program.masks),
        "spreads_count": len(program.spreads), "steps_count": len(steps),
        "norms_count": len(norms), "phases_count": len(phases), "kept": memory.kept,
        "scratch": memory.scratch, "norm_channels": channels,
    }  # fmt: skip
    tables = ("stores", "values", "masks", "spreads", "axes", "phases", "norms", "parts", "steps")
    return ProgramFacts(
        title=program.name.replace("*/", ""),
        header="tm_edit_engine.h",
        stores=[
            _row(f"TM_EDIT_{store.kind.upper()}", store.place, store.floats) for _, store in stores
        ],
        values=[
            _row(v.height, v.width, v.channels, number[id(v.root)], v.root.channels, v.first,
                 int(v.root.shared), v.mask)
            for v in program.values
        ],
        masks=[_row(m.height, m.width, int(m.pyramid)) for m in program.masks],
        spreads=[_row(s.target, s.source, s.rows, s.columns) for s in program.spreads],
        axes=[_axis(axis) for axis in program.axes],
        phases=phases,
        parts=parts,
        norms=norms,
        steps=steps,
        fields=[(name, str(n)) for name, n in counts.items()] + [(name, name) for name in tables],
    )  # fmt: skip


def _row(*cells: object) -> str:
    return ", ".join(str(cell) for cell in cells)


def _float(number: float) -> str:
    if np.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{float(np.float32(number))!r}f"


def _text(name: str) -> str:
    """A C string of printable ASCII without what C or the preprocessor reads in strings."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\?' else "_" for c in name)
    return f'"{plain}"'


def _lines(cells: list[str]) -> list[str]:
    return [", ".join(cells[i : i + _COLUMNS]) for i in range(0, len(cells), _COLUMNS)]


def _axis(axis: Axis) -> AxisFacts:
    places = [str(n) for row in axis.places for n in row]
    weights = [_float(w) for row in axis.weights for w in row] if axis.weights else []
    return AxisFacts(len(axis.places), axis.taps, _lines(places), _lines(weights))


def _index(value: Value | None) -> str:
    return "-1" if value is None else str(value.index)


def _step(step: Step, first_phase: int) -> list[tuple[str, str]]:
    inputs = [*step.inputs, None, None, None][:3]
    fields = {
        "kind": f"TM_EDIT_STEP_{step.kind}", "function": step.function,
        "output": _index(step.output), "input": _index(inputs[0]), "second": _index(inputs[1]),
        "third": _index(inputs[2]), "residual": _index(step.residual), "norm": step.norm,
        "in_activation": f"TM_EDIT_{step.in_activation}",
        "out_activation": f"TM_EDIT_{step.out_activation}", "alpha": _float(step.alpha),
        "beta": _float(step.beta), "first_phase": first_phase, "phases": len(step.phases),
        "step_h": step.step[0], "step_w": step.step[1], "stride_h": step.stride[0],
        "stride_w": step.stride[1], "groups": step.groups, "upsample": step.upsample,
        "bias": step.bias, "bias_value": _index(step.bias_value), "rows": step.rows,
        "columns": step.columns, "heads": step.heads, "block": step.block, "macs": step.macs,
        "name": _text(step.name),
    }  # fmt: skip
    return [(name, str(value)) for name, value in fields.items()]
