"""Layouts in which kernels read constant operands, by the name that the kernel table gives.

A layout turns the call of a family into the call that one kernel understands: weights in
reading order, bias and rescaling beside them. The C of a kernel describes the layout it reads
in its first comment; this file makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..ir import KernelCall, Param, Table
from .rescaling import Accumulators, Rescaling, narrow_rescaling, wide_rescaling

DERIVED = ("signed", "shift", "up", "clamped")


class CallFacts(Mapping[str, int | float]):
    """The numbers a kernel may be chosen by: params, facts of the call, options, and

    ``signed``   whether some channel's rescaling needs the correction of negative sums
    ``shift``    the common ``down`` of widened weights
    ``up``       the common ``up`` of int8 weights
    ``clamped``  whether the output is clamped to less than int8

    The derived ones are computed when first asked for.
    """

    def __init__(self, call: KernelCall, options: Mapping[str, int]) -> None:
        self.call = call
        numbers = {k: v for k, v in call.params.items() if isinstance(v, int | float)}
        self._known = {**options, **numbers, **call.facts}

    def __getitem__(self, name: str) -> int | float:
        if name in self._known:
            return self._known[name]
        if name == "signed":
            return int(self.wide.signed)
        if name == "shift":
            return int(self.wide.down[0])
        if name == "up":
            return int(self.narrow.up[0])
        if name == "clamped":
            return int((self._known["lo"], self._known["hi"]) != (-128, 127))
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield from DERIVED

    def __len__(self) -> int:
        return len(self._known) + len(DERIVED)

    @cached_property
    def sums(self) -> Accumulators:
        return Accumulators.of(self.call)

    @cached_property
    def wide(self) -> Rescaling:
        return wide_rescaling(self.call, self.sums)

    @cached_property
    def narrow(self) -> Rescaling:
        return narrow_rescaling(self.call, self.sums)


Layout = Callable[[CallFacts], KernelCall]
LAYOUTS: dict[str, Layout] = {}


def layout(name: str) -> Callable[[Layout], Layout]:
    """Registers a layout under the name that runtime_c/kernels.toml uses."""

    def register(function: Layout) -> Layout:
        LAYOUTS[name] = function
        return function

    return register


def _repacked(
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


def _widened(facts: CallFacts, block: int) -> tuple[Rescaling, dict[str, Param]]:
    """The wide rescaling where whole blocks of channels of a group are exceptions, and the
    params that go with it: the definition's factors stay only if there are any."""
    wide = facts.wide
    if not len(wide.exceptions):
        return wide, {"multiplier": None, "shift": None, "scale": None, "exceptions": None}
    group_out = int(facts["group_out"]) if "group_out" in facts else len(facts.sums.bias)
    blocks = -(-group_out // block)
    channels = np.arange(len(facts.sums.bias))
    owner = channels // group_out * blocks + channels % group_out // block
    chosen = np.unique(owner[wide.exceptions])
    void = np.isin(owner, chosen)
    fields = ("up", "nudge", "multiplier", "offset", "correction")
    found = replace(
        wide,
        exceptions=np.flatnonzero(void),
        **{name: np.where(void, 0, getattr(wide, name)) for name in fields},
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


def _wide_bias(facts: CallFacts, wide: Rescaling) -> np.ndarray:
    # a channel of one value may overflow: its sum is multiplied by 0
    return ((facts.sums.bias << wide.up) + wide.nudge).astype(np.int32)


def _records(found: Rescaling, *, signed: bool) -> np.ndarray:
    """[O, 2 or 3] words: multiplier, offset and, where ``signed``, correction."""
    fields = [found.multiplier, found.offset, *([found.correction] if signed else [])]
    return np.stack(fields, axis=1).astype(np.int32)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
    """The first axis filled with zeros up to a multiple of ``count``."""
    missing = -len(array) % count
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


@layout("gemm_2x3_wide")
def _gemm_wide(facts: CallFacts) -> KernelCall:
    """For each group, for each two output channels: bias (2), for each pair of weights both
    channels' words, rescaling records (2)."""
    wide, params = _widened(facts, 2)
    groups, group_out = int(facts["groups"]), int(facts["group_out"])
    scaled = facts.sums.weights << wide.up.reshape(-1, 1, 1, 1)
    words = words_of(pairs_of_runs(runs_of(facts, scaled)))
    words = words.reshape(len(words), -1)
    records, bias = _records(wide, signed=facts.wide.signed), _wide_bias(facts, wide)
    stream = []
    for group in range(groups):
        part = slice(group * group_out, (group + 1) * group_out)
        w, r, b = (_padded(a[part], 2) for a in (words, records, bias))
        blocks = [
            b.reshape(-1, 2),
            w.reshape(-1, 2, w.shape[1]).transpose(0, 2, 1).reshape(len(w) // 2, -1),
            r.reshape(len(r) // 2, -1),
        ]
        stream.append(np.concatenate(blocks, axis=1).ravel())
    return _repacked(facts, np.concatenate(stream), None, params)
