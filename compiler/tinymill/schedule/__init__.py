"""Graph -> Plan: order, kernels, lifetimes, placement in the arena."""

from .kernels import Kernel, choose, kernel_table
from .plan import Buffer, Overlay, Placement, Plan, Segment, Step, Turn
from .planner import Goal, Planner, check_budget, plan
from .steps import Optimize

__all__ = [
    "Buffer",
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
    "check_budget",
    "choose",
    "kernel_table",
    "plan",
]
