"""Graph -> Graph: one file a pass, the order in ``pipeline``."""

from .pipeline import pipeline, run_passes

__all__ = ["pipeline", "run_passes"]
