"""The numbers by which kernels are chosen, and what the kernel table's expressions see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from ..ir import Flat, KernelCall, Rows, Table
from .mve import MveWindows
from .pairs import halves_fit, line_outs, long_field
from .planes import Planes
from .rescaling import Accumulators, Rescaling, narrow_rescaling, wide_rescaling


class CallFacts(Mapping[str, int | float]):
    """Params and facts of a call, options, and what ``DERIVED`` adds when it is asked for."""

    def __init__(self, call: KernelCall, options: Mapping[str, int]) -> None:
        self.call = call
        self._options = dict(options)
        numbers = {k: v for k, v in call.params.items() if isinstance(v, int | float)}
        self._known = {"band": 0, **options, **numbers, **call.facts}

    def __getitem__(self, name: str) -> int | float:
        if name in self._known:
            return self._known[name]
        return int(DERIVED[name](self))

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield from DERIVED

    def __len__(self) -> int:
        return len(self._known) + len(DERIVED)

    def banded(self, rows: int) -> CallFacts:
        """The same call for parts of at most ``rows`` rows; 0: it computes all rows at once."""
        found = CallFacts(self.call, {**self._options, "band": rows})
        # what is slow to prove does not depend on it
        for name in ("sums", "wide", "narrow"):
            if name in self.__dict__:
                found.__dict__[name] = self.__dict__[name]
        return found

    @cached_property
    def variables(self) -> frozenset[str]:
        """Roles of operands that are no constants here, though usually they are."""
        return frozenset(x.role for x in self.call.operands if isinstance(x, Flat) and x.role)

    @cached_property
    def sums(self) -> Accumulators:
        return Accumulators.of(self.call)

    @cached_property
    def wide(self) -> Rescaling:
        """The rescaling of weights widened to 16 bits."""
        return wide_rescaling(self.call, self.sums)

    @cached_property
    def narrow(self) -> Rescaling:
        """The rescaling of weights of 8 bits."""
        return narrow_rescaling(self.call, self.sums)

    @cached_property
    def planes(self) -> Planes:
        return Planes.of(self)

    @cached_property
    def mve(self) -> MveWindows:
        padded = any(isinstance(x, Rows) and x.pad is not None for x in self.call.operands)
        return MveWindows.of(self._known, padded=padded)


def _shifts_left(facts: CallFacts) -> bool:
    shift = facts.call.params.get("shift")
    return isinstance(shift, Table) and bool((np.asarray(shift.array) > 0).any())


def _kinked(facts: CallFacts) -> bool:
    fixed = isinstance(facts.call.params.get("shift"), Table)
    return fixed and facts["lo"] < facts["out_zero"]


DERIVED: dict[str, Callable[[CallFacts], int | bool]] = {
    # the common ``down`` of widened weights; whether negative sums need a correction there
    "shift": lambda facts: facts.wide.down[0],
    "signed": lambda facts: facts.wide.signed,
    # the common ``up`` of weights of 8 bits, and the same
    "up": lambda facts: facts.narrow.up.max(initial=0),
    "narrow_signed": lambda facts: facts.narrow.signed,
    # whether the output is clamped to less than int8
    "clamped": lambda facts: (facts["lo"], facts["hi"]) != (-128, 127),
    # the definition's rescaling: by floats; with left shifts; with a rounding of negative sums
    # that shows in the output
    "real": lambda facts: isinstance(facts.call.params.get("scale"), Table),
    "left": _shifts_left,
    "kinked": _kinked,
    # two weights in a word: whether their products can be summed in 32 bits; the place of the
    # second where they share 64 bits, or 0
    "halves_fit": lambda facts: halves_fit(facts.sums),
    "long_field": lambda facts: long_field(facts.sums),
    # outputs of a row that a scalar depthwise kernel sums together
    "line_outs": lambda facts: line_outs(int(facts["out_w"]), int(facts["kernel_w"])),
    # fields of Planes and MveWindows
    "plane_along": lambda facts: facts.planes.along,
    "plane_across": lambda facts: facts.planes.across,
    "plane_stride": lambda facts: facts.planes.stride,
    "plane_words": lambda facts: facts.planes.words,
    "plane_rows": lambda facts: facts.planes.rows,
    "plane_bytes": lambda facts: facts.planes.bytes,
    "plane_in_place": lambda facts: facts.planes.in_place,
    "plane_by_channel": lambda facts: facts.planes.by_channel,
    "plane_fits": lambda facts: facts.planes.fits,
    "mve_pairs": lambda facts: facts.mve.pairs,
    "mve_pieces": lambda facts: facts.mve.pieces,
    "mve_rows": lambda facts: facts.mve.rows,
    "mve_scratch": lambda facts: facts.mve.scratch,
}
"""What is computed of a call when the kernel table asks for it."""
