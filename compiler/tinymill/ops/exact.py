"""Cheap integer formulas that give a definition's bytes, found and proven at compile time.

gemmlowp's roundings cost dozens of instructions an element, floats hundreds on a core without
an FPU. An int8 has 256 values, a sum of n of them a few thousand: over all that a kernel can
meet it is tried whether a formula of one or two products gives the same byte. Where none does,
the kernel computes the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log2

import numpy as np

BYTES = np.arange(-128, 128, dtype=np.int64)
INT32 = (1 << 31) - 1
PLANE_SHIFTS = (22, 21, 20, 18)
"""Places of a plane's sum after the point: what stands before it must fit the rest of 32 bits,
one unit to spare for a kernel that rounds."""
MOST_FACTOR = (1 << 23) - 1
NEAREST = 384
STEPS = 24
TRIED = tuple(sign * n for n in range(1, 65) for sign in (1, -1))


@dataclass(frozen=True)
class Plane:
    """y = clamp((a * first + b * second + bias) >> shift), the sum within 32 bits.

    The factors are at most MOST_FACTOR, so that they fit with 8 bits more.
    """

    first: int
    second: int
    bias: int
    shift: int


def plane(table: np.ndarray, low: int, high: int, first: float, second: float) -> Plane | None:
    """The plane that gives ``table`` [256, 256], clamped to [low, high]; None if none is found.

    Rows of the table are a = -128 .. 127, columns b. ``first`` and ``second`` are the real
    factors, from which those of the plane differ by a few units.
    """
    y = np.clip(table.astype(np.int64), low, high)
    for shift in PLANE_SHIFTS:
        if max(abs(first), abs(second)) * 2**shift < MOST_FACTOR - STEPS:
            found = _plane(y, low, high, first, second, shift)
            if found is not None:
                return found
    return None


def _plane(
    y: np.ndarray, low: int, high: int, first: float, second: float, shift: int
) -> Plane | None:
    fa, fb = round(first * 2**shift), round(second * 2**shift)
    slope = BYTES[:, None] * fa + BYTES * fb
    # the bias lies in [reached, missed) of every pair whose output is above low, below high
    reached = np.where(y > low, (y << shift) - slope, -(1 << 40)).ravel()
    missed = np.where(y < high, ((y + 1) << shift) - slope, 1 << 40).ravel()
    if reached.max() >= missed.min():
        # other factors, judged by the pairs that leave the least room
        tight, close = (
            np.argpartition(room, NEAREST)[:NEAREST] for room in (reached.max() - reached, missed)
        )
        steps = np.arange(-STEPS, STEPS + 1)
        moves = np.stack([axis.ravel() for axis in np.meshgrid(steps, steps)])
        least = (reached[tight][:, None] - _pairs(tight) @ moves).max(axis=0)
        most = (missed[close][:, None] - _pairs(close) @ moves).min(axis=0)
        move = moves[:, int(np.argmax(most - least))]
        fa, fb = fa + int(move[0]), fb + int(move[1])
        change = (BYTES[:, None] * move[0] + BYTES * move[1]).ravel()
        slope, reached, missed = slope.ravel() + change, reached - change, missed - change
        if reached.max() >= missed.min():
            return None
    # where the output is constant the bias is free
    least, most = max(int(reached.max()), -INT32), min(int(missed.min()), INT32)
    bias = (least + most) >> 1
    ends = (int(slope.min()) + bias, int(slope.max()) + bias)
    if max(abs(term) for term in (*ends, bias)) > INT32 - (1 << shift):
        return None
    return Plane(fa, fb, bias, shift)


def _pairs(places: np.ndarray) -> np.ndarray:
    return np.stack([BYTES[places >> 8], BYTES[places & 255]], axis=1)


@dataclass(frozen=True)
class Line:
    """y = clamp((high32((x << up) * multiplier) + offset - (x < 0 ? bend : 0)) >> down)."""

    up: int
    multiplier: int
    offset: int
    bend: int
    down: int


@dataclass(frozen=True)
class Steps:
    """A function that does not decrease, of int8 outputs clamped to (low, high), by its steps.

    For each output above ``low``: the greatest argument that does not give it or more, and the
    least one that does; one beyond ``domain`` where there is none.
    """

    domain: tuple[int, int]
    low: int
    high: int
    below: np.ndarray
    above: np.ndarray

    @classmethod
    def of(
        cls,
        definition: Callable[[np.ndarray], np.ndarray],
        domain: tuple[int, int],
        clamp: tuple[int, int],
    ) -> Steps:
        """The steps of ``definition`` over all integers of ``domain``."""
        least, most = domain
        wanted = np.arange(clamp[0] + 1, clamp[1] + 1, dtype=np.int64)
        below, above = np.full_like(wanted, least - 1), np.full_like(wanted, most + 1)
        while True:
            apart = above - below > 1
            if not apart.any():
                return cls(domain, *clamp, below, above)
            middle = np.clip((below + above) >> 1, least, most)
            hit = definition(middle) >= wanted
            above, below = (
                np.where(apart & hit, middle, above),
                np.where(apart & ~hit, middle, below),
            )

    @classmethod
    def among(cls, values: np.ndarray, outputs: np.ndarray, clamp: tuple[int, int]) -> Steps:
        """The steps of a function that is only asked for ``values``, which increase."""
        domain = int(values[0]), int(values[-1])
        wanted = np.arange(clamp[0] + 1, clamp[1] + 1, dtype=np.int64)
        padded = np.concatenate([[domain[0] - 1], values, [domain[1] + 1]])
        first = np.searchsorted(outputs, wanted)
        return cls(domain, *clamp, padded[first], padded[first + 1])


def places(reach: int, factor: float, output: float) -> tuple[int, int]:
    """``up`` and ``down`` of lines for |x| <= reach, factors up to ``factor``, |y| <= output."""
    up = 30 - max(reach, 1).bit_length()
    # the multiplier, factor * 2**(32 - up + down), and the high half are below 2**30
    down = min(floor(30 - log2(factor)) - 32 + up, floor(29 - log2(max(output, 256.0))))
    return up, down


def line(steps: Steps, factor: float, up: int, down: int, bend: int = 0) -> Line | None:
    """The line that has these steps; None if none is found. ``factor`` is the real one.

    ``bend`` is what negative arguments are taken further down by a rounding away from zero.
    """
    if up < 0 or down < 1:
        return None
    above, below = steps.above, steps.below
    wanted = np.arange(steps.low + 1, steps.high + 1, dtype=np.int64) << down
    reached = above <= steps.domain[1]
    missed = below >= steps.domain[0]
    near = round(factor * 2.0 ** (32 - up + down))
    for change in (0, *TRIED):
        multiplier = near + change
        if not 0 < multiplier <= INT32:
            continue
        # the offset lies in [least, most)
        rise = wanted - ((above << up) * multiplier >> 32) + np.where(above < 0, bend, 0)
        fall = wanted - ((below << up) * multiplier >> 32) + np.where(below < 0, bend, 0)
        least = int(rise[reached].max(initial=-INT32 >> 1))
        most = int(fall[missed].min(initial=INT32 >> 1))
        offset = (least + most) >> 1
        ends = [((x << up) * multiplier >> 32) + offset for x in steps.domain]
        if least < most and max(abs(end) for end in ends) + bend <= INT32:
            return Line(up, multiplier, offset, bend, down)
    return None


def bend_of(shift: int, down: int) -> int:
    """The bend that gemmlowp's second rounding, of -``shift`` places, puts into a line."""
    return 1 << (down + shift) if -down <= shift < 0 else 0
