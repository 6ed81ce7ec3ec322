"""What a plan says of each of its segments, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..schedule import Buffer, Choice, Plan, Segment, balanced
from ..schedule.cost import SEGMENT, cost_of

Kind = Literal["input", "output", "activation", "ring", "scratch"]


@dataclass(frozen=True)
class SegmentFigures:
    """One segment. Each buffer in use is counted once: ``inputs`` are read here and were there
    before, ``outputs`` are begun here, ``rings`` hold some rows only, ``held`` are bytes that
    later segments read. Outputs may share bytes with inputs that die here, so that ``arena``, the
    end of the highest buffer, can be less than their sum. ``in_place``: an output lies exactly
    where its input does. ``rows`` of the first layer are computed at a time, 0: all of them; the
    last layer's output is cut into so many ``tiles`` down and across.
    """

    layers: tuple[str, ...]
    ops: tuple[str, ...]
    rows: int
    tiles: tuple[int, int]
    turns: int
    arena: int
    inputs: int
    outputs: int
    rings: int
    scratch: int
    held: int
    in_place: bool
    instructions: int


def segments_of(plan: Plan) -> tuple[SegmentFigures, ...]:
    """The figures of each segment, in order."""
    return tuple(_figures(plan, index) for index in range(len(plan.segments)))


def _figures(plan: Plan, index: int) -> SegmentFigures:
    segment = plan.segments[index]
    nodes = [step.node for step in segment.steps[: segment.layers]]
    choice = plan.choices[index] if index < len(plan.choices) else Choice(len(nodes))
    read = {value for node in nodes for value in node.inputs}
    written = {value for node in nodes for value in node.outputs}
    sums = dict.fromkeys(("inputs", "outputs", "rings", "scratch", "held"), 0)
    in_place = False
    for buffer in plan.live_at(index):
        if not buffer.values:
            part = "scratch"
        elif buffer.rows is not None:
            part = "rings"
        elif buffer.first == index:
            part = "outputs"
        elif read.isdisjoint(buffer.values):
            part = "held"
        else:
            part = "inputs"
            in_place = in_place or not written.isdisjoint(buffer.values)
        sums[part] += buffer.size
    return SegmentFigures(
        layers=tuple(node.name or node.outputs[0] for node in nodes),
        ops=tuple(node.op.name for node in nodes),
        rows=choice.rows,
        tiles=(len(choice.across) + 1, len(choice.along) + 1),
        turns=len(segment.turns),
        arena=plan.top_at(index),
        in_place=in_place,
        instructions=_instructions(segment),
        **sums,
    )


def _instructions(segment: Segment) -> int:
    """The part of ``Plan.cost`` that this segment has."""
    rows: list[list[int]] = [[] for _ in segment.steps]
    for turn in segment.turns:
        rows[turn.step].append(turn.row1 - turn.row0)
    calls = sum(cost_of(step, each) for step, each in zip(segment.steps, rows, strict=True))
    return calls + (0 if segment.whole else SEGMENT)


def kind_of(plan: Plan, buffer: Buffer) -> Kind:
    """What a buffer is for."""
    if not buffer.values:
        return "scratch"
    if any(port.value in buffer.values for port in plan.graph.inputs):
        return "input"
    if any(port.value in buffer.values for port in plan.graph.outputs):
        return "output"
    return "activation" if buffer.rows is None else "ring"


def streamed_segments(plan: Plan) -> int:
    """The number of segments in which layers take turns."""
    return sum(not segment.whole for segment in plan.segments)


def marks_of(front: Sequence[Plan]) -> tuple[str, ...]:
    """For each plan of a front what it is among them: fastest, balanced, smallest or nothing."""
    if not front:
        return ()
    marks: list[list[str]] = [[] for _ in front]
    for mark, plan in (
        ("fastest", min(front, key=lambda plan: plan.cost)),
        ("balanced", balanced(front)),
        ("smallest", min(front, key=lambda plan: plan.arena_bytes)),
    ):
        marks[[plan is other for other in front].index(True)].append(mark)
    return tuple(", ".join(each) for each in marks)
