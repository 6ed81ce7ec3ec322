"""Relu and Clip become the clamp of the op before them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from ..ir import Graph, GraphBuilder, Node, Op
from ..ops.unary import Unary


def fuse_activation(graph: Graph) -> Graph:
    """y = clip(op(x)) becomes op with a clamp, where nothing else reads op(x)."""
    builder = GraphBuilder.of(graph)
    made: dict[str, int] = {}
    for node in graph.nodes:
        limits = _limits(node.op)
        index = made.get(node.inputs[0]) if limits is not None else None
        if limits is not None and index is not None and graph.only_reader(node.inputs[0]):
            before = builder.nodes[index]
            op: Any = before.op
            clamp = _both(op.clamp, limits)
            builder.nodes[index] = Node(
                replace(op, clamp=clamp), before.inputs, node.outputs, before.name
            )
            made[node.outputs[0]] = index
            continue
        if _takes_clamp(node.op) and graph.type(node.outputs[0]).quant is None:
            made[node.outputs[0]] = len(builder.nodes)
        builder.nodes.append(node)
    return builder.finish()


def _limits(op: Op) -> tuple[float, float] | None:
    if isinstance(op, Unary) and op.function == "relu":
        return (0.0, np.inf)
    if isinstance(op, Unary) and op.function == "clip":
        return (op.alpha, op.beta)
    return None


def _takes_clamp(op: Op) -> bool:
    # a moving op (MaxPool) must stay free to work on integers
    return not op.movement and is_dataclass(op) and any(f.name == "clamp" for f in fields(op))


def _both(first: tuple[float, float] | None, second: tuple[float, float]) -> tuple[float, float]:
    """clip(clip(x, *first), *second) as one clip."""
    if first is None:
        return second
    low, high = (min(max(x, second[0]), second[1]) for x in first)
    return low, high
