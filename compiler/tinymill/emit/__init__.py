"""Plan -> facts -> Jinja2 -> C."""

from .facts import ModelFacts, Training, c_name, facts_of
from .front import with_front
from .project import emit, environment, render

__all__ = [
    "ModelFacts",
    "Training",
    "c_name",
    "emit",
    "environment",
    "facts_of",
    "render",
    "with_front",
]
