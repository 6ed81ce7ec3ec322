"""Layouts of the kernels for cores without SIMD (runtime_c/src/scalar)."""

from __future__ import annotations

import numpy as np

from ..ir import KernelCall
from .call_facts import CallFacts
from .packing import (
    by_block,
    filled_up,
    layout,
    records_of,
    repacked,
    runs_of,
    wide_bias,
    words_of,
)
from .pairs import HALVES, long_field
from .rescaling import Rescaling


def _pairs(facts: CallFacts, field: int, block: int, grouped: np.ndarray) -> KernelCall:
    """[groups, group_out, taps] weights: for each ``block`` channels of a group for
    each tap words of two weights, then the channels' records."""
    up = int(facts.narrow.up.max(initial=0))
    found, params = by_block(facts, facts.narrow, block)
    groups, outs, taps = grouped.shape
    records = pair_records(facts, found, up).reshape(groups, outs, -1)
    if field > HALVES:
        # the lower sum of each pair is kept positive by this much
        start = np.where(found.multiplier.reshape(groups, outs) == 0, 0, 1)
        void = np.isin(np.arange(groups * outs), found.exceptions).reshape(groups, outs)
        lifted = (start << (field - 1 + up)) + (void.astype(np.int64) << (field - 1))
        lifted[:, 1::2] = 0
        records[..., 0] -= lifted
    stream = []
    for group in range(groups):
        w, r = filled_up(grouped[group], block), filled_up(records[group], block)
        w = w.reshape(-1, block // 2, 2, taps).transpose(0, 3, 1, 2)
        words = w[..., 0] + (w[..., 1] << field)
        joined = np.concatenate([words.reshape(len(words), -1), r.reshape(len(words), -1)], axis=1)
        stream.append(joined.ravel())
    return repacked(facts, int32(np.concatenate(stream)), None, params)


def pair_records(facts: CallFacts, found: Rescaling, up: int) -> np.ndarray:
    """[O, 4 or 5] {bias, multiplier, offset[, correction], down}; of an exception, bias only."""
    void = np.isin(np.arange(len(facts.sums.bias)), found.exceptions)
    bias = np.where(void, facts.sums.bias, (facts.sums.bias << up) + found.nudge)
    # a channel of one value may overflow: its sum is multiplied by 0
    bias = np.where(~void & (found.multiplier == 0), 0, bias)
    correction = [found.correction] if facts.narrow.signed else []
    fields = [bias, found.multiplier, found.offset, *correction, found.down]
    return np.stack(fields, axis=1).astype(np.int64)


def int32(numbers: np.ndarray) -> np.ndarray:
    """Modulo 2**32."""
    return (numbers & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _grouped(facts: CallFacts) -> np.ndarray:
    weights = facts.sums.weights
    if facts.call.family == "dense":
        return weights.reshape(1, len(weights), -1)
    runs = runs_of(facts, weights)
    return runs.reshape(int(facts["groups"]), int(facts["group_out"]), -1)


@layout("pairs_long")
def _pairs_long(facts: CallFacts) -> KernelCall:
    return _pairs(facts, long_field(facts.sums), 4, _grouped(facts))


@layout("pairs_halves_4")
def _pairs_halves_4(facts: CallFacts) -> KernelCall:
    return _pairs(facts, HALVES, 4, _grouped(facts))


@layout("pairs_halves_2")
def _pairs_halves_2(facts: CallFacts) -> KernelCall:
    return _pairs(facts, HALVES, 2, _grouped(facts))


@layout("lines")
def _lines(facts: CallFacts) -> KernelCall:
    """For each channel its weights as 16 bits, bias, multiplier, offset and, where some channel
    needs it, correction."""
    wide, params = by_block(facts, facts.wide, 1)
    outs = len(facts.sums.bias)
    weights = facts.sums.weights.reshape(outs, -1) << wide.up.reshape(-1, 1)
    weights = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2))).reshape(outs, -1, 2)
    # sums stay within 32 bits, but where a channel has one value only
    used = (wide.multiplier != 0) | np.isin(np.arange(outs), wide.exceptions)
    bias = np.where(used, wide_bias(facts, wide), 0).reshape(outs, 1)
    records = records_of(wide, signed=facts.wide.signed)
    stream = np.concatenate([words_of(weights), bias, records], axis=1).ravel()
    return repacked(facts, stream, None, params)
