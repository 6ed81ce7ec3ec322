"""``tinymill plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidInput, one_line
from .console import out, print_json, print_plain, short, table_of, working
from .groups import without
from .options import PLAN_HELP, Json, Model, ModelOptions, Target

if TYPE_CHECKING:
    from ..boards import Board
    from ..report import SegmentFigures
    from ..schedule import Plan


PlanGoal = Annotated[str | None, typer.Option("--plan", help=f"{PLAN_HELP} [default: min-ram]")]


@dataclass(frozen=True)
class PlanOptions(ModelOptions):
    """How a model file is planned; without a goal the front can be asked for."""

    plan: PlanGoal = None


def command(
    *,
    model: Model,
    target: Target = "host",
    options: Annotated[PlanOptions, without("ram", "fast_ram", "weights", "step", "frontend")],
    pareto: Annotated[
        bool, typer.Option("--pareto", help="all plans between the fastest and the smallest")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="FILE.png or .svg: the arena over time; with --pareto, RAM against time",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the plan of a model, segment by segment, or the front of plans; compile nothing."""
    from .. import api, report  # noqa: PLC0415
    from ..boards import load_board  # noqa: PLC0415

    if pareto and options.plan is not None:
        raise InvalidInput("the front holds the plans of all goals", hint="leave out --plan")
    if picture is not None:
        report.check_picture(picture)
    board = load_board(target)
    goal = "RAM against time" if pareto else options.plan or "min-ram"
    found: Plan | tuple[Plan, ...]
    with working("planning"):
        if pareto:
            found = api.front(model, target=board, **options.keywords())
        else:
            asked = {**options.keywords(), "plan": goal}
            found = api.plan_model(model, target=board, **asked)
        if picture is not None:
            title = f"{model.name} on {board.name}, {Path(goal).name}"
            report.save_picture(found, picture, title=title)
    if as_json:
        written = None if picture is None else str(picture)
        head = {"model": model.name, "target": board.name}
        figures = _front_json(found) if isinstance(found, tuple) else _plan_json(found, goal)
        print_json({**head, **figures, "picture": written})
        return
    if isinstance(found, tuple):
        _show_front(found)
    else:
        _show_plan(found, board)
    if picture is not None:
        out.print(f"written to {one_line(str(picture), 4096)}")


def _plan_json(plan: Plan, goal: str) -> dict[str, Any]:
    from ..report import kind_of, segments_of  # noqa: PLC0415

    return {
        "plan": goal,
        **_totals(plan),
        "segments": [vars(each) for each in segments_of(plan)],
        "buffers": [
            {
                "name": buffer.name,
                "values": buffer.values,
                "kind": kind_of(plan, buffer),
                "offset": plan.placement.offsets[buffer.name],
                "size": buffer.size,
                "rows": buffer.rows,
                "first": buffer.first,
                "last": buffer.last,
            }
            for buffer in plan.buffers
        ],
        "overlays": [vars(overlay) for overlay in plan.overlays],
    }


def _front_json(front: Sequence[Plan]) -> dict[str, Any]:
    from ..report import marks_of, streamed_segments  # noqa: PLC0415

    fastest = front[0]
    return {
        "front": [
            {
                **_totals(plan),
                "instructions_ratio": plan.cost / max(fastest.cost, 1),
                "arena_ratio": plan.arena_bytes / max(fastest.arena_bytes, 1),
                "segments": len(plan.segments),
                "streamed_segments": streamed_segments(plan),
                "marks": [mark for mark in marks.split(", ") if mark],
            }
            for plan, marks in zip(front, marks_of(front), strict=True)
        ]
    }


def _totals(plan: Plan) -> dict[str, Any]:
    return {
        "arena": {"bytes": plan.arena_bytes, "lower_bound": plan.placement.bound},
        "state_bytes": plan.state_bytes,
        "instructions": plan.cost,
    }


def _show_plan(plan: Plan, board: Board) -> None:
    from ..report import segments_of  # noqa: PLC0415

    found = segments_of(plan)
    table = table_of(
        ">#", "op", "layers", ">rows", ">turns", ">instructions", ">arena", ">inputs", ">outputs",
        ">rings", ">scratch", ">held for later",
    )  # fmt: skip
    for index, each in enumerate(found):
        table.add_row(
            str(index), *_span(each), _turn_rows(each), f"{each.turns:,}",
            f"{each.instructions:,}", f"{each.arena:,}", _bytes(each.inputs),
            _bytes(each.outputs) if each.outputs or not each.in_place else "in place",
            _bytes(each.rings), _bytes(each.scratch), _bytes(each.held),
        )  # fmt: skip
    print_plain(table)
    bound = plan.placement.bound
    gap = plan.arena_bytes - bound
    proof = "proven least for these segments"
    if gap:
        proof = f"lower bound {bound:,}, at most {gap / plan.arena_bytes:.1%} above the least"
    out.print(f"arena        {plan.arena_bytes:>13,} bytes of RAM ({proof})")
    out.print(f"state        {plan.state_bytes:>13,} bytes of RAM kept between runs")
    out.print(f"instructions {plan.cost:>13,} (estimated)")
    largest = max((region.size for region in board.ram), default=0)
    if not board.is_host and plan.arena_bytes > largest:
        lacking = plan.arena_bytes - largest
        out.print(f"does not fit {board.name}: {largest:,} bytes of RAM, {lacking:,} too few")


def _span(figures: SegmentFigures) -> tuple[str, str]:
    """The op and the layer of a segment, or how many there are, the first and the last one."""
    names = figures.layers
    if len(names) == 1:
        return figures.ops[0], short(names[0])
    return f"{len(names)} layers", f"{short(names[0], 32)} .. {short(names[-1], 32)}"


def _turn_rows(figures: SegmentFigures) -> str:
    down, across = figures.tiles
    tiles = f" in {down}x{across} tiles" if down * across > 1 else ""
    return f"{figures.rows or 'all'}{tiles}"


def _bytes(count: int) -> str:
    return f"{count:,}" if count else "-"


def _show_front(front: Sequence[Plan]) -> None:
    from ..report import marks_of, streamed_segments  # noqa: PLC0415

    fastest = front[0]
    table = table_of(
        ">#", ">arena", ">of the fastest", ">instructions", ">more", ">segments",
        ">of them streamed", "",
    )  # fmt: skip
    for index, (plan, mark) in enumerate(zip(front, marks_of(front), strict=True)):
        table.add_row(
            str(index), f"{plan.arena_bytes:,}",
            f"{plan.arena_bytes / max(fastest.arena_bytes, 1):.1%}", f"{plan.cost:,}",
            f"{plan.cost / max(fastest.cost, 1) - 1:+.2%}", str(len(plan.segments)),
            str(streamed_segments(plan)), mark,
        )  # fmt: skip
    print_plain(table)
    plans = f"{len(front)} plan{'s' * (len(front) > 1)}"
    out.print(f"{plans}, none both smaller and faster than another; instructions are estimated")
