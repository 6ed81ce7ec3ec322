"""ONNX Runtime, an extra, and its failures in one place."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from ..errors import CompileError, TinymillError, ToolMissing, one_line

INSTALL = "pip install 'tinymill[quantize]'"
QUIET, WARNINGS = 4, 2
"""ONNX Runtime's levels: it reports only what ends the process, or warnings (its default)."""


def onnxruntime(part: str = "onnxruntime") -> Any:
    """The package or a module of it. Raises ``ToolMissing``."""
    try:
        return importlib.import_module(part)
    except ImportError as error:
        raise ToolMissing("onnxruntime", install=INSTALL) from error


@contextlib.contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turns what ONNX Runtime raises on a model into ``CompileError``."""
    try:
        yield
    except (TinymillError, MemoryError, OSError):
        raise
    except Exception as error:  # its own classes are of no common family
        text = one_line(str(error) or type(error).__name__, 400)
        raise CompileError(f"ONNX Runtime can't {what}: {text}") from error


class Session:
    """A model that ONNX Runtime runs, with chosen values as outputs."""

    def __init__(
        self, model: onnx.ModelProto, taps: Sequence[str] | None = None, *, exact: bool = False
    ) -> None:
        """``taps`` replace the model's outputs; ``exact`` runs it node by node as written."""
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        if exact:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        else:
            # else some int8 layers are left in float on x86
            options.add_session_config_entry("session.qdqisint8allowed", "1")
        self.taps = [item.name for item in model.graph.output] if taps is None else list(taps)
        with refusals("load the model"):
            self._session = ort.InferenceSession(
                _tapped(model, self.taps).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The taps by name."""
        with refusals("run the model"):
            values = self._session.run(self.taps, dict(feed))
        return dict(zip(self.taps, values, strict=True))


def _tapped(model: onnx.ModelProto, taps: Sequence[str]) -> onnx.ModelProto:
    """A copy whose outputs are ``taps``, in types that ONNX Runtime infers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {item.name: item for item in (*model.graph.output, *model.graph.value_info)}
    del copy.graph.output[:]
    for name in dict.fromkeys(taps):
        copy.graph.output.append(known.get(name) or onnx.ValueInfoProto(name=name))
    return copy
