"""Which plan a compilation takes: a goal, a saved plan, or the fastest one within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from .boards import Board
from .deploy import Forecast
from .errors import InvalidInput, OutOfMemory, UnsupportedOp
from .schedule import Goal, Plan, Planner, choices_of

POINTER = 4
STACK = 1536
"""Bytes of stack that are set aside where no compiler is there to tell them."""
ROUNDS = 4
"""Plans tried for a budget; each leaves the arena what the last one's stack left over."""
LARGEST = 1 << 24
"""Bytes of a plan that is read."""

Forecaster = Callable[[Plan], Forecast | None]


def planned_by(planners: Sequence[Planner], wanted: str | Path) -> tuple[Planner, Plan]:
    """Of planners whose graphs compute the same the one whose plan serves a goal best, or that a
    saved plan is of (``plan_by``)."""
    found: list[tuple[Planner, Plan]] = []
    refusals: list[InvalidInput] = []
    for planner in planners:
        try:
            found.append((planner, plan_by(planner, wanted)))
        except InvalidInput as error:
            refusals.append(error)
    if not found:
        raise refusals[0]
    if wanted == "min-time":
        return min(found, key=lambda each: each[1].cost)
    if wanted == "balanced":
        return min(found, key=lambda each: _ram(each[1]) * each[1].cost)
    if wanted in get_args(Goal):
        return min(found, key=lambda each: _ram(each[1]))
    return found[0]


def planned_within(
    planners: Sequence[Planner],
    ram: int,
    board: Board,
    forecast: Forecaster,
    *,
    beside: int = 0,
) -> tuple[Planner, Plan]:
    """Of planners whose graphs compute the same the one with the fastest plan within ``ram``
    bytes (``plan_within``)."""
    found: list[tuple[Planner, Plan]] = []
    refusals: list[OutOfMemory] = []
    for planner in planners:
        try:
            found.append((planner, plan_within(planner, ram, board, forecast, beside=beside)))
        except OutOfMemory as error:
            refusals.append(error)
    if not found:
        raise min(refusals, key=lambda error: error.needed)
    return min(found, key=lambda each: each[1].cost)


def _ram(plan: Plan) -> int:
    return plan.arena_bytes + plan.state_bytes


def plan_by(planner: Planner, wanted: str | Path) -> Plan:
    """The plan for a goal's name, or the one saved in a .json file (plan.json of a project).

    Raises ``InvalidInput`` where the file is no plan of this model, and says why.
    """
    for goal in get_args(Goal):
        if wanted == goal:
            return planner.plan(goal)
    path = Path(wanted)
    if path.suffix != ".json":
        goals = ", ".join(get_args(Goal))
        raise InvalidInput(f"plan is {str(wanted)!r}, not one of {goals} or a .json file")
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput("is too large for a plan", at=str(path))
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(error.strerror or str(error), at=str(path)) from None
    except (ValueError, RecursionError):
        raise InvalidInput("is no JSON", at=str(path)) from None
    schedule = saved.get("schedule") if isinstance(saved, dict) else None
    return planner.realise(choices_of(schedule, planner.workshop.nodes, str(path)))


def plan_within(
    planner: Planner, ram: int, board: Board, forecast: Forecaster, *, beside: int = 0
) -> Plan:
    """The fastest plan that needs at most ``ram`` bytes in all: arena, context and stack.

    ``beside`` are bytes of RAM that no plan changes: of a front end's state, of weights that are
    copied. The stack is what the board's compiler tells for the plan's code. Raises
    ``OutOfMemory`` with what the least plan needs, its largest segment, and what would help.
    """
    found = planner.plan("min-time")
    static = context_bytes(planner, found) + beside
    stack = 0
    for _ in range(ROUNDS):
        smaller = planner.within(ram - static - stack)
        if smaller is None:
            break
        found = smaller
        stack = stack_of(found, board, forecast)
        if found.arena_bytes + static + stack <= ram:
            return found
    least = planner.least
    needed = least.arena_bytes + static + stack_of(least, board, forecast)
    raise OutOfMemory(
        f"RAM budget on {board.name}", needed=max(needed, ram + 1), available=ram,
        at=peak_of(least), hint=_remedy(planner, ram - needed + least.arena_bytes),
    )  # fmt: skip


def context_bytes(planner: Planner, plan: Plan) -> int:
    """Bytes of the context of a plan's C on a core of 32 bits, that of a front end left out."""
    found = POINTER + (POINTER if planner.fast_ram is not None else 0)
    found += 4 if plan.arriving is not None else 0
    if plan.state_bytes:  # which is aligned to 8 bytes
        found = -(-found // 8) * 8 + -(-plan.state_bytes // 8) * 8
    return found


def stack_of(plan: Plan, board: Board, forecast: Forecaster) -> int:
    """Bytes of stack that a plan's code takes; none is counted on the host."""
    if board.is_host:
        return 0
    found = forecast(plan)
    return STACK if found is None or found.stack is None else found.stack + plan.pushed_bytes


def peak_of(plan: Plan) -> str | None:
    """The layers at which a plan's arena is fullest."""
    if not plan.segments:
        return None
    # an input waits for the first segment where that needs it, an output stays where the last was
    peak = min(max(plan.peak_segment, 0), len(plan.segments) - 1)
    nodes = [step.node for step in plan.segments[peak].steps[: plan.segments[peak].layers]]
    first = f"{nodes[0].op.name} '{nodes[0].name}'"
    return first if len(nodes) == 1 else f"{first} to {nodes[-1].op.name} '{nodes[-1].name}'"


def _remedy(planner: Planner, arena: int) -> str:
    """What to change so that the arena gets within ``arena`` bytes, the cheapest first."""
    if planner.streamed is None and planner.may_stream:
        try:
            streaming = planner.streaming()
            streaming.plan("min-ram")
        except UnsupportedOp:
            streaming = None
        if streaming is not None and streaming.least.arena_bytes <= arena:
            least = streaming.least.arena_bytes
            return (
                "--stream-input takes the input row by row: with it the least arena is "
                f"{least:,} bytes, not {planner.least.arena_bytes:,}"
            )
        if streaming is not None and streaming.least.arena_bytes < planner.least.arena_bytes:
            least = streaming.least.arena_bytes
            return (
                f"--stream-input helps: the least arena is {least:,} bytes with it, "
                f"{planner.least.arena_bytes:,} without; else a smaller input"
            )
    return "a model with a smaller input or fewer channels in these layers"


def check_arena(planner: Planner, found: Plan, *, ram: int, where: str) -> None:
    """Raises ``OutOfMemory`` where the arena does not fit ``ram`` bytes, with the remedy."""
    if found.arena_bytes <= ram:
        return
    hint = None
    if planner.least.arena_bytes <= ram:
        hint = f"--plan min-ram needs {planner.least.arena_bytes:,} bytes"
    else:
        hint = _remedy(planner, ram)
    raise OutOfMemory(
        f"arena on {where}", needed=found.arena_bytes, available=ram, at=peak_of(found), hint=hint
    )
