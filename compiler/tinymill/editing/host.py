"""The part of a model that no edit reaches (time embedding, text context): as JSON, and back.

It is computed by the ops' references when its inputs change.
"""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from .. import ops
from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Graph, Node, Op, Port, TensorType
from . import operations

GRAPH, CONSTANTS = "host.json", "host.npz"


def host_as_json(graph: Graph) -> dict[str, bytes]:
    """The graph as two files: nodes and types, and the constants."""
    nodes = [
        {
            "op": type(node.op).__name__,
            "fields": {f.name: _plain(getattr(node.op, f.name), node) for f in fields(node.op)},  # type: ignore[arg-type]
            "inputs": node.inputs,
            "outputs": node.outputs,
            "name": node.name,
        }
        for node in graph.nodes
    ]
    text = json.dumps(
        {
            "nodes": nodes,
            "inputs": [
                [port.value, port.name, port.shape, port.order] for port in graph.inputs
            ],
            "types": {
                name: [kind.shape, kind.dtype.name] for name, kind in graph.types.items()
            },
            "constants": list(graph.constants),
        },
        indent=1,
    )  # fmt: skip
    stream = io.BytesIO()
    np.savez(stream, **{f"c{i}": array for i, array in enumerate(graph.constants.values())})  # type: ignore[arg-type]
    return {GRAPH: (text + "\n").encode(), CONSTANTS: stream.getvalue()}


def host_from_json(text: bytes, arrays: bytes, name: str) -> Graph:
    """The graph of ``host_as_json``'s files. Raises ``InvalidModel`` where they are none."""
    try:
        found = json.loads(text)
        with np.load(io.BytesIO(arrays), allow_pickle=False) as constants:
            numbers = {value: constants[f"c{i}"] for i, value in enumerate(found["constants"])}
        nodes = tuple(
            Node(
                _ops()[node["op"]](**{k: _back(v) for k, v in node["fields"].items()}),
                tuple(node["inputs"]), tuple(node["outputs"]), node["name"],
            )
            for node in found["nodes"]
        )  # fmt: skip
        types = {
            value: TensorType(tuple(shape), DType[dtype])
            for value, (shape, dtype) in found["types"].items()
        }
        ports = tuple(Port(v, n, tuple(s), tuple(o)) for v, n, s, o in found["inputs"])
        return Graph(name, ports, (), nodes, types, numbers)
    except (ValueError, KeyError, TypeError, OSError, EOFError, AttributeError) as error:
        raise InvalidModel(f"{GRAPH} or {CONSTANTS} is broken ({type(error).__name__})",
                           at=name) from error  # fmt: skip


def _plain(value: Any, node: Node) -> Any:
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_plain(each, node) for each in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnsupportedOp(f"{node.op.name} beside the edited part", at=node.name)


def _back(value: Any) -> Any:
    if isinstance(value, dict):
        if "dtype" in value:
            return DType[value["dtype"]]
        return tuple(_back(each) for each in value["tuple"])
    return value


@cache
def _ops() -> dict[str, type[Op]]:
    """All ops by the name of their class."""
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    found: dict[str, type[Op]] = {}
    waiting: list[type[Op]] = [operations.Attend, operations.Modulate, *Op.__subclasses__()]
    while waiting:
        each = waiting.pop()
        found[each.__name__] = each
        waiting += each.__subclasses__()
    return found
