"""Graph -> Plan: order, kernels, lifetimes, placement in the arena."""

from .kernels import Kernel, choose, kernel_table
from .plan import Buffer, Overlay, Placement, Plan, Step
from .planner import Optimize, check_budget, plan

__all__ = [
    "Buffer",
    "Kernel",
    "Optimize",
    "Overlay",
    "Placement",
    "Plan",
    "Step",
    "check_budget",
    "choose",
    "kernel_table",
    "plan",
]
