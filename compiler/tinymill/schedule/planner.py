"""Graph -> Plan: which kernel computes what, in which order, in which bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ..errors import OutOfMemory, UnsupportedOp
from ..ir import Graph, Node, Types
from .call_facts import CallFacts
from .kernels import choose
from .lifetimes import ALIGN, buffers_of, overlays_of
from .placement import check, place
from .plan import Plan, Step

Optimize = Literal["time", "size"]


def plan(
    graph: Graph,
    features: Iterable[str] = (),
    *,
    keep_inputs: bool = False,
    optimize: Optimize = "time",
) -> Plan:
    """Plans ``graph`` layer by layer for a core with ``features``.

    ``keep_inputs`` leaves the inputs' bytes untouched by a run. ``optimize`` says whether
    kernels may spend flash on time. Raises ``UnsupportedOp`` naming the node that no kernel
    serves.
    """
    features = frozenset(features)
    for port in graph.outputs:
        if graph.is_constant(port.value):
            raise UnsupportedOp("an output that no input has a part in", at=port.name)
    steps = tuple(
        step for node in graph.nodes if (step := _step(graph, node, features, optimize)) is not None
    )
    buffers = buffers_of(graph, steps, keep_inputs=keep_inputs)
    overlays = overlays_of(graph, steps, buffers)
    placement = place(buffers, overlays)
    check(buffers, overlays, placement)
    state, state_bytes = _state(graph)
    return Plan(graph, steps, buffers, overlays, placement, state, state_bytes)


def _step(graph: Graph, node: Node, features: frozenset[str], optimize: Optimize) -> Step | None:
    types = graph.node_types(node)
    at = f"{node.op.name} '{node.name}'"
    constants = [
        graph.constant(name) if name and graph.is_constant(name) else None for name in node.inputs
    ]
    try:
        call = node.op.kernel(node.inputs, node.outputs, types, constants)
        if call is None:
            return None
        facts = CallFacts(call, {"optimize_time": int(optimize == "time")})
        kernel = choose(facts, features)
    except UnsupportedOp as error:
        if error.at is None:
            raise UnsupportedOp(error.problem, at=at, hint=error.hint) from error
        raise
    output = types.outputs[0] if types.outputs else None
    spatial = output is not None and output.rank == 4
    rows = (0, output.shape[1]) if output is not None and spatial else (0, 1)
    channels = (0, output.shape[-1]) if output is not None and output.rank else (0, 1)
    scratch_bytes = kernel.scratch_bytes(facts)
    scratch = f"scratch of {node.name or node.outputs[0]}" if scratch_bytes else None
    return Step(
        node, call, kernel.packed(facts), kernel, rows, channels, scratch, scratch_bytes,
        kernel.rows_at_once(facts), kernel.defines(facts),
        kernel.may_replace(facts) and _image_by_image(types), kernel.pushed_bytes(facts),
    )  # fmt: skip


def _image_by_image(types: Types) -> bool:
    """Whether each image of the output has the place of the same image of the first input."""
    first, output = types.input(0), types.output
    return first.bytes == output.bytes or first.shape[0] == 1


def _state(graph: Graph) -> tuple[dict[str, int], int]:
    """Offsets of variables and of their views in the context's state, and its size."""
    offsets: dict[str, int] = {}
    end = 0
    for name in graph.variables:
        kind = graph.type(name)
        align = max(ALIGN, kind.dtype.size)
        end = -(-end // align) * align
        offsets[name] = end
        end += kind.bytes
    views = {v: offsets[root] for v, root in graph.alias_roots.items() if root in offsets}
    return {**offsets, **views}, end


def check_budget(found: Plan, *, ram: int, where: str) -> None:
    """Raises ``OutOfMemory`` where the arena does not fit ``ram`` bytes."""
    if found.arena_bytes <= ram:
        return
    peak = found.peak_step
    at = None
    if 0 <= peak < len(found.steps):
        node = found.steps[peak].node
        at = f"{node.op.name} '{node.name}'"
    raise OutOfMemory(f"arena on {where}", needed=found.arena_bytes, available=ram, at=at)
