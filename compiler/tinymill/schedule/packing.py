"""Layouts in which kernels read constant operands, by the name that the kernel table gives.

A layout turns the call of a family into the call that one kernel understands: weights in
reading order, bias and rescaling beside them. The C of a kernel describes the layout it reads
in its first comment; ``layouts_*.py`` make them from the parts here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import UnsupportedOp
from ..ir import KernelCall, Param, Table
from .call_facts import CallFacts
from .rescaling import Rescaling

Layout = Callable[[CallFacts], KernelCall]
LAYOUTS: dict[str, Layout] = {}


def layout(name: str) -> Callable[[Layout], Layout]:
    """Registers a layout under the name that runtime_c/kernels.toml uses."""

    def register(function: Layout) -> Layout:
        LAYOUTS[name] = function
        return function

    return register


def repacked(
    facts: CallFacts, weights: np.ndarray, bias: np.ndarray | None, params: Mapping[str, Param]
) -> KernelCall:
    """The call with other weights, bias (None: in the weights) and params."""
    tables = {"weights": Table("weights", weights), "bias": None}
    if bias is not None:
        tables["bias"] = Table("bias", bias)
    operands = tuple(
        tables[item.role] if isinstance(item, Table) and item.role in tables else item
        for item in facts.call.operands
    )
    return replace(facts.call, operands=operands, params={**facts.call.params, **params})


def by_block(facts: CallFacts, found: Rescaling, block: int) -> tuple[Rescaling, dict[str, Param]]:
    """``found`` where whole blocks of channels of a group are exceptions, and the params that go
    with it: the definition's factors stay only if there are any."""
    if not len(found.exceptions):
        return found, {"multiplier": None, "shift": None, "scale": None, "exceptions": None}
    group_out = int(facts["group_out"]) if "group_out" in facts else len(facts.sums.bias)
    blocks = -(-group_out // block)
    channels = np.arange(len(facts.sums.bias))
    owner = channels // group_out * blocks + channels % group_out // block
    chosen = np.unique(owner[found.exceptions])
    if chosen[-1] >= INT16_MAX:
        raise UnsupportedOp(f"{len(channels)} channels, some of them exceptions of rescaling")
    void = np.isin(owner, chosen)
    fields = ("up", "nudge", "multiplier", "offset", "correction")
    found = replace(
        found,
        exceptions=np.flatnonzero(void),
        **{name: np.where(void, 0, getattr(found, name)) for name in fields},
    )
    table = Table("exceptions", np.array([*chosen, INT16_MAX], np.int16))
    return found, {"exceptions": table}


INT16_MAX = (1 << 15) - 1


def pairs_of_runs(weights: np.ndarray) -> np.ndarray:
    """[..., run] weights in the order in which SXTB16 gives the bytes of a run: [..., pairs, 2].

    Four bytes are the pairs (0, 2), (1, 3); of what is left, two are a pair and a last one is
    paired with weight 0.
    """
    length = weights.shape[-1]
    whole = length // 4 * 4
    quads = weights[..., :whole].reshape(*weights.shape[:-1], -1, 2, 2)
    pairs = np.swapaxes(quads, -1, -2).reshape(*weights.shape[:-1], -1, 2)
    tail = weights[..., whole:]
    if tail.shape[-1] % 2:
        tail = np.concatenate([tail, np.zeros_like(tail[..., :1])], axis=-1)
    return np.concatenate([pairs, tail.reshape(*weights.shape[:-1], -1, 2)], axis=-2)


def words_of(pairs: np.ndarray) -> np.ndarray:
    """[..., 2] integers of 16 bits as words, the first in the low half."""
    pairs = pairs.astype(np.int64)
    words = (pairs[..., 0] & 0xFFFF) | (pairs[..., 1] << 16)
    return words.astype(np.int32)


def runs_of(facts: CallFacts, weights: np.ndarray) -> np.ndarray:
    """[O, KH, KW, I] weights as [O, runs, run]: a run lies side by side in the input."""
    outs, height, width, depth = weights.shape
    joined = facts["dilation_w"] == 1 and facts["groups"] == 1
    return (
        weights.reshape(outs, height, width * depth)
        if joined
        else weights.reshape(outs, height * width, depth)
    )


def wide_bias(facts: CallFacts, wide: Rescaling) -> np.ndarray:
    # a channel of one value may overflow: its sum is multiplied by 0
    return ((facts.sums.bias << wide.up) + wide.nudge).astype(np.int32)


def bias_terms(facts: CallFacts, up: np.ndarray | int, nudge: np.ndarray | int) -> dict[str, Param]:
    """What a kernel with rescaling records makes of a bias that is no constant, by channel: limit,
    places by which it is shifted, what is added. Nothing where the bias is a constant."""
    limit = facts.sums.limit
    if limit is None:
        return {}
    columns = [limit, np.broadcast_to(up, len(limit)), np.broadcast_to(nudge, len(limit))]
    terms = np.stack(columns, axis=1).astype(np.int32)
    return {"bias_terms": Table("bias_terms", terms), "bias_limit": None}


def records_of(found: Rescaling, *, signed: bool) -> np.ndarray:
    """[O, 2 or 3] words: multiplier, offset and, where ``signed``, correction."""
    fields = [found.multiplier, found.offset, *([found.correction] if signed else [])]
    return np.stack(fields, axis=1).astype(np.int32)


def filled_up(array: np.ndarray, count: int) -> np.ndarray:
    """The first axis filled with zeros up to a multiple of ``count``."""
    missing = -len(array) % count
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


def quads_of_runs(weights: np.ndarray) -> np.ndarray:
    """[..., runs, run] weights of 8 bits, each run filled up to whole words: [..., words]."""
    rest = -weights.shape[-1] % 4
    filled = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, rest)]).astype(np.int8)
    return np.ascontiguousarray(filled).reshape(*weights.shape[:-2], -1).view(np.int32)


def narrow_records(found: Rescaling, *, signed: bool) -> np.ndarray:
    """[O, 4 or 5] words: nudge, down, multiplier, offset and, where ``signed``, correction."""
    first = np.stack([found.nudge, found.down], axis=1).astype(np.int32)
    return np.concatenate([first, records_of(found, signed=signed)], axis=1)


def in_blocks(facts: CallFacts, size: int, *parts: np.ndarray) -> np.ndarray:
    """For each ``size`` channels of a group, word by word: the parts [O, words], each with the
    channels' words side by side but the last, whose channels follow each other."""
    group_out = int(facts["group_out"]) if "group_out" in facts else len(parts[0])
    *mixed, last = parts
    stream = []
    for start in range(0, len(last), group_out):
        group = slice(start, start + group_out)
        rows = [
            filled_up(part[group], size).reshape(-1, size, part.shape[1]).transpose(0, 2, 1)
            for part in mixed
        ]
        rows.append(filled_up(last[group], size))
        count = len(rows[0])
        stream.append(np.concatenate([row.reshape(count, -1) for row in rows], axis=1).ravel())
    return np.concatenate(stream)
