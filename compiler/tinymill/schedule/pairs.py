"""Weights of two output channels in one word: when their sums stay apart (include/tm_pairs.h)."""

from __future__ import annotations

import numpy as np

from .rescaling import Accumulators

HALVES = 16
LONG_FIELDS = (24, 23, 22)
BYTE_LOW, BYTE_HIGH = -128, 127


def halves_fit(sums: Accumulators) -> bool:
    """Whether the products of any two neighbouring taps fit 16 bits a channel."""
    taps = sums.weights.reshape(len(sums.bias), -1)
    limit = 1 << (HALVES - 1)
    next_ = np.concatenate([taps[:, 1:], np.zeros_like(taps[:, :1])], axis=1)
    pairs = np.stack([taps, next_], axis=-1)
    low = np.minimum(pairs * BYTE_LOW, pairs * BYTE_HIGH).sum(axis=-1)
    high = np.maximum(pairs * BYTE_LOW, pairs * BYTE_HIGH).sum(axis=-1)
    return bool(low.min(initial=0) >= -limit and high.max(initial=0) < limit)


def long_field(sums: Accumulators) -> int:
    """The widest field of two that share 64 bits and whose weights share 32; 0 if none fits."""
    taps = sums.weights.reshape(len(sums.bias), -1)
    low = np.minimum(taps * BYTE_LOW, taps * BYTE_HIGH).sum(axis=1).min(initial=0)
    high = np.maximum(taps * BYTE_LOW, taps * BYTE_HIGH).sum(axis=1).max(initial=0)
    most = np.abs(taps).max(initial=0)
    for field in LONG_FIELDS:
        limit = 1 << (field - 1)
        if -limit <= low and high < limit and (most << field) + most < 1 << 31:
            return field
    return 0


def line_outs(width: int, kernel: int) -> int:
    """How many outputs of a row a depthwise kernel sums together: what wastes little."""
    most = 5 if kernel <= 3 else 4
    return min(range(most, 0, -1), key=lambda outs: -(-width // outs) * (5 * outs + 6))
