"""``plan_model`` and ``front``: plans of a model, nothing compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..boards import Board
from ..fit import plan_by
from ..frontends import read_model
from ..schedule import Optimize, Plan, Planner
from .lowering import board_of, lowered
from .options import CompileOptions, Io, Requant


def plan_model(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    plan: str | Path = "min-ram",
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
) -> Plan:
    """The plan that ``compile`` would take, nothing compiled; it may exceed the board's RAM."""
    options = CompileOptions(
        io=io, requant=requant, optimize=optimize, shapes=shapes, keep_inputs=keep_inputs,
        stream_input=stream_input,
    )  # fmt: skip
    return plan_by(planner_of(model, target, options), plan)


def front(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
) -> tuple[Plan, ...]:
    """Plans of which none is both smaller and faster than another, the fastest first."""
    options = CompileOptions(
        io=io, requant=requant, optimize=optimize, shapes=shapes, keep_inputs=keep_inputs,
        stream_input=stream_input,
    )  # fmt: skip
    return planner_of(model, target, options).front()


def planner_of(model: str | Path, target: str | Path | Board, options: CompileOptions) -> Planner:
    """What searches the plans of a model on a board; of ``options`` those of ``front``."""
    options.check_kept()
    options.check_choices()
    board = board_of(target)
    source = read_model(Path(model), shapes=options.shapes)
    return Planner(
        lowered(source, options.io, options.requant, None), board.features,
        keep_inputs=options.keep_inputs, optimize=options.optimize,
        stream_input=options.stream_input,
    )  # fmt: skip
