"""Graph -> Graph: one file a pass, the order in ``pipeline``; ``sliding`` for models over time."""

from .pipeline import pipeline, run_passes
from .sliding import BORDERS, Stepped, stepped

__all__ = ["BORDERS", "Stepped", "pipeline", "run_passes", "stepped"]
