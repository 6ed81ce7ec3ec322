"""A compiled model as a project or component in the shape that another build system expects."""

from .formats import FORMATS, Format, check_format, export_files
from .source import Exportable, exportable_of, read_exportable

__all__ = [
    "FORMATS",
    "Exportable",
    "Format",
    "check_format",
    "export_files",
    "exportable_of",
    "read_exportable",
]
