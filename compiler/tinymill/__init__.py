"""tinymill: a deep-learning compiler for microcontrollers.

import tinymill
result = tinymill.run("model.tflite", target="mps2-an386", input="pattern")
result.outputs, result.ram.total, result.instructions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import (
        Compiled,
        Exported,
        Inspection,
        Loaded,
        Quantized,
        Reported,
        RunResult,
        Validation,
        compile,
        export_model,
        flash,
        front,
        inspect,
        load,
        plan_model,
        quantize,
        report_model,
        run,
        save_picture,
        validate,
    )
    from .errors import (
        BoardError,
        CompileError,
        InvalidInput,
        InvalidModel,
        OutOfMemory,
        TinymillError,
        ToolFailed,
        ToolMissing,
        UnsupportedOp,
    )

_ERRORS = (
    "BoardError", "CompileError", "InvalidInput", "InvalidModel", "OutOfMemory",
    "TinymillError", "ToolFailed", "ToolMissing", "UnsupportedOp",
)  # fmt: skip

__all__ = [
    "BoardError",
    "CompileError",
    "Compiled",
    "Exported",
    "Inspection",
    "InvalidInput",
    "InvalidModel",
    "Loaded",
    "OutOfMemory",
    "Quantized",
    "Reported",
    "RunResult",
    "TinymillError",
    "ToolFailed",
    "ToolMissing",
    "UnsupportedOp",
    "Validation",
    "compile",
    "export_model",
    "flash",
    "front",
    "inspect",
    "load",
    "plan_model",
    "quantize",
    "report_model",
    "run",
    "save_picture",
    "validate",
]


def __getattr__(name: str) -> Any:
    # the api pulls in numpy, onnx and all ops; `tinymill --help` and setup.cfg need none of it
    if name in _ERRORS:
        from . import errors  # noqa: PLC0415

        return getattr(errors, name)
    if name in __all__:
        from . import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'tinymill' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
