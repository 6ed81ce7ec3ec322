"""Where op files say how their op is read from a source format.

An op's file registers one function for each source op it imports; the frontends look them up
here, so that adding an op touches no frontend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

OnnxImporter = Callable[[Any], None]
TfliteImporter = Callable[[Any], None]

ONNX: dict[str, OnnxImporter] = {}
"""ONNX op type -> importer; its argument is a ``frontends.onnx.OnnxNode``."""

TFLITE: dict[str, TfliteImporter] = {}
"""TFLite builtin operator -> importer; its argument is a ``frontends.tflite.TfliteNode``."""

F = TypeVar("F", bound=Callable[[Any], None])


def from_onnx(*op_types: str) -> Callable[[F], F]:
    """Registers the decorated function as the importer of ONNX op types."""

    def register(function: F) -> F:
        for op_type in op_types:
            assert op_type not in ONNX, op_type
            ONNX[op_type] = function
        return function

    return register


def from_tflite(*operators: str) -> Callable[[F], F]:
    """Registers the decorated function as the importer of TFLite builtin operators."""

    def register(function: F) -> F:
        for operator in operators:
            assert operator not in TFLITE, operator
            TFLITE[operator] = function
        return function

    return register
