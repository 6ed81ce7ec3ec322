"""Rescaling in the fewest instructions that keep the bytes.

A kernel's last step takes the accumulator of a channel to an output integer. The definitions
(gemmlowp's two roundings, ONNX's float product) cost ten instructions and more. Here they
become, for each channel,

    y = clamp((high32(((acc << up) + nudge) * multiplier) + offset
               - (acc < 0 ? correction : 0)) >> down)

high32 being the high half of the 64-bit product, all shifts arithmetic. The numbers are only
given out where this gives the definition's byte for every accumulator that the channel's
weights and bias can make:

- gemmlowp: round(round(acc * m / 2**31) / 2**s), s > 0, halves of the second rounding away
  from zero, is one floor: for acc >= 0 (acc * m + 2**30 + 2**(30 + s)) / 2**(31 + s), and one
  unit of the inner rounding less for acc < 0. With up >= 2 and down = s + up - 1 all terms are
  integers in units of 2**32. Where the lower clamp is the zero point, negative accumulators
  end there either way and the correction is left out.
- Everything else (ONNX, exponents out of reach) is a monotonic step function of acc with at
  most 255 steps; multipliers near the real factor are tried until one has the same steps.
- A channel that gives one value only needs no product.
- What is left (an accumulator near a tie whose odd multiples are near ties too) is listed as
  an exception: the kernel rescales those channels by the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..ir import FixedPoint, FloatScale, KernelCall, Rescale, Table
from ..ops.arithmetic import scale_fixed, scale_float
from ..ops.conv import BIAS_LIMIT

WIDE_SHIFTS = (10, 12, 11, 9, 13, 8, 14, 7, 15, 6, 16, 5, 4, 3)
"""Common shifts of widened weights in the order in which they are tried: the fewer different
ones a model has, the fewer copies of a kernel it needs."""
MOST_DOWN = 22
MOST_NARROW_UP = 7
INT32 = (1 << 31) - 1
INT16 = (1 << 15) - 1


@dataclass(frozen=True)
class Rescaling:
    """The numbers of the formula above, one for each output channel (int64 arrays).

    ``correction`` is all zeros where no channel needs it. ``exceptions`` are the channels whose
    numbers are void (all zeros): they are rescaled by the definition.
    """

    up: np.ndarray
    nudge: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    correction: np.ndarray
    down: np.ndarray
    exceptions: np.ndarray

    @property
    def signed(self) -> bool:
        return bool(self.correction.any())


@dataclass(frozen=True)
class Accumulators:
    """The accumulators of a call of conv2d or dense: weights by channel, bias, their range.

    ``weights`` [O, K] are without their zero point; ``low`` and ``high`` [O] bound every sum.
    Of a bias that is no constant ``limit`` [O] says for how much it counts at most (then ``bias``
    is 0); weights that are none are 0, and ``low`` and ``high`` bound what any make.
    """

    weights: np.ndarray
    bias: np.ndarray
    low: np.ndarray
    high: np.ndarray
    limit: np.ndarray | None = None

    @classmethod
    def of(cls, call: KernelCall) -> Accumulators:
        tables = {item.role: item.array for item in call.operands if isinstance(item, Table)}
        if "bias_limit" in call.params:
            return cls._varying(call, tables.get("weights"))
        weights = tables["weights"].astype(np.int64)
        outs = weights.shape[0]
        zeros = call.params.get("weights_zero")
        if isinstance(zeros, Table):
            each = (outs, *[1] * (weights.ndim - 1))
            weights = weights - zeros.array.astype(np.int64).reshape(each)
        flat = weights.reshape(outs, -1)
        bias = tables["bias"].astype(np.int64).reshape(outs)
        low = bias + np.minimum(flat * -128, flat * 127).sum(axis=1)
        high = bias + np.maximum(flat * -128, flat * 127).sum(axis=1)
        return cls(weights, bias, low, high)

    @classmethod
    def _varying(cls, call: KernelCall, constant: np.ndarray | None) -> Accumulators:
        """Those of a call whose bias, or weights and bias, are no constants."""
        numbers = {k: v for k, v in call.params.items() if isinstance(v, int)}
        outs = numbers["outs"] if call.family == "dense" else numbers["out_c"]
        taps = numbers.get("depth", 0) or (
            numbers["kernel_h"] * numbers["kernel_w"] * numbers["group_in"]
        )
        table, zeros = call.params["bias_limit"], call.params.get("weights_zero")
        assert isinstance(table, Table)
        limit = table.array.astype(np.int64)
        zero = np.zeros(outs, np.int64)
        if isinstance(zeros, Table):
            zero = zeros.array.astype(np.int64)
        # the limit is what any weights sum to, and so many steps of the output
        any_sum = taps * 128 * max(128 + int(zero.max()), 127 - int(zero.min()))
        if constant is None:
            weights = np.broadcast_to(np.int64(0), (outs, taps))
            low, high = np.full(outs, -any_sum), np.full(outs, any_sum)
        else:
            weights = constant.astype(np.int64)
            weights = weights - zero.reshape(outs, *[1] * (weights.ndim - 1))
            flat = weights.reshape(outs, -1)
            low = np.minimum(flat * -128, flat * 127).sum(axis=1)
            high = np.maximum(flat * -128, flat * 127).sum(axis=1)
            reach = np.maximum(-low, high)
            limit = np.where(limit == BIAS_LIMIT, limit, limit - any_sum + reach)
        return cls(weights, zero * 0, low - limit, high + limit, limit)


def wide_rescaling(call: KernelCall, sums: Accumulators) -> Rescaling:
    """One ``down`` for all channels; ``up`` and ``nudge`` are folded into weights of 16 bits and
    the bias."""
    return _once("wide", call, sums, _wide_rescaling)


def narrow_rescaling(call: KernelCall, sums: Accumulators) -> Rescaling:
    """One ``up`` for all channels, applied to the accumulator."""
    return _once("narrow", call, sums, _narrow_rescaling)


MOST_KNOWN = 512
_KNOWN: dict[tuple[object, ...], Rescaling] = {}


def _once(
    form: str,
    call: KernelCall,
    sums: Accumulators,
    prove: Callable[[KernelCall, Accumulators], Rescaling],
) -> Rescaling:
    """What ``prove`` gives, remembered: a search, and a model's plan and that of its training, ask
    for the same layers again."""
    largest = np.abs(sums.weights.reshape(len(sums.bias), -1)).max(axis=1, initial=0)
    arrays = [largest, sums.low, sums.high]
    arrays += [
        np.asarray(table.array)
        for name in ("scale", "multiplier", "shift")
        if isinstance(table := call.params.get(name), Table)
    ]
    numbers = (call.params["out_zero"], call.params["lo"], call.params["hi"])
    key = (form, *numbers, *((array.dtype.str, array.tobytes()) for array in arrays))
    if key not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[key] = prove(call, sums)
    return _KNOWN[key]


def _wide_rescaling(call: KernelCall, sums: Accumulators) -> Rescaling:
    largest = np.abs(sums.weights.reshape(len(sums.bias), -1)).max(axis=1, initial=0)
    room = np.minimum(_bits_left(largest, INT16), _bits_left(_magnitude(sums), INT32))
    definition = _Definition.of(call, sums)
    best: Rescaling | None = None
    for down in WIDE_SHIFTS:
        base = down + 1 - definition.exponent
        found = _rescaling(definition, base, np.full(len(room), down), room)
        if best is None or len(found.exceptions) < len(best.exceptions):
            best = found
        # ties of ONNX's float product are the same whatever the shift
        few = 0 if definition.fixed else len(room) // 16
        if len(best.exceptions) <= few:
            break
    assert best is not None
    return best


def _narrow_rescaling(call: KernelCall, sums: Accumulators) -> Rescaling:
    definition = _Definition.of(call, sums)
    room = _bits_left(_magnitude(sums), INT32)
    free = room[~definition.constant & (room >= 2)]
    up = min(MOST_NARROW_UP, int(free.min(initial=MOST_NARROW_UP)))
    down = np.where(definition.constant, 0, definition.exponent + up - 1)
    every = np.full(len(room), up)
    found = _rescaling(definition, every, down, np.minimum(room, up))
    return replace(found, up=every)


def _rescaling(
    definition: _Definition, base: np.ndarray, down: np.ndarray, room: np.ndarray
) -> Rescaling:
    """``base`` is ``up`` where the multiplier keeps its 31 bits, ``room`` the largest ``up``."""
    d = definition
    within = (down >= 0) & (down <= MOST_DOWN) & (base <= room)
    lost = ~d.constant & ~within
    down = np.clip(down, 0, MOST_DOWN)
    varied = ~d.constant & within
    up = np.where(varied, base, 0)
    exact = d.fixed & (base >= 2) & varied
    place = np.int64(1) << np.where(varied, np.clip(up, 1, 30) - 1, 0)
    half = (np.int64(1) << down) >> 1
    # the inner rounding, where there are two, and the outer one, in units of 2**32
    offset = (d.zero << down) + half + np.where(d.exponent > 0, place >> 1, 0)
    multiplier = np.where(varied, d.multiplier, 0)
    offset = np.where(varied, offset, d.at_low << down)
    correction, nudge = np.zeros_like(offset), np.zeros_like(offset)
    if d.kinked:
        correction = np.where(exact & (d.exponent > 0) & (d.low < 0), place, 0)
    rest = np.flatnonzero(varied & ~exact)
    for extra in (0, 3, 6):
        if not len(rest):
            break
        # more places below the accumulator's unit, fewer bits of multiplier
        more = np.minimum(np.maximum(base[rest], 0) + extra, room[rest])
        lack = np.minimum(more - base[rest], 62)
        near = (d.multiplier[rest] + ((np.int64(1) << lack) >> 1)) >> lack
        good, *terms = _fit(d, rest, more, down[rest], near)
        done = rest[good]
        up[done] = more[good]
        for array, term in zip((multiplier, offset, nudge), terms, strict=True):
            array[done] = term[good]
        rest = rest[~good]
    lost[rest] = True
    for array in (up, nudge, multiplier, offset, correction):
        array[lost] = 0
    return Rescaling(up, nudge, multiplier, offset, correction, down, np.flatnonzero(lost))


@dataclass(frozen=True)
class _Definition:
    """What is to be reproduced: the definition's factors, its output range, the channels' sums.

    Factors are multiplier * 2**(-31 - exponent), multiplier in [2**30, 2**31) or 0. ``low`` and
    ``high`` bound the accumulators of each channel, ``at_low`` is the output at ``low``.
    """

    how: Rescale
    zero: int
    least: int
    most: int
    low: np.ndarray
    high: np.ndarray
    multiplier: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, call: KernelCall, sums: Accumulators) -> _Definition:
        params = call.params
        zero, least, most = (int(params[n]) for n in ("out_zero", "lo", "hi"))  # type: ignore[arg-type]
        count = len(sums.bias)
        scale = params.get("scale")
        how: Rescale
        if isinstance(scale, Table):
            reals = np.broadcast_to(np.asarray(scale.array, np.float32), count)
            how = FloatScale(tuple(float(m) for m in reals))
            fraction, exponent = np.frexp(reals.astype(np.float64))
            multiplier = (fraction * (1 << 31)).astype(np.int64)
            exponent = -exponent.astype(np.int64)
        else:
            tables = params["multiplier"], params["shift"]
            multiplier, shift = (
                np.broadcast_to(np.asarray(t.array, np.int64), count)  # type: ignore[union-attr]
                for t in tables
            )
            exponent = -shift
            how = FixedPoint(tuple(multiplier.tolist()), tuple(shift.tolist()))
        return cls(how, zero, least, most, sums.low, sums.high, multiplier, exponent)

    @property
    def fixed(self) -> bool:
        return isinstance(self.how, FixedPoint)

    @property
    def kinked(self) -> bool:
        """Whether gemmlowp's rounding of negative numbers shows in the output."""
        return self.fixed and self.least < self.zero

    @cached_property
    def at_low(self) -> np.ndarray:
        return self.output(self.low, np.arange(len(self.low)))

    @cached_property
    def constant(self) -> np.ndarray:
        """Channels that give one value only."""
        at_high = self.output(self.high, np.arange(len(self.low)))
        return (self.at_low == at_high) | (self.multiplier == 0)

    def output(self, acc: np.ndarray, channels: np.ndarray) -> np.ndarray:
        """The definition itself, for accumulators of the given channels."""
        if isinstance(self.how, FixedPoint):
            y = scale_fixed(acc, self.multiplier[channels], -self.exponent[channels])
        else:
            y = scale_float(acc, np.array(self.how.m, np.float32)[channels])
        return np.clip(y + self.zero, self.least, self.most)

    @cached_property
    def wanted(self) -> np.ndarray:
        """The outputs above the least one."""
        return np.arange(self.least + 1, self.most + 1, dtype=np.int64)

    @cached_property
    def steps(self) -> dict[int, np.ndarray]:
        """By channel, the least accumulator that gives at least each of ``wanted``."""
        return {}

    def steps_of(self, channels: np.ndarray) -> np.ndarray:
        """[channels, wanted]; low - 1 and high + 1 stand for anything beyond."""
        new = np.array([c for c in channels.tolist() if c not in self.steps], np.int64)
        if len(new):
            self.steps.update(zip(new.tolist(), self._search(new), strict=True))
        return np.stack([self.steps[c] for c in channels.tolist()])

    def _search(self, channels: np.ndarray) -> np.ndarray:
        """Bisection from a first guess that is right within two for nearly all."""
        shape = (len(channels), len(self.wanted))
        owner = np.repeat(channels, shape[1])
        wanted = np.tile(self.wanted, shape[0])
        low, high = self.low[owner] - 1, self.high[owner] + 1
        with np.errstate(over="ignore"):
            real = np.ldexp(self.multiplier[owner].astype(np.float64), -31 - self.exponent[owner])
            guess = np.clip((wanted - 0.5 - self.zero) / real, -1e15, 1e15)
        guess = np.clip(np.floor(guess).astype(np.int64), low, high)
        below, above = np.maximum(guess - 2, low), np.minimum(guess + 2, high)
        wrong = (below > low) & (self.output(below, owner) >= wanted)
        below = np.where(wrong, low, below)
        wrong = (above < high) & (self.output(above, owner) < wanted)
        above = np.where(wrong, high, above)
        open_ = np.flatnonzero(above - below > 1)
        while len(open_):
            middle = (below[open_] + above[open_]) >> 1
            hit = self.output(middle, owner[open_]) >= wanted[open_]
            above[open_[hit]] = middle[hit]
            below[open_[~hit]] = middle[~hit]
            open_ = open_[above[open_] - below[open_] > 1]
        return above.reshape(shape)


