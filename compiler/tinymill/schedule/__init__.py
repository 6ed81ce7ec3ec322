"""Graph -> Plan: order, kernels, lifetimes, placement in the arena."""

from .kernels import Kernel, choose, kernel_table
from .plan import Buffer, Choice, Overlay, Placement, Plan, Segment, Step, Turn
from .planner import FRONT_SCRATCH, Goal, Planner, balanced, plan
from .saved import choices_of, schedule_of
from .shared import changed_by, sharing
from .steps import Optimize

__all__ = [
    "FRONT_SCRATCH",
    "Buffer",
    "Choice",
    "Goal",
    "Kernel",
    "Optimize",
    "Overlay",
    "Placement",
    "Plan",
    "Planner",
    "Segment",
    "Step",
    "Turn",
    "balanced",
    "changed_by",
    "choices_of",
    "choose",
    "kernel_table",
    "plan",
    "schedule_of",
    "sharing",
]
