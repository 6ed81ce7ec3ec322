"""The intermediate representation: Graph, Node, TensorType, and the contract of an op."""

from .builder import GraphBuilder
from .gradients import Gradient, Site, Sliding, Tape, clamp_of
from .graph import Graph, Node, Port
from .interpret import interpret
from .op import (
    POINT,
    SAME_ROW,
    Example,
    Flat,
    KernelCall,
    Op,
    Operand,
    Param,
    Reading,
    Rows,
    RowTable,
    Table,
    Types,
    Window,
)
from .printer import print_graph
from .rescale import FixedPoint, FloatScale, Rescale
from .types import DType, Quant, TensorType
from .verify import verify

__all__ = [
    "POINT",
    "SAME_ROW",
    "DType",
    "Example",
    "FixedPoint",
    "Flat",
    "FloatScale",
    "Gradient",
    "Graph",
    "GraphBuilder",
    "KernelCall",
    "Node",
    "Op",
    "Operand",
    "Param",
    "Port",
    "Quant",
    "Reading",
    "Rescale",
    "RowTable",
    "Rows",
    "Site",
    "Sliding",
    "Table",
    "Tape",
    "TensorType",
    "Types",
    "Window",
    "clamp_of",
    "interpret",
    "print_graph",
    "verify",
]
