"""What a plan costs in instructions, before anything is compiled."""

from __future__ import annotations

from ..ir import Types
from .plan import Step

CALL = 300


def cost_of(step: Step, calls: int) -> int:
    """Instructions of a step in ``calls`` calls."""
    return calls * CALL
