"""Layouts of the kernels for DSP cores (runtime_c/src/dsp)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import KernelCall, Table
from .call_facts import CallFacts
from .packing import (
    bias_terms,
    by_block,
    in_blocks,
    layout,
    narrow_records,
    pairs_of_runs,
    quads_of_runs,
    records_of,
    repacked,
    runs_of,
    wide_bias,
    words_of,
)


@layout("gemm_2x3_wide")
def _gemm_wide(facts: CallFacts) -> KernelCall:
    """For each group, for each two output channels: biases (three times, for three pixels; none
    where they are no constants), for each pair of weights both channels' words, rescaling
    records."""
    wide, params = by_block(facts, facts.wide, 2)
    scaled = facts.sums.weights << wide.up.reshape(-1, 1, 1, 1)
    words = words_of(pairs_of_runs(runs_of(facts, scaled)))
    bias = np.repeat(wide_bias(facts, wide).reshape(-1, 1), 3, axis=1)
    records = records_of(wide, signed=facts.wide.signed)
    parts = (*_constant(facts, bias), words.reshape(len(words), -1), records)
    params |= bias_terms(facts, wide.up, wide.nudge)
    return repacked(facts, in_blocks(facts, 2, *parts), None, params)


@layout("gemm_2x3_narrow")
def _gemm_narrow(facts: CallFacts) -> KernelCall:
    """As gemm_2x3_wide with weights of 8 bits, four taps a word."""
    narrow, params = by_block(facts, facts.narrow, 2)
    words = quads_of_runs(runs_of(facts, facts.sums.weights))
    bias = facts.sums.bias.astype(np.int32).reshape(-1, 1)
    records = narrow_records(narrow, signed=facts.narrow.signed)
    params |= bias_terms(facts, 0, 0)
    stream = in_blocks(facts, 2, *_constant(facts, bias), words, records)
    return repacked(facts, stream, None, params)


@layout("gemm_2x3_plain")
def _gemm_plain(facts: CallFacts) -> KernelCall:
    """Rescaling records for each two output channels; weights and bias are no constants."""
    return _beside(facts, 2)


@layout("dense_4_wide")
def _dense_wide(facts: CallFacts) -> KernelCall:
    """For each four outputs: biases (none where they are no constants), for each pair of weights
    the outputs' words, rescaling records."""
    wide, params = by_block(facts, facts.wide, 4)
    words = words_of(pairs_of_runs(facts.sums.weights << wide.up.reshape(-1, 1)))
    bias = wide_bias(facts, wide).reshape(-1, 1)
    records = records_of(wide, signed=facts.wide.signed)
    params |= bias_terms(facts, wide.up, wide.nudge)
    stream = in_blocks(facts, 4, *_constant(facts, bias), words, records)
    return repacked(facts, stream, None, params)


@layout("dense_4_narrow")
def _dense_narrow(facts: CallFacts) -> KernelCall:
    """As dense_4_wide with weights of 8 bits, four inputs a word."""
    narrow, params = by_block(facts, facts.narrow, 4)
    words = quads_of_runs(facts.sums.weights[:, None, :])
    bias = facts.sums.bias.astype(np.int32).reshape(-1, 1)
    records = narrow_records(narrow, signed=facts.narrow.signed)
    params |= bias_terms(facts, 0, 0)
    stream = in_blocks(facts, 4, *_constant(facts, bias), words, records)
    return repacked(facts, stream, None, params)


@layout("dense_4_plain")
def _dense_plain(facts: CallFacts) -> KernelCall:
    """Rescaling records for each four outputs; weights and bias are no constants."""
    return _beside(facts, 4)


def _constant(facts: CallFacts, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    return (bias,) if facts.sums.limit is None else ()


def _beside(facts: CallFacts, block: int) -> KernelCall:
    """The call with the records of 8-bit weights beside its operands."""
    narrow, params = by_block(facts, facts.narrow, block)
    records = in_blocks(facts, block, narrow_records(narrow, signed=facts.narrow.signed))
    params |= bias_terms(facts, 0, 0)
    params["records"] = Table("records", records)
    return replace(facts.call, params={**facts.call.params, **params})


@layout("planes_wide")
def _planes_wide(facts: CallFacts) -> KernelCall:
    """For each output channel: rescaling record, bias (any number where it is no constant), for
    each line of taps the words that outputs read with the low half of a word first and, with
    stride 1, those that they read with the high half first."""
    wide, params = by_block(facts, facts.wide, 1)
    planes = facts.planes
    scaled = (facts.sums.weights << wide.up.reshape(-1, 1, 1, 1))[..., 0]
    if facts["in_w"] == 1:
        scaled = scaled.transpose(0, 2, 1)
    outs = len(scaled)

    def words(before: int) -> np.ndarray:
        after = 2 * planes.words - planes.along - before
        filled = np.pad(scaled, ((0, 0), (0, 0), (before, max(0, after))))
        return words_of(filled[..., : 2 * planes.words].reshape(outs, planes.across, -1, 2))

    if planes.stride == 2:
        taps = words(0)
    elif planes.words == 2:
        taps = np.stack([words(0)[..., 0], words(1)[..., 1]], axis=-1)
    else:
        taps = np.stack([words(0), words(1)], axis=-1)
    records, bias = records_of(wide, signed=facts.wide.signed), wide_bias(facts, wide)
    stream = np.concatenate([records, bias.reshape(-1, 1), taps.reshape(outs, -1)], axis=1)
    params |= {"plane_lines": planes.lines, "weights_zero": None}
    params |= bias_terms(facts, wide.up, wide.nudge)
    return repacked(facts, stream, None, params)
