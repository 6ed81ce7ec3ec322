"""The walk of a kernel that only moves bytes: few axes, long runs."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UnsupportedOp
from ..ir import Param

RANK = 8
"""Axes that the kernels can walk (TM_MOVE_RANK)."""


def walk(shape: Sequence[int], strides: Sequence[int], size: int) -> dict[str, Param]:
    """``element``, ``shape`` and ``strides`` that read what elements of ``size`` bytes at
    ``strides`` read: axes that lie in one run are one, inner runs are moved at once."""
    axes: list[tuple[int, int]] = []
    for n, step in zip(shape, strides, strict=True):
        if axes and axes[-1][1] == n * step:
            axes[-1] = (axes[-1][0] * n, step)
        elif n != 1:
            axes.append((n, step))
    if axes and axes[-1][1] == size:
        size *= axes.pop()[0]
    if len(axes) > RANK:
        raise UnsupportedOp(f"moving along {len(axes)} axes, at most {RANK}")
    fill = RANK - len(axes)
    return {
        "element": size,
        "shape": (*([1] * fill), *(n for n, _ in axes)),
        "strides": (*([0] * fill), *(step for _, step in axes)),
    }
