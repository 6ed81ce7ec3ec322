"""How depthwise convolutions go through planes of channels on DSP cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MOST_PLANE_BYTES = 2560
"""Scratch for planes, where more of it does not save as much elsewhere."""
MOST_PLANE_LINES = 8
"""Lines of outputs at a time; beyond, the lines read twice hardly count."""
MOST_PLANE_WORDS = 64
LONGEST_LINE_OF_TAPS = 15


@dataclass(frozen=True)
class Planes:
    """How a depthwise convolution goes through planes of single channels: lines run along the
    width, in a map of one column along the height.

    ``along`` and ``across`` are taps along a line and across lines, ``stride`` that along a line,
    ``words`` what an output reads of a line. ``lines`` of outputs are computed at a time, from
    inputs of ``bytes``. ``rows`` of the output are written before the input rows of the first can
    go; ``in_place``: the output may be at the input's very place; ``by_channel``: a
    channel is read before it is written.
    """

    along: int
    across: int
    stride: int
    words: int
    lines: int
    bytes: int
    rows: int
    in_place: bool
    by_channel: bool
    fits: bool

    @classmethod
    def of(cls, facts: Mapping[str, int | float]) -> Planes:
        down = facts["in_w"] == 1
        first, second = ("h", "w") if down else ("w", "h")
        along, stride = int(facts[f"kernel_{first}"]), int(facts[f"stride_{first}"])
        across, step = int(facts[f"kernel_{second}"]), int(facts[f"stride_{second}"])
        words = along // 2 + 1 if stride == 1 else (along + 1) // 2
        band = int(facts["band"])
        outputs = int(facts[f"out_{first}"])
        if down and band:
            outputs = min(outputs, band)
        outputs = (outputs + 1) // 2 * 2
        line = 4 * ((outputs // 2 if stride == 1 else outputs) + words - 1)
        line *= min(4, int(facts["in_c"]))
        halo = (across - 1) * int(facts[f"dilation_{second}"]) + 1 - step
        whole = int(facts[f"out_{second}"])
        if band and not down:
            whole = min(whole, band)
        row = int(facts["out_w"]) * int(facts["out_c"])
        lines = min(whole, MOST_PLANE_LINES, (MOST_PLANE_BYTES // line - halo) // step)
        lines = max(lines, min(whole, 3 if step == 1 else 2))
        lines = -(-whole // -(-whole // lines))  # as equal as can be
        # a plane overwrites bytes of its own channel only; a much smaller output had better
        # have a place of its own, for the time after
        inputs = int(facts["in_h"]) * int(facts["in_w"])
        alike = facts["group_out"] == 1 and 2 * int(facts["out_h"]) * row > inputs * int(
            facts["in_c"]
        )
        if alike and not band and line * step * (whole - lines) <= lines * row:
            lines = whole  # a plane costs less than a distance between input and output
        fits = (
            stride in (1, 2)
            and (facts[f"dilation_{first}"] == 1 or along == 1)
            and along <= LONGEST_LINE_OF_TAPS
            and across * words <= MOST_PLANE_WORDS
        )
        return cls(
            along, across, stride, words, lines, line * (lines * step + halo),
            int(facts["out_h"]) if down else lines, alike and not band and lines == whole,
            facts["group_out"] == 1 and band == 1 and lines == whole, fits,
        )  # fmt: skip
