"""The commands as Python calls, with results as objects."""

from ..loaded import Loaded
from ..report import save_picture
from ..validation import Comparison, Validation
from .compiling import Compiled, compile
from .editing import Distance, Edited, EditProject, edit_compile, edit_run
from .exporting import Exported, export_model
from .flashing import flash
from .inspecting import Inspection, Layer, inspect
from .loading import load
from .options import Io, Requant, Weights
from .planning import front, plan_model
from .quantizing import Accuracy, Quantized, quantize
from .reporting import Reported, report_model
from .running import Flash, LayerTime, OnBoard, Ram, RunResult, run, save_outputs
from .validating import validate

__all__ = [
    "Accuracy",
    "Comparison",
    "Compiled",
    "Distance",
    "EditProject",
    "Edited",
    "Exported",
    "Flash",
    "Inspection",
    "Io",
    "Layer",
    "LayerTime",
    "Loaded",
    "OnBoard",
    "Quantized",
    "Ram",
    "Reported",
    "Requant",
    "RunResult",
    "Validation",
    "Weights",
    "compile",
    "edit_compile",
    "edit_run",
    "export_model",
    "flash",
    "front",
    "inspect",
    "load",
    "plan_model",
    "quantize",
    "report_model",
    "run",
    "save_outputs",
    "save_picture",
    "validate",
]
