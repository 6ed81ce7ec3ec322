"""The commands as Python calls, with results as objects."""

from ..loaded import Loaded
from ..report import save_picture
from ..validation import Comparison, Validation
from .compiling import Compiled, compile
from .exporting import Exported, export_model
from .flashing import flash
from .inspecting import Inspection, Layer, inspect
from .loading import load
from .options import Io, Requant, Weights
from .planning import front, plan_model
from .quantizing import Accuracy, Quantized, quantize
from .running import Flash, LayerTime, Ram, RunResult, run, save_outputs
from .validating import validate

__all__ = [
    "Accuracy",
    "Comparison",
    "Compiled",
    "Exported",
    "Flash",
    "Inspection",
    "Io",
    "Layer",
    "LayerTime",
    "Loaded",
    "Quantized",
    "Ram",
    "Requant",
    "RunResult",
    "Validation",
    "Weights",
    "compile",
    "export_model",
    "flash",
    "front",
    "inspect",
    "load",
    "plan_model",
    "quantize",
    "run",
    "save_outputs",
    "save_picture",
    "validate",
]
