"""Exponents of gradients: which power of two a mantissa of 16 bits counts, known at compile time.

The loss makes the mantissas of each step alike in size, so one table of exponents serves all
steps. It comes from runs of samples with labels, or, without data, from the sizes of weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import DType, Graph, TensorType, Types
from ..ops.losses import Loss
from .autodiff import backward
from .numbers import ExpectationTape, NumbersTape

HEADROOM = 4
"""Bits that a gradient may outgrow those of the samples by before it is limited. With mcunet-5fps
gradients grow by 2 bits while it learns; the 11 bits that are left hold the direction of each
layer's gradient to a cosine of 0.9999."""
MOST_LOSS = float(1 << 14)


@dataclass(frozen=True)
class Fit:
    """How a real factor becomes integers: about ``multiplier`` * 2**-places."""

    multiplier: np.ndarray
    places: int


def fit_factors(factors: np.ndarray, most: int) -> Fit:
    """Real factors as integers of at most ``most`` and one power of two."""
    largest = float(np.max(np.abs(factors)))
    if not 0 < largest < math.inf:
        return Fit(np.zeros(factors.shape, np.int16), 0)
    places = math.floor(math.log2(most / largest))
    scaled = np.rint(np.ldexp(factors, places))
    if np.max(np.abs(scaled)) > most:
        places -= 1
        scaled = np.rint(np.ldexp(factors, places))
    return Fit(scaled.astype(np.int16), places)


def exponent_for(peak: float, limit: int, headroom: int | None = None) -> int | None:
    """The exponent with which ``peak`` is a mantissa of at most ``limit`` / 2**headroom; None
    for a gradient that is 0."""
    if not 0 < peak < math.inf:
        return None
    room = HEADROOM if headroom is None else headroom
    return math.ceil(math.log2(peak * (1 << room) / limit))


def loss_gradient(
    op: Loss, kind: TensorType, y: np.ndarray, target: np.ndarray
) -> tuple[float, np.ndarray, int]:
    """A loss, its gradient by the integers of y in units of 2**E, and E."""
    target_kind = TensorType(target.shape, DType.of(target.dtype))
    types = Types((kind, target_kind), op.infer((kind, target_kind)))
    loss, g, exponent = op.reference([y, target], types)
    return float(loss[0]), g.astype(np.float64), int(exponent[0])


def measured_peaks(
    graph: Graph,
    output: str,
    op: Loss,
    runs: Sequence[tuple[Mapping[str, np.ndarray], np.ndarray]],
    trained: Collection[str],
) -> list[float]:
    """The largest gradient at each step of the backward pass, in units of 2**E of its run.

    ``runs``: all values of a run of ``graph``, and what its output should be.
    """
    most: list[float] = []
    for values, target in runs:
        _, g, _ = loss_gradient(op, graph.type(output), values[output], target)
        tape = NumbersTape(graph, values)
        backward(graph, output, g, trained, tape)
        most = [max(pair) for pair in zip(most or tape.peaks, tape.peaks, strict=True)]
    return most


def expected_peaks(graph: Graph, output: str, trained: Collection[str]) -> list[float]:
    """As ``measured_peaks``, without data."""
    tape = ExpectationTape(graph)
    # of K gradients one or two are large
    start = MOST_LOSS / max(1.0, graph.type(output).count / 2) ** 0.5
    backward(graph, output, start, trained, tape)
    return tape.peaks
