"""Layouts of the kernels for MVE (runtime_c/src/mve)."""

from __future__ import annotations

import numpy as np

from ..ir import KernelCall, Table
from .call_facts import CallFacts
from .packing import filled_up, layout, repacked

LANES = 16


def _words(array: np.ndarray) -> np.ndarray:
    """[N, ...] numbers as rows of 32-bit words."""
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.int32)


def _factors(facts: CallFacts) -> np.ndarray:
    """[O, 1, 2 or 3] words: the scale's bits, or multiplier, negated right shift and, where the
    call has any, left shift."""
    params, count = facts.call.params, len(facts.sums.bias)
    scale = params.get("scale")
    if isinstance(scale, Table):
        reals = np.ascontiguousarray(np.broadcast_to(np.asarray(scale.array, np.float32), count))
        return reals.view(np.int32).reshape(-1, 1)
    multiplier, shift = (
        np.broadcast_to(np.asarray(table.array, np.int32), count)
        for table in (params["multiplier"], params["shift"])
        if isinstance(table, Table)
    )
    columns = [multiplier, np.minimum(shift, 0)]
    if facts["left"]:
        columns.append(np.maximum(shift, 0))
    return np.stack(columns, axis=1).astype(np.int32)


def _blocks_of(
    facts: CallFacts, weights: np.ndarray, size: int, group: int, order: np.ndarray | None = None
) -> np.ndarray:
    """For each ``size`` channels of a group: biases (where they are constants), for each 16 weights
    those of each channel, for each factor those of the channels. ``order`` are the channels of a
    group in the order in which they come."""
    outs = len(weights)
    flat = weights.reshape(outs, -1).astype(np.int8)
    filled = np.pad(flat, ((0, 0), (0, -flat.shape[1] % LANES)))
    pieces = filled.reshape(outs, -1, LANES)
    bias, factors = facts.sums.bias.astype(np.int32), _factors(facts)
    constant = facts.sums.limit is None
    stream = []
    for start in range(0, outs, group):
        part = slice(start, start + group)
        b, w, f = (filled_up(array[part], size) for array in (bias, pieces, factors))
        if order is not None:
            b, w, f = (array[order] for array in (b, w, f))
        blocks = [
            *([b.reshape(-1, size)] if constant else []),
            _words(w.reshape(-1, size, *w.shape[1:]).transpose(0, 2, 1, 3)),
            f.reshape(-1, size, f.shape[1]).transpose(0, 2, 1).reshape(len(f) // size, -1),
        ]
        stream.append(np.concatenate(blocks, axis=1).ravel())
    return np.concatenate(stream)


UNUSED = {"multiplier": None, "shift": None, "scale": None, "exceptions": None}


@layout("mve_gemm")
def _gemm(facts: CallFacts) -> KernelCall:
    stream = _blocks_of(facts, facts.sums.weights, 4, int(facts["group_out"]))
    return repacked(facts, stream, None, UNUSED)


@layout("mve_depthwise")
def _depthwise(facts: CallFacts) -> KernelCall:
    """For each channel: the words of its window, bias, factors."""
    weights = facts.sums.weights[..., 0].astype(np.int8)
    outs, height, width = weights.shape
    rows = -(-height // 4)
    filled = np.zeros((outs, width, 4 * rows), np.int8)
    filled[:, :, :height] = weights.transpose(0, 2, 1)
    words = _words(filled)
    if facts["mve_pairs"]:
        window = np.zeros((outs, 5), np.int32)
        window[:, 1 : 1 + width] = words
    else:
        window = np.pad(words, ((0, 0), (0, -words.shape[1] % 4)))
    bias = facts.sums.bias.astype(np.int32).reshape(-1, 1)
    stream = np.concatenate([window, bias, _factors(facts)], axis=1)
    return repacked(facts, stream.ravel(), None, UNUSED)


@layout("mve_dense")
def _dense(facts: CallFacts) -> KernelCall:
    outs = len(facts.sums.bias)
    order = np.arange(-(-outs // 8) * 8).reshape(-1, 4, 2).transpose(0, 2, 1).ravel()
    stream = _blocks_of(facts, facts.sums.weights, 8, outs, order)
    return repacked(facts, stream, None, UNUSED)
