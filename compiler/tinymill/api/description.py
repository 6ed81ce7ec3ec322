"""What plan.json tells of a compiled model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..boards import Board
from ..frontends import Bound
from ..ir import DType, Graph, Port
from ..ops.quantization import Quantize
from ..schedule import Plan, schedule_of


def describe(
    found: Plan, board: Board, name: str, source: str, options: Mapping[str, Any], *,
    stream_axis: int | None,
) -> str:  # fmt: skip
    """The text of plan.json; ``options`` are how the model was compiled."""
    graph = found.graph
    layers = [
        {
            "name": step.node.name,
            "op": step.node.op.name,
            "kernel": step.kernel.name,
            "inputs": [str(graph.type(v)) for v in step.node.inputs if v],
            "outputs": [str(graph.type(v)) for v in step.node.outputs],
            "macs": step.node.op.macs(graph.node_types(step.node)),
            "arena": found.top_at(index),
        }
        for index, segment in enumerate(found.segments)
        for step in segment.steps[: segment.layers]
    ]
    buffers = [
        {
            "name": buffer.name,
            "values": list(buffer.values),
            "offset": found.placement.offsets[buffer.name],
            "size": buffer.size,
            "rows": buffer.rows,
            "first": buffer.first,
            "last": buffer.last,
        }
        for buffer in found.buffers
    ]
    description = {
        "tinymill": __version__,
        "model": name,
        "source": source,
        "target": board.name,
        **options,
        "inputs": [
            {**_end(graph, port, first=True), "stream_axis": stream_axis} for port in graph.inputs
        ],
        "outputs": [_end(graph, port, first=False) for port in graph.outputs],
        "arena": {
            "bytes": found.arena_bytes,
            "slow_bytes": found.slow_bytes,
            "lower_bound": found.placement.bound,
            "buffers": buffers,
        },
        "state_bytes": found.state_bytes,
        "schedule": schedule_of(found.choices, [step.node for step in found.layers]),
        "layers": layers,
    }
    return json.dumps(description, indent=1) + "\n"


def _end(graph: Graph, port: Port, *, first: bool) -> dict[str, Any]:
    kind = graph.type(port.value)
    quant = kind.quant
    if first and kind.dtype is DType.FLOAT32:
        readers = (node for node in graph.nodes if port.value in node.inputs)
        quants = [graph.type(n.outputs[0]).quant for n in readers if isinstance(n.op, Quantize)]
        quant = quants[0] if quants else None
    plain = quant is not None and quant.per_tensor
    return {
        "name": port.name,
        "dtype": kind.dtype.numpy.name,
        "shape": list(port.shape),
        "order": list(port.order),
        "scale": quant.scale[0] if quant is not None and plain else None,
        "zero_point": quant.zero_point[0] if quant is not None and plain else None,
        "bytes": kind.bytes,
    }


def front_entry(front: Bound) -> dict[str, Any]:
    """What plan.json tells of a front end."""
    return {
        "spec": front.front.options(),
        "input_shape": list(front.input.shape),
        "state_bytes": front.state_bytes,
        "scratch_bytes": front.scratch_bytes,
    }