def _magnitude(sums: Accumulators) -> np.ndarray:
    return np.maximum(np.abs(sums.low), np.abs(sums.high))


def _bits_left(magnitude: np.ndarray, limit: int) -> np.ndarray:
    """Places by which integers of this magnitude can be shifted left below ``limit``."""
    bits = np.array([int(m).bit_length() for m in magnitude])
    return int(limit).bit_length() - bits


TRIED = (0, *(sign * n << i for i in range(13) for n in (1, 3) for sign in (1, -1)))
"""Changes of the multiplier that are tried, in this order."""
OFFSETS = np.array([0, *(sign * i for i in range(1, 65) for sign in (1, -1))], np.int64)
"""Changes of the offset that are tried, each with the least nudge that fits."""
FAR = 1 << 62


def _fit(
    d: _Definition, channels: np.ndarray, up: np.ndarray, down: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers with the definition's steps: (found or not, multiplier, offset, nudge).

    With k = offset * 2**32 + nudge * multiplier, output j is reached from accumulator t on
    where j * 2**(32 + down) - (t << up) * multiplier <= k, and not yet at t - 1.
    """
    steps = d.steps_of(channels)
    multiplier, offset, nudge = near.copy(), np.zeros_like(near), np.zeros_like(near)
    nominal = (np.int64(d.zero) << down) + ((np.int64(1) << down) >> 1)
    waiting = np.arange(len(channels))
    for change in TRIED:
        at, shift = steps[waiting], up[waiting][:, None]
        low, high = d.low[channels[waiting]][:, None], d.high[channels[waiting]][:, None]
        factor = np.clip(near[waiting] + change, 1, INT32)
        line = d.wanted << (32 + down[waiting][:, None])
        # outside the range of accumulators nothing is asked
        reached = line - (np.clip(at, low, high) << shift) * factor[:, None]
        missed = line - (np.clip(at - 1, low, high) << shift) * factor[:, None]
        floor = np.where(at <= high, reached, -FAR).max(axis=1)[:, None]
        ceiling = np.where(at - 1 >= low, missed, FAR).min(axis=1)[:, None]
        terms = nominal[waiting][:, None] + OFFSETS
        # where the window holds an offset without a nudge, that comes first
        pick = np.clip(terms, -(-floor >> 32), (ceiling - 1) >> 32)[:, :1]
        terms = np.concatenate([pick, terms], axis=1)
        nudges = -(((terms << 32) - floor) // factor[:, None])
        nudges = np.where((floor <= terms << 32) & (terms << 32 < ceiling), 0, nudges)
        sums = (terms << 32) + nudges * factor[:, None]
        # what is multiplied has to stay a number of 32 bits
        within = ((high << shift) + nudges <= INT32) & ((low << shift) + nudges >= -INT32)
        fits = (floor <= sums) & (sums < ceiling) & within
        found = fits.any(axis=1)
        choice = fits.argmax(axis=1)
        done, rows = waiting[found], np.flatnonzero(found)
        multiplier[done] = factor[found]
        offset[done] = terms[rows, choice[found]]
        nudge[done] = nudges[rows, choice[found]]
        waiting = waiting[~found]
        if not len(waiting):
            break
    good = np.ones(len(channels), bool)
    good[waiting] = False
    return good, multiplier, offset, nudge
