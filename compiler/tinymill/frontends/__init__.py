"""Model files -> Graph; ``load``: the front ends that stand between a sensor and a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidModel
from ..ir import Graph
from .limits import MAX_FILE
from .onnx import read_onnx
from .sensors import Bound, FrontEnd, load
from .tflite import read_tflite


def read_model(path: Path, *, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """The graph of a model file; the format is told by its bytes, then by its name.

    ``shapes`` fixes the shapes of ONNX inputs by name. Raises ``InvalidModel`` for a file that
    is missing, unreadable or no model, ``UnsupportedOp`` for what tinymill lacks.
    """
    at = str(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InvalidModel("not a file", at=at)
        if size > MAX_FILE:
            raise InvalidModel(f"{size:,} bytes, at most {MAX_FILE:,} are read", at=at)
        content = path.read_bytes()
    except OSError as error:
        raise InvalidModel(error.strerror or "can't be read", at=at) from error
    if not content:
        raise InvalidModel("the file is empty", at=at)
    if content[4:8] == b"TFL3" or path.suffix == ".tflite":
        graph = _at(at, lambda: read_tflite(content, path.stem))
        if shapes:
            raise InvalidModel("--shape is for ONNX models; a TFLite file has its shapes", at=at)
        return graph
    if path.suffix == ".onnx" or content[:1] == b"\x08":
        return _at(at, lambda: read_onnx(content, path.stem, shapes or {}, path.parent))
    raise InvalidModel("neither an ONNX nor a TFLite model", at=at)


def _at(path: str, read) -> Graph:
    """Names the file in errors that name no place of their own."""
    try:
        return read()
    except InvalidModel as error:
        if error.at is None:
            raise InvalidModel(error.problem, at=path, hint=error.hint) from error
        raise


__all__ = ["Bound", "FrontEnd", "load", "read_model"]
