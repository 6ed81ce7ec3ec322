"""What a plan costs in instructions, before anything is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Step

CALL = 300
SEGMENT = 20
"""Instructions that a segment of several turns costs by itself."""


def cost_of(step: Step, turns: Sequence[int]) -> int:
    """Instructions of a step in turns of so many rows each."""
    macs = step.macs
    return macs + len(turns) * CALL
